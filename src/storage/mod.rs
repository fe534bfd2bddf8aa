//! Bytes on disk: the log, checkpoints, the identity of a data directory.
//!
//! Knows nothing of the queue, of Raft or of an async runtime: plain threads and bytes. Time comes
//! in as a function ([`Now`]), files through the trait [`disk::Disk`], so that tests can cut the
//! power. Start reading at [`wal`].

use std::sync::Arc;
use std::time::Duration;

pub mod background;
mod bytes_at;
pub mod catalog;
pub mod checkpoint;
pub mod disk;
pub mod identity;
pub mod reserve;
pub mod runs;
pub mod short_lives;
pub mod sim;
pub mod wal;

/// Monotonic time since some fixed moment. Handed in, because this layer reads no clock.
pub type Now = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Whose bytes these are. Every file names its owner, and no member reads another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The cluster, drawn at random when it was made.
    pub cluster: u128,
    /// The member of that cluster.
    pub member: u64,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A clock for tests: the machine's.
    #[expect(clippy::disallowed_methods, reason = "the layer's clock is handed in; here by a test")]
    pub(crate) fn test_now() -> Now {
        let start = std::time::Instant::now();
        Arc::new(move || start.elapsed())
    }
}
