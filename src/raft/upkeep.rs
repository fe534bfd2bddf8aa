//! Keeps the log short: a checkpoint when the log behind the last one has grown, then a purge.
//!
//! Checkpoints are made beside the work: the state is frozen in one moment and copied in slices
//! between entries, while the background writer writes at its own pace. The log is kept back to
//! the older of the two checkpoints that are kept, so that a damaged newest one is not a loss.
//! Without a data directory there is nothing to write, and the log in memory is just cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::Raft;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::cold::ColdRuns;
use super::encoding;
use super::gauges::Room;
use super::listed::ListedRuns;
use super::log_store::LogStore;
use super::opening::checkpoint_part;
use super::restoring::{CheckpointMeta, CheckpointRecord};
use super::snapshot::{SentRuns, SnapshotSource, Transfers};
use super::state_machine::{Replica, ReplicaState, StateMachine};
use super::tending::Tending;
use super::types::{LogId, SnapshotMeta, StoredMembership, TypeConfig, leading};
use crate::chain::Chain;
use crate::queue::{LogicalTime, Record};
use crate::storage::background::Background;
use crate::storage::catalog::{self, Catalog, Part};
use crate::storage::checkpoint::{
    CheckpointError, CheckpointHead, CheckpointInfo, CheckpointWriter, Checkpoints, KEPT_MAX,
};
use crate::storage::disk::Disk;
use crate::storage::identity::DataDirectory;
use crate::storage::reserve::Reserve;
use crate::storage::runs::{Frozen, RunState};
use crate::storage::wal::Wal;

/// How often to look.
const INTERVAL: Duration = Duration::from_millis(100);

/// How often a checkpoint looks whether the run files that it lists are durable.
const RUNS_INTERVAL: Duration = Duration::from_millis(10);

/// Without a data directory, the log in memory is cut after so many bytes.
const MEMORY_LOG_BYTES_MAX: u64 = 4 << 20;

/// So that writing checkpoints costs at most an eighth of writing the log.
const LOG_PER_STATE: u64 = 8;

/// How long to wait after a checkpoint failed, and between two that a full disk asks for.
const PAUSE: Duration = Duration::from_millis(500);

/// On a full disk, a log shorter than this is not worth a checkpoint, bytes.
const FULL_LOG_BYTES_MIN: u64 = 256 << 10;

/// The most records that changes during a checkpoint may copy ahead of it: a disk that is so much
/// slower than its clients must not cost memory without bound.
const COPIES_MAX: usize = 262_144;

/// Records copied between two entries.
const SLICE_RECORDS: usize = 256;

/// The least and the most written ahead for a checkpoint on a disk that others fill, bytes.
const RESERVE_BYTES_MIN: u64 = 1 << 20;
const RESERVE_BYTES_MAX: u64 = 64 << 20;

/// What a checkpoint may have beyond the estimate, bytes.
const SLACK_BYTES: u64 = 1 << 20;

/// Room that puts leave to the log of what empties the queue, bytes.
const LOG_ROOM_BYTES: u64 = 8 << 20;

/// When a checkpoint is due: when one of the two is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointLimits {
    /// The log behind the last checkpoint has so many bytes, and eight times the bytes of that
    /// checkpoint. By default 256 MiB.
    pub log_bytes_min: u64,
    /// A restart would have to apply so many ops and entries. By default 3 million.
    pub replay_ops_max: u64,
}

impl Default for CheckpointLimits {
    fn default() -> Self {
        Self { log_bytes_min: 256 << 20, replay_ops_max: 3_000_000 }
    }
}

/// Why no checkpoint was made. The next one is tried when it is due again.
#[derive(Debug, thiserror::Error)]
enum UpkeepError {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("the disk is too slow: {copies} records changed ahead of it, {limit} are allowed")]
    TooManyCopies { copies: usize, limit: usize },
    #[error("a snapshot of another member has taken the place of the state")]
    Superseded,
}

/// The task's parts.
pub(super) struct Upkeep {
    raft: Raft<TypeConfig, StateMachine>,
    replica: Arc<Replica>,
    log: LogStore,
    disk: Option<DiskUpkeep>,
}

