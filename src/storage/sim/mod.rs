//! A disk in memory that can lose its power, for tests.
//!
//! Every file has its durable bytes and the list of writes since its last sync; every directory
//! its durable entries and the list of changes since its last sync. [`SimDisk::crash`] makes a disk
//! as a power failure may leave it: of what was not synced, any set of 512-byte sectors survives.
//! [`SimDisk::kill`] makes the one that a killed process leaves: nothing is lost, nothing is
//! synced. Not a model of anything: permissions, links, times.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use self::state::{DirChange, DirState, Faults, FileChange, FileState, State, Syncing, split};
use super::disk::{Disk, DiskFile, DiskLock};

mod state;

/// The unit in which a write survives a power failure or not.
pub const SECTOR_BYTES: usize = 512;

/// What of the unsynced changes survives a power failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Nothing.
    LoseAll,
    /// Everything.
    KeepAll,
    /// Everything but one write, counted from 0 over [`SimDisk::pending_writes`].
    Missing {
        /// The write that is lost.
        write: usize,
    },
    /// Everything, but of one write only its first sectors.
    Torn {
        /// The write that is torn, counted from 0 over [`SimDisk::pending_writes`].
        write: usize,
        /// How many of its sectors survive.
        sectors: usize,
    },
    /// Of each file either a prefix of its writes, the last one torn (seven times in ten), or any
    /// set of sectors; of each directory a prefix of its changes.
    Random {
        /// The same seed gives the same survivors.
        seed: u64,
    },
}

