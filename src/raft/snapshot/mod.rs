//! Snapshots that travel: a member's snapshot is its newest durable checkpoint file, sent as it is.
//!
//! `sender` offers the file and sends what the other side does not have, first of the checkpoint and then
//! of the run files that it lists, one after the other as they are asked for. `receiver` keeps what
//! came (`taking`), verifies it, makes it durable and loads the queue (`loading`); only then is openraft
//! told, so that installing is a swap of pointers (openraft answers nobody meanwhile). `source` holds
//! files open while they are sent, and the log behind them. `messages` has what the two sides say.
//! `following` is for the start after a crash between the file and the log.
//!
//! It must not know how the bytes travel ([`Call`]), and not decide whether a snapshot is installed:
//! that is openraft's.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::cold::Successor;
use super::encoding::{self, DecodeError};
use super::restoring::CheckpointMeta;
use super::types::SnapshotMeta;
use crate::queue::Queue;
use crate::storage::wal::EntryId;

mod following;
mod loading;
mod messages;
mod receiver;
mod refusal;
mod runs;
mod sender;
mod source;
mod taking;

pub(super) use following::follow_checkpoint;
pub(super) use messages::{installed, refused};
pub(super) use receiver::{Receiver, Receiving, Response};
#[cfg(test)]
pub(super) use sender::SendError;
pub(super) use sender::send;
pub(super) use source::{SentRuns, SnapshotSource, Transfers};

/// The most bytes of the file that one message has.
pub(super) const CHUNK_BYTES_MAX: usize = 256 << 10;

/// How long a transfer may stand still.
pub(super) const PROGRESS_LIMIT: Duration = Duration::from_secs(10);

/// What openraft carries from one trait to the other as the snapshot itself.
pub(super) enum SnapshotData {
    /// Nothing: the log was cut without a file (a member without a data directory).
    Nothing,
    /// The newest checkpoint of this member, to be sent.
    Own(Arc<SnapshotSource>),
    /// A checkpoint of another member: verified, durable here, and loaded.
    Loaded(Box<Loaded>),
}

/// A checkpoint that was received, ready to take the place of the state.
pub(super) struct Loaded {
    /// The state. Its cold jobs are this member's, once those of the snapshot are in their place.
    pub queue: Queue,
    /// The cold jobs of the snapshot.
    pub cold: Successor,
    /// The file, which is this member's newest checkpoint now.
    pub source: Arc<SnapshotSource>,
}

/// A way to ask the other member, one request after the other.
pub(super) trait Call: Send {
    /// Sends `request` and waits for the answer, for at most `limit`. After an error, or when it is
    /// dropped half way, the way is of no use any more.
    fn call(
        &mut self,
        request: Vec<u8>,
        limit: Duration,
    ) -> impl Future<Output = Result<Bytes, CallError>> + Send;
}

/// The other member did not answer.
#[derive(Debug, thiserror::Error)]
#[error("the link to the other member has failed")]
pub(super) struct CallError(#[from] pub(super) io::Error);

/// What a checkpoint says to openraft.
///
/// # Errors
///
/// [`DecodeError`] when its description is of another version or malformed.
pub(super) fn snapshot_meta(meta: &[u8]) -> Result<SnapshotMeta, DecodeError> {
    let meta: CheckpointMeta = encoding::decode("checkpoint", meta)?;
    let (term, member, index) = meta.applied;
    Ok(SnapshotMeta {
        last_log_id: Some(encoding::log_id(EntryId { term, member, index })),
        last_membership: encoding::stored_membership(&meta.membership)?,
    })
}
