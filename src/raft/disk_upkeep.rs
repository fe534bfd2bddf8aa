//! What upkeep has to keep a data directory: how full its disk is, when a checkpoint is due, and what
//! goes when there is a new one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::cold::ColdRuns;
use super::encoding;
use super::gauges::Room;
use super::listed::ListedRuns;
use super::opening::checkpoint_part;
use super::restoring::CheckpointMeta;
use super::snapshot::Transfers;
use super::state_machine::Replica;
use super::tending::Tending;
use super::upkeep::{CheckpointLimits, Moment};
use crate::chain::Chain;
use crate::queue::LogicalTime;
use crate::storage::background::Background;
use crate::storage::catalog::{self, Catalog, Part};
use crate::storage::checkpoint::{CheckpointHead, CheckpointInfo, Checkpoints, KEPT_MAX};
use crate::storage::disk::Disk;
use crate::storage::identity::DataDirectory;
use crate::storage::reserve::Reserve;
use crate::storage::runs::DiskRoom;
use crate::storage::wal::Wal;

/// So that writing checkpoints costs at most an eighth of writing the log.
const LOG_PER_STATE: u64 = 8;

/// On a full disk, a checkpoint that frees less than this is not worth it, bytes.
const FREED_BYTES_MIN: u64 = 256 << 10;

/// The least and the most written ahead for a checkpoint on a disk that others fill, bytes.
const RESERVE_BYTES_MIN: u64 = 1 << 20;
const RESERVE_BYTES_MAX: u64 = 64 << 20;

/// What a checkpoint may have beyond the estimate, bytes.
const SLACK_BYTES: u64 = 1 << 20;

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
    /// Room that puts leave free beside what checkpoints need, bytes: for the log of what empties the
    /// queue.
    pub(super) free_min: u64,
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
    /// What a checkpoint of the state may need when it was last measured, bytes.
    pub(super) state_bytes: u64,
}

/// The newest checkpoint.
#[derive(Clone, Copy)]
pub(super) struct Last {
    pub(super) index: u64,
    file_bytes: u64,
    applied_ops: u64,
}

impl Last {
    /// What the start has found.
    pub(super) fn found(info: &CheckpointInfo) -> Self {
        let (index, file_bytes) = (info.head.applied_index, info.file_bytes);
        Self { index, file_bytes, applied_ops: 0 }
    }
}

impl DiskUpkeep {
    pub(super) fn head(&self, moment: &Moment) -> CheckpointHead {
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

    /// Measures the disk. Kept from the log is room for one checkpoint of the state as it is now; to
    /// that the jobs belong that wait to be written to run files, for they come into it if there is no
    /// room for those. Kept from puts is room for the log to go on with everything else, for which its
    /// spare files serve too, and for two checkpoints: only the second one frees log that is behind
    /// the first.
    pub(super) fn measure(&mut self, replica: &Replica) {
        let (run_bytes, merge_bytes) = self.cold.with(|set| set.needed_bytes());
        self.state_bytes = replica.with_state(|state| state.queue.checkpoint_bytes()) + run_bytes;
        let kept = self.state_bytes + SLACK_BYTES;
        let oldest = self.parts.first().filter(|_| self.parts.len() >= KEPT_MAX);
        let grown = self.state_bytes.saturating_sub(oldest.map_or(0, |part| part.file_bytes));
        let held = self.reserve.held_bytes();
        self.keep_free.store(kept.saturating_sub(held), Ordering::Relaxed);
        // A disk that does not tell is found to be full by writing to it.
        let free = self.disk.free_bytes(self.directory.lock().path()).unwrap_or(u64::MAX / 4);
        let needed = (kept + grown).saturating_sub(held) + merge_bytes;
        let needed = needed.saturating_add(self.free_min.saturating_sub(self.wal.spare_bytes()));
        let signed = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX / 4);
        self.room.measured(signed(free) - signed(needed));
        let room = DiskRoom { free_bytes: free, spare_bytes: free.saturating_sub(needed) };
        self.cold.with(|set| set.measured(room));
    }

    /// Removes run files that nothing needs any more.
    pub(super) fn release_runs(&self) {
        self.listed.release(&self.cold);
    }

    /// Says when the log begins to wait for room, and when it goes on: meanwhile this member's copy
    /// does not get on, and nothing else says why.
    pub(super) fn tell_of_stall(&mut self) {
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
    pub(super) fn is_short(&self) -> bool {
        self.wal.is_full() || self.room.is_short()
    }

    /// Whether the log behind the last checkpoint is long enough for another one, or the disk is
    /// so full that the log should shrink.
    pub(super) fn is_due(&self, replica: &Replica) -> bool {
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
            || self.is_short() && self.is_worth_a_checkpoint()
    }

    /// Whether the disk is full, another checkpoint would free some of it, and nothing has changed
    /// since the last one: without an entry of our own puts would stay refused for ever.
    pub(super) fn is_stuck(&self, replica: &Replica) -> bool {
        let applied = replica.with_state(|state| state.applied.map(|id| id.index));
        self.is_short()
            && self.is_worth_a_checkpoint()
            && self.last.is_some_and(|last| Some(last.index) == applied)
    }

    /// Up to where the newest checkpoint covers the log, when that has no room to go on. With the log
    /// behind it the older checkpoint is of no use any more; but the next one may need that jobs are
    /// deleted first, or an entry at least.
    pub(super) fn covered_by_last(&self) -> Option<u64> {
        let is_stalled = self.wal.state().stalled && self.log_bytes() >= FREED_BYTES_MIN;
        self.last.filter(|_| is_stalled).map(|last| last.index)
    }

    /// Whether the next two checkpoints free more than a little: log that they cover, and room of
    /// those that they replace, which may be of a time when there was more to say.
    fn is_worth_a_checkpoint(&self) -> bool {
        let surplus = |part: &Part| part.file_bytes.saturating_sub(self.state_bytes);
        let freed = self.log_bytes() + self.parts.iter().map(surplus).sum::<u64>();
        freed >= FREED_BYTES_MIN
    }

    /// The log that is kept, bytes.
    fn log_bytes(&self) -> u64 {
        let purged = self.wal.state().purged.map_or(0, |purged| purged.index);
        self.wal.bytes_since(purged)
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
    pub(super) async fn made(
        &mut self,
        info: &CheckpointInfo,
        applied_ops: u64,
        clock: LogicalTime,
    ) {
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

    /// Keeps room for a checkpoint of the state as it is now, should others fill the disk.
    pub(super) fn ask_for_reserve(&self) {
        let state_bytes = self.last.map_or(0, |last| last.file_bytes).max(self.state_bytes);
        self.reserve.set_wanted(state_bytes.clamp(RESERVE_BYTES_MIN, RESERVE_BYTES_MAX));
        self.reserve.refill(&self.background.handle());
    }
}
