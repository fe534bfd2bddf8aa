//! A checkpoint that comes from another member: kept under a name of its own until it is whole.
//!
//! There is one at most. It outlives the process: what is there at the next offer of the same file is
//! believed as far as its own checksums go. It must not: judge what the records say.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::format::{self, FOOT_BYTES, HEAD_BYTES};
use super::reader::{self, CheckpointReader};
use super::{CheckpointError, Checkpoints, io_error};
use crate::storage::background::{Job, Lane, PIECE_BYTES_MAX, Step};
use crate::storage::disk::DiskFile;
use crate::storage::reserve::remove_if_there;

/// The fewest bytes a checkpoint can have.
pub const FILE_BYTES_MIN: u64 = (HEAD_BYTES + FOOT_BYTES) as u64;

/// Which checkpoint comes: two of one index may differ, for they may come from two members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IncomingId {
    /// The cluster it is to be of.
    pub cluster: u128,
    /// The last index that was applied.
    pub index: u64,
    /// How long the whole file is.
    pub file_bytes: u64,
    /// The CRC of the whole file but its last 48 bytes.
    pub file_crc: u32,
}

/// Called on the background thread when a piece is durable, or with what is wrong.
pub type OnWritten = Box<dyn FnOnce(Result<(), CheckpointError>) + Send>;

/// A checkpoint that is on its way.
pub struct Incoming {
    checkpoints: Checkpoints,
    id: IncomingId,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    length: u64,
}

impl Checkpoints {
    /// Goes on with the file where an earlier attempt has left it, or begins it. All others that are
    /// on their way are removed. Reads through what is there.
    ///
    /// # Errors
    /// What the disk says.
    pub fn incoming(&self, id: IncomingId) -> Result<Incoming, CheckpointError> {
        let name = format::incoming_name(id.index, id.file_crc);
        let path = self.dir.join(&name);
        let mut is_there = false;
        for found in self.disk.list(&self.dir).map_err(io_error("list", &self.dir))? {
            is_there |= found == name;
            if found != name && format::incoming_index_of(&found).is_some() {
                let path = self.dir.join(found);
                remove_if_there(&*self.disk, &path).map_err(io_error("remove", &path))?;
            }
        }
        let file = match is_there {
            true => self.disk.open(&path).map_err(io_error("open", &path))?,
            false => self.disk.create(&path).map_err(io_error("create", &path))?,
        };
        let valid = reader::valid_prefix(&*file, &path, id)?;
        let length = if valid <= id.file_bytes { valid } else { 0 };
        // What follows is of no use, and would be taken for a part of it by the next look.
        file.set_length(length).map_err(io_error("cut", &path))?;
        Ok(Incoming { checkpoints: self.clone(), id, path, file, length })
    }

    /// Whether one is on its way.
    ///
    /// # Errors
    /// What the disk says.
    pub fn has_incoming(&self) -> Result<bool, CheckpointError> {
        let names = self.disk.list(&self.dir).map_err(io_error("list", &self.dir))?;
        Ok(names.iter().any(|name| format::incoming_index_of(name).is_some()))
    }

    /// How many bytes there is room for.
    ///
    /// # Errors
    /// What the disk says.
    pub fn free_bytes(&self) -> Result<u64, CheckpointError> {
        self.disk.free_bytes(&self.dir).map_err(io_error("measure", &self.dir))
    }
}

impl Incoming {
    /// Which it is.
    pub fn id(&self) -> IncomingId {
        self.id
    }

    /// How many bytes were there, or have been handed over since.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Appends a piece on the background thread. `written` is called when it is durable; after an
    /// error the file is of no use.
    ///
    /// # Panics
    /// When the piece is longer than [`PIECE_BYTES_MAX`] or reaches beyond the end.
    pub fn append(&mut self, piece: Bytes, written: OnWritten) {
        assert!(piece.len() <= PIECE_BYTES_MAX, "a piece of {} bytes", piece.len());
        let (offset, file_bytes) = (self.length, self.id.file_bytes);
        self.length += piece.len() as u64;
        assert!(self.length <= file_bytes, "{} of {file_bytes} bytes", self.length);
        let job = WriteIncoming {
            checkpoints: self.checkpoints.clone(),
            path: self.path.clone(),
            file: Arc::clone(&self.file),
            piece,
            offset,
            written: Some(written),
        };
        // A job that is not taken is dropped, and says so.
        let _ = self.checkpoints.background.try_submit(Lane::Bulk, Box::new(job));
    }

    /// Opens it for reading its records, when all of it is there.
    ///
    /// # Errors
    /// When its head or its foot is damaged, or what the disk says.
    pub fn read(&self) -> Result<CheckpointReader, CheckpointError> {
        let (cluster, index) = (self.id.cluster, self.id.index);
        CheckpointReader::open(&*self.checkpoints.disk, &self.path, cluster, index)
    }

    /// Makes a checkpoint of it, which was read through; it is durable when this returns. Older ones
    /// than the newest two are removed.
    ///
    /// # Errors
    /// What the disk says.
    pub fn publish(self) -> Result<(), CheckpointError> {
        let Checkpoints { disk, dir, .. } = &self.checkpoints;
        self.file.sync_all().map_err(io_error("sync", &self.path))?;
        let target = self.checkpoints.path(self.id.index);
        disk.rename(&self.path, &target).map_err(io_error("rename", &self.path))?;
        disk.sync_dir(dir).map_err(io_error("sync", dir))?;
        self.checkpoints.remove_old()
    }

    /// Removes it: it is damaged, or there is no room for it.
    pub fn discard(self) {
        if let Err(error) = remove_if_there(&*self.checkpoints.disk, &self.path) {
            let path = self.path.display();
            tracing::warn!(%path, %error, "cannot remove a part of a received checkpoint");
        }
    }
}

/// The job of writing one piece.
struct WriteIncoming {
    checkpoints: Checkpoints,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    piece: Bytes,
    offset: u64,
    written: Option<OnWritten>,
}

impl Job for WriteIncoming {
    fn step(&mut self) -> Step {
        let Self { checkpoints, path, file, piece, offset, .. } = self;
        let result = checkpoints.write_piece(&**file, path, piece, *offset);
        let bytes = if result.is_ok() { piece.len() as u64 } else { 0 };
        self.tell(result);
        Step::Finished { bytes }
    }
}

impl Drop for WriteIncoming {
    /// Without the background writer nobody shall wait for it.
    fn drop(&mut self) {
        self.tell(Err(CheckpointError::NoBackground));
    }
}

impl WriteIncoming {
    fn tell(&mut self, result: Result<(), CheckpointError>) {
        if let Some(written) = self.written.take() {
            written(result);
        }
    }
}
