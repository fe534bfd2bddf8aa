//! Keeps the log short: a checkpoint when the log behind the last one has grown, then a purge.
//!
//! Checkpoints are made beside the work: the state is frozen in one moment and copied in slices
//! between entries, while the background writer writes at its own pace. The log is kept back to
//! the older of the two checkpoints that are kept, so that a damaged newest one is not a loss.
//! Without a data directory there is nothing to write, and the log in memory is just cut.

use std::sync::Arc;
use std::time::Duration;

use openraft::Raft;
use tokio::sync::{Notify, oneshot};

use super::cold::ColdRuns;
use super::disk_upkeep::DiskUpkeep;
use super::encoding;
use super::log_store::LogStore;
use super::restoring::CheckpointRecord;
use super::snapshot::{SentRuns, SnapshotSource};
use super::state_machine::{Replica, ReplicaState, StateMachine};
use super::types::{LogId, SnapshotMeta, StoredMembership, TypeConfig, leading};
use crate::chain::Chain;
use crate::planted::{self, Bug};
use crate::queue::{JobId, LogicalTime, Record};
use crate::storage::checkpoint::{CheckpointError, CheckpointInfo, CheckpointWriter};
use crate::storage::runs::{Frozen, RunState, Unwritten};

/// How often to look.
const INTERVAL: Duration = Duration::from_millis(100);

/// How often a checkpoint looks whether the run files that it lists are durable.
const RUNS_INTERVAL: Duration = Duration::from_millis(10);

/// Without a data directory, the log in memory is cut after so many bytes.
const MEMORY_LOG_BYTES_MAX: u64 = 4 << 20;

/// How long to wait after a checkpoint failed, and between two that a full disk asks for.
const PAUSE: Duration = Duration::from_millis(500);

/// The most records that changes during a checkpoint may copy ahead of it: a disk that is so much
/// slower than its clients must not cost memory without bound.
const COPIES_MAX: usize = 262_144;

/// Jobs that come back from run files that cannot be written, between two entries.
const RECALLED_JOBS_MAX: usize = 4096;

/// Records copied between two entries.
const SLICE_RECORDS: usize = 256;

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
    #[error("there is no room for run files that it would list")]
    NoRoomForRuns,
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

/// A moment of the state.
pub(super) struct Moment {
    /// Its cold jobs.
    cold: Frozen,
    pub(super) applied: LogId,
    pub(super) membership: StoredMembership,
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
        mut disk: Option<DiskUpkeep>,
    ) -> Self {
        // Before the first put asks.
        disk.iter_mut().for_each(|disk| disk.measure(&replica));
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
            if let Some(index) = disk.covered_by_last() {
                self.purge(index).await;
            }
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

    /// Shortens the log. openraft does not mind to be told again.
    async fn purge(&self, index: u64) {
        if let Err(fatal) = self.raft.trigger().purge_log(index).await {
            tracing::error!(%fatal, "the log has stopped");
        }
    }

    /// Takes jobs back into memory that are on their way to run files for which there is no room: the
    /// checkpoint has them then, and the disk is needed once for them, and only for those that are
    /// left.
    async fn recall(&self, cold: &ColdRuns) {
        tracing::warn!("no room for run files: the jobs in them come into the checkpoint");
        let mut is_over = false;
        while !is_over {
            is_over = self.replica.with_state(|state| {
                let Unwritten { ids, files } = cold.with(|set| set.unwritten(RECALLED_JOBS_MAX));
                if ids.is_empty() {
                    state.queue.recall_bodies(&files.iter().map(|uid| uid.0).collect());
                    return true;
                }
                state.queue.recall(ids.into_iter().map(JobId));
                false
            });
            tokio::task::yield_now().await;
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

    /// Waits until all files of cold jobs are durable that a checkpoint lists.
    async fn durable_runs(
        &self,
        disk: &mut DiskUpkeep,
        cold: &Frozen,
    ) -> Result<Vec<RunState>, UpkeepError> {
        loop {
            if let Some(states) = cold.states() {
                return Ok(states);
            }
            // It is by this checkpoint that there may be room again: it cannot wait for room.
            if disk.cold.with(|set| set.is_out_of_room()) {
                return Err(UpkeepError::NoRoomForRuns);
            }
            tokio::time::sleep(RUNS_INTERVAL).await;
            disk.measure(&self.replica);
        }
    }

    /// Makes a checkpoint of the state as it is now.
    async fn checkpoint(
        &self,
        disk: &mut DiskUpkeep,
    ) -> Result<(Moment, Arc<SnapshotSource>), UpkeepError> {
        if disk.cold.with(|set| set.is_out_of_room()) {
            self.recall(&disk.cold).await;
        }
        let moment = self.freeze(&disk.cold);
        if planted::is(Bug::PurgeTooEarly) {
            let Moment { applied, membership, .. } = &moment;
            self.publish(*applied, membership.clone(), None, None).await;
            tokio::time::sleep(INTERVAL).await;
            self.purge(applied.index).await;
            tokio::time::sleep(4 * PAUSE).await;
        }
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
        disk: &mut DiskUpkeep,
        moment: &Moment,
    ) -> Result<CheckpointInfo, UpkeepError> {
        let runs = self.durable_runs(disk, &moment.cold).await?;
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
