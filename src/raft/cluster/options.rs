//! What can be set about a cluster.

use std::time::Duration;

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
