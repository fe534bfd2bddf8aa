//! How fast a member that is behind is sent what it lacks: it must not slow down those who are not.

use std::time::Duration;

use super::super::log_store::LogStore;

/// The most that is sent a second when nobody puts anything, bytes.
const BYTES_PER_SECOND: u64 = 64_000_000;

/// For each byte that is appended to the log meanwhile, so many more: who is behind catches up.
const PER_APPENDED_BYTE: u64 = 2;

/// Rests after what was sent to one member.
pub(super) struct Pace {
    log: LogStore,
    /// When it last rested.
    appended_bytes: u64,
}

impl Pace {
    pub(super) fn new(log: LogStore) -> Self {
        let appended_bytes = log.appended_bytes();
        Self { log, appended_bytes }
    }

    /// Whether entries from `first` on are sent because the member is behind: the leader does not
    /// have them in memory any more.
    pub(super) fn is_for(&self, first: u64) -> bool {
        !self.log.is_recent(first)
    }

    /// After so many bytes were sent.
    pub(super) async fn rest(&mut self, bytes: usize) {
        let appended_bytes = self.log.appended_bytes();
        let before = std::mem::replace(&mut self.appended_bytes, appended_bytes);
        let allowed = (appended_bytes - before).saturating_mul(PER_APPENDED_BYTE);
        let rest = (bytes as u64).saturating_sub(allowed).saturating_mul(1_000_000_000);
        tokio::time::sleep(Duration::from_nanos(rest / BYTES_PER_SECOND)).await;
    }
}
