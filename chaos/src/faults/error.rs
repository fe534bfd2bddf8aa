//! Why a fault is not there, or not gone.

use thiserror::Error;

/// Why a fault is not there, or not gone.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FaultError {
    /// The fault is left out: nothing was done.
    #[error("left out: {0}")]
    Missing(String),
    /// The fault is left out, because of how the members are, which may be due to another fault:
    /// nothing was done.
    #[error("hindered: {0}")]
    Hindered(String),
    /// It was begun, and nobody knows whether it is there.
    #[error("it did not take: {0}")]
    NotTaken(String),
    /// Something is not as it was before.
    #[error("not healed: {0}")]
    NotHealed(String),
}

impl FaultError {
    /// What is missing, in words of whoever found out.
    pub(super) fn missing(why: impl Into<String>) -> Self {
        Self::Missing(why.into())
    }

    /// What hinders it.
    pub(super) fn hindered(why: impl Into<String>) -> Self {
        Self::Hindered(why.into())
    }

    /// Why it did not take.
    pub(super) fn not_taken(why: impl Into<String>) -> Self {
        Self::NotTaken(why.into())
    }

    /// Why it is not gone.
    pub(super) fn not_healed(why: impl Into<String>) -> Self {
        Self::NotHealed(why.into())
    }
}
