//! What all runs of a set share: the directory, open files, and a cache of pages.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use super::format;
use super::lru::Lru;
use super::pages::{Block, BlockEntry};
use super::removing::Removals;
use super::{BodyPointer, Damage, OPEN_FILES_MAX, RunError, RunOptions, RunUid};
use crate::planted::{self, Bug};
use crate::storage::background::PIECE_BYTES_MAX;
use crate::storage::disk::{Disk, DiskFile};
use crate::storage::reserve::remove_if_there;

/// The files of a set.
pub(super) struct Files {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) cluster: u128,
    /// Those that have come from another member and do not have their names yet.
    pub(super) arriving: Mutex<BTreeSet<RunUid>>,
    pub(super) removals: Removals,
    open: Mutex<Lru<RunUid, Arc<OpenFile>>>,
    pages: Mutex<Lru<PageKey, Page>>,
}

/// An open run.
pub(super) struct OpenFile {
    pub(super) file: Arc<dyn DiskFile>,
    /// Up to where bodies were read in order and dropped from the system's cache.
    forgotten: AtomicU64,
}

/// A page by its file and offset.
pub(super) type PageKey = (RunUid, u64);

/// A page that was read and checked.
#[derive(Clone)]
pub(super) enum Page {
    Records(Arc<Block>),
    Index(Arc<Vec<BlockEntry>>),
    Ids(Arc<Vec<(u64, u32)>>),
}

impl Files {
    pub(super) fn new(options: &RunOptions) -> Self {
        Self {
            disk: options.disk.clone(),
            dir: options.dir.clone(),
            cluster: options.cluster,
            arriving: Mutex::default(),
            removals: Removals::default(),
            open: Mutex::new(Lru::new(OPEN_FILES_MAX)),
            pages: Mutex::new(Lru::new(options.cache_bytes_max)),
        }
    }

    pub(super) fn path(&self, uid: RunUid) -> PathBuf {
        let name = match self.arriving.lock().contains(&uid) {
            true => format::arriving_name(uid),
            false => format::name(uid),
        };
        self.dir.join(name)
    }

    pub(super) fn corrupt(&self, uid: RunUid, offset: u64, why: Damage) -> RunError {
        RunError::Corrupt { file: self.path(uid), offset, why }
    }

    /// The open file of a run.
    pub(super) fn open(&self, uid: RunUid) -> Result<Arc<OpenFile>, RunError> {
        if let Some(open) = self.open.lock().get(&uid) {
            return Ok(open.clone());
        }
        let path = self.path(uid);
        let file = self.disk.open(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => RunError::Missing { file: path.clone() },
            _ => io_error("open", &path)(error),
        })?;
        let open = Arc::new(OpenFile { file, forgotten: AtomicU64::new(0) });
        self.open.lock().insert(uid, open.clone(), 1);
        Ok(open)
    }

    /// Reads bytes that are to be there.
    pub(super) fn read(
        &self,
        uid: RunUid,
        offset: u64,
        length: usize,
    ) -> Result<Vec<u8>, RunError> {
        let mut bytes = vec![0; length];
        let open = self.open(uid)?;
        open.file.read_exact_at(&mut bytes, offset).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => self.corrupt(uid, offset, Damage::Short),
            _ => io_error("read", &self.path(uid))(error),
        })?;
        Ok(bytes)
    }

    /// Reads a body, which ends before `bodies_end`.
    pub(super) fn body(&self, at: &BodyPointer, bodies_end: u64) -> Result<Bytes, RunError> {
        let damaged = || self.corrupt(at.file, at.offset, Damage::Body);
        let end = at.offset.checked_add(u64::from(at.length));
        if end.is_none_or(|end| end > bodies_end) {
            return Err(damaged());
        }
        let bytes = self.read(at.file, at.offset, at.length as usize)?;
        if crc32fast::hash(&bytes) != at.crc && !planted::is(Bug::RunCrcIgnored) {
            return Err(damaged());
        }
        self.open(at.file)?.forget_behind(at.offset);
        Ok(Bytes::from(bytes))
    }

    /// Has the system read a page of this length, unless it is cached here.
    pub(super) fn expect(&self, key: PageKey, length: u64) {
        let (uid, offset) = key;
        if self.cached(key).is_none()
            && let Ok(open) = self.open(uid)
        {
            open.file.will_read(offset..offset + length);
        }
    }

    pub(super) fn cached(&self, key: PageKey) -> Option<Page> {
        self.pages.lock().get(&key).cloned()
    }

    pub(super) fn cache(&self, key: PageKey, page: Page) {
        let bytes = page.resident_bytes() + Lru::<PageKey, Page>::entry_bytes();
        self.pages.lock().insert(key, page, bytes);
    }

    /// What the cached pages take up, bytes.
    pub(super) fn cached_bytes(&self) -> usize {
        self.pages.lock().cost()
    }

    /// Closes the file of a run; the next read opens it again.
    pub(super) fn close(&self, uid: RunUid) {
        self.open.lock().remove(&uid);
    }

    /// Removes the file of a run. Its pages fall out of the cache in time.
    pub(super) fn remove(&self, uid: RunUid) -> Result<(), RunError> {
        self.close(uid);
        let path = self.path(uid);
        remove_if_there(&*self.disk, &path).map_err(io_error("remove", &path))
    }
}

impl OpenFile {
    /// Has the system forget what was read in order before this offset, a piece at a time.
    fn forget_behind(&self, offset: u64) {
        let forgotten = self.forgotten.load(Ordering::Relaxed);
        if offset < forgotten {
            self.forgotten.store(offset, Ordering::Relaxed);
        } else if offset - forgotten >= PIECE_BYTES_MAX as u64 {
            self.file.forget_cached(forgotten..offset);
            self.forgotten.store(offset, Ordering::Relaxed);
        }
    }
}

impl Page {
    fn resident_bytes(&self) -> usize {
        match self {
            Self::Records(block) => block.resident_bytes(),
            Self::Index(entries) => entries.capacity() * size_of::<BlockEntry>(),
            Self::Ids(entries) => entries.capacity() * size_of::<(u64, u32)>(),
        }
    }
}

pub(super) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RunError {
    let path = path.to_path_buf();
    move |source| RunError::Io { action, path, source }
}
