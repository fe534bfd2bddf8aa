//! The bug that this process has.

use std::sync::OnceLock;

use super::Bug;

static CHOSEN: OnceLock<Bug> = OnceLock::new();

/// Whether the process has this bug.
#[inline]
pub fn is(bug: Bug) -> bool {
    CHOSEN.get() == Some(&bug)
}

/// Chooses it. A second choice changes nothing.
pub(super) fn set(bug: Bug) {
    CHOSEN.get_or_init(|| bug);
}
