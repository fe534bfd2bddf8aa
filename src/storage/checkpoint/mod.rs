//! Checkpoints: immutable, checksummed files, each named by the index that was applied.
//!
//! The caller pushes records, bytes to this layer, and never waits: what does not fit is handed back
//! until [`OnRoom`] says otherwise. The background writer writes them under another name, syncs,
//! renames, reads the whole file again, and only then says that there is a checkpoint. The newest
//! two are kept. One that another member has made comes in through `incoming`.
//!
//! It must not: decide which checkpoint to start from (the caller knows what the log covers), or
//! remove one for being damaged.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use super::background::BackgroundHandle;
use super::disk::{Disk, DiskFile, is_full};
use super::reserve::{Reserve, remove_if_there};

mod format;
mod incoming;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

pub use self::incoming::{FILE_BYTES_MIN, Incoming, IncomingId, OnWritten};
pub use self::reader::CheckpointReader;
pub use self::writer::{CheckpointWriter, NoRoom};

/// The most bytes the caller's description of a checkpoint may have.
pub const META_BYTES_MAX: usize = 1 << 20;

/// The most bytes one record may have.
pub const RECORD_BYTES_MAX: usize = 128 << 20;

/// How many bytes may wait for the background writer before records are handed back.
pub const PENDING_BYTES_MAX: usize = 4 << 20;

/// How many checkpoints are kept.
pub const KEPT_MAX: usize = 2;

/// Called on the background thread whenever there may be room again for records.
pub type OnRoom = Arc<dyn Fn() + Send + Sync>;

/// Called on the background thread with the checkpoint, which is durable and was read back, or why
/// there is none.
pub type OnFinished = Box<dyn FnOnce(Result<CheckpointInfo, CheckpointError>) + Send>;

/// What a checkpoint is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointHead {
    /// The cluster. The same state may come from another member of it.
    pub cluster: u128,
    /// The last index that was applied. It names the file.
    pub applied_index: u64,
    /// The caller's description, at most [`META_BYTES_MAX`] bytes.
    pub meta: Bytes,
}

/// A whole checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointInfo {
    /// What it is of.
    pub head: CheckpointHead,
    /// How many records it has.
    pub records: u64,
    /// How long the file is.
    pub file_bytes: u64,
    /// The CRC of the whole file but its last 48 bytes.
    pub file_crc: u32,
}

/// What is wrong with a checkpoint.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// The file is damaged, or no checkpoint.
    #[error("checkpoint {} is damaged at byte {offset}: {why}", file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong.
        why: Damage,
    },
    /// The file was written by a version that this one does not know.
    #[error("{} has format version {found}, this is version {known}", file.display())]
    UnknownVersion {
        /// The file.
        file: PathBuf,
        /// The version in it.
        found: u32,
        /// The only version known here.
        known: u32,
    },
    /// The file is of another cluster.
    #[error("{} is of cluster {found:032x}, not of {expected:032x}", file.display())]
    ForeignCluster {
        /// The file.
        file: PathBuf,
        /// The cluster it was to be of.
        expected: u128,
        /// The one it is of.
        found: u128,
    },
    /// The system refused a call; when it says that the disk is full, also without the reserve.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The background writer has ended, or takes no more work.
    #[error("the background writer takes no more work")]
    NoBackground,
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Damage {
    /// The file ends too early.
    #[error("it ends too early")]
    Short,
    /// The head does not match its checksum, or the name.
    #[error("its head is not valid")]
    Head,
    /// A block does not match its checksum or is not the one that should be there.
    #[error("its block {number} is not valid")]
    Block {
        /// The block, from 0.
        number: u64,
    },
    /// The foot does not match its checksum, or what the blocks say.
    #[error("its foot is not valid")]
    Foot,
}

/// The directory of the checkpoints.
#[derive(Clone)]
pub struct Checkpoints {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    background: BackgroundHandle,
    reserve: Option<Arc<Reserve>>,
}

/// What [`Checkpoints::newest_valid`] found.
#[derive(Debug)]
pub struct Choice {
    /// The newest whole checkpoint.
    pub chosen: CheckpointInfo,
    /// Newer ones that are damaged, newest first. The caller decides whether the log covers the gap.
    pub damaged: Vec<CheckpointError>,
}

