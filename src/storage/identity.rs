//! Who lives in a data directory: one small checked file, and a lock.
//!
//! It refuses rather than guesses: a directory that has a log and no identity, a damaged identity,
//! one of beanstalkd's own logs, and, when asked to, an empty directory, which may be a disk that is
//! not mounted.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use super::Owner;
use super::bytes_at::{head_crc, u32_at, u64_at, u128_at};
use super::disk::{Disk, DiskLock, is_full, replace_file};

const NAME: &str = "identity";
const LOCK_NAME: &str = "lock";
const MAGIC: u64 = u64::from_le_bytes(*b"beanpole");
const VERSION: u32 = 1;
const FILE_BYTES: usize = 64;

/// What a data directory may hold besides its identity. Each is useless without it.
pub const PARTS: [&str; 4] = ["wal", "checkpoints", "runs", "catalog"];

/// A data directory, locked for as long as this lives.
pub struct DataDirectory {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    identity: Identity,
    lock: Arc<dyn DiskLock>,
}

/// Who lives in a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster and the member.
    pub owner: Owner,
    /// How often this member has begun to speak; 0 before the first time.
    pub incarnation: u64,
    /// Everything that belongs into the directory was made. Before, its parts may be missing.
    pub is_complete: bool,
}

/// Why a data directory cannot be used.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// Another process has it.
    #[error("{} is in use by another server", path.display())]
    LockHeld {
        /// The directory.
        path: PathBuf,
    },
    /// It is empty or missing, and must not be.
    #[error(
        "{} holds no data, and --must-exist is set: is the disk mounted? \
         Start once without --must-exist to begin a new queue there",
        path.display()
    )]
    Empty {
        /// The directory.
        path: PathBuf,
    },
    /// It holds a log of beanstalkd.
    #[error(
        "{} was written by beanstalkd, whose log is not read here: import its jobs with a client \
         into another directory",
        file.display()
    )]
    BeanstalkdLog {
        /// One of its files.
        file: PathBuf,
    },
    /// It holds data and no identity.
    #[error("{} is there, but {} is missing: whose data it is is not known", part.display(), file.display())]
    Missing {
        /// The identity file.
        file: PathBuf,
        /// What is there.
        part: PathBuf,
    },
    /// The identity cannot be read.
    #[error("{} is damaged", file.display())]
    Damaged {
        /// The identity file.
        file: PathBuf,
    },
    /// The identity was written by a version that this one does not know.
    #[error("{} has format version {found}, this is version {known}", file.display())]
    UnknownVersion {
        /// The identity file.
        file: PathBuf,
        /// The version in it.
        found: u32,
        /// The only version known here.
        known: u32,
    },
    /// The system refused a call.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Whether somebody lives in a directory: a directory without is to be somebody's first.
///
/// # Errors
///
/// What the system says. A missing directory is an empty one.
pub fn is_there(disk: &dyn Disk, path: &Path) -> io::Result<bool> {
    match disk.list(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        listed => Ok(listed?.iter().any(|name| name == NAME)),
    }
}

impl DataDirectory {
    /// Opens and locks the directory. An empty or missing one is given to `newcomer`, unless
    /// `must_exist`.
    ///
    /// # Errors
    /// See [`IdentityError`]. Nothing but a missing directory and the lock file has been made then.
    pub fn open(
        disk: Arc<dyn Disk>,
        path: &Path,
        newcomer: Owner,
        must_exist: bool,
    ) -> Result<Self, IdentityError> {
        let names = match disk.list(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            listed => listed.map_err(io_error("list", path))?,
        };
        let has_identity = names.iter().any(|name| name == NAME);
        if !has_identity {
            refuse_strangers(path, &names)?;
            if must_exist {
                return Err(IdentityError::Empty { path: path.to_path_buf() });
            }
        }
        disk.create_dir(path).map_err(io_error("create", path))?;
        let lock = lock(&*disk, path)?;
        // Read under the lock: another server may have begun here in between.
        let identity = match read(&*disk, path)? {
            Some(identity) => identity,
            None => {
                let new = Identity { owner: newcomer, incarnation: 0, is_complete: false };
                write(&*disk, path, &new)?;
                new
            }
        };
        Ok(Self { disk, path: path.to_path_buf(), identity, lock })
    }

