//! What can be set about a cluster.

use std::time::Duration;

/// Another member's lease may seem to last longer than it says by a fourth of it, and by no less
/// than this: one tick of its own may be late by 300 ms before it becomes unsure of itself, both
/// sides round to ticks, and it needs a moment to close its clients.
const LEASE_MARGIN_MIN: Duration = Duration::from_millis(500);

/// The times by which members judge each other (DESIGN D15).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often the leader makes itself heard.
    pub heartbeat: Duration,
    /// A candidate asks again after at least this time.
    pub election_min: Duration,
    /// A leader that has not been heard for so long has lost its lease.
    pub election_max: Duration,
    /// What the connections of a member held that is known to be dead comes back after this time.
    pub dead_after: Duration,
    /// How long a member serves clients after it was last heard.
    pub lease: Duration,
    /// The clients that wait at a member are passed over when it has been silent for this time.
    pub silent_after: Duration,
    /// Takes a member that is only silent for dead, too: what it held comes back after
    /// [`Self::dead_after`], at the price that its holder may still be at work.
    pub silent_release: bool,
}

impl Timing {
    /// How long a member that is not heard any more may serve clients, as another counts the time:
    /// each counts in ticks of its own, and a late tick counts as one.
    pub fn lease_seen_from_outside(&self) -> Duration {
        self.lease + (self.lease / 4).max(LEASE_MARGIN_MIN)
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(60),
            election_min: Duration::from_millis(200),
            election_max: Duration::from_millis(400),
            dead_after: Duration::from_secs(2),
            lease: Duration::from_secs(2),
            silent_after: Duration::from_millis(300),
            silent_release: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_seen_from_outside_has_a_margin_for_late_ticks() {
        let seen = |millis| {
            let lease = Duration::from_millis(millis);
            Timing { lease, ..Timing::default() }.lease_seen_from_outside().as_millis()
        };
        assert_eq!([seen(900), seen(2000), seen(8000)], [1400, 2500, 10_000]);
    }
}
