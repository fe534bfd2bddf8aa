//! Cold jobs on disk: immutable, checksummed files of records, and what was taken of them since.
//!
//! A *run* is one file: bodies, then records sorted by their [`Place`], then indexes over places and
//! over ids. A [`RunSet`] is all runs, with a mark for each record that was taken. A new run can be
//! read at once from memory (it is *sealed*), while the background writer writes it. Which files
//! there are is not decided here: a checkpoint lists them ([`RunState`]), and a file goes only when
//! no checkpoint lists it any more.
//!
//! What a record means is the caller's business. This layer knows its place, its id and where its
//! body is. It must not: keep a log, decide when a job becomes cold, or write on the caller's thread.
//!
//! Start reading at [`RunSet`]; `format` has the bytes.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use super::background::BackgroundHandle;
use super::disk::Disk;

mod cursors;
mod exchange;
mod files;
mod format;
mod ids;
mod keep;
mod look;
mod lru;
mod marks;
mod merge;
mod pages;
mod plan;
mod reader;
mod removing;
mod room;
mod run;
mod scan;
mod sealed;
mod set;
mod spans;
mod state;
mod writer;

#[cfg(test)]
mod tests;

pub use self::exchange::{Arriving, Exchange, OnPiece, RunId};
pub use self::keep::Resident;
pub use self::marks::Marks;
pub use self::plan::{MERGE_RECORDS_MAX, MERGE_RUNS, MOVED_BYTES_MAX, Merge, OVERLAP_MAX};
pub use self::room::{DiskRoom, Unwritten};
pub use self::set::{Found, RunSet};
pub use self::state::{Frozen, Held, Live, RunState};

/// The most bytes the facts of a record may have.
pub const FACTS_BYTES_MAX: usize = 128;

/// How many run files are open at once, at most.
pub const OPEN_FILES_MAX: usize = 256;

/// Names a run file; no two members ever give the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunUid(pub u128);

/// Records that are taken in one order: a tube's ready, delayed or buried jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    /// The tube.
    pub tube: u64,
    /// Which of its orders. This layer only compares it.
    pub kind: u8,
}

/// Where a record stands among all. Records are sorted by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The group.
    pub group: Group,
    /// The order in the group: a priority, a time or a sequence.
    pub order: u64,
    /// The id, by which equals are ordered. No two untaken records of a set have the same.
    pub id: u64,
}

/// Where a body is: in the file that it was written to first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyPointer {
    /// The file.
    pub file: RunUid,
    /// Where in it, bytes.
    pub offset: u64,
    /// How long, bytes.
    pub length: u32,
    /// The CRC of the body.
    pub crc: u32,
}

/// A body that comes with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordBody {
    /// To be written to the new run.
    Given(Bytes),
    /// In a file of the set already, and not let go since.
    At(BodyPointer),
}

/// A record to be sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it stands.
    pub place: Place,
    /// What the caller has to say of it, at most [`FACTS_BYTES_MAX`] bytes.
    pub facts: Bytes,
    /// Its body.
    pub body: RecordBody,
}

/// A record as it is in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) place: Place,
    pub(super) facts: Bytes,
    pub(super) body: BodyPointer,
}

/// Called on the background thread when a sealed run became durable or could not be written, and
/// when a merge has ended.
pub type OnChange = Arc<dyn Fn() + Send + Sync>;

/// What a [`RunSet`] needs.
#[derive(Clone)]
pub struct RunOptions {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The directory of the run files; made if need be.
    pub dir: PathBuf,
    /// The cluster. Files of another one are refused.
    pub cluster: u128,
    /// The member, which becomes a part of the names of its files.
    pub member: u64,
    /// Drawn at random for this life of the process: makes the names unique.
    pub life: u64,
    /// Who writes.
    pub background: BackgroundHandle,
    /// How much memory the cache of pages may use, bytes.
    pub cache_bytes_max: usize,
    /// How much memory the cursors of the groups may use, bytes.
    pub cursor_bytes_max: usize,
    /// Told of changes.
    pub on_change: OnChange,
}

/// What is wrong with a run.
#[derive(Debug, Error)]
pub enum RunError {
    /// The file is damaged, or no run.
    #[error("run {} is damaged at byte {offset}: {why}", file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// Where in it, bytes.
        offset: u64,
        /// What is wrong.
        why: Damage,
    },
    /// A file that a checkpoint lists is not there.
    #[error("run {} is missing", file.display())]
    Missing {
        /// The file.
        file: PathBuf,
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
    /// The foot does not match its checksum, the name or the checkpoint.
    #[error("its foot is not valid")]
    Foot,
    /// The summary of the indexes does not match its checksum.
    #[error("its summary is not valid")]
    Summary,
    /// A block of records does not match its checksum, or is not the one that should be there.
    #[error("a block of records is not valid")]
    Block,
    /// A page of the index over places is not the one that should be there.
    #[error("a page of the index over places is not valid")]
    IndexPage,
    /// A page of the index over ids is not the one that should be there.
    #[error("a page of the index over ids is not valid")]
    IdPage,
    /// The file as a whole does not match its checksum.
    #[error("its bytes are not those that were written")]
    File,
    /// A body does not match its checksum.
    #[error("a body is not valid")]
    Body,
    /// Two records that nobody has taken have the same id.
    #[error("an id is there twice")]
    DoubleId,
}

impl RunError {
    /// Whether there was no room on the disk, for which waiting may help.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if super::disk::is_full(source))
    }

    /// Whether what was written is not there any more as it was.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::Missing { .. })
    }
}

impl Group {
    /// The first place that this group can have.
    pub(super) fn start(self) -> Place {
        Place { group: self, order: 0, id: 0 }
    }

    /// The last place that this group can have.
    pub(super) fn end(self) -> Place {
        Place { group: self, order: u64::MAX, id: u64::MAX }
    }
}
