//! The log as openraft sees it: recent entries in memory, all of them in the write-ahead log.
//!
//! An append puts the entries into the recent ones, where every reader finds them at once, and
//! queues them for the log thread, which encodes, writes and syncs. Entries leave the recent ones
//! when they are applied, written, and the share of memory is used up; readers of older ones go to
//! the log. Without a data directory there is no log thread: the recent entries are all there is
//! (DESIGN D12). Must not block: openraft calls from its one core task.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::Stream;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use parking_lot::Mutex;

use super::encoding::{self, EntryPayload};
use super::types::{Entry, LogId, Payload, TypeConfig, Vote};
use crate::clock::LogicalClock;
use crate::queue::Action;
use crate::storage::wal::Wal;

/// What recent entries may hold beyond those that must stay, at most and as a part of the share of
/// the log, bytes: twice that where there are other members, because the bytes that are sent are kept
/// beside the batch.
const RECENT_BYTES_MAX: u64 = 8 << 20;
const RECENT_PART: u64 = 2;

/// How much more recent entries may hold that are not applied.
const BEHIND_TIMES: usize = 4;

/// What one read takes from the log, bytes (at least one entry comes back).
const READ_BYTES_MAX: usize = 2 << 20;

/// What an entry costs in memory beside its bodies, bytes.
const ENTRY_OVERHEAD_BYTES: usize = 256;

/// What an op costs in memory beside its body, bytes.
const OP_OVERHEAD_BYTES: usize = 96;

/// A handle on the log; clones share it.
#[derive(Clone)]
pub(super) struct LogStore {
    shared: Arc<Shared>,
}

struct Shared {
    wal: Option<Arc<Wal>>,
    clock: Arc<LogicalClock>,
    recent_bytes_max: usize,
    /// Apart from the rest, for the callbacks of the log thread: the log, which joins that thread
    /// when it is dropped, must not be dropped there.
    state: Arc<Mutex<State>>,
    /// The index up to which entries have been applied.
    applied: AtomicU64,
    appended_bytes: AtomicU64,
}

#[derive(Default)]
struct State {
    vote: Option<Vote>,
    purged: Option<LogId>,
    last: Option<LogId>,
    recent: VecDeque<Recent>,
    recent_bytes: usize,
    /// The index up to which entries have been written and synced.
    synced: u64,
    /// How often the tail was cut off: a sync that began before does not speak for what came after.
    truncations: u64,
}

struct Recent {
    entry: Entry,
    bytes: usize,
}

/// What the log had when it was opened.
#[derive(Clone, Debug, Default)]
pub(super) struct LogStart {
    /// The last vote.
    pub vote: Option<Vote>,
    /// Up to where entries are gone because a checkpoint covers them.
    pub purged: Option<LogId>,
    /// The last entry, or `purged` when there is none.
    pub last: Option<LogId>,
}

impl LogStore {
    /// A log kept by `wal`, or in memory alone when there is none, with so many bytes of memory.
    pub(super) fn new(
        wal: Option<Arc<Wal>>,
        start: LogStart,
        clock: Arc<LogicalClock>,
        memory_bytes: u64,
    ) -> Self {
        let recent_bytes_max = RECENT_BYTES_MAX.min(memory_bytes / RECENT_PART);
        let state = State {
            vote: start.vote,
            purged: start.purged,
            last: start.last,
            synced: start.last.map_or(0, |last| last.index),
            ..State::default()
        };
        Self {
            shared: Arc::new(Shared {
                wal,
                clock,
                recent_bytes_max: usize::try_from(recent_bytes_max).unwrap_or(usize::MAX),
                state: Arc::new(Mutex::new(state)),
                applied: AtomicU64::new(0),
                appended_bytes: AtomicU64::new(0),
            }),
        }
    }

    /// Bytes of entries appended since the process started, as counted in memory.
    pub(super) fn appended_bytes(&self) -> u64 {
        self.shared.appended_bytes.load(Ordering::Relaxed)
    }

    /// The index up to which every entry is on disk.
    pub(super) fn synced_index(&self) -> u64 {
        self.shared.state.lock().synced
    }

    /// The index of the last entry, on disk or not.
    pub(super) fn last_index(&self) -> u64 {
        self.shared.state.lock().last.map_or(0, |last| last.index)
    }

