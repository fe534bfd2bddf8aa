//! The log on disk: votes and entries in one ordered stream, written by one thread.
//!
//! What is handed over is encoded by the log thread straight into its write buffer; all that waits
//! goes out as one write and one sync, and then every [`Done`] of the group is called, in order.
//! The stream lies in segments, files of a fixed size that are zero-filled ahead and recycled,
//! because a sync of a file that grows costs two to ten times as much.
//!
//! It must not: know what an entry says, retry a failed sync, or acknowledge anything after one.
//!
//! Read on: `thread` (the loop), `writer` (what one group does to the disk), `recovery` (what a
//! start believes), `record`, `segment` and `hard` (the formats), `index` and `reader` (reading).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;

use self::queue::Op;
use self::shared::Shared;
use super::background::BackgroundHandle;
use super::disk::{Disk, DiskLock};
use super::{Now, Owner};

mod error;
mod hard;
mod index;
mod queue;
mod reader;
mod record;
mod recovery;
mod replay;
mod segment;
mod shared;
mod survey;
mod thread;
mod writer;

#[cfg(test)]
mod tests;

pub use self::error::{Damage, WalError};

/// The most bytes one entry may have.
pub const ENTRY_BYTES_MAX: usize = 128 << 20;

/// The most bytes a vote or a note may have: they are repeated at the head of every segment.
pub const SMALL_BYTES_MAX: usize = 4096;

/// How many calls may wait for the log thread. The next one blocks.
pub const QUEUE_OPS_MAX: usize = 16_384;

/// The place of an entry in the Raft log: the log id, as plain numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryId {
    /// The term it was proposed in.
    pub term: u64,
    /// The leader of that term.
    pub member: u64,
    /// The index, from 0.
    pub index: u64,
}

/// The bytes of an entry.
pub trait Payload: Send + Sync {
    /// Appends the bytes, at most [`ENTRY_BYTES_MAX`], to `out`, which holds other bytes already.
    /// Called on the log thread, and possibly more than once; each time the same bytes.
    fn encode(&self, out: &mut Vec<u8>);
}

impl Payload for Bytes {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

/// Called on the log thread when what it belongs to is as durable as the [`SyncPolicy`] asks for.
/// After a failure, or when the log is dropped on a full disk, it is dropped without being called.
pub type Done = Box<dyn FnOnce() + Send>;

/// Told, once, that the log has failed: nothing is written or acknowledged after. The process is
/// expected to end.
pub type Fatal = Arc<dyn Fn(WalError) + Send + Sync>;

/// When entries are synced. Votes always are, before their [`Done`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before they are acknowledged.
    Always,
    /// At most this long after they were acknowledged.
    Every(Duration),
    /// When the system likes.
    Never,
}

/// How a log is kept.
#[derive(Clone)]
pub struct WalOptions {
    /// Whose log it is. Another one's is refused.
    pub owner: Owner,
    /// When entries are synced.
    pub sync: SyncPolicy,
    /// The length of the first segment in bytes. By default 4 MiB.
    pub segment_bytes_first: u64,
    /// The greatest length of a segment in bytes; each is twice as long as the one before, up to
    /// this. By default 64 MiB. An entry that does not fit gets a longer one for itself.
    pub segment_bytes_max: u64,
    /// Make a log where there is none. By default not: a log that is missing is a loss.
    pub may_create: bool,
    /// Room on the disk that is not for the log but for a checkpoint, bytes. Changes as the state
    /// grows. By default 0.
    pub keep_free_bytes: Arc<AtomicU64>,
    /// The lock of the data directory, held until the last byte is written.
    pub lock: Option<Arc<dyn DiskLock>>,
    /// How many unused segments are kept for recycling. By default 8.
    pub spares_max: usize,
    /// The clock.
    pub now: Now,
}

/// The least that [`WalOptions::segment_bytes_max`] can be set to by a user.
pub const SEGMENT_BYTES_FLOOR: u64 = 1 << 20;

impl WalOptions {
    /// The defaults, for this owner and with this clock.
    pub fn new(owner: Owner, now: Now) -> Self {
        Self {
            owner,
            sync: SyncPolicy::Always,
            segment_bytes_first: 4 << 20,
            segment_bytes_max: 64 << 20,
            may_create: false,
            keep_free_bytes: Arc::default(),
            lock: None,
            spares_max: 8,
            now,
        }
    }
}

/// What a start found in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The last vote that was saved.
    pub vote: Option<Bytes>,
    /// The last entry that was purged.
    pub purged: Option<EntryId>,
    /// The last entry; the purged one when there is none after it.
    pub last: Option<EntryId>,
    /// The last note.
    pub note: Option<Bytes>,
    /// How many bytes at the end were begun and not finished. They were kept in a file
    /// `torn-<segment>` and are no part of the log.
    pub torn_bytes: u64,
}

