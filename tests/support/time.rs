//! The one place where the integration tests read a clock.

use std::time::Instant;

/// The monotonic clock of this machine.
#[expect(clippy::disallowed_methods, reason = "tests watch real servers in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