    /// Whether the entry `index` and those after it are in memory.
    pub(super) fn is_recent(&self, index: u64) -> bool {
        let state = self.shared.state.lock();
        let first = state.recent.front().map(|recent| recent.entry.log_id.index);
        first.or(state.last.map(|last| last.index + 1)).is_none_or(|first| first <= index)
    }

    /// Whether the log waits for room on the disk.
    pub(super) fn waits_for_room(&self) -> bool {
        self.shared.wal.as_ref().is_some_and(|wal| wal.state().stalled)
    }

    /// Tells that entries up to `index` have been applied, so that memory need not keep them.
    pub(super) fn applied(&self, index: u64) {
        self.shared.applied.store(index, Ordering::Relaxed);
    }

    /// What the entries that are in memory take up there, bytes.
    pub(super) fn recent_bytes(&self) -> usize {
        self.shared.state.lock().recent_bytes
    }

    fn read(&self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let recent = self.shared.state.lock().recent_range(start, end);
        if let Some(entries) = recent {
            return Ok(entries);
        }
        let Some(wal) = &self.shared.wal else { return Ok(Vec::new()) };
        let records = wal.read(start, end, READ_BYTES_MAX).map_err(io::Error::other)?;
        records
            .iter()
            .map(|(id, bytes)| encoding::decode_entry(*id, bytes).map_err(io::Error::other))
            .collect()
    }

    /// The half-open range of indexes that `range` means, cut to what the log has.
    fn bounds(&self, range: &impl RangeBounds<u64>) -> (u64, u64) {
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&before) => before + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&last) => last + 1,
            Bound::Excluded(&end) => end,
            Bound::Unbounded => u64::MAX,
        };
        let state = self.shared.state.lock();
        let first = state.purged.map_or(0, |purged| purged.index + 1);
        let after_last = state.last.map_or(0, |last| last.index + 1);
        (start.max(first), end.min(after_last))
    }
}

impl State {
    /// The entries of `start..end` when the first of them is still in memory.
    fn recent_range(&self, start: u64, end: u64) -> Option<Vec<Entry>> {
        let first = self.recent.front()?.entry.log_id.index;
        if start < first {
            return None;
        }
        let index = |at: u64| usize::try_from(at - first).unwrap_or(usize::MAX);
        let range = index(start).min(self.recent.len())..index(end).min(self.recent.len());
        Some(self.recent.range(range).map(|recent| recent.entry.clone()).collect())
    }

    fn push(&mut self, entry: Entry, bytes: usize) {
        if let Some(last) = self.last {
            assert_eq!(entry.log_id.index, last.index + 1, "the log has no holes");
        }
        self.last = Some(entry.log_id);
        self.recent_bytes += bytes;
        self.recent.push_back(Recent { entry, bytes });
    }

    fn synced_to(&mut self, index: u64, truncations: u64) {
        if truncations == self.truncations {
            self.synced = self.synced.max(index);
        }
    }

    fn pop_front(&mut self) {
        if let Some(recent) = self.recent.pop_front() {
            self.recent_bytes -= recent.bytes;
        }
    }