    /// Who lives here.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The lock, for whoever writes here longer than this lives.
    pub fn lock(&self) -> Arc<dyn DiskLock> {
        Arc::clone(&self.lock)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Begins another life: adds one to the incarnation, durably, and returns it.
    ///
    /// # Errors
    /// What the disk says. Then it is not known which of the two is on the disk, and this member
    /// must not speak.
    pub fn raise_incarnation(&mut self) -> Result<u64, IdentityError> {
        let incarnation = self.identity.incarnation + 1;
        self.replace(Identity { incarnation, ..self.identity })?;
        Ok(incarnation)
    }

    /// Says that all parts have been made: from now on a missing one is a loss.
    ///
    /// # Errors
    /// What the disk says.
    pub fn set_complete(&mut self) -> Result<(), IdentityError> {
        if self.identity.is_complete {
            return Ok(());
        }
        self.replace(Identity { is_complete: true, ..self.identity })
    }

    fn replace(&mut self, identity: Identity) -> Result<(), IdentityError> {
        write(&*self.disk, &self.path, &identity)?;
        self.identity = identity;
        Ok(())
    }
}

fn refuse_strangers(path: &Path, names: &[String]) -> Result<(), IdentityError> {
    for name in names {
        if name.strip_prefix("binlog.").is_some_and(|number| number.parse::<u64>().is_ok()) {
            return Err(IdentityError::BeanstalkdLog { file: path.join(name) });
        }
        if PARTS.contains(&name.as_str()) {
            return Err(IdentityError::Missing { file: path.join(NAME), part: path.join(name) });
        }
    }
    Ok(())
}

fn lock(disk: &dyn Disk, path: &Path) -> Result<Arc<dyn DiskLock>, IdentityError> {
    let file = path.join(LOCK_NAME);
    match disk.lock(&file) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            Err(IdentityError::LockHeld { path: path.to_path_buf() })
        }
        locked => locked.map(Arc::from).map_err(io_error("lock", &file)),
    }
}

fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Identity>, IdentityError> {
    let file = path.join(NAME);
    let opened = match disk.open(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(io_error("open", &file))?,
    };
    let mut bytes = [0; FILE_BYTES];
    match opened.read_exact_at(&mut bytes, 0) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            Err(IdentityError::Damaged { file })
        }
        read => {
            read.map_err(io_error("read", &file))?;
            decode(&bytes, file).map(Some)
        }
    }
}

fn write(disk: &dyn Disk, path: &Path, identity: &Identity) -> Result<(), IdentityError> {
    let bytes = encode(identity);
    let written = match replace_file(disk, path, NAME, &bytes) {
        Err(error) if is_full(&error) => write_in_place(disk, path, &bytes),
        written => written,
    };
    written.map_err(io_error("write", &path.join(NAME)))
}

/// The last resort on a full disk, where a restart must still be possible. The file is a small part
/// of one sector, which the disk writes whole or not at all.
fn write_in_place(disk: &dyn Disk, path: &Path, bytes: &[u8; FILE_BYTES]) -> io::Result<()> {
    let file = disk.open(&path.join(NAME))?;
    file.write_all_at(bytes, 0)?;
    file.sync_data()
}

