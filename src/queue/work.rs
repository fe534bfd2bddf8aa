//! What one log entry may still do, and what has come of it so far.

use super::{Outcome, SessionId};

/// How many jobs one log entry may move besides what its ops move one by one: by kicks, expiries,
/// ends of delays, pauses and sessions (DESIGN D9). What is beyond goes on in the next entry. A
/// million jobs moved at once would stop a member for about a second.
pub const WORK_QUOTA_JOBS: u32 = 1024;

/// The work of one entry.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Jobs that may still be moved in bulk.
    pub(super) moves_left: u32,
    /// What came of it and has not been told yet.
    pub(super) outcomes: Vec<(SessionId, Outcome)>,
}

impl Work {
    /// Counts moves; a last step that is larger than what is left is allowed.
    pub(super) fn spend(&mut self, moves: u32) {
        self.moves_left = self.moves_left.saturating_sub(moves);
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.moves_left == 0
    }
}
