//! Sends a checkpoint: offers it, sends what the other side lacks, and waits until it is installed.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::loading::WORKING_LIMIT;
use super::messages::{self, Answer, Chunk, MessageError, Offer, Request};
use super::source::{KeepLog, SnapshotSource};
use super::{Call, CallError, PROGRESS_LIMIT};
use crate::storage::runs::RunUid;

/// How often the receiver may say that it has come no further.
const STANDSTILLS_MAX: u128 = PROGRESS_LIMIT.as_millis() / WORKING_LIMIT.as_millis();

/// A transfer that took no longer is worth to be finished; after one that took longer the newest
/// checkpoint is sent, which is the difference: else all the log since the beginning would be needed.
const QUICK_ROUND: Duration = Duration::from_secs(1);

/// How often it is looked, after that, whether there is a newer checkpoint.
const LOOK: Duration = Duration::from_millis(100);

/// How many checkpoints are sent one after the other, before the last one is finished in any case: a
/// sender whose jobs change faster than they can be sent must come to an end too.
const ROUNDS_MAX: u32 = 16;

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
    #[error("the other member has worked up to {progress} and no further for {PROGRESS_LIMIT:?}")]
    Stuck {
        /// How far it came.
        progress: u64,
    },
    /// Our own files cannot be read.
    #[error("cannot read the checkpoint or its run files")]
    Read(#[source] io::Error),
}

/// Sends `source`, or a newer checkpoint if that takes long, and `vote` with it, until the other member
/// has installed it; gives back what its openraft has answered. Every request has a limit of ten seconds, and progress renews it.
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
    let transfer = Transfer { source: Arc::clone(source), call };
    tokio::select! {
        _ = cancel => Err(SendError::Cancelled),
        sent = transfer.run(vote) => sent,
    }
}

struct Transfer<'a, C> {
    source: Arc<SnapshotSource>,
    call: &'a mut C,
}

impl<C: Call> Transfer<'_, C> {
    async fn run(mut self, vote: Bytes) -> Result<Bytes, SendError> {
        let mut rounds = 1;
        loop {
            let (transfer, kept) = match rounds < ROUNDS_MAX {
                true => self.round().await?,
                // However long it takes: the log behind it stays.
                false => {
                    let kept = self.source.keep_log();
                    (self.send_all().await?, Some(kept))
                }
            };
            let newer = self.source.newer().filter(|_| kept.is_none());
            let Some(newer) = newer else {
                let kept = kept.unwrap_or_else(|| self.source.keep_log());
                let answer = self.finish(transfer, vote).await?;
                kept.for_a_while();
                return Ok(answer);
            };
            rounds += 1;
            tracing::info!(index = newer.info().head.applied_index, "a newer snapshot follows");
            self.source = newer;
        }
    }

    /// Sends all that the other side lacks. When that has taken so long that a newer checkpoint is
    /// better, the log behind this one is not kept any more.
    async fn round(&mut self) -> Result<(u64, Option<KeepLog>), SendError> {
        let source = Arc::clone(&self.source);
        let kept = source.keep_log();
        let mut sending = pin!(self.send_all());
        tokio::select! {
            // First: its time is that of all of the transfer.
            biased;
            () = is_outdated(&source) => drop(kept),
            sent = &mut sending => return Ok((sent?, Some(kept))),
        }
        Ok((sending.await?, None))
    }

    /// Sends the checkpoint, and the run files that are asked for. Returns the number of the
    /// transfer.
    async fn send_all(&mut self) -> Result<u64, SendError> {
        let file_bytes = self.source.info().file_bytes;
        let (transfer, mut sent) = self.offer().await?;
        while sent < file_bytes {
            let source = Arc::clone(&self.source);
            let bytes = read(move || source.read(sent)).await?;
            let chunk = Chunk::new(transfer, sent, bytes);
            sent = self.chunk(Request::Chunk, chunk).await?;
        }
        if self.source.lists_runs() {
            self.send_runs(transfer).await?;
        }
        Ok(transfer)
    }

    async fn send_runs(&mut self, transfer: u64) -> Result<(), SendError> {
        let mut progress = Progress::default();
        loop {
            let (run, file_bytes, mut sent) = match self.ask(&Request::Next { transfer }).await? {
                Answer::Complete => return Ok(()),
                Answer::Working { progress: now } => {
                    progress.is(now)?;
                    continue;
                }
                Answer::Wanted { run, file_bytes, bytes } => (run, file_bytes, bytes),
                _ => return Err(SendError::OutOfPlace { asked: "what is next" }),
            };
            progress = Progress::default();
            while sent < file_bytes {
                let source = Arc::clone(&self.source);
                let part = move || source.read_run(RunUid(run), sent, file_bytes);
                let chunk = Chunk::new(transfer, sent, read(part).await?);
                sent = self.chunk(|chunk| Request::RunChunk { run, chunk }, chunk).await?;
            }
        }
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

    async fn chunk(
        &mut self,
        request: impl FnOnce(Chunk) -> Request,
        chunk: Chunk,
    ) -> Result<u64, SendError> {
        let expected = chunk.offset + chunk.bytes.len() as u64;
        match self.ask(&request(chunk)).await? {
            Answer::Taken { bytes } if bytes == expected => Ok(bytes),
            _ => Err(SendError::OutOfPlace { asked: "a chunk" }),
        }
    }

    async fn finish(&mut self, transfer: u64, vote: Bytes) -> Result<Bytes, SendError> {
        let mut progress = Progress::default();
        loop {
            match self.ask(&Request::Finish { transfer, vote: vote.clone() }).await? {
                Answer::Installed { answer } => return Ok(answer),
                Answer::Working { progress: now } => progress.is(now)?,
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

/// How far the receiver has come with its work.
#[derive(Default)]
struct Progress {
    last: Option<u64>,
    standstills: u128,
}

impl Progress {
    /// It has come so far `now`.
    fn is(&mut self, now: u64) -> Result<(), SendError> {
        if self.last < Some(now) {
            *self = Self { last: Some(now), standstills: 0 };
            return Ok(());
        }
        self.standstills += 1;
        match self.standstills < STANDSTILLS_MAX {
            true => Ok(()),
            false => Err(SendError::Stuck { progress: now }),
        }
    }
}

/// Completes when the transfer has taken long, and there is a newer checkpoint than `source`.
async fn is_outdated(source: &SnapshotSource) {
    tokio::time::sleep(QUICK_ROUND).await;
    while source.newer().is_none() {
        tokio::time::sleep(LOOK).await;
    }
}

/// Reads a part of a file.
async fn read<E: std::error::Error + Send + Sync + 'static>(
    part: impl FnOnce() -> Result<Bytes, E> + Send + 'static,
) -> Result<Bytes, SendError> {
    let read = tokio::task::spawn_blocking(part).await;
    let read = read.map_err(io::Error::other);
    read.and_then(|part| part.map_err(io::Error::other)).map_err(SendError::Read)
}