fn encode(identity: &Identity) -> [u8; FILE_BYTES] {
    let mut bytes = [0; FILE_BYTES];
    bytes[0..8].copy_from_slice(&MAGIC.to_le_bytes());
    bytes[12..16].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..32].copy_from_slice(&identity.owner.cluster.to_le_bytes());
    bytes[32..40].copy_from_slice(&identity.owner.member.to_le_bytes());
    bytes[40..48].copy_from_slice(&identity.incarnation.to_le_bytes());
    bytes[48..52].copy_from_slice(&u32::from(identity.is_complete).to_le_bytes());
    let crc = head_crc(&bytes);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8; FILE_BYTES], file: PathBuf) -> Result<Identity, IdentityError> {
    if u64_at(bytes, 0) != MAGIC || u32_at(bytes, 8) != head_crc(bytes) {
        return Err(IdentityError::Damaged { file });
    }
    let version = u32_at(bytes, 12);
    if version != VERSION {
        return Err(IdentityError::UnknownVersion { file, found: version, known: VERSION });
    }
    Ok(Identity {
        owner: Owner { cluster: u128_at(bytes, 16), member: u64_at(bytes, 32) },
        incarnation: u64_at(bytes, 40),
        is_complete: u32_at(bytes, 48) != 0,
    })
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> IdentityError {
    let path = path.to_path_buf();
    move |source| IdentityError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::sim::{Crash, SimDisk};

    const NEWCOMER: Owner = Owner { cluster: 0xABC, member: 4 };

    fn open(disk: &SimDisk, must_exist: bool) -> Result<DataDirectory, IdentityError> {
        DataDirectory::open(Arc::new(disk.clone()), Path::new("/data"), NEWCOMER, must_exist)
    }

    fn with_file(name: &str) -> SimDisk {
        let disk = SimDisk::new();
        disk.create_dir(Path::new("/data")).unwrap();
        disk.create(&Path::new("/data").join(name)).unwrap();
        disk
    }

    #[test]
    fn an_incarnation_is_durable_before_it_is_used() {
        let disk = SimDisk::new();
        let mut first = open(&disk, false).unwrap();
        assert_eq!(first.identity().incarnation, 0);
        assert_eq!(first.raise_incarnation().unwrap(), 1);
        first.set_complete().unwrap();
        assert_eq!(first.raise_incarnation().unwrap(), 2);
        let second = open(&disk.crash(Crash::LoseAll), true).unwrap();
        let expected = Identity { owner: NEWCOMER, incarnation: 2, is_complete: true };
        assert_eq!(second.identity(), expected);
    }

    #[test]
    fn a_crash_at_any_moment_leaves_the_old_or_the_new_incarnation() {
        for changes in 0..12 {
            for crash in [Crash::LoseAll, Crash::KeepAll, Crash::Random { seed: changes }] {
                let disk = SimDisk::new();
                open(&disk, false).unwrap().raise_incarnation().unwrap();
                let mut dying = open(&disk, true).unwrap();
                disk.power_off_after(changes);
                let raised = dying.raise_incarnation();
                let after = open(&disk.crash(crash), true).unwrap().identity().incarnation;
                assert!(after == 2 || (raised.is_err() && after == 1), "{changes} {crash:?}");
            }
        }
    }

    #[test]
    fn a_directory_in_use_is_refused() {
        let disk = SimDisk::new();
        let first = open(&disk, false).unwrap();
        assert!(matches!(open(&disk, false), Err(IdentityError::LockHeld { .. })));
        drop(first);
        assert!(open(&disk, false).is_ok());
    }

    #[test]
    fn an_empty_directory_is_refused_when_it_must_not_be() {
        assert!(matches!(open(&SimDisk::new(), true), Err(IdentityError::Empty { .. })));
        assert!(matches!(open(&with_file("notes"), true), Err(IdentityError::Empty { .. })));
        assert!(open(&with_file("notes"), false).is_ok());
    }

    #[test]
    fn a_log_of_beanstalkd_and_parts_without_identity_are_refused() {
        let refused = open(&with_file("binlog.1"), false);
        assert!(matches!(refused, Err(IdentityError::BeanstalkdLog { .. })));
        for part in PARTS {
            let refused = open(&with_file(part), false);
            assert!(matches!(refused, Err(IdentityError::Missing { .. })), "{part}");
        }
    }

    #[test]
    fn no_flipped_bit_and_no_cut_is_accepted() {
        let disk = SimDisk::new();
        drop(open(&disk, false).unwrap());
        let file = Path::new("/data/identity");
        for bit in 0..FILE_BYTES * 8 {
            disk.edit(file, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            assert!(matches!(open(&disk, false), Err(IdentityError::Damaged { .. })), "{bit}");
            disk.edit(file, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        }
        assert!(open(&disk, false).is_ok());
        disk.edit(file, |bytes| bytes.truncate(FILE_BYTES - 1));
        assert!(matches!(open(&disk, false), Err(IdentityError::Damaged { .. })));
    }
}