/// What is needed to keep a data directory. Dropping it unlocks the directory.
pub(super) struct DiskUpkeep {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) directory: Arc<Mutex<DataDirectory>>,
    pub(super) background: Background,
    pub(super) reserve: Arc<Reserve>,
    pub(super) checkpoints: Checkpoints,
    /// To whom checkpoints are being sent.
    pub(super) transfers: Arc<Transfers>,
    /// How many of the snapshots that were installed it knows of.
    pub(super) taken_over: u64,
    /// Away only while a thread that may block writes to it.
    pub(super) catalog: Option<Catalog>,
    pub(super) limits: CheckpointLimits,
    pub(super) wal: Arc<Wal>,
    /// Room that the log leaves to a checkpoint, bytes.
    pub(super) keep_free: Arc<AtomicU64>,
    /// Room that is left for puts.
    pub(super) room: Arc<Room>,
    /// It was said that the log waits for room.
    pub(super) told_stall: bool,
    pub(super) cold: ColdRuns,
    /// What goes on beside checkpoints, until it runs.
    pub(super) tending: Option<Tending>,
    /// The run files that each checkpoint lists.
    pub(super) listed: ListedRuns,
    pub(super) last: Option<Last>,
    /// The checkpoints that are kept, oldest first.
    pub(super) parts: Vec<Part>,
}

/// The newest checkpoint.
#[derive(Clone, Copy)]
pub(super) struct Last {
    index: u64,
    file_bytes: u64,
    applied_ops: u64,
}

/// A moment of the state.
struct Moment {
    /// Its cold jobs.
    cold: Frozen,
    applied: LogId,
    membership: StoredMembership,
    applied_ops: u64,
    clock: LogicalTime,
    /// Of [`ReplicaState::snapshot_installed`](super::state_machine::ReplicaState).
    snapshot_installed: u64,
}

impl Upkeep {
    pub(super) fn new(
        raft: Raft<TypeConfig, StateMachine>,
        replica: Arc<Replica>,
        log: LogStore,
        disk: Option<DiskUpkeep>,
    ) -> Self {
        // Before the first put asks.
        disk.iter().for_each(|disk| disk.measure(&replica));
        Self { raft, replica, log, disk }
    }

    /// Runs for as long as it is polled.
    pub(super) async fn run(mut self) {
        match self.disk.take() {
            None => self.cut_memory().await,
            Some(mut disk) => {
                let tending = disk.tending.take();
                let (replica, log) = (Arc::clone(&self.replica), self.log.clone());
                let tended = async {
                    if let Some(tending) = tending {
                        tending.run(replica, log).await;
                    }
                };
                // Side by side: producers may wait for what is tended while a checkpoint is made.
                tokio::join!(tended, self.keep_disk(disk));
            }
        }
    }

    async fn cut_memory(self) {
        let mut cut_at = 0;
        loop {
            tokio::time::sleep(INTERVAL).await;
            let appended = self.log.appended_bytes();
            if appended - cut_at >= MEMORY_LOG_BYTES_MAX {
                cut_at = appended;
                let moment = self
                    .replica
                    .with_state(|state| Some((state.applied?, state.membership.clone())));
                if let Some((applied, membership)) = moment {
                    self.publish(applied, membership, None, Some(applied.index)).await;
                }
            }
        }
    }

