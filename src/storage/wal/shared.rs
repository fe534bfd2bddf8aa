//! What the callers, the log thread and the background writer share.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::error::Context;
use super::index::Index;
use super::queue::Queue;
use super::segment::{self, Segment};
use super::{Fatal, WalError, WalOptions};
use crate::storage::background::{BackgroundHandle, Job, Lane, Step, ZeroFill};
use crate::storage::disk::{Disk, DiskFile, is_full};
use crate::storage::reserve::Reserve;

pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) options: WalOptions,
    pub(super) background: BackgroundHandle,
    pub(super) fatal: Fatal,
    pub(super) index: Mutex<Index>,
    pub(super) queue: Queue,
    /// For the next segment, when there is no room for it.
    pub(super) reserve: Arc<Reserve>,
    /// No room for a next segment.
    pub(super) full: AtomicBool,
    /// The log thread waits for room.
    pub(super) stalled: AtomicBool,
    spares: Mutex<Spares>,
    serial: AtomicU64,
}

#[derive(Default)]
struct Spares {
    ready: Vec<Spare>,
    is_filling: bool,
}

/// A file that waits to become a segment.
pub(super) struct Spare {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// See [`Head::is_filled`](segment::Head::is_filled).
    pub(super) is_filled: bool,
    pub(super) file: Arc<dyn DiskFile>,
}

