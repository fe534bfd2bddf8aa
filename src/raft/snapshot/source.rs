//! The file that is sent, and what must not go away meanwhile.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::CHUNK_BYTES_MAX;
use crate::storage::checkpoint::{CheckpointError, CheckpointInfo, Checkpoints};
use crate::storage::disk::DiskFile;

/// How long the log behind a checkpoint is kept after it was sent: until then openraft has begun to
/// send that log, and keeps it by itself.
const KEPT_AFTERWARDS: Duration = Duration::from_secs(10);

/// A checkpoint of this member, held open: it can be sent also after newer ones have replaced it.
pub(crate) struct SnapshotSource {
    file: Arc<dyn DiskFile>,
    info: CheckpointInfo,
    transfers: Arc<Transfers>,
}

/// Which checkpoints are being sent.
#[derive(Default)]
pub(in crate::raft) struct Transfers {
    /// How many transfers there are of the checkpoint of each index.
    running: Mutex<BTreeMap<u64, usize>>,
}

/// Keeps the log behind a checkpoint.
pub(super) struct KeepLog {
    transfers: Arc<Transfers>,
    index: u64,
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
    ) -> Result<Arc<Self>, CheckpointError> {
        let file = checkpoints.file(info.head.applied_index)?;
        Ok(Arc::new(Self { file, info, transfers: Arc::clone(transfers) }))
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
}

/// Runs a transfer of `source`; the log behind the checkpoint is kept until it is over, and after it
/// has succeeded for a while longer.
pub(in crate::raft) async fn keep_log_while<T, E>(
    source: &SnapshotSource,
    transfer: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let kept = source.transfers.keep(source.info.head.applied_index);
    let sent = transfer.await?;
    tokio::spawn(async move {
        tokio::time::sleep(KEPT_AFTERWARDS).await;
        drop(kept);
    });
    Ok(sent)
}

impl Transfers {
    /// The first entry that members will need to whom a checkpoint is being sent.
    pub(in crate::raft) fn oldest_needed_index(&self) -> Option<u64> {
        self.running.lock().first_key_value().map(|(index, _)| index + 1)
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
