//! From a checkpoint and its run files back to a state, at a start and on the receiving side of a
//! snapshot.
//!
//! In two steps: [`FoundState`] reads and changes nothing, because the log may refuse the directory
//! yet; only then is the queue built, which may write: jobs that are too many to be hot become cold
//! as they come.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::cold::{ColdRuns, Cooling};
use super::encoding::{self, MembershipBytes};
use super::listed::ListedRuns;
use super::opening::OpenError;
use super::snapshot::{SentRuns, SnapshotSource, Transfers, snapshot_meta};
use super::state_machine::ReplicaState;
use super::types::SnapshotMeta;
use crate::chain::Chain;
use crate::queue::{HotLimit, Queue, Record};
use crate::storage::checkpoint::{CheckpointError, CheckpointInfo, CheckpointReader, Checkpoints};
use crate::storage::runs::{RunError, RunOptions, RunSet, RunState};

/// How often it is looked whether the background writer has written a run.
const WRITER_INTERVAL: Duration = Duration::from_millis(2);

/// What a checkpoint says beside the queue.
#[derive(Serialize, Deserialize)]
pub(super) struct CheckpointMeta {
    pub(super) applied: (u64, u64, u64),
    pub(super) membership: MembershipBytes,
}

/// A record of a checkpoint.
#[derive(Serialize, Deserialize)]
pub(super) enum CheckpointRecord {
    /// A file of cold jobs, as storage describes it; these come first.
    Run(Bytes),
    /// A piece of the queue.
    Queue(Record),
}

/// What the newest checkpoint that can be read comes to, as far as it can be told without a change.
pub(super) struct FoundState {
    checkpoint: Option<FoundCheckpoint>,
    /// Its run files, open.
    cold: ColdRuns,
    /// The run files of all checkpoints that can be gone back to.
    listed: ListedRuns,
}

struct FoundCheckpoint {
    info: CheckpointInfo,
    meta: SnapshotMeta,
    /// Behind the run files.
    records: Records,
}

/// What the newest checkpoint and its run files come to.
pub(super) struct Restored {
    pub(super) state: ReplicaState,
    pub(super) chosen: Option<CheckpointInfo>,
    pub(super) cold: ColdRuns,
    pub(super) listed: ListedRuns,
}

impl FoundState {
    /// Looks for the newest checkpoint that can be read, and opens its run files.
    ///
    /// # Errors
    ///
    /// When there are checkpoints and none can be read, when a run file is missing or damaged, or what
    /// the disk says.
    pub(super) fn look(checkpoints: &Checkpoints, runs: RunOptions) -> Result<Self, OpenError> {
        let cluster = runs.cluster;
        let listed = ListedRuns::default();
        let Some(choice) = checkpoints.newest_valid(cluster)? else {
            let cold = ColdRuns::new(RunSet::open(runs, Vec::new())?);
            return Ok(Self { checkpoint: None, cold, listed });
        };
        for damaged in &choice.damaged {
            tracing::error!("{damaged}: the one before it is used");
        }
        let info = choice.chosen;
        let index = info.head.applied_index;
        for older in checkpoints.list()?.into_iter().filter(|other| *other < index) {
            list_runs(checkpoints, (cluster, older), &listed)?;
        }
        let (states, records) = read_runs(checkpoints.read(cluster, index)?)?;
        listed.add(index, states.iter().map(|state| state.uid).collect());
        let cold = ColdRuns::new(RunSet::open(runs, states)?);
        let meta = snapshot_meta(&info.head.meta)?;
        Ok(Self { checkpoint: Some(FoundCheckpoint { info, meta, records }), cold, listed })
    }

    /// The checkpoint.
    pub(super) fn chosen(&self) -> Option<&CheckpointInfo> {
        self.checkpoint.as_ref().map(|found| &found.info)
    }

    /// Removes what neither this checkpoint nor an older one lists: it is the one to go on with.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub(super) fn claim(&self, checkpoints: &Checkpoints) -> Result<(), OpenError> {
        self.cold.with(|set| set.claim(&self.listed.uids()))?;
        self.listed.forget_removed(checkpoints, &self.cold)
    }

    /// Builds the queue, after [`claim`](Self::claim). Blocks while jobs that are too many to be hot are written.
    ///
    /// # Errors
    ///
    /// When records contradict each other, or what the disk says.
    pub(super) fn restore(
        self,
        checkpoints: &Checkpoints,
        transfers: &Arc<Transfers>,
        hot_bytes_max: Option<u64>,
    ) -> Result<Restored, OpenError> {
        let Self { checkpoint, cold, listed } = self;
        let mut state = ReplicaState::empty();
        let Some(FoundCheckpoint { info, meta, records }) = checkpoint else {
            state.queue = Queue::with_cold(Box::new(cold.clone()));
            return Ok(Restored { state, chosen: None, cold, listed });
        };
        // A start finds its way on a full disk too: only then can anything be deleted.
        let hot = HotShare { bytes_max: hot_bytes_max, is_strict: false };
        state.queue = restore_queue(records, &cold, hot, &AtomicU64::new(0))?;
        state.applied = meta.last_log_id;
        state.membership = meta.last_membership.clone();
        state.snapshot = Some(meta);
        let runs = SentRuns::new(&cold, listed.of(info.head.applied_index));
        state.source = Some(SnapshotSource::open(checkpoints, info.clone(), transfers, runs)?);
        Ok(Restored { state, chosen: Some(info), cold, listed })
    }
}

