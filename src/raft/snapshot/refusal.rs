//! Why a receiver does not take what it is sent.

use super::super::encoding::DecodeError;
use super::super::opening::OpenError;
use super::messages::MessageError;
use crate::storage::checkpoint::CheckpointError;
use crate::storage::runs::RunError;

/// Room on the disk that a transfer leaves to everything else, bytes.
pub(super) const ROOM_LEFT_BYTES: u64 = 16 << 20;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error("the snapshot is of cluster {offered:032x}, this member is of {ours:032x}")]
    ForeignCluster { offered: u128, ours: u128 },
    #[error("no snapshot has {file_bytes} bytes and {meta_bytes} of description")]
    Size { file_bytes: u64, meta_bytes: usize },
    #[error("the snapshot's description is not valid")]
    Meta(#[source] DecodeError),
    #[error("the snapshot named {named} describes {described:?}")]
    Misnamed { named: u64, described: Option<u64> },
    #[error("the snapshot ({offered}) contradicts what has been applied here ({applied})")]
    Contradiction { offered: String, applied: String },
    #[error("another snapshot is being loaded")]
    Busy,
    #[error(
        "there is room for {free} bytes, the snapshot needs {needed} more and {ROOM_LEFT_BYTES} beside"
    )]
    NoRoom { needed: u64, free: u64 },
    #[error("this transfer was ended by another one")]
    Superseded,
    #[error("a chunk of {length} bytes at {offset}, when {expected} bytes are there")]
    Misplaced { offset: u64, length: usize, expected: u64 },
    #[error("the chunk at {offset} was changed on its way")]
    ChunkDamaged { offset: u64 },
    #[error("only {taken} of {file_bytes} bytes are there")]
    Incomplete { taken: u64, file_bytes: u64 },
    #[error("the vote is not valid")]
    Vote(#[source] DecodeError),
    #[error("the snapshot is newer than the vote of its sender, or that leads nobody")]
    VoteTooOld,
    #[error("the file is not the one that was offered")]
    NotAsOffered,
    #[error(transparent)]
    Storage(#[from] CheckpointError),
    #[error("a chunk of a file that was not asked for")]
    NotWanted,
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("the snapshot cannot be loaded")]
    Load(#[from] OpenError),
    #[error("loading has ended without a result")]
    Task(#[from] tokio::task::JoinError),
}
