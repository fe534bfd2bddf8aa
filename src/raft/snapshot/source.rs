//! The file that is sent, and what must not go away meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::super::cold::ColdRuns;
use super::CHUNK_BYTES_MAX;
use crate::storage::checkpoint::{CheckpointError, CheckpointInfo, Checkpoints};
use crate::storage::disk::DiskFile;
use crate::storage::runs::{Exchange, Held, RunError, RunUid};

/// How long the log behind a checkpoint is kept after it was sent: until then openraft has begun to
/// send that log, and keeps it by itself.
const KEPT_AFTERWARDS: Duration = Duration::from_secs(10);

/// A checkpoint of this member, held open: it can be sent also after newer ones have replaced it.
pub(crate) struct SnapshotSource {
    file: Arc<dyn DiskFile>,
    info: CheckpointInfo,
    runs: SentRuns,
    transfers: Arc<Transfers>,
}

/// The run files that a checkpoint lists.
pub(in crate::raft) struct SentRuns {
    /// They stay for as long as this does.
    held: Held,
    /// The way to them.
    exchange: Exchange,
}

/// Which checkpoints are being sent.
#[derive(Default)]
pub(in crate::raft) struct Transfers {
    /// How many transfers there are of the checkpoint of each index.
    running: Mutex<BTreeMap<u64, usize>>,
    /// The newest checkpoint, for as long as somebody has it.
    newest: Mutex<Weak<SnapshotSource>>,
}

/// Keeps the log behind a checkpoint.
pub(super) struct KeepLog {
    transfers: Arc<Transfers>,
    index: u64,
}

impl SentRuns {
    /// These files of `cold`, all of which are there or are held.
    pub(in crate::raft) fn new(cold: &ColdRuns, uids: BTreeSet<RunUid>) -> Self {
        cold.with(|set| Self { held: set.hold(uids), exchange: set.exchange() })
    }
}

impl SnapshotSource {
    /// Opens the file of a checkpoint that is durable.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`] when the disk refuses.
    pub(in crate::raft) fn open(
        checkpoints: &Checkpoints,
        info: CheckpointInfo,
        transfers: &Arc<Transfers>,
        runs: SentRuns,
    ) -> Result<Arc<Self>, CheckpointError> {
        let file = checkpoints.file(info.head.applied_index)?;
        let source = Arc::new(Self { file, info, runs, transfers: Arc::clone(transfers) });
        transfers.opened(&source);
        Ok(source)
    }

    /// A newer one, if there is.
    pub(super) fn newer(&self) -> Option<Arc<Self>> {
        let newest = self.transfers.newest.lock().upgrade();
        newest.filter(|newest| newest.index() > self.index())
    }

    /// Whether there are run files to it.
    pub(super) fn lists_runs(&self) -> bool {
        !self.runs.held.uids().is_empty()
    }

    fn index(&self) -> u64 {
        self.info.head.applied_index
    }

    /// What the checkpoint says of itself.
    pub(crate) fn info(&self) -> &CheckpointInfo {
        &self.info
    }

    /// Reads a chunk at `offset`: less than [`CHUNK_BYTES_MAX`] only at the end. Reads the disk.
    pub(super) fn read(&self, offset: u64) -> io::Result<Bytes> {
        let left = self.info.file_bytes.saturating_sub(offset);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES_MAX);
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset)?;
        self.file.forget_cached(offset..offset + length as u64);
        Ok(bytes.into())
    }

    /// Reads a chunk of a run file of `file_bytes` at `offset`. Reads the disk.
    ///
    /// # Errors
    ///
    /// [`RunError::Missing`] also when the checkpoint does not list it.
    pub(super) fn read_run(
        &self,
        uid: RunUid,
        offset: u64,
        file_bytes: u64,
    ) -> Result<Bytes, RunError> {
        let SentRuns { held, exchange } = &self.runs;
        if !held.uids().contains(&uid) {
            return Err(RunError::Missing { file: format!("{uid:?}").into() });
        }
        let left = usize::try_from(file_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        exchange.read(uid, offset, left.min(CHUNK_BYTES_MAX))
    }

    /// Keeps the log behind it until what is returned is dropped.
    pub(super) fn keep_log(&self) -> KeepLog {
        self.transfers.keep(self.index())
    }
}

impl KeepLog {
    /// The snapshot was installed: keeps the log for a while longer.
    pub(super) fn for_a_while(self) {
        tokio::spawn(async move {
            tokio::time::sleep(KEPT_AFTERWARDS).await;
            drop(self);
        });
    }
}

impl Transfers {
    /// The first entry that members will need to whom a checkpoint is being sent.
    pub(in crate::raft) fn oldest_needed_index(&self) -> Option<u64> {
        self.running.lock().first_key_value().map(|(index, _)| index + 1)
    }

    fn opened(&self, source: &Arc<SnapshotSource>) {
        let mut newest = self.newest.lock();
        let is_newer = newest.upgrade().is_none_or(|newest| newest.index() < source.index());
        if is_newer {
            *newest = Arc::downgrade(source);
        }
    }

    fn keep(self: &Arc<Self>, index: u64) -> KeepLog {
        *self.running.lock().entry(index).or_default() += 1;
        KeepLog { transfers: Arc::clone(self), index }
    }
}

impl Drop for KeepLog {
    fn drop(&mut self) {
        let mut running = self.transfers.running.lock();
        if let Some(count) = running.get_mut(&self.index) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.index);
            }
        }
    }
}