/// A disk in memory. Clones share it.
#[derive(Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk with a root directory.
    pub fn new() -> Self {
        let disk = Self::default();
        disk.state.lock().dirs.insert(PathBuf::from("/"), DirState::default());
        disk
    }

    /// The disk as a power failure may leave it. This one stays as it is.
    pub fn crash(&self, crash: Crash) -> Self {
        let mut state = self.state.lock().clone();
        state.faults = Faults::default();
        state.locks.clear();
        let order = state.pending_writes();
        for (id, file) in state.files.iter_mut().enumerate() {
            file.survive(crash, id, &order);
        }
        for (position, dir) in state.dirs.values_mut().enumerate() {
            dir.survive(crash, position);
        }
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The disk as a killed process leaves it: all that was written is there, and may still be lost
    /// by a later [`crash`](Self::crash). This one stays as it is.
    pub fn kill(&self) -> Self {
        let mut state = self.state.lock().clone();
        state.faults = Faults::default();
        state.locks.clear();
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The lengths of the unsynced writes of all files, oldest first.
    pub fn pending_writes(&self) -> Vec<usize> {
        self.state.lock().pending_writes().iter().map(|write| write.length).collect()
    }

    /// How many changes (writes, syncs, names) were asked for so far.
    pub fn changes(&self) -> u64 {
        self.state.lock().changes
    }

    /// How often somebody said that a range will be read soon.
    pub fn announced_reads(&self) -> u64 {
        self.state.lock().announced
    }

    /// Fails the `n`-th sync of a file or directory from now (1 is the next) with an I/O error. As
    /// on ext4, what it should have made durable stays readable, is not durable, and is not made so
    /// by a later sync.
    pub fn fail_sync(&self, n: u64) {
        self.state.lock().faults.sync_countdown = Some(n);
    }

    /// Shuts the file system down in the middle of the `n`-th sync from now (1 is the next): from
    /// then on everything fails. As on ext4 (seen with Linux 6.18 and `FS_IOC_SHUTDOWN`), a sync of
    /// room that was allocated and never written says that it succeeded, and what it wrote there is
    /// lost.
    pub fn shut_down_in_sync(&self, n: u64) {
        self.state.lock().faults.shutdown_countdown = Some(n);
    }

    /// After `changes` more changes, everything fails, as if the machine had lost its power.
    pub fn power_off_after(&self, changes: u64) {
        self.state.lock().faults.power_countdown = Some(changes);
    }

    /// Keeps a copy of the disk as it is after `changes` more changes, and goes on: a failure of power
    /// for one that cannot be told of it.
    pub fn copy_after(&self, changes: u64) {
        self.state.lock().faults.copy_countdown = Some(changes);
    }

    /// The disk as [`copy_after`](Self::copy_after) has kept it; `None` when it has not come to that.
    pub fn take_copy(&self) -> Option<Self> {
        let mut state = *self.state.lock().faults.copy.take()?;
        state.locks.clear();
        Some(Self { state: Arc::new(Mutex::new(state)) })
    }

    /// The sum of the lengths of all named files may not pass `bytes`; `None` lifts the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().faults.capacity_bytes = bytes;
    }

    /// No single write writes more than `bytes`.
    pub fn set_write_bytes_max(&self, bytes: Option<usize>) {
        self.state.lock().faults.write_bytes_max = bytes;
    }

    /// Reads of this file fail with an I/O error.
    pub fn fail_reads(&self, path: &Path) {
        self.state.lock().faults.unreadable.insert(path.to_path_buf());
    }

    /// Changes the bytes of a file behind everybody's back, durably. Returns false when there is
    /// no such file.
    pub fn edit(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut state = self.state.lock();
        let Ok(id) = state.find(path) else { return false };
        let file = &mut state.files[id];
        change(&mut file.current);
        file.durable = file.current.clone();
        file.pending.clear();
        true
    }

    /// The bytes of a file as a reader sees them.
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state.lock();
        let id = state.find(path).ok()?;
        Some(state.files[id].current.clone())
    }

    /// The sum of the lengths of all named files.
    pub fn used_bytes(&self) -> u64 {
        self.state.lock().used_bytes()
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let id = self.state.lock().find(path)?;
        Ok(Arc::new(SimFile { state: self.state.clone(), id }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.change()?;
        if state.find(path).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let id = state.files.len();
        let (dir, name) = state.dir(path)?;
        dir.change(DirChange::Link { name, file: id });
        state.files.push(FileState::default());
        Ok(Arc::new(SimFile { state: self.state.clone(), id }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.change()?;
        let file = state.find(from)?;
        let (from_name, to_name) = (split(from)?.1.to_owned(), split(to)?.1.to_owned());
        if from.parent() == to.parent() {
            let change = DirChange::Rename { from: from_name, to: to_name };
            state.dir(from)?.0.change(change);
        } else {
            state.dir(to)?.0.change(DirChange::Link { name: to_name, file });
            state.dir(from)?.0.change(DirChange::Unlink { name: from_name });
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.change()?;
        state.find(path)?;
        let (dir, name) = state.dir(path)?;
        dir.change(DirChange::Unlink { name });
        Ok(())
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.change()?;
        state.dirs.retain(|path, _| !path.starts_with(dir));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        state.check_power()?;
        let found = state.dirs.get(dir).ok_or(ErrorKind::NotFound)?;
        let below = state.dirs.keys().filter(|path| path.parent() == Some(dir));
        let below = below.filter_map(|path| path.file_name()?.to_str().map(str::to_owned));
        let names: BTreeSet<_> = found.current.keys().cloned().chain(below).collect();
        Ok(names.into_iter().collect())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.change()?;
        for path in dir.ancestors().filter(|path| !path.as_os_str().is_empty()) {
            state.dirs.entry(path.to_path_buf()).or_default();
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let syncing = state.sync()?;
        let dir = state.dirs.get_mut(dir).ok_or(ErrorKind::NotFound)?;
        dir.pending.clear();
        if syncing != Syncing::Succeeds {
            return Err(io::Error::other("injected sync failure"));
        }
        dir.durable = dir.current.clone();
        Ok(())
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(self.state.lock().room_bytes() as u64)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        if self.state.lock().find(path).is_err() {
            self.create(path)?;
        }
        if !self.state.lock().locks.insert(path.to_path_buf()) {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock { state: self.state.clone(), path: path.to_path_buf() }))
    }
}

struct SimLock {
    state: Arc<Mutex<State>>,
    path: PathBuf,
}

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.state.lock().locks.remove(&self.path);
    }
}

struct SimFile {
    state: Arc<Mutex<State>>,
    id: usize,
}

impl SimFile {
    fn set(&self, change: FileChange) -> io::Result<()> {
        let mut state = self.state.lock();
        state.change()?;
        let stamp = state.changes;
        let file = &mut state.files[self.id];
        change.apply(&mut file.current);
        file.pending.push((stamp, change));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        let syncing = state.sync()?;
        let file = &mut state.files[self.id];
        match syncing {
            Syncing::Succeeds => file.sync(),
            Syncing::IsCutOff if file.sync_while_going_down() => {}
            Syncing::IsCutOff | Syncing::Fails => {
                file.pending.clear();
                return Err(io::Error::other("injected sync failure"));
            }
        }
        Ok(())
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.state.lock();
        state.check_power()?;
        if state.is_unreadable(self.id) {
            return Err(io::Error::other("injected read failure"));
        }
        let bytes = &state.files[self.id].current;
        let rest = usize::try_from(offset).ok().and_then(|from| bytes.get(from..)).unwrap_or(&[]);
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let offset = usize::try_from(offset).map_err(|_| ErrorKind::InvalidInput)?;
        let count = {
            let state = self.state.lock();
            let longer = offset.saturating_sub(state.files[self.id].current.len());
            let inside = state.files[self.id].current.len().saturating_sub(offset);
            let room = state.room_bytes().saturating_sub(longer).saturating_add(inside);
            let limit = state.faults.write_bytes_max.unwrap_or(usize::MAX);
            bytes.len().min(room).min(limit)
        };
        if count == 0 && !bytes.is_empty() {
            return Err(ErrorKind::StorageFull.into());
        }
        self.set(FileChange::Write { offset, bytes: bytes[..count].to_vec() })?;
        Ok(count)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }

    fn length(&self) -> io::Result<u64> {
        let state = self.state.lock();
        state.check_power()?;
        Ok(state.files[self.id].current.len() as u64)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).map_err(|_| ErrorKind::InvalidInput)?;
        self.set(FileChange::Length(length))
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        let wanted = usize::try_from(length).map_err(|_| ErrorKind::InvalidInput)?;
        let (has, room) = {
            let state = self.state.lock();
            (state.files[self.id].current.len(), state.room_bytes())
        };
        if wanted.saturating_sub(has) > room {
            return Err(ErrorKind::StorageFull.into());
        }
        if wanted > has {
            self.set_length(length)?;
            self.state.lock().files[self.id].unwritten_from.get_or_insert(has);
        }
        Ok(())
    }

    fn will_read(&self, _range: Range<u64>) {
        self.state.lock().announced += 1;
    }

    fn forget_cached(&self, _range: Range<u64>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk_with_file() -> (SimDisk, Arc<dyn DiskFile>, PathBuf) {
        let disk = SimDisk::new();
        let path = PathBuf::from("/file");
        let file = disk.create(&path).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        (disk, file, path)
    }

    #[test]
    fn what_was_not_synced_is_lost_by_power_failure_and_kept_by_a_kill() {
        let (disk, file, path) = disk_with_file();
        file.write_all_at(b"one", 0).unwrap();
        file.sync_data().unwrap();
        file.write_all_at(b"two", 0).unwrap();
        assert_eq!(disk.crash(Crash::LoseAll).bytes(&path).unwrap(), b"one");
        assert_eq!(disk.crash(Crash::KeepAll).bytes(&path).unwrap(), b"two");
        assert_eq!(disk.kill().bytes(&path).unwrap(), b"two");
        assert_eq!(disk.kill().crash(Crash::LoseAll).bytes(&path).unwrap(), b"one");
    }

    #[test]
    fn a_torn_write_keeps_its_first_sectors_only() {
        let (disk, file, path) = disk_with_file();
        file.write_all_at(&[1; 1100], 500).unwrap();
        assert_eq!(disk.pending_writes(), [1100]);
        let torn = disk.crash(Crash::Torn { write: 0, sectors: 2 }).bytes(&path).unwrap();
        assert_eq!((torn.len(), torn[499], torn[500], torn[1023]), (1024, 0, 1, 1));
        assert!(disk.crash(Crash::Missing { write: 0 }).bytes(&path).unwrap().is_empty());
    }

    #[test]
    fn a_name_is_durable_only_after_its_directory_is_synced() {
        let (disk, _, path) = disk_with_file();
        let renamed = PathBuf::from("/renamed");
        disk.rename(&path, &renamed).unwrap();
        let lost = disk.crash(Crash::LoseAll);
        assert!(lost.bytes(&path).is_some() && lost.bytes(&renamed).is_none());
        disk.sync_dir(Path::new("/")).unwrap();
        assert!(disk.crash(Crash::LoseAll).bytes(&renamed).is_some());
    }

    #[test]
    fn a_failed_sync_leaves_bytes_that_no_later_sync_makes_durable() {
        let (disk, file, path) = disk_with_file();
        file.write_all_at(b"gone", 0).unwrap();
        disk.fail_sync(1);
        file.sync_data().unwrap_err();
        file.sync_data().unwrap();
        assert_eq!(disk.bytes(&path).unwrap(), b"gone");
        assert!(disk.crash(Crash::KeepAll).bytes(&path).unwrap().is_empty());
    }

    #[test]
    fn a_full_disk_takes_a_part_and_then_nothing() {
        let (disk, file, _) = disk_with_file();
        disk.set_capacity(Some(10));
        assert_eq!(file.write_at(&[0; 16], 0).unwrap(), 10);
        assert_eq!(file.write_at(&[0; 6], 10).unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(file.write_at(&[1; 4], 0).unwrap(), 4);
        assert_eq!(file.allocate(11).unwrap_err().kind(), ErrorKind::StorageFull);
        disk.set_capacity(None);
        file.allocate(11).unwrap();
    }

    #[test]
    fn nothing_works_without_power() {
        let (disk, file, path) = disk_with_file();
        disk.power_off_after(1);
        file.write_all_at(b"x", 0).unwrap();
        file.sync_data().unwrap_err();
        assert!(disk.open(&path).is_err());
        assert!(disk.crash(Crash::LoseAll).open(&path).is_ok());
    }
}
