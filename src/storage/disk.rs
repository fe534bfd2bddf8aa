//! The disk as a trait, and the real one.
//!
//! This file is the only user of `std::fs`. Nothing here retries and nothing is buffered: what a
//! caller writes is in the page cache when the call returns, and on the disk after a sync. The
//! other implementation is [`SimDisk`](super::sim::SimDisk), which can lose its power.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Advice, FallocateFlags};
use rustix::io::Errno;

/// An open file. All offsets and lengths are in bytes.
///
/// Calls take `&self` and may come from several threads at once; two overlapping writes at once
/// are a mistake of the caller.
pub trait DiskFile: Send + Sync {
    /// Reads at `offset` into the front of `buffer`. Returns how many bytes; 0 is the end.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes a part of `bytes`, from their front, at `offset`. Returns how many bytes.
    ///
    /// # Errors
    /// What the system says. `StorageFull` when there is no room.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Makes contents and length durable (fdatasync).
    ///
    /// On ext4 success is not to be relied on alone where room was allocated and never written, or a
    /// file was made anew: when the journal ends meanwhile, only the next sync, of any file, says so.
    /// So the log syncs such a segment twice, and everything else syncs a directory afterwards.
    ///
    /// # Errors
    /// After an error nobody knows what is on the disk: the caller must not try again.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes contents and all metadata durable (fsync).
    ///
    /// # Errors
    /// As [`sync_data`](Self::sync_data).
    fn sync_all(&self) -> io::Result<()>;

    /// The length of the file.
    ///
    /// # Errors
    /// What the system says.
    fn length(&self) -> io::Result<u64>;

    /// Cuts the file, or makes it longer by a hole of zeros.
    ///
    /// # Errors
    /// What the system says.
    fn set_length(&self, length: u64) -> io::Result<()>;

    /// Makes the file `length` bytes long and claims the room, without writing it. Later writes
    /// into it find room, but are slower than writes over written bytes.
    ///
    /// # Errors
    /// `StorageFull` when there is no room.
    fn allocate(&self, length: u64) -> io::Result<()>;

    /// Tells the system that the range will be read soon. It begins to, and nobody waits.
    fn will_read(&self, range: Range<u64>);

    /// Tells the system that the range will not be read soon. Drops only what is clean.
    fn forget_cached(&self, range: Range<u64>);

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before; else what the system says.
    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            let count = self.read_at(buffer, offset)?;
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            buffer = &mut buffer[count..];
            offset += count as u64;
        }
        Ok(())
    }

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// What the system says; then any part of the bytes may have been written.
    fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self.write_at(bytes, offset)?;
            if count == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
            bytes = &bytes[count..];
            offset += count as u64;
        }
        Ok(())
    }
}

/// Holds a lock for as long as it lives.
pub trait DiskLock: Send + Sync {}

/// A file system.
///
/// A new name, a rename and a removal are durable only after [`sync_dir`](Self::sync_dir) of the
/// directory they are in.
pub trait Disk: Send + Sync {
    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Creates a new, empty file, and opens it for reading and writing.
    ///
    /// # Errors
    /// `AlreadyExists`, `StorageFull`, or what the system says.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name. A file that has this name already is replaced in one step.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name. Who has it open can go on reading.
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory and all that is in it. A directory that is not there is fine.
    ///
    /// # Errors
    /// What the system says.
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// The names in a directory, in order, without those that are not UTF-8.
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Creates a directory and its missing ancestors, and makes all their names durable. One that
    /// exists is fine.
    ///
    /// # Errors
    /// What the system says.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes new names, renames and removals in `dir` durable.
    ///
    /// # Errors
    /// As [`DiskFile::sync_data`].
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// How many bytes an unprivileged user can still write there.
    ///
    /// # Errors
    /// What the system says.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;

    /// Takes an exclusive lock on a file, which is created if need be.
    ///
    /// # Errors
    /// `WouldBlock` when somebody else has it; else what the system says.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;
}

/// Whether an error says that there is no room, for which waiting may help.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Replaces the file `name` in `dir` by `contents` in one step: written under another name,
/// synced, renamed, and the directory synced. On return it is durable.
///
/// # Errors
/// What the disk says; the old file is then still there, whole.
pub fn replace_file(disk: &dyn Disk, dir: &Path, name: &str, contents: &[u8]) -> io::Result<()> {
    let draft = dir.join(format!("{name}.new"));
    match disk.remove(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(&draft)?;
    file.write_all_at(contents, 0)?;
    file.sync_all()?;
    disk.rename(&draft, &dir.join(name))?;
    disk.sync_dir(dir)
}

/// A small file as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmallFile {
    /// What is in it.
    pub bytes: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
}

/// Reads a file of at most `bytes_max` bytes, which need not be writable: a setting, a secret.
///
/// # Errors
/// `FileTooLarge`, or what the system says.
pub fn read_small_file(path: &Path, bytes_max: u64) -> io::Result<SmallFile> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode() & 0o7777;
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(ErrorKind::FileTooLarge.into());
    }
    Ok(SmallFile { bytes, mode })
}

