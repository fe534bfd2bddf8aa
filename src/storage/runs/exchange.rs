//! Run files on their way from one member to another: read there, written here under a name of their
//! own until they are whole and their set is opened.
//!
//! What has come of a file outlives the process. Each piece is durable before the next is begun, so
//! that all but the last piece of what is there can be believed; whether the whole is right is told
//! by its checksum. It must not: decide which files are wanted.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;

use super::files::{Files, io_error};
use super::format;
use super::reader::{Content, RunFile};
use super::set::RunSet;
use super::state::RunState;
use super::{RunError, RunOptions, RunUid};
use crate::storage::background::{BackgroundHandle, Job, Lane, PIECE_BYTES_MAX, Step};
use crate::storage::disk::DiskFile;
use crate::storage::reserve::remove_if_there;

/// Which file: no two that differ have all of this in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunId {
    /// Its name.
    pub uid: RunUid,
    /// How long it is.
    pub file_bytes: u64,
    /// The checksum of its foot, which has one of all the file.
    pub foot_crc: u32,
}

/// Called on the background thread when a piece is durable, or with what is wrong.
pub type OnPiece = Box<dyn FnOnce(Result<(), RunError>) + Send>;

/// The files of a directory of runs, to be sent and received. Clones share it.
#[derive(Clone)]
pub struct Exchange {
    files: Arc<Files>,
    background: BackgroundHandle,
}

/// A run file that comes.
pub struct Arriving {
    exchange: Exchange,
    id: RunId,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    length: u64,
}

impl RunState {
    /// Which file it is of.
    pub fn id(&self) -> RunId {
        RunId { uid: self.uid, file_bytes: self.file_bytes, foot_crc: self.foot_crc }
    }
}

impl RunSet {
    /// A way to the files of the directory, beside the set.
    pub fn exchange(&self) -> Exchange {
        Exchange::new(&self.options)
    }

    /// As [`open`](Self::open), with files that have [come](Exchange::begin) and do not have their
    /// names yet.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_arrived(
        options: RunOptions,
        listed: Vec<RunState>,
        arrived: &BTreeSet<RunUid>,
    ) -> Result<Self, RunError> {
        let files = Files::new(&options);
        files.arriving.lock().clone_from(arrived);
        Self::open_with(options, files, listed)
    }

    /// Gives the files their names that came for this set; they are durable when this returns. Until
    /// a checkpoint lists them, a start removes them.
    ///
    /// # Errors
    /// What the disk says; then some may have their names.
    pub fn name_arrived(&self) -> Result<(), RunError> {
        self.files.name_arrived()
    }
}

impl Files {
    fn name_arrived(&self) -> Result<(), RunError> {
        // Nobody asks for a path meanwhile.
        let mut arriving = self.arriving.lock();
        if arriving.is_empty() {
            return Ok(());
        }
        for uid in arriving.iter() {
            let (from, to) = (self.dir.join(format::arriving_name(*uid)), format::name(*uid));
            self.disk.rename(&from, &self.dir.join(to)).map_err(io_error("rename", &from))?;
        }
        arriving.clear();
        self.disk.sync_dir(&self.dir).map_err(io_error("sync", &self.dir))
    }
}

impl Exchange {
    fn new(options: &RunOptions) -> Self {
        Self { files: Arc::new(Files::new(options)), background: options.background.clone() }
    }

