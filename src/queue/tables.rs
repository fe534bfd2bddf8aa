//! What the tables take up in memory besides jobs: tubes, sessions, watches and waits.
//!
//! An estimate from counts that are kept up to date, so that it costs nothing to ask. The bytes are
//! those of a 64-bit machine whose B-trees are little more than half full, as they are when keys come
//! in order, and of an allocator that rounds up to 16 and adds 8. A test measures it.

use beanpole_protocol::TUBE_NAME_LENGTH_MAX;

use super::job::JOB_BYTES as HELD_JOB_BYTES;
use super::keys::KEY_BYTES;
use super::tube::{Tube, TubeId};
use super::waiting::Waiter;
use super::{KEPT_OUTCOMES_MAX, Limits, Queue};

/// A tube, with its places in the tables by id, by name and in the order of listing; without its
/// name.
const TUBE_BYTES: u64 = 800;

/// A session that watches one tube.
const SESSION_BYTES: u64 = 290;

/// The lease of a session, with its places by token and by connection, and room for a few outcomes.
const LEASE_BYTES: u64 = 480;

/// One outcome that is kept: the room for them doubles.
const KEPT_BYTES: u64 = 64;

/// One tube more that a session watches.
const WATCH_BYTES: u64 = 12;

/// The wait of a session, with its timer.
const WAIT_BYTES: u64 = 110;

/// The place of a waiter in one tube.
const WAITER_BYTES: u64 = 62;

/// What the first waiter of a tube takes more: a node of a tree has room for eleven.
const FIRST_WAITER_BYTES: u64 = 310;

/// What the first job of a tube's order, or of those that a session holds, takes more than what is
/// counted for each job, for the same reason.
const FIRST_JOB_BYTES: u64 = 170;

/// What the allocator adds to a piece, what it rounds up to, and the least that it hands out.
const PIECE_BYTES: u64 = 8;
const PIECE_BYTES_STEP: u64 = 16;
const PIECE_BYTES_MIN: u64 = 32;

/// What is counted for the estimate and for nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TableCounts {
    /// What the names of the tubes take up, bytes.
    names_bytes: u64,
    /// Sessions that wait for a job.
    waits: u64,
    /// Pairs of a tube and somebody who waits for a job of it.
    waiters: u64,
    /// Tubes that somebody waits for.
    tubes_waited_for: u64,
    /// Outcomes that leased sessions keep.
    kept_outcomes: u64,
}

impl TableCounts {
    pub(super) fn add_name(&mut self, tube: &Tube) {
        self.names_bytes += name_bytes(tube);
    }

    pub(super) fn remove_name(&mut self, tube: &Tube) {
        self.names_bytes -= name_bytes(tube);
    }

    pub(super) fn add_wait(&mut self) {
        self.waits += 1;
    }

    pub(super) fn remove_wait(&mut self) {
        self.waits -= 1;
    }

    pub(super) fn add_kept(&mut self, outcomes: usize) {
        self.kept_outcomes += outcomes as u64;
    }

    pub(super) fn remove_kept(&mut self, outcomes: usize) {
        self.kept_outcomes -= outcomes as u64;
    }

    pub(super) fn add_waiter(&mut self, tube: &mut Tube, waiter: Waiter) {
        self.tubes_waited_for += u64::from(tube.waiters.is_empty());
        self.waiters += u64::from(tube.waiters.insert(waiter));
    }

    pub(super) fn remove_waiter(&mut self, tube: &mut Tube, waiter: Waiter) {
        if tube.waiters.remove(&waiter) {
            self.waiters -= 1;
            self.tubes_waited_for -= u64::from(tube.waiters.is_empty());
        }
    }
}

impl Limits {
    /// About what everything that they allow takes up in memory, bytes: names are as long as they may
    /// be, each session waits and each watch waits for a job, of a tube that none else waits for, and
    /// each held job is cold but for that.
    pub fn bytes_max(&self) -> u64 {
        let name = 2 * (TUBE_NAME_LENGTH_MAX as u64 + PIECE_BYTES);
        let tube = TUBE_BYTES + name + FIRST_WAITER_BYTES;
        let watch = WATCH_BYTES + WAITER_BYTES;
        // Half of the sessions may be leased.
        let lease = LEASE_BYTES + KEPT_OUTCOMES_MAX as u64 * KEPT_BYTES;
        let session = SESSION_BYTES + WAIT_BYTES + FIRST_JOB_BYTES + lease / 2;
        let each = [tube, watch, HELD_JOB_BYTES, session];
        let bytes =
            self.all().into_iter().zip(each).map(|(count, each)| count.saturating_mul(each));
        bytes.fold(0, u64::saturating_add)
    }
}

impl Queue {
    /// About what tubes, sessions, watches and waits take up in memory, bytes.
    pub fn table_bytes(&self) -> u64 {
        let watches = self.watches + self.tube(TubeId::DEFAULT).watching;
        let sessions = self.sessions.len() as u64;
        let counts = &self.tables;
        self.tubes.len() as u64 * TUBE_BYTES
            + counts.names_bytes
            + sessions * SESSION_BYTES
            + watches.saturating_sub(sessions) * WATCH_BYTES
            + self.leased_sessions() * LEASE_BYTES
            + counts.kept_outcomes * KEPT_BYTES
            + self.keys.len() as u64 * KEY_BYTES
            + counts.waits * WAIT_BYTES
            + counts.waiters * WAITER_BYTES
            + counts.tubes_waited_for * FIRST_WAITER_BYTES
            + self.job_counts.orders * FIRST_JOB_BYTES
    }
}

/// Of a tube's name, which is there twice.
fn name_bytes(tube: &Tube) -> u64 {
    let length = tube.facts.name.as_str().len() as u64;
    2 * (length + PIECE_BYTES).next_multiple_of(PIECE_BYTES_STEP).max(PIECE_BYTES_MIN)
}
