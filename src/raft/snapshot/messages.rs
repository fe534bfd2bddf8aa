//! What the sender of a snapshot and its receiver say: a byte for the version, and postcard.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::encoding;
use crate::storage::checkpoint::IncomingId;

/// The first byte of every message.
const VERSION: u8 = 1;

/// A message that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(in crate::raft) enum MessageError {
    /// It has no bytes.
    #[error("an empty message")]
    Empty,
    /// Another version speaks there.
    #[error("a message of version {found}, this is version {VERSION}")]
    UnknownVersion {
        /// The version.
        found: u8,
    },
    /// The inside does not parse.
    #[error(transparent)]
    Malformed(#[from] encoding::DecodeError),
}

/// From the sender.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// What there is to send.
    Offer(Offer),
    /// A part of the file.
    Chunk(Chunk),
    /// All was sent: install it. Repeated for as long as the receiver works on it.
    Finish {
        /// As in [`Answer::Have`].
        transfer: u64,
        /// The sender's vote.
        vote: Bytes,
    },
    /// The checkpoint was sent: which run file is to come? Repeated after each.
    Next {
        /// As in [`Answer::Have`].
        transfer: u64,
    },
    /// A part of the run file that was asked for.
    RunChunk {
        /// Its uid.
        run: u128,
        chunk: Chunk,
    },
}

/// A checkpoint as it is offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Offer {
    pub(super) cluster: u128,
    pub(super) index: u64,
    pub(super) file_bytes: u64,
    pub(super) file_crc: u32,
    /// What it says to openraft.
    pub(super) meta: Bytes,
}

/// A part of the file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Chunk {
    /// As in [`Answer::Have`].
    pub(super) transfer: u64,
    pub(super) offset: u64,
    pub(super) crc: u32,
    pub(super) bytes: Bytes,
}

/// From the receiver.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// To an offer: go on from here.
    Have {
        /// The number of this transfer. A later offer ends it.
        transfer: u64,
        /// How many bytes need not be sent.
        bytes: u64,
    },
    /// To a chunk: it was taken.
    Taken {
        /// How many bytes are there now.
        bytes: u64,
    },
    /// To a finish, or to what is next: not yet.
    Working {
        /// How far it has come: it only grows.
        progress: u64,
    },
    /// To a finish: what openraft has answered.
    Installed { answer: Bytes },
    /// To anything.
    Refused { why: String },
    /// To what is next: this run file, from here.
    Wanted {
        /// Its uid.
        run: u128,
        file_bytes: u64,
        /// How many bytes need not be sent.
        bytes: u64,
    },
    /// To what is next: all is there.
    Complete,
}

impl Chunk {
    pub(super) fn new(transfer: u64, offset: u64, bytes: Bytes) -> Self {
        Self { transfer, offset, crc: crc32fast::hash(&bytes), bytes }
    }
}

impl Offer {
    pub(super) fn id(&self) -> IncomingId {
        let Self { cluster, index, file_bytes, file_crc, .. } = *self;
        IncomingId { cluster, index, file_bytes, file_crc }
    }
}

/// The answer to the sender when a snapshot was handed to openraft, which has answered `answer`.
pub(in crate::raft) fn installed(answer: &[u8]) -> Vec<u8> {
    encode(&Answer::Installed { answer: Bytes::copy_from_slice(answer) })
}

/// The answer to the sender when it is not to be.
pub(in crate::raft) fn refused(why: &dyn std::fmt::Display) -> Vec<u8> {
    encode(&Answer::Refused { why: why.to_string() })
}

pub(super) fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    encoding::append(message, &mut bytes);
    bytes
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, MessageError> {
    match bytes.split_first() {
        None => Err(MessageError::Empty),
        Some((&VERSION, rest)) => Ok(encoding::decode("snapshot message", rest)?),
        Some((&found, _)) => Err(MessageError::UnknownVersion { found }),
    }
}