    /// Whether the file is there under its name: by its length and its foot, not by all its bytes.
    ///
    /// # Errors
    /// What the disk says.
    pub fn has(&self, id: RunId) -> Result<bool, RunError> {
        let listed = (id.file_bytes, id.foot_crc);
        let opened = RunFile::open(&self.files, id.uid, listed, Content::Bodies);
        self.files.close(id.uid);
        match opened {
            Ok(_) => Ok(true),
            Err(RunError::Missing { .. } | RunError::Corrupt { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// How many bytes of the file have come and need not come again.
    ///
    /// # Errors
    /// What the disk says.
    pub fn arrived_bytes(&self, id: RunId) -> Result<u64, RunError> {
        let path = self.path(id);
        match self.files.disk.open(&path) {
            Ok(file) => believed(&*file, id).map_err(io_error("measure", &path)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
            Err(error) => Err(io_error("open", &path)(error)),
        }
    }

    /// Goes on with a file where an earlier attempt has left it, or begins it.
    ///
    /// # Errors
    /// What the disk says.
    pub fn begin(&self, id: RunId) -> Result<Arriving, RunError> {
        let path = self.path(id);
        let file = match self.files.disk.open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.files.disk.create(&path).map_err(io_error("create", &path))?
            }
            opened => opened.map_err(io_error("open", &path))?,
        };
        let length = believed(&*file, id).map_err(io_error("measure", &path))?;
        file.set_length(length).map_err(io_error("cut", &path))?;
        Ok(Arriving { exchange: self.clone(), id, path, file, length })
    }

    /// Removes what has come of all files but those of `wanted`.
    ///
    /// # Errors
    /// What the disk says.
    pub fn keep_only(&self, wanted: &BTreeSet<RunUid>) -> Result<(), RunError> {
        let Files { disk, dir, .. } = &*self.files;
        for name in disk.list(dir).map_err(io_error("list", dir))? {
            if format::arriving_uid_of(&name).is_some_and(|uid| !wanted.contains(&uid)) {
                let path = dir.join(name);
                remove_if_there(&**disk, &path).map_err(io_error("remove", &path))?;
            }
        }
        Ok(())
    }

    /// How many bytes there is room for.
    ///
    /// # Errors
    /// What the disk says.
    pub fn free_bytes(&self) -> Result<u64, RunError> {
        let Files { disk, dir, .. } = &*self.files;
        disk.free_bytes(dir).map_err(io_error("measure", dir))
    }

    /// Reads a part of a file that is there, to be sent.
    ///
    /// # Errors
    /// When the file is missing or shorter, or what the disk says.
    pub fn read(&self, uid: RunUid, offset: u64, length: usize) -> Result<Bytes, RunError> {
        let bytes = self.files.read(uid, offset, length)?;
        self.files.open(uid)?.file.forget_cached(offset..offset + length as u64);
        Ok(bytes.into())
    }

    fn path(&self, id: RunId) -> PathBuf {
        self.files.dir.join(format::arriving_name(id.uid))
    }
}

/// How much of what is there was durable before more was written.
fn believed(file: &dyn DiskFile, id: RunId) -> std::io::Result<u64> {
    let length = file.length()?;
    let piece = PIECE_BYTES_MAX as u64;
    let before_last = length.saturating_sub(1) / piece * piece;
    Ok(if length <= id.file_bytes { before_last } else { 0 })
}

impl Arriving {
    /// Which it is.
    pub fn id(&self) -> RunId {
        self.id
    }

    /// How many bytes were there, or have been handed over since.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Appends a piece on the background thread. `written` is called when it is durable, and only then
    /// the next may be appended; after an error the file is of no use.
    ///
    /// # Panics
    /// When the piece is longer than [`PIECE_BYTES_MAX`] or reaches beyond the end.
    pub fn append(&mut self, piece: Bytes, written: OnPiece) {
        assert!(piece.len() <= PIECE_BYTES_MAX, "a piece of {} bytes", piece.len());
        let (offset, file_bytes) = (self.length, self.id.file_bytes);
        self.length += piece.len() as u64;
        assert!(self.length <= file_bytes, "{} of {file_bytes} bytes", self.length);
        let (path, file) = (self.path.clone(), self.file.clone());
        let job = WriteArriving { path, file, piece, offset, written: Some(written) };
        // A job that is not taken is dropped, and says so.
        let _ = self.exchange.background.try_submit(Lane::Bulk, Box::new(job));
    }

    /// Reads all of the file, counting its bytes in `progress`, and checks it.
    ///
    /// # Errors
    /// [`RunError::Corrupt`] when it is not the file that was announced; else what the disk says.
    pub fn verify(&self, progress: &AtomicU64) -> Result<(), RunError> {
        let RunId { uid, file_bytes, foot_crc } = self.id;
        self.file.sync_all().map_err(io_error("sync", &self.path))?;
        let files = &self.exchange.files;
        files.arriving.lock().insert(uid);
        let opened = RunFile::open(files, uid, (file_bytes, foot_crc), Content::Bodies);
        let verified = opened.and_then(|run| run.verify(progress));
        files.arriving.lock().remove(&uid);
        files.close(uid);
        verified
    }

    /// Removes it: it is damaged, or there is no room for it.
    pub fn discard(self) {
        if let Err(error) = remove_if_there(&*self.exchange.files.disk, &self.path) {
            let path = self.path.display();
            tracing::warn!(%path, %error, "cannot remove a part of a received run");
        }
    }
}

/// The job of writing one piece.
struct WriteArriving {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    piece: Bytes,
    offset: u64,
    written: Option<OnPiece>,
}

impl Job for WriteArriving {
    fn step(&mut self) -> Step {
        let result = self.write();
        let bytes = if result.is_ok() { self.piece.len() as u64 } else { 0 };
        self.tell(result);
        Step::Finished { bytes }
    }
}

impl WriteArriving {
    fn write(&self) -> Result<(), RunError> {
        let Self { path, file, piece, offset, .. } = self;
        file.write_all_at(piece, *offset).map_err(io_error("write", path))?;
        file.sync_data().map_err(io_error("sync", path))?;
        file.forget_cached(*offset..*offset + piece.len() as u64);
        Ok(())
    }

    fn tell(&mut self, result: Result<(), RunError>) {
        if let Some(written) = self.written.take() {
            written(result);
        }
    }
}

impl Drop for WriteArriving {
    /// Without the background writer nobody shall wait for it.
    fn drop(&mut self) {
        self.tell(Err(RunError::NoBackground));
    }
}
