//! The one clock of a run: all clients, faults and samples are on this machine, so that its
//! monotonic clock orders them exactly.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// A moment, in nanoseconds since the run began.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Moment(pub u64);

/// When a run began.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
}

impl Clock {
    /// A run begins.
    pub fn start() -> Self {
        Self { began: now() }
    }

    /// The present moment.
    pub fn now(&self) -> Moment {
        let elapsed = (now() - self.began).as_nanos();
        Moment(u64::try_from(elapsed).expect("a run takes less than 500 years"))
    }
}

impl Moment {
    /// So much later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanoseconds))
    }

    /// How long ago `earlier` was; nothing when it is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:.6} s", Duration::from_nanos(self.0).as_secs_f64())
    }
}

/// The time, for deadlines that no history knows of.
#[expect(clippy::disallowed_methods, reason = "the one reader of time in this crate")]
pub fn now() -> Instant {
    Instant::now()
}