/// Notes the run files of a checkpoint that is older than the chosen one. When it is damaged it is
/// not gone back to, and they are not needed.
fn list_runs(
    checkpoints: &Checkpoints,
    (cluster, index): (u128, u64),
    listed: &ListedRuns,
) -> Result<(), OpenError> {
    let read = checkpoints.read(cluster, index).map_err(OpenError::from).and_then(read_runs);
    match read {
        Ok((states, _)) => listed.add(index, states.iter().map(|state| state.uid).collect()),
        Err(error) if is_damage(&error) => tracing::warn!("it is not gone back to: {error}"),
        Err(error) => return Err(error),
    }
    Ok(())
}

fn is_damage(error: &OpenError) -> bool {
    matches!(
        error,
        OpenError::Checkpoint(CheckpointError::Corrupt { .. })
            | OpenError::Decode(_)
            | OpenError::RunState
    )
}

/// The records of a checkpoint from the first one of the queue on.
pub(super) struct Records {
    reader: CheckpointReader,
    /// One that was read already.
    first: Option<Record>,
}

/// What may be hot of a state that comes back.
#[derive(Clone, Copy, Debug)]
pub(super) struct HotShare {
    /// Jobs, bytes; `None` when all of them.
    pub(super) bytes_max: Option<u64>,
    /// Whether the state is refused when the disk does not take the others; else they stay hot.
    pub(super) is_strict: bool,
}

/// The run files that a checkpoint lists, and what is behind them.
///
/// # Errors
///
/// When the checkpoint is damaged there, or what the disk says.
pub(super) fn read_runs(
    mut reader: CheckpointReader,
) -> Result<(Vec<RunState>, Records), OpenError> {
    let mut states = Vec::new();
    loop {
        match next_record(&mut reader)? {
            Some(CheckpointRecord::Run(bytes)) => {
                states.push(RunState::decode(&bytes).ok_or(OpenError::RunState)?);
            }
            Some(CheckpointRecord::Queue(record)) => {
                return Ok((states, Records { reader, first: Some(record) }));
            }
            None => return Ok((states, Records { reader, first: None })),
        }
    }
}

/// The state in a checkpoint, all of which is verified, with `cold` as its cold jobs, to which those
/// go that are too many to be hot. Blocks while too many of them wait to be written. Counts the
/// records in `loaded`.
///
/// # Errors
///
/// When the checkpoint is damaged or contradicts itself, or a run cannot be written that has to be.
pub(super) fn restore_queue(
    records: Records,
    cold: &ColdRuns,
    hot: HotShare,
    loaded: &AtomicU64,
) -> Result<Queue, OpenError> {
    let Records { mut reader, first } = records;
    let index = reader.info().head.applied_index;
    let failed = RefCell::new(None);
    let rest = std::iter::from_fn(|| match next_queue_record(&mut reader) {
        // A failure to make room ends it too.
        Ok(record) if failed.borrow().is_none() => record,
        Ok(_) => None,
        Err(error) => {
            failed.replace(Some(error));
            None
        }
    });
    let records = first.into_iter().chain(rest).inspect(|_| {
        loaded.fetch_add(1, Ordering::Relaxed);
    });
    let mut wait = || match wait_for_writer(cold) {
        Ok(()) => true,
        Err(error @ RunError::Io { .. }) if !hot.is_strict => {
            tracing::warn!("more jobs stay in memory than should: {}", Chain(&error));
            false
        }
        Err(error) => {
            failed.replace(Some(error.into()));
            false
        }
    };
    let limit = HotLimit {
        bytes_max: hot.bytes_max.unwrap_or(u64::MAX),
        cooled_bytes: hot.bytes_max.map_or(0, Cooling::share),
        before_cooling: &mut wait,
    };
    let queue = Queue::restore_within(records, Box::new(cold.clone()), limit);
    match failed.into_inner() {
        Some(error) => Err(error),
        None => queue.map_err(|source| OpenError::Restore { index, source }),
    }
}

/// Waits until another run can be sealed without more memory than cooling may take.
fn wait_for_writer(cold: &ColdRuns) -> Result<(), RunError> {
    while cold.with(RunSet::press_writer)? >= ColdRuns::RESTORED_RUNS_MAX {
        std::thread::sleep(WRITER_INTERVAL);
    }
    Ok(())
}

fn next_queue_record(reader: &mut CheckpointReader) -> Result<Option<Record>, OpenError> {
    match next_record(reader)? {
        Some(CheckpointRecord::Queue(record)) => Ok(Some(record)),
        Some(CheckpointRecord::Run(_)) => Err(OpenError::RunState),
        None => Ok(None),
    }
}

fn next_record(reader: &mut CheckpointReader) -> Result<Option<CheckpointRecord>, OpenError> {
    let Some(bytes) = reader.next_record()? else { return Ok(None) };
    Ok(Some(encoding::decode("record of a checkpoint", bytes)?))
}