impl Shared {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: WalOptions,
        background: BackgroundHandle,
        fatal: Fatal,
    ) -> Self {
        let reserve = Arc::new(Reserve::new(disk.clone(), dir.join("reserve")));
        Self {
            disk,
            dir: dir.to_path_buf(),
            options,
            background,
            fatal,
            index: Mutex::default(),
            queue: Queue::default(),
            reserve,
            full: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            spares: Mutex::default(),
            serial: AtomicU64::new(1),
        }
    }

    /// A path for a file that waits to become a segment and is filled.
    pub(super) fn spare_path(&self) -> PathBuf {
        self.dir.join(segment::spare_name(self.next_serial()))
    }

    /// A path for one that is not, or not yet.
    fn blank_path(&self) -> PathBuf {
        self.dir.join(segment::blank_name(self.next_serial()))
    }

    fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    /// Spare and blank paths made from now on have greater serial numbers.
    pub(super) fn spare_names_from(&self, serial: u64) {
        self.serial.fetch_max(serial + 1, Ordering::Relaxed);
    }

    /// Bytes in all spares.
    pub(super) fn spare_bytes(&self) -> u64 {
        self.spares.lock().ready.iter().map(|spare| spare.bytes).sum()
    }

    /// Keeps a file as a spare. Gives it back when it is of no use.
    pub(super) fn offer_spare(&self, spare: Spare) -> Option<Spare> {
        let mut spares = self.spares.lock();
        if spares.ready.len() >= self.options.spares_max || !self.is_usual_length(spare.bytes) {
            return Some(spare);
        }
        spares.ready.push(spare);
        None
    }

    /// Whether segments of this length are made.
    fn is_usual_length(&self, bytes: u64) -> bool {
        let (first, max) = (self.options.segment_bytes_first, self.options.segment_bytes_max);
        let doubles = std::iter::successors(Some(first), |bytes| bytes.checked_mul(2));
        bytes == max || doubles.take_while(|double| *double < max).any(|double| double == bytes)
    }

    /// The greatest usual length, at most `wanted`, that there is room for beside what is kept free.
    fn fitting(&self, wanted: u64) -> Option<u64> {
        let kept = self.options.keep_free_bytes.load(Ordering::Relaxed);
        // A disk that does not tell is found to be full by writing to it.
        let free = self.disk.free_bytes(&self.dir).unwrap_or(u64::MAX);
        let least = self.options.segment_bytes_first;
        let halves = std::iter::successors(Some(wanted), |bytes| Some(bytes / 2));
        let mut usual = halves.take_while(|bytes| *bytes == wanted || *bytes >= least);
        usual.find(|bytes| free.saturating_sub(kept) >= *bytes)
    }

    /// A file for the next segment: a spare that is large enough, else a new one, else the reserve.
    /// `None` when there is no room.
    pub(super) fn take_file(&self, wanted: u64, needed: u64) -> Result<Option<Spare>, WalError> {
        if let Some(ready) = self.take_ready(wanted, needed) {
            return Ok(Some(ready));
        }
        if let Some(bytes) = self.fitting(wanted).filter(|bytes| *bytes >= needed)
            && let Some(made) = self.allocate(bytes)?
        {
            return Ok(Some(made));
        }
        self.full.store(true, Ordering::Relaxed);
        self.take_reserve(needed)
    }

    /// The same for a start, which waits until a new file is filled with zeros.
    pub(super) fn take_first_file(
        &self,
        wanted: u64,
        needed: u64,
    ) -> Result<Option<Spare>, WalError> {
        if let Some(ready) = self.take_ready(wanted, needed) {
            return Ok(Some(ready));
        }
        for bytes in [wanted, needed] {
            let path = self.blank_path();
            match ZeroFill::run_now(&self.disk, path.clone(), bytes) {
                Ok(file) => return Ok(Some(Spare { path, bytes, is_filled: true, file })),
                Err(error) if is_full(&error) => {}
                Err(source) => {
                    return Err(WalError::Io { action: "fill with zeros", path, source });
                }
            }
        }
        self.full.store(true, Ordering::Relaxed);
        self.take_reserve(needed)
    }

    fn take_ready(&self, wanted: u64, needed: u64) -> Option<Spare> {
        let mut spares = self.spares.lock();
        let same = spares.ready.iter().position(|spare| spare.bytes == wanted);
        let fits = || spares.ready.iter().position(|spare| spare.bytes >= needed);
        same.or_else(fits).map(|position| spares.ready.swap_remove(position))
    }

    fn take_reserve(&self, needed: u64) -> Result<Option<Spare>, WalError> {
        let path = self.blank_path();
        let taken = self.reserve.take_as(needed, &path).context("use the reserve as", &path)?;
        // The reserve of an earlier life may have been kept before it was filled.
        Ok(taken.map(|(file, bytes)| Spare { path, bytes, is_filled: false, file }))
    }

    /// Makes a file that is not filled with zeros: slower to sync, but there at once.
    fn allocate(&self, bytes: u64) -> Result<Option<Spare>, WalError> {
        let path = self.blank_path();
        let file = match self.disk.create(&path) {
            Err(error) if is_full(&error) => return Ok(None),
            created => created.context("create", &path)?,
        };
        match file.allocate(bytes) {
            Err(error) if is_full(&error) => {
                self.disk.remove(&path).context("remove", &path)?;
                Ok(None)
            }
            allocated => {
                allocated.context("allocate", &path)?;
                file.sync_all().context("sync", &path)?;
                Ok(Some(Spare { path, bytes, is_filled: false, file }))
            }
        }
    }

    /// Has a spare of this length made, or of the greatest there is room for, unless there is one or
    /// one is being made.
    pub(super) fn request_spare(self: &Arc<Self>, wanted: u64) {
        let ready = {
            let spares = self.spares.lock();
            if spares.is_filling {
                return;
            }
            spares.ready.iter().map(|spare| spare.bytes).max()
        };
        let fitting = if ready >= Some(wanted) { None } else { self.fitting(wanted) };
        let bytes = match (fitting, ready) {
            (Some(bytes), ready) if ready < Some(bytes) => bytes,
            (_, Some(_)) => return self.has_room(),
            (_, None) => {
                self.full.store(true, Ordering::Relaxed);
                return;
            }
        };
        self.spares.lock().is_filling = true;
        let (shared, path) = (self.clone(), self.blank_path());
        let blank_path = path.clone();
        let filled = Box::new(move |result: std::io::Result<Arc<dyn DiskFile>>| {
            shared.spare_filled(&blank_path, bytes, result);
        });
        let job = ZeroFill::new(self.disk.clone(), path, bytes, filled);
        if self.background.try_submit(Lane::Log, Box::new(job)).is_err() {
            self.spares.lock().is_filling = false;
        }
    }

    fn spare_filled(
        self: &Arc<Self>,
        blank_path: &Path,
        bytes: u64,
        result: std::io::Result<Arc<dyn DiskFile>>,
    ) {
        let path = self.spare_path();
        let result = result.and_then(|file| {
            self.disk.rename(blank_path, &path)?;
            Ok(file)
        });
        let mut spares = self.spares.lock();
        spares.is_filling = false;
        match result {
            Ok(file) => {
                spares.ready.push(Spare { path, bytes, is_filled: true, file });
                drop(spares);
                self.has_room();
            }
            Err(error) if is_full(&error) => {
                self.full.store(true, Ordering::Relaxed);
            }
            Err(source) => {
                drop(spares);
                self.queue.fail();
                (self.fatal)(WalError::Io { action: "fill with zeros", path, source });
            }
        }
        self.queue.nudge();
    }

    /// There is a spare: what the reserve has given can be asked back.
    fn has_room(&self) {
        if self.full.swap(false, Ordering::Relaxed) {
            self.reserve.refill(&self.background);
        }
    }

    /// Renames a segment that is not needed, if it is of use as a spare, or has it removed.
    pub(super) fn recycle(&self, segment: Arc<Segment>, wanted: u64) -> Result<(), WalError> {
        let is_useful = {
            let spares = self.spares.lock();
            // On a full disk one of any length will do, and the others make room for a checkpoint.
            match self.full.load(Ordering::Relaxed) {
                true => spares.ready.is_empty(),
                false => {
                    let is_wanted = segment.is_filled() && segment.bytes == wanted;
                    is_wanted && spares.ready.len() < self.options.spares_max
                }
            }
        };
        // A reader may still be at it; new ones cannot come, for it is in no list any more.
        if is_useful && Arc::strong_count(&segment) == 1 {
            let is_filled = segment.is_filled();
            let path = if is_filled { self.spare_path() } else { self.blank_path() };
            self.disk.rename(&segment.path, &path).context("recycle", &segment.path)?;
            let file = segment.file.clone();
            let spare = Spare { path, bytes: segment.bytes, is_filled, file };
            self.spares.lock().ready.push(spare);
            self.has_room();
            return Ok(());
        }
        self.remove_later(segment.path.clone())
    }

    /// Removes a file on the background thread: that takes a while.
    pub(super) fn remove_later(&self, path: PathBuf) -> Result<(), WalError> {
        let job = Remove { disk: self.disk.clone(), path: path.clone() };
        match self.background.try_submit(Lane::Log, Box::new(job)) {
            Ok(()) => Ok(()),
            Err(_) => self.disk.remove(&path).context("remove", &path),
        }
    }
}

struct Remove {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl Job for Remove {
    fn step(&mut self) -> Step {
        if let Err(error) = self.disk.remove(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove an old segment");
        }
        Step::Finished { bytes: 0 }
    }
}
