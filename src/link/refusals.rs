//! Tells the operator who was not let in, without filling the log.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use super::handshake::Rejection;
use crate::clock::{Clock, SystemClock};

/// At most one line for each reason in this time, nanoseconds.
const LINE_INTERVAL_NANOS: u64 = 1_000_000_000;

/// As many as there are reasons.
const REASONS: usize = 11;

/// What was told, and when.
#[derive(Debug)]
pub(super) struct Refusals {
    clock: SystemClock,
    reasons: [Reason; REASONS],
}

#[derive(Debug, Default)]
struct Reason {
    /// When the last line was written, boot time in nanoseconds; 0 for never.
    told_at: AtomicU64,
    untold: AtomicU64,
}

impl Refusals {
    pub(super) fn new() -> Self {
        Self { clock: SystemClock::new(None), reasons: Default::default() }
    }

    /// One line, unless there was one for the same reason within the last second.
    pub(super) fn tell(&self, address: SocketAddr, rejection: &Rejection) {
        let reason = &self.reasons[number(rejection)];
        let Some(untold) = reason.due(self.clock.boot_nanos()) else { return };
        match concerns_operator(rejection) {
            true => tracing::warn!(%address, untold, "not let in at the member port: {rejection}"),
            false => {
                tracing::debug!(%address, untold, "not let in at the member port: {rejection}")
            }
        }
    }
}

impl Reason {
    /// How many were not told of since the last line, when it is time for one.
    fn due(&self, now: u64) -> Option<u64> {
        let told_at = self.told_at.load(Ordering::Relaxed);
        if told_at != 0 && now.saturating_sub(told_at) < LINE_INTERVAL_NANOS {
            self.untold.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.told_at.store(now.max(1), Ordering::Relaxed);
        Some(self.untold.swap(0, Ordering::Relaxed))
    }
}

fn number(rejection: &Rejection) -> usize {
    match rejection {
        Rejection::NotAMember => 0,
        Rejection::Version { .. } => 1,
        Rejection::BadProof => 2,
        Rejection::WrongCluster { .. } => 3,
        Rejection::WrongMember { .. } => 4,
        Rejection::NotAMemberYet { .. } => 5,
        Rejection::UnknownPurpose { .. } => 6,
        Rejection::Left => 7,
        Rejection::TooSlow => 8,
        Rejection::Crowded => 9,
        Rejection::Io(_) => 10,
    }
}

/// Whether somebody has to do something about it. A probe of the port, a scanner, or a member that
/// starts, ends or gives up an attempt is nothing to act on.
fn concerns_operator(rejection: &Rejection) -> bool {
    match rejection {
        Rejection::Version { .. }
        | Rejection::BadProof
        | Rejection::WrongCluster { .. }
        | Rejection::WrongMember { .. }
        | Rejection::NotAMemberYet { .. }
        | Rejection::UnknownPurpose { .. }
        | Rejection::Crowded => true,
        Rejection::NotAMember | Rejection::Left | Rejection::TooSlow | Rejection::Io(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_of_the_port_is_no_warning_and_a_wrong_secret_is() {
        for rejection in [Rejection::NotAMember, Rejection::Left, Rejection::TooSlow] {
            assert!(!concerns_operator(&rejection), "{rejection}");
        }
        for rejection in [Rejection::BadProof, Rejection::Crowded] {
            assert!(concerns_operator(&rejection), "{rejection}");
        }
    }

    #[test]
    fn a_reason_is_told_once_a_second_with_the_number_of_those_left_out() {
        let reason = Reason::default();
        let start = 5;
        assert_eq!(reason.due(start), Some(0));
        assert_eq!(reason.due(start + 1), None);
        assert_eq!(reason.due(start + LINE_INTERVAL_NANOS - 1), None);
        assert_eq!(reason.due(start + LINE_INTERVAL_NANOS), Some(2));
        assert_eq!(reason.due(start + LINE_INTERVAL_NANOS), None);
    }
}