/// Figures about a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalState {
    /// The first index that can be read, if there were an entry.
    pub first_index: u64,
    /// One past the last index that can be read.
    pub next_index: u64,
    /// The last entry that was purged.
    pub purged: Option<EntryId>,
    /// The number of the oldest segment.
    pub oldest_segment: u64,
    /// The number of the segment that is written to.
    pub current_segment: u64,
    /// Records written since the start, of all kinds.
    pub records_written: u64,
    /// Bytes in all segments that are in use.
    pub segment_bytes: u64,
    /// There is no room for the next segment. What is in use can still be filled.
    pub full: bool,
    /// The log does not take any more until there is room: appends wait.
    pub stalled: bool,
}

/// The log. Dropping it writes and syncs what is waiting, unless the disk is full.
pub struct Wal {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Wal {
    /// Opens the log in `dir`, or makes one if it may, and starts its thread.
    ///
    /// What is found is durable when this returns, also when it was not before: a sync that failed
    /// in an earlier life may have left bytes that can be read and are not on the disk.
    ///
    /// # Errors
    /// [`WalError::Corrupt`] when something that was acknowledged is damaged or missing, and
    /// [`WalError::ForeignOwner`] when it is another one's log; nothing is changed then.
    /// [`WalError::Missing`] when there is none and none may be made.
    /// [`WalError::Full`] when there is no room to start. Else what the disk says.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: WalOptions,
        background: BackgroundHandle,
        fatal: Fatal,
    ) -> Result<(Self, Recovered), WalError> {
        let shared = Arc::new(Shared::new(disk, dir, options, background, fatal));
        let (writer, recovered) = recovery::recover(&shared)?;
        let thread = thread::start(shared.clone(), writer)?;
        Ok((Self { shared, thread: Some(thread) }, recovered))
    }

    /// Appends entries, which follow the last one without a gap, and calls `done` when they are
    /// durable. Blocks only while [`QUEUE_OPS_MAX`] calls wait.
    ///
    /// # Panics
    /// When the entries do not follow.
    pub fn append(&self, entries: Vec<(EntryId, Arc<dyn Payload>)>, done: Done) {
        self.shared.queue.push(Op::Append { entries, done });
    }

    /// Saves the vote and calls `done` when it, and all before it, is synced, whatever the policy.
    ///
    /// # Panics
    /// When the vote is longer than [`SMALL_BYTES_MAX`].
    pub fn save_vote(&self, vote: Bytes, done: Done) {
        assert!(vote.len() <= SMALL_BYTES_MAX, "a vote of {} bytes", vote.len());
        self.shared.queue.push(Op::Vote { vote, done });
    }

    /// Removes all entries after `last`, or all; readers do not see them when this returns.
    ///
    /// # Panics
    /// When `last` is not in the log and not the purged entry.
    pub fn truncate_after(&self, last: Option<EntryId>) {
        // Both under the queue's lock, so that the cut has the ticket of its op.
        self.shared.queue.push_and(Op::Truncate { last }, |ticket| {
            self.shared.index.lock().cut(ticket, last);
        });
    }

    /// Marks entries up to and including `upto` as not needed. Segments wholly below are recycled by
    /// the log thread. An `upto` after the last entry empties the log, which then goes on after it.
    pub fn purge(&self, upto: EntryId) {
        self.shared.queue.push_and(Op::Purge { upto }, |_| self.shared.index.lock().purge(upto));
    }

    /// Keeps a small note, which rides with the next group: it is written when something else is.
    /// Only the last one counts.
    ///
    /// # Panics
    /// When the note is longer than [`SMALL_BYTES_MAX`].
    pub fn note(&self, note: Bytes) {
        assert!(note.len() <= SMALL_BYTES_MAX, "a note of {} bytes", note.len());
        self.shared.queue.set_note(note);
    }

    /// Reads entries from index `from`, included, to `to`, excluded, as far as they are written: at
    /// least one if there is one, and no more after `bytes_max` bytes. Consecutive. May be called
    /// from any thread; reads the disk.
    ///
    /// # Errors
    /// [`WalError::Purged`] when `from` is purged. [`WalError::Corrupt`] when the disk no longer
    /// has what was written.
    pub fn read(
        &self,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> Result<Vec<(EntryId, Bytes)>, WalError> {
        reader::read(&self.shared, from, to, bytes_max)
    }

    /// How many bytes of log were written after the entry at `index`, to within 128 KiB.
    pub fn bytes_since(&self, index: u64) -> u64 {
        self.shared.index.lock().bytes_since(index)
    }

    /// Whether there is no room for the next segment. Costs next to nothing.
    pub fn is_full(&self) -> bool {
        self.shared.full.load(Ordering::Relaxed)
    }

    /// Bytes in files that wait to become segments.
    pub fn spare_bytes(&self) -> u64 {
        self.shared.spare_bytes()
    }

    /// Figures about the log.
    pub fn state(&self) -> WalState {
        let mut state = self.shared.index.lock().state();
        state.full = self.shared.full.load(Ordering::Relaxed);
        state.stalled = self.shared.stalled.load(Ordering::Relaxed);
        state
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        self.shared.queue.stop();
        if let Some(thread) = self.thread.take() {
            // The thread reports its own panic as fatal.
            let _ = thread.join();
        }
    }
}