    async fn keep_disk(self, mut disk: DiskUpkeep) {
        disk.ask_for_reserve();
        loop {
            tokio::time::sleep(INTERVAL).await;
            disk.measure(&self.replica);
            disk.tell_of_stall();
            disk.release_runs();
            disk.take_over_received(&self.replica).await;
            if disk.is_stuck(&self.replica) {
                self.go_on_by_a_blank().await;
            }
            if !disk.is_due(&self.replica) {
                continue;
            }
            let older = disk.last.map(|last| last.index);
            match self.checkpoint(&mut disk).await {
                Ok((moment, source)) => {
                    let purge = older.map(|older| disk.purge_limit(older));
                    let Moment { applied, membership, .. } = moment;
                    self.publish(applied, membership, Some(source), purge).await;
                }
                Err(error) => {
                    tracing::error!("no checkpoint could be made: {}", Chain(&error));
                    tokio::time::sleep(PAUSE).await;
                }
            }
            if disk.is_short() {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Adds an entry that says nothing, so that there is something to make a checkpoint of.
    async fn go_on_by_a_blank(&self) {
        // Only the leader can; it will, when its own disk is short.
        if leading(&self.raft).is_none() {
            return;
        }
        if let Err(error) = self.raft.write_blank().await {
            tracing::warn!(%error, "the log cannot be shortened for now");
        }
    }

    /// Tells openraft of a checkpoint that is durable, and that the log up to `purge` can go.
    async fn publish(
        &self,
        applied: LogId,
        membership: StoredMembership,
        source: Option<Arc<SnapshotSource>>,
        purge: Option<u64>,
    ) {
        let meta = SnapshotMeta { last_log_id: Some(applied), last_membership: membership };
        self.replica.with_state(|state| state.publish(meta, source));
        let trigger = self.raft.trigger();
        let told = async {
            trigger.snapshot().await?;
            // Purging waits for the snapshot by itself: only what a snapshot covers goes.
            match purge {
                Some(index) => trigger.purge_log(index).await,
                None => Ok(()),
            }
        };
        if let Err(fatal) = told.await {
            tracing::error!(%fatal, "the log has stopped");
        }
    }

    /// Makes a checkpoint of the state as it is now.
    async fn checkpoint(
        &self,
        disk: &mut DiskUpkeep,
    ) -> Result<(Moment, Arc<SnapshotSource>), UpkeepError> {
        let moment = self.freeze(&disk.cold);
        let written = self.write(disk, &moment).await;
        let info = match written {
            Ok(info) => info,
            Err(error) => {
                self.replica.with_state(|state| state.queue.abandon_checkpoint());
                return Err(error);
            }
        };
        tracing::info!(
            index = info.head.applied_index,
            bytes = info.file_bytes,
            records = info.records,
            "checkpoint"
        );
        let runs = SentRuns::new(&disk.cold, moment.cold.held().uids().clone());
        let source = SnapshotSource::open(&disk.checkpoints, info.clone(), &disk.transfers, runs)?;
        disk.made(&info, moment.applied_ops, moment.clock).await;
        Ok((moment, source))
    }

    fn freeze(&self, cold: &ColdRuns) -> Moment {
        self.replica.with_state(|state| {
            state.queue.begin_checkpoint();
            Moment {
                cold: cold.with(|set| set.freeze()),
                applied: state.applied.expect("a member that serves has applied entries"),
                membership: state.membership.clone(),
                applied_ops: state.applied_ops,
                clock: state.queue.now(),
                snapshot_installed: state.snapshot_installed,
            }
        })
    }

    async fn write(
        &self,
        disk: &DiskUpkeep,
        moment: &Moment,
    ) -> Result<CheckpointInfo, UpkeepError> {
        let runs = disk.durable_runs(&moment.cold).await;
        let room = Arc::new(Notify::new());
        let on_room = Arc::clone(&room);
        let head = disk.head(moment);
        let mut writer = disk.checkpoints.begin(head, Arc::new(move || on_room.notify_one()));
        let run = |state: &RunState| CheckpointRecord::Run(state.encode().into());
        push_all(&mut writer, &room, runs.iter().map(run)).await;
        let mut records = Vec::new();
        let mut finished = false;
        while !finished {
            finished = self.replica.with_state(|state| moment.slice(state, &mut records))?;
            push_all(&mut writer, &room, records.drain(..).map(CheckpointRecord::Queue)).await;
            tokio::task::yield_now().await;
            let copies = self.replica.with_state(|state| state.queue.checkpoint_copies_held());
            if copies > COPIES_MAX {
                return Err(UpkeepError::TooManyCopies { copies, limit: COPIES_MAX });
            }
        }
        // A checkpoint must not be durable ahead of the log that led to it.
        while self.log.synced_index() < moment.applied.index {
            tokio::time::sleep(INTERVAL).await;
        }
        disk.listed.add(moment.applied.index, moment.cold.held().uids().clone());
        let (done, result) = oneshot::channel();
        writer.finish(Box::new(move |made| drop(done.send(made))));
        Ok(result.await.unwrap_or(Err(CheckpointError::NoBackground))?)
    }
}

impl Moment {
    /// The next records of the state of this moment; true when they are the last.
    fn slice(
        &self,
        state: &mut ReplicaState,
        records: &mut Vec<Record>,
    ) -> Result<bool, UpkeepError> {
        match state.snapshot_installed == self.snapshot_installed {
            true => Ok(state.queue.checkpoint_slice(SLICE_RECORDS, records)),
            false => Err(UpkeepError::Superseded),
        }
    }
}

async fn push_all(
    writer: &mut CheckpointWriter,
    room: &Notify,
    records: impl Iterator<Item = CheckpointRecord>,
) {
    let mut bytes = Vec::new();
    for record in records {
        bytes.clear();
        encoding::append(&record, &mut bytes);
        while writer.try_push(&bytes).is_err() {
            room.notified().await;
        }
    }
}

impl Last {
    /// What the start has found.
    pub(super) fn found(info: &CheckpointInfo) -> Self {
        let (index, file_bytes) = (info.head.applied_index, info.file_bytes);
        Self { index, file_bytes, applied_ops: 0 }
    }
}

impl DiskUpkeep {
    fn head(&self, moment: &Moment) -> CheckpointHead {
        let id = encoding::entry_id(&moment.applied);
        let meta = CheckpointMeta {
            applied: (id.term, id.member, id.index),
            membership: encoding::stored_membership_bytes(&moment.membership),
        };
        let mut bytes = Vec::new();
        encoding::append(&meta, &mut bytes);
        CheckpointHead {
            cluster: self.directory.lock().identity().owner.cluster,
            applied_index: id.index,
            meta: bytes.into(),
        }
    }

    /// Measures the disk: room for one checkpoint of the state as it is now is kept from the log, and
    /// room for the log to go on with everything else is kept from puts.
    fn measure(&self, replica: &Replica) {
        let state_bytes = replica.with_state(|state| state.queue.checkpoint_bytes());
        let kept = (state_bytes + SLACK_BYTES).saturating_sub(self.reserve.held_bytes());
        self.keep_free.store(kept, Ordering::Relaxed);
        // A disk that does not tell is found to be full by writing to it.
        let free = self.disk.free_bytes(self.directory.lock().path()).unwrap_or(u64::MAX / 4);
        let signed = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX / 4);
        self.room.measured(signed(free) - signed(kept) - signed(LOG_ROOM_BYTES));
    }

    /// Waits until all files of cold jobs are durable that a checkpoint lists.
    async fn durable_runs(&self, cold: &Frozen) -> Vec<RunState> {
        loop {
            if let Some(states) = cold.states() {
                return states;
            }
            tokio::time::sleep(RUNS_INTERVAL).await;
        }
    }

    /// Removes run files that nothing needs any more.
    fn release_runs(&self) {
        if let Err(error) = self.listed.release(&self.cold) {
            tracing::warn!("a run file that nobody needs stays: {}", Chain(&error));
        }
    }

    /// Says when the log begins to wait for room, and when it goes on: meanwhile this member's copy
    /// does not get on, and nothing else says why.
    fn tell_of_stall(&mut self) {
        let stalled = self.wal.state().stalled;
        match (std::mem::replace(&mut self.told_stall, stalled), stalled) {
            (false, true) => {
                tracing::error!(target: "beanpole", "the disk is full: the log waits for room");
            }
            (true, false) => {
                tracing::info!(target: "beanpole", "there is room on the disk: the log goes on");
            }
            _ => {}
        }
    }

    /// Whether puts are refused, or soon will be, for want of room.
    fn is_short(&self) -> bool {
        self.wal.is_full() || self.room.is_short()
    }

    /// Whether the log behind the last checkpoint is long enough for another one, or the disk is
    /// so full that the log should shrink.
    fn is_due(&self, replica: &Replica) -> bool {
        let (applied, ops) =
            replica.with_state(|state| (state.applied.map(|id| id.index), state.applied_ops));
        let index = self.last.map_or(0, |last| last.index);
        if applied.is_none_or(|applied| applied <= index) {
            return false;
        }
        let log_bytes = self.wal.bytes_since(index);
        let state_bytes = self.last.map_or(0, |last| last.file_bytes);
        let ops = ops - self.last.map_or(0, |last| last.applied_ops);
        log_bytes >= self.limits.log_bytes_min.max(LOG_PER_STATE * state_bytes)
            || ops >= self.limits.replay_ops_max
            || self.is_short() && self.is_worth_freeing()
    }

    /// Whether the disk is full, another checkpoint would free log, and nothing has changed since
    /// the last one: without an entry of our own puts would stay refused for ever.
    fn is_stuck(&self, replica: &Replica) -> bool {
        let applied = replica.with_state(|state| state.applied.map(|id| id.index));
        self.is_short()
            && self.is_worth_freeing()
            && self.last.is_some_and(|last| Some(last.index) == applied)
    }

    /// Whether the log has more than a little that the next checkpoint but one will cover.
    fn is_worth_freeing(&self) -> bool {
        let purged = self.wal.state().purged.map_or(0, |purged| purged.index);
        self.wal.bytes_since(purged) >= FULL_LOG_BYTES_MIN
    }

    /// Up to where the log may go when a checkpoint at `index` is kept: what a member will need to
    /// whom an older one is being sent stays, while there is room.
    pub(super) fn purge_limit(&self, index: u64) -> u64 {
        match self.transfers.oldest_needed_index() {
            Some(needed) if !self.is_short() => index.min(needed.saturating_sub(1)),
            _ => index,
        }
    }

    /// Goes on from a checkpoint that another member has made, if one was installed.
    pub(super) async fn take_over_received(&mut self, replica: &Replica) {
        let installed = replica.with_state(|state| {
            let source = state.source.clone()?;
            (state.snapshot_installed > self.taken_over).then(|| {
                let (ops, clock) = (state.applied_ops, state.queue.now());
                (state.snapshot_installed, source, ops, clock)
            })
        });
        let Some((count, source, ops, clock)) = installed else { return };
        self.taken_over = count;
        let info = source.info();
        tracing::info!(
            index = info.head.applied_index,
            bytes = info.file_bytes,
            "checkpoint taken over"
        );
        self.made(info, ops, clock).await;
    }

    /// There is a new checkpoint, of the time `clock` and after so many ops.
    async fn made(&mut self, info: &CheckpointInfo, applied_ops: u64, clock: LogicalTime) {
        let (index, file_bytes) = (info.head.applied_index, info.file_bytes);
        self.last = Some(Last { index, file_bytes, applied_ops });
        let record =
            catalog::CheckpointRecord { applied_index: index, file_bytes, made_at: clock.0 };
        self.forget_removed();
        let surplus = (self.parts.len() + 1).saturating_sub(KEPT_MAX);
        self.parts.drain(..surplus);
        self.parts.push(checkpoint_part(info));
        self.tell_catalog(record).await;
        self.ask_for_reserve();
    }

    /// Lets go of the run files of checkpoints that are gone, and of what has come of others when the
    /// checkpoint that it came for is not wanted any more.
    fn forget_removed(&self) {
        let forgotten = self.listed.forget_removed(&self.checkpoints, &self.cold);
        if let Err(error) = forgotten {
            tracing::warn!("run files may stay for longer: {}", Chain(&error));
        }
    }

    /// The catalog decides nothing, so that a failure here costs nothing but its history.
    async fn tell_catalog(&mut self, record: catalog::CheckpointRecord) {
        let Some(mut catalog) = self.catalog.take() else { return };
        let parts = self.parts.clone();
        let told = tokio::task::spawn_blocking(move || {
            catalog.set_checkpoint(record, parts);
            catalog
        });
        self.catalog = told.await.ok();
    }

    /// Keeps room for a checkpoint like the last one, should others fill the disk.
    fn ask_for_reserve(&self) {
        let state_bytes = self.last.map_or(0, |last| last.file_bytes);
        self.reserve.set_wanted(state_bytes.clamp(RESERVE_BYTES_MIN, RESERVE_BYTES_MAX));
        self.reserve.refill(&self.background.handle());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Queue;

    #[test]
    fn a_checkpoint_of_a_state_that_was_replaced_is_given_up() {
        let mut state = ReplicaState::empty();
        state.queue.begin_checkpoint();
        let moment = Moment {
            cold: Frozen::default(),
            applied: encoding::log_id(crate::storage::wal::EntryId::default()),
            membership: StoredMembership::default(),
            applied_ops: 0,
            clock: LogicalTime(0),
            snapshot_installed: 0,
        };
        state.queue = Queue::new();
        state.snapshot_installed = 1;
        let mut records = Vec::new();
        let slice = moment.slice(&mut state, &mut records);
        assert!(matches!(slice, Err(UpkeepError::Superseded)));
        state.queue.abandon_checkpoint();
        assert!(records.is_empty());
    }
}