    /// Forgets the oldest entries up to `index` while there are more bytes than `bytes_max`.
    fn shrink(&mut self, index: u64, bytes_max: usize) {
        while self.recent_bytes > bytes_max
            && self.recent.front().is_some_and(|recent| recent.entry.log_id.index <= index)
        {
            self.pop_front();
        }
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, io::Error> {
        let (mut at, end) = self.bounds(&range);
        let mut entries = Vec::new();
        while at < end {
            let more = self.read(at, end)?;
            let Some(last) = more.last() else { break };
            at = last.log_id.index + 1;
            entries.extend(more);
        }
        Ok(entries)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        let mut entries = self.read(start, end)?;
        let mut bytes = 0;
        let within = |entry: &Entry| {
            let fits = bytes < READ_BYTES_MAX;
            bytes += entry_bytes(entry);
            fits
        };
        let count = entries.iter().map(within).take_while(|fits| *fits).count();
        entries.truncate(count);
        Ok(entries)
    }

    async fn entries_stream<R>(
        &mut self,
        range: R,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + Send
    where
        R: RangeBounds<u64> + Clone + Debug + Send,
    {
        let (start, end) = self.bounds(&range);
        let position = (self.clone(), start, Vec::new().into_iter());
        futures_util::stream::unfold(position, move |(store, mut at, mut ready)| async move {
            if let Some(entry) = ready.next() {
                return Some((Ok(entry), (store, at, ready)));
            }
            if at >= end {
                return None;
            }
            match store.read(at, end) {
                Ok(entries) => ready = entries.into_iter(),
                Err(error) => return Some((Err(error), (store, end, ready))),
            }
            at += ready.len() as u64;
            ready.next().map(|entry| (Ok(entry), (store, at, ready)))
        })
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.shared.state.lock().vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let state = self.shared.state.lock();
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last.or(state.purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        if let Some(wal) = &self.shared.wal {
            let (done, synced) = tokio::sync::oneshot::channel();
            let bytes = Bytes::from(encoding::encode_vote(vote));
            wal.save_vote(bytes, Box::new(move || _ = done.send(())));
            synced.await.map_err(|_| io::Error::other("the log thread has ended"))?;
        }
        self.shared.state.lock().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let shared = &self.shared;
        let mut records: Vec<(_, Arc<dyn crate::storage::wal::Payload>)> = Vec::new();
        let mut state = shared.state.lock();
        for entry in entries {
            let bytes = entry_bytes(&entry);
            shared.appended_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            if shared.wal.is_some() {
                let id = encoding::entry_id(&entry.log_id);
                records.push((id, Arc::new(EntryPayload(entry.clone()))));
            }
            state.push(entry, bytes);
        }
        let last = state.last.map_or(0, |last| last.index);
        let Some(wal) = &shared.wal else {
            state.synced = last;
            drop(state);
            callback.io_completed(Ok(()));
            return Ok(());
        };
        let unneeded = shared.applied.load(Ordering::Relaxed).min(state.synced);
        state.shrink(unneeded, self.shared.recent_bytes_max);
        // Applying may be far behind: it reads the log then.
        let synced = state.synced;
        state.shrink(synced, self.shared.recent_bytes_max * BEHIND_TIMES);
        let truncations = state.truncations;
        drop(state);
        if let Some(anchor) = shared.clock.due_anchor() {
            let mut note = Vec::new();
            encoding::append(&anchor, &mut note);
            wal.note(note.into());
        }
        let state = Arc::clone(&shared.state);
        wal.append(
            records,
            Box::new(move || {
                state.lock().synced_to(last, truncations);
                callback.io_completed(Ok(()));
            }),
        );
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let (index, last) =
            (last_log_id.map(|id| id.index), last_log_id.as_ref().map(encoding::entry_id));
        let mut state = self.shared.state.lock();
        if state.last.is_none_or(|last| Some(last.index) <= index) {
            return Ok(());
        }
        while state.recent.back().is_some_and(|recent| Some(recent.entry.log_id.index) > index) {
            let recent = state.recent.pop_back().expect("there is a last one");
            state.recent_bytes -= recent.bytes;
        }
        state.last = last_log_id.or(state.purged);
        state.synced = state.synced.min(index.unwrap_or(0));
        state.truncations += 1;
        if let Some(wal) = &self.shared.wal {
            wal.truncate_after(last);
        }
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let mut state = self.shared.state.lock();
        if state.purged.is_some_and(|purged| purged.index >= log_id.index) {
            return Ok(());
        }
        state.purged = Some(log_id);
        if state.last.is_none_or(|last| last.index < log_id.index) {
            state.last = Some(log_id);
        }
        // What is purged is in a durable checkpoint, also when it was never in this log.
        state.synced = state.synced.max(log_id.index);
        state.shrink(log_id.index, 0);
        if let Some(wal) = &self.shared.wal {
            wal.purge(encoding::entry_id(&log_id));
        }
        Ok(())
    }
}

fn entry_bytes(entry: &Entry) -> usize {
    let Payload::Normal(command) = &entry.payload else { return ENTRY_OVERHEAD_BYTES };
    let parts = &command.batch().parts;
    let ops = parts.iter().flat_map(|part| match part {
        crate::queue::Part::Ops { ops, .. } => &ops[..],
        _ => &[],
    });
    let op_bytes = |op: &crate::queue::Op| match &op.action {
        Action::Put { body, .. } => OP_OVERHEAD_BYTES + body.len(),
        _ => OP_OVERHEAD_BYTES,
    };
    ENTRY_OVERHEAD_BYTES + ops.map(op_bytes).sum::<usize>()
}
