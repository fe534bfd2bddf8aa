//! What can be chosen about a client.

use std::time::Duration;

use beanpole_protocol::trunk::{LEASE_MILLIS_MAX, LEASE_MILLIS_MIN};

/// The most members that a client knows.
pub const MEMBERS_MAX: usize = 16;

/// Times of a client. All are read once, when it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long a session lasts that no member hears of: 1 to 60 s, cut to milliseconds; 10 s by
    /// default. When it runs out, what the session held is ready again.
    pub lease: Duration,
    /// How long making a connection may take, at least 1 ms; 1 s by default.
    pub dial_timeout: Duration,
    /// A member that does not answer for this long is left, if another does: at least 10 ms, 500 ms by
    /// default.
    pub ping_limit: Duration,
    /// How long a session waits for a member when none can be reached, at least 1 s; 60 s by default.
    pub patience: Duration,
}

/// Options that a client cannot have.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum OptionsError {
    /// Too few members, or too many.
    #[error("{count} members, but a client needs 1 to {MEMBERS_MAX}")]
    Members {
        /// How many there are.
        count: usize,
    },
    /// The lease is out of its range.
    #[error("a lease of {lease:?}, but it is {LEASE_MILLIS_MIN} to {LEASE_MILLIS_MAX} ms")]
    Lease {
        /// The one that was asked for.
        lease: Duration,
    },
    /// A time is too short.
    #[error("{name} is {time:?}, but at least {time_min:?}")]
    TooShort {
        /// Which.
        name: &'static str,
        /// The one that was asked for.
        time: Duration,
        /// The shortest.
        time_min: Duration,
    },
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            dial_timeout: Duration::from_secs(1),
            ping_limit: Duration::from_millis(500),
            patience: Duration::from_secs(60),
        }
    }
}

impl Options {
    /// Checks them, and how many members there are.
    pub(super) fn check(&self, count: usize) -> Result<(), OptionsError> {
        if !(1..=MEMBERS_MAX).contains(&count) {
            return Err(OptionsError::Members { count });
        }
        let leases = u128::from(LEASE_MILLIS_MIN)..=u128::from(LEASE_MILLIS_MAX);
        if !leases.contains(&self.lease.as_millis()) {
            return Err(OptionsError::Lease { lease: self.lease });
        }
        for (name, time, time_min) in [
            ("dial_timeout", self.dial_timeout, Duration::from_millis(1)),
            ("ping_limit", self.ping_limit, Duration::from_millis(10)),
            ("patience", self.patience, Duration::from_secs(1)),
        ] {
            if time < time_min {
                return Err(OptionsError::TooShort { name, time, time_min });
            }
        }
        Ok(())
    }

    /// The lease in milliseconds, once it is checked.
    pub(super) fn lease_millis(&self) -> u32 {
        u32::try_from(self.lease.as_millis()).expect("a lease that was checked is short")
    }
}
