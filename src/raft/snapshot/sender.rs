//! Sends a checkpoint: offers it, sends what the other side lacks, and waits until it is installed.

use std::future::Future;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::messages::{self, Answer, Chunk, MessageError, Offer, Request};
use super::receiver::WORKING_LIMIT;
use super::source::{SnapshotSource, keep_log_while};
use super::{Call, CallError, PROGRESS_LIMIT};

/// How often the receiver may say that it has come no further.
const STANDSTILLS_MAX: u128 = PROGRESS_LIMIT.as_millis() / WORKING_LIMIT.as_millis();

/// The snapshot was not installed. What was sent is kept there for the next attempt, but for what was
/// refused.
#[derive(Debug, thiserror::Error)]
pub(in crate::raft) enum SendError {
    /// openraft has no more use for it.
    #[error("the transfer was given up")]
    Cancelled,
    /// The other side does not answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The other side does not want it.
    #[error("the other member refuses the snapshot: {why}")]
    Refused {
        /// In its own words.
        why: String,
    },
    /// What came back cannot be read.
    #[error("the other member answers with {0}")]
    Message(#[from] MessageError),
    /// What came back is no answer to what was asked.
    #[error("an answer out of place to {asked}")]
    OutOfPlace {
        /// What was asked.
        asked: &'static str,
    },
    /// The receiver works on it and does not get on.
    #[error("the other member has loaded {records} records and no more for {PROGRESS_LIMIT:?}")]
    Stuck {
        /// How far it came.
        records: u64,
    },
    /// Our own file cannot be read.
    #[error("cannot read the checkpoint")]
    Read(#[source] io::Error),
}

/// Sends `source`, and `vote` with it, until the other member has installed it; gives back what its
/// openraft has answered. Every request has a limit of ten seconds, and progress renews it.
///
/// Ends when `cancel` completes. When it is dropped half way, the way is of no use any more.
///
/// # Errors
///
/// [`SendError`]; the next attempt of the same file goes on where this one has ended.
pub(in crate::raft) async fn send<C: Call>(
    source: &Arc<SnapshotSource>,
    vote: Bytes,
    call: &mut C,
    cancel: impl Future,
) -> Result<Bytes, SendError> {
    let transfer = Transfer { source, call };
    tokio::select! {
        _ = cancel => Err(SendError::Cancelled),
        sent = keep_log_while(source, transfer.run(vote)) => sent,
    }
}

struct Transfer<'a, C> {
    source: &'a Arc<SnapshotSource>,
    call: &'a mut C,
}

impl<C: Call> Transfer<'_, C> {
    async fn run(mut self, vote: Bytes) -> Result<Bytes, SendError> {
        let file_bytes = self.source.info().file_bytes;
        let (transfer, mut sent) = self.offer().await?;
        while sent < file_bytes {
            sent = self.chunk(transfer, sent).await?;
        }
        self.finish(transfer, vote).await
    }

    async fn offer(&mut self) -> Result<(u64, u64), SendError> {
        let info = self.source.info();
        let offer = Offer {
            cluster: info.head.cluster,
            index: info.head.applied_index,
            file_bytes: info.file_bytes,
            file_crc: info.file_crc,
            meta: info.head.meta.clone(),
        };
        match self.ask(&Request::Offer(offer)).await? {
            Answer::Have { transfer, bytes } => Ok((transfer, bytes)),
            _ => Err(SendError::OutOfPlace { asked: "an offer" }),
        }
    }

    async fn chunk(&mut self, transfer: u64, offset: u64) -> Result<u64, SendError> {
        let source = Arc::clone(self.source);
        let read = tokio::task::spawn_blocking(move || source.read(offset));
        let bytes = read.await.map_err(io::Error::other).flatten().map_err(SendError::Read)?;
        let expected = offset + bytes.len() as u64;
        let crc = crc32fast::hash(&bytes);
        match self.ask(&Request::Chunk(Chunk { transfer, offset, crc, bytes })).await? {
            Answer::Taken { bytes } if bytes == expected => Ok(bytes),
            _ => Err(SendError::OutOfPlace { asked: "a chunk" }),
        }
    }

    async fn finish(&mut self, transfer: u64, vote: Bytes) -> Result<Bytes, SendError> {
        let (mut loaded, mut standstills) = (None, 0);
        loop {
            match self.ask(&Request::Finish { transfer, vote: vote.clone() }).await? {
                Answer::Installed { answer } => return Ok(answer),
                Answer::Working { records } if loaded < Some(records) => {
                    (loaded, standstills) = (Some(records), 0);
                }
                Answer::Working { records } => {
                    standstills += 1;
                    if standstills >= STANDSTILLS_MAX {
                        return Err(SendError::Stuck { records });
                    }
                }
                _ => return Err(SendError::OutOfPlace { asked: "the end" }),
            }
        }
    }

    async fn ask(&mut self, request: &Request) -> Result<Answer, SendError> {
        let answer = self.call.call(messages::encode(request), PROGRESS_LIMIT).await?;
        match messages::decode(&answer)? {
            Answer::Refused { why } => Err(SendError::Refused { why }),
            answer => Ok(answer),
        }
    }
}