impl Checkpoints {
    /// Opens the directory, makes it if need be, and removes what was begun and not finished. When
    /// the disk is full, `reserve` is released for a checkpoint.
    ///
    /// # Errors
    /// What the disk says.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        background: BackgroundHandle,
        reserve: Option<Arc<Reserve>>,
    ) -> Result<Self, CheckpointError> {
        disk.create_dir(dir).map_err(io_error("create", dir))?;
        for name in disk.list(dir).map_err(io_error("list", dir))? {
            if format::is_draft_name(&name) {
                let path = dir.join(name);
                remove_if_there(&*disk, &path).map_err(io_error("remove", &path))?;
            }
        }
        Ok(Self { disk, dir: dir.to_path_buf(), background, reserve })
    }

    /// The applied indexes of the files there are, newest first. Nothing is known of what is in
    /// them.
    ///
    /// # Errors
    /// What the disk says.
    pub fn list(&self) -> Result<Vec<u64>, CheckpointError> {
        let names = self.disk.list(&self.dir).map_err(io_error("list", &self.dir))?;
        let mut indexes: Vec<_> = names.iter().filter_map(|name| format::index_of(name)).collect();
        indexes.sort_unstable_by(|one, other| other.cmp(one));
        Ok(indexes)
    }

    /// Reads the checkpoints through, newest first, until one is whole. `None` when there is none
    /// at all.
    ///
    /// # Errors
    /// When there are some and none is whole: the error of the newest. Else what the disk says.
    pub fn newest_valid(&self, cluster: u128) -> Result<Option<Choice>, CheckpointError> {
        let mut damaged = Vec::new();
        for index in self.list()? {
            match self.read(cluster, index).and_then(CheckpointReader::verify) {
                Ok(chosen) => return Ok(Some(Choice { chosen, damaged })),
                Err(error @ CheckpointError::Corrupt { .. }) => damaged.push(error),
                Err(error) => return Err(error),
            }
        }
        if damaged.is_empty() { Ok(None) } else { Err(damaged.swap_remove(0)) }
    }

    /// Opens the checkpoint of that index for reading its records.
    ///
    /// # Errors
    /// When its head or its foot is damaged, or what the disk says.
    pub fn read(&self, cluster: u128, index: u64) -> Result<CheckpointReader, CheckpointError> {
        CheckpointReader::open(&*self.disk, &self.path(index), cluster, index)
    }

    /// Begins a checkpoint. There should be no other of that index.
    ///
    /// # Panics
    /// When the description is longer than [`META_BYTES_MAX`].
    pub fn begin(&self, head: CheckpointHead, on_room: OnRoom) -> CheckpointWriter {
        assert!(head.meta.len() <= META_BYTES_MAX, "{} bytes of meta", head.meta.len());
        CheckpointWriter::new(self.clone(), head, on_room)
    }

    /// The path of the checkpoint of that index. The file is never changed, only removed.
    pub fn path(&self, index: u64) -> PathBuf {
        self.dir.join(format::name(index))
    }

    /// Opens the file of the checkpoint of that index: it can be read as long as it is open, also
    /// after it was removed.
    ///
    /// # Errors
    /// What the disk says.
    pub fn file(&self, index: u64) -> Result<Arc<dyn DiskFile>, CheckpointError> {
        let path = self.path(index);
        self.disk.open(&path).map_err(io_error("open", &path))
    }

    /// Removes all but the newest [`KEPT_MAX`], of which the newest was just read through, and what
    /// has come of one that would be older.
    fn remove_old(&self) -> Result<(), CheckpointError> {
        let indexes = self.list()?;
        let newest = indexes.first().copied();
        let old = indexes.into_iter().skip(KEPT_MAX).map(format::name);
        let names = self.disk.list(&self.dir).map_err(io_error("list", &self.dir))?;
        let is_outdated =
            |name: &String| format::incoming_index_of(name).is_some_and(|at| Some(at) <= newest);
        for name in old.chain(names.into_iter().filter(is_outdated)) {
            let path = self.dir.join(name);
            remove_if_there(&*self.disk, &path).map_err(io_error("remove", &path))?;
        }
        Ok(())
    }

    /// Writes and syncs a piece of a draft; the reserve is released for it if need be.
    fn write_piece(
        &self,
        file: &dyn DiskFile,
        path: &Path,
        piece: &[u8],
        offset: u64,
    ) -> Result<(), CheckpointError> {
        let mut result = file.write_all_at(piece, offset);
        if result.as_ref().is_err_and(is_full) && self.release_reserve()? {
            result = file.write_all_at(piece, offset);
        }
        result.map_err(io_error("write", path))?;
        file.sync_data().map_err(io_error("sync", path))?;
        file.forget_cached(offset..offset + piece.len() as u64);
        Ok(())
    }

    fn release_reserve(&self) -> Result<bool, CheckpointError> {
        let Some(reserve) = &self.reserve else { return Ok(false) };
        let released = reserve.release().map_err(io_error("release", &self.dir))?;
        Ok(released > 0)
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CheckpointError {
    let path = path.to_path_buf();
    move |source| CheckpointError::Io { action, path, source }
}
