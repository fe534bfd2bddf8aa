//! What one log entry may still do, and what has come of it so far.

use super::{Outcome, SessionId};

/// How many jobs one log entry may move besides what its ops move one by one: by kicks, expiries,
/// ends of delays, pauses and sessions (DESIGN D9). What is beyond goes on in the next entry. A
/// million jobs moved at once would stop a member for about a second.
pub const WORK_QUOTA_JOBS: u32 = 1024;

/// How many bytes of bodies one log entry may hand out with those moves, or two bodies, or three: they
/// are in memory until the clients take them.
pub const HANDED_OUT_BYTES_MAX: u64 = 4 << 20;

/// So many bytes of a body that is handed out count as one move more.
const MOVE_BYTES: u64 = HANDED_OUT_BYTES_MAX / WORK_QUOTA_JOBS as u64;

/// The most that one body counts for. Half of the work is for timers: one of them leaves a step of it
/// to what goes on from an earlier entry, however long the body is.
const BODY_MOVES_MAX: u64 = WORK_QUOTA_JOBS as u64 / 2 - 1;

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

    /// Counts that a body of so many bytes is handed out.
    pub(super) fn spend_body(&mut self, bytes: u64) {
        let moves = (bytes / MOVE_BYTES).min(BODY_MOVES_MAX);
        self.spend(u32::try_from(moves).expect("it is less than the quota"));
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.moves_left == 0
    }
}