/// Creates a file that only its owner may read or write, with `contents`.
///
/// # Errors
/// `AlreadyExists`, or what the system says.
pub fn create_private_file(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(contents)?;
    file.sync_all()
}

/// Creates an empty file for the output of another process.
///
/// # Errors
/// `AlreadyExists`, or what the system says.
pub fn create_output_file(path: &Path) -> io::Result<OwnedFd> {
    let file = OpenOptions::new().append(true).create_new(true).open(path)?;
    Ok(file.into())
}

/// The machine's file systems.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

struct RealFile(File);

struct RealLock {
    // Closing the file lets go of the lock.
    _file: File,
}

impl DiskLock for RealLock {}

impl Disk for RealDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        names.sort();
        Ok(names)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        if dir.as_os_str().is_empty() || fs::metadata(dir).is_ok_and(|found| found.is_dir()) {
            return Ok(());
        }
        let parent = dir.parent().unwrap_or(Path::new("/"));
        self.create_dir(parent)?;
        match fs::create_dir(dir) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        self.sync_dir(parent)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        File::open(dir)?.sync_all()
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let found = rustix::fs::statvfs(dir)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(RealLock { _file: file })),
            Err(TryLockError::WouldBlock) => Err(ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        retry_interrupted(|| self.0.read_at(buffer, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        retry_interrupted(|| self.0.write_at(bytes, offset))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, length) {
            // Some file systems cannot: then room is only found to be missing while writing.
            Err(Errno::OPNOTSUPP) => self.set_length(length),
            other => Ok(other?),
        }
    }

    fn will_read(&self, range: Range<u64>) {
        self.advise(&range, Advice::WillNeed);
    }

    fn forget_cached(&self, range: Range<u64>) {
        self.advise(&range, Advice::DontNeed);
    }
}

impl RealFile {
    fn advise(&self, range: &Range<u64>, advice: Advice) {
        // The system takes "no length" for "to the end".
        if let Some(length) = NonZeroU64::new(range.end.saturating_sub(range.start)) {
            // Advice: a file system that does not take it is as good.
            let _ = rustix::fs::fadvise(&self.0, range.start, Some(length), advice);
        }
    }
}

fn retry_interrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_until_the_first_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = RealDisk.lock(&path).unwrap();
        let refused = RealDisk.lock(&path).err().expect("the lock is held");
        assert_eq!(refused.kind(), ErrorKind::WouldBlock);
        drop(first);
        RealDisk.lock(&path).unwrap();
    }

    #[test]
    fn files_are_written_read_listed_renamed_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        RealDisk.create_dir(&deep).unwrap();
        RealDisk.create_dir(&deep).unwrap();
        let file = RealDisk.create(&deep.join("one")).unwrap();
        file.allocate(8192).unwrap();
        file.write_all_at(b"hello", 4000).unwrap();
        file.sync_all().unwrap();
        file.forget_cached(0..8192);
        let mut read = [0; 5];
        file.read_exact_at(&mut read, 4000).unwrap();
        assert_eq!((&read, file.length().unwrap()), (b"hello", 8192));
        assert_eq!(
            file.read_exact_at(&mut read, 8190).unwrap_err().kind(),
            ErrorKind::UnexpectedEof
        );
        RealDisk.rename(&deep.join("one"), &deep.join("two")).unwrap();
        RealDisk.sync_dir(&deep).unwrap();
        assert_eq!(RealDisk.list(&deep).unwrap(), ["two"]);
        assert!(RealDisk.free_bytes(&deep).unwrap() > 0);
        RealDisk.remove(&deep.join("two")).unwrap();
        assert!(RealDisk.list(&deep).unwrap().is_empty());
        RealDisk.remove_dir_all(&deep).unwrap();
        RealDisk.remove_dir_all(&deep).unwrap();
    }

    #[test]
    fn a_small_file_need_not_be_writable_and_has_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        replace_file(&RealDisk, dir.path(), "name", b"12345").unwrap();
        let path = dir.path().join("name");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        let read = read_small_file(&path, 5).unwrap();
        assert_eq!(read, SmallFile { bytes: b"12345".into(), mode: 0o400 });
        assert_eq!(read_small_file(&path, 4).unwrap_err().kind(), ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_private_file_is_its_owners_alone_and_replaces_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("name");
        create_private_file(&path, b"12345").unwrap();
        let read = read_small_file(&path, 5).unwrap();
        assert_eq!(read, SmallFile { bytes: b"12345".into(), mode: 0o600 });
        let refused = create_private_file(&path, b"x").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
    }

    #[test]
    fn replaced_file_has_the_new_contents_and_leaves_no_draft() {
        let dir = tempfile::tempdir().unwrap();
        replace_file(&RealDisk, dir.path(), "name", b"first").unwrap();
        replace_file(&RealDisk, dir.path(), "name", b"2").unwrap();
        let file = RealDisk.open(&dir.path().join("name")).unwrap();
        assert_eq!(file.length().unwrap(), 1);
        assert_eq!(RealDisk.list(dir.path()).unwrap(), ["name"]);
    }
}
