//! What can be wrong with a log.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::planted::{self, Bug};
use crate::storage::Owner;

/// Why the log cannot go on.
#[derive(Debug, Error)]
pub enum WalError {
    /// The system refused a call. What is on the disk is not known.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something that was acknowledged is damaged or missing. All files were left as they are.
    #[error("{} is damaged at byte {offset}: {why}", file.display())]
    Corrupt {
        /// The file, or the directory where a file is missing.
        file: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong.
        why: Damage,
    },
    /// The log belongs to another member.
    #[error("{} belongs to {found:?}, not to {expected:?}", file.display())]
    ForeignOwner {
        /// The file that says so.
        file: PathBuf,
        /// Who opened it.
        expected: Owner,
        /// Whose it is.
        found: Owner,
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
    /// There is no log, and there should be one.
    #[error("there is no log in {}", dir.display())]
    Missing {
        /// The directory.
        dir: PathBuf,
    },
    /// The disk is too full to start.
    #[error("no room for {needed_bytes} bytes in {}", dir.display())]
    Full {
        /// The directory.
        dir: PathBuf,
        /// How many bytes are needed.
        needed_bytes: u64,
    },
    /// The entries wanted have been purged.
    #[error("entry {from} was purged: the first one is {first}")]
    Purged {
        /// The index that was asked for.
        from: u64,
        /// The first index there may be.
        first: u64,
    },
    /// The log thread has panicked, which is a mistake in this program.
    #[error("the log thread has panicked")]
    Panicked,
}

/// What is wrong with a file of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Damage {
    /// The record that should be here was on the disk once.
    #[error("record {sequence} cannot be read, and all up to {synced_upto} had been synced")]
    SyncedRecord {
        /// The record that should be here.
        sequence: u64,
        /// The greatest one known to have been synced.
        synced_upto: u64,
    },
    /// A record that was read before cannot be read now, or is another one.
    #[error("the record that was written here cannot be read")]
    WrittenRecord,
    /// A record is readable, and is not the one that follows the one before it.
    #[error("record {found} follows where {expected} should, or does not continue the chain")]
    Order {
        /// The record that should be here.
        expected: u64,
        /// The one that is.
        found: u64,
    },
    /// An entry is readable, and does not follow the one before it.
    #[error("entry {found} follows where {expected} should")]
    EntryOrder {
        /// The index that should be here.
        expected: u64,
        /// The one that is.
        found: u64,
    },
    /// A segment that another file names is missing, or its head is unreadable.
    #[error("segment {number} is missing or its head cannot be read")]
    Segment {
        /// The number of the segment.
        number: u64,
    },
    /// Entries between the purged one and the first one are missing.
    #[error("entries from {expected} to before {found} are missing")]
    Hole {
        /// The first index that should be there.
        expected: u64,
        /// The first one that is.
        found: u64,
    },
    /// No slot of the file `hard` can be read, or it is missing beside segments.
    #[error("neither slot can be read")]
    Hard,
}

/// What a write or a sync came to. An error is never passed over: nobody knows what is on the disk then.
pub(super) fn outcome(result: io::Result<()>) -> io::Result<()> {
    if planted::is(Bug::DiskErrorIgnored) { Ok(()) } else { result }
}

/// Adds what was tried to an error of the system.
pub(super) trait Context<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, WalError>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, WalError> {
        self.map_err(|source| WalError::Io { action, path: path.to_path_buf(), source })
    }
}
