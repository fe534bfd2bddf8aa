//! Takes a checkpoint that another member sends: keeps it, verifies it, makes it durable, loads it.
//!
//! One transfer at a time; another offer ends the one before, unless that is being loaded. What was
//! refused has changed nothing but what was kept of the file itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::super::encoding;
use super::super::opening::{read_runs, restore_queue};
use super::super::state_machine::Replica;
use super::super::types::{SnapshotMeta, Vote};
use super::messages::{self, Answer, Chunk, Offer, Request};
use super::refusal::{ROOM_LEFT_BYTES, Refusal};
use super::source::{SnapshotSource, Transfers};
use super::{CHUNK_BYTES_MAX, Loaded, SnapshotData, snapshot_meta};
use crate::chain::Chain;
use crate::queue::ColdInMemory;
use crate::storage::background::PIECE_BYTES_MAX;
use crate::storage::checkpoint::{
    CheckpointError, Checkpoints, FILE_BYTES_MIN, Incoming, META_BYTES_MAX,
};

/// How long one answer to a finish is held back while the state is being loaded.
pub(super) const WORKING_LIMIT: Duration = Duration::from_secs(1);

/// Where checkpoints are received.
#[derive(Clone)]
pub(in crate::raft) struct Receiving {
    pub(in crate::raft) checkpoints: Checkpoints,
    pub(in crate::raft) cluster: u128,
    pub(in crate::raft) transfers: Arc<Transfers>,
}

/// The receiving side of a member: there is one, whatever number of links there are.
pub(in crate::raft) struct Receiver {
    receiving: Receiving,
    replica: Arc<Replica>,
    /// How many offers were accepted: the number of the present transfer.
    accepted: u64,
    current: Option<Transfer>,
}

/// What to do about a request.
pub(in crate::raft) enum Response {
    /// Send this back.
    Answer(Vec<u8>),
    /// Give it to openraft, and send back [`installed`](super::installed) with openraft's answer.
    Install(Box<Received>),
}

/// A snapshot that is durable and loaded.
pub(in crate::raft) struct Received {
    /// The sender's vote: no older than the snapshot.
    pub(in crate::raft) vote: Vote,
    /// What the snapshot is of.
    pub(in crate::raft) meta: SnapshotMeta,
    /// The snapshot.
    pub(in crate::raft) data: SnapshotData,
}

struct Transfer {
    number: u64,
    offer: Offer,
    meta: SnapshotMeta,
    stage: Stage,
}

enum Stage {
    /// All of it has been applied here: openraft will find so too.
    Unneeded,
    Taking(Taking),
    Loading(Loading),
}

/// The file, as far as it has come.
struct Taking {
    incoming: Incoming,
    /// Less than a piece.
    buffer: BytesMut,
    /// The piece that is being written.
    writing: Option<oneshot::Receiver<Result<(), CheckpointError>>>,
}

struct Loading {
    task: JoinHandle<Result<Box<Loaded>, Refusal>>,
    records: Arc<AtomicU64>,
}

impl Receiver {
    /// A receiver for `replica`, to which what it hands out is to be given.
    pub(in crate::raft) fn new(receiving: Receiving, replica: Arc<Replica>) -> Self {
        Self { receiving, replica, accepted: 0, current: None }
    }

    /// Takes a request. Answers within a second or two, if the disk does. Can be dropped half way:
    /// the sender then has to offer anew.
    pub(in crate::raft) async fn handle(&mut self, request: Bytes) -> Response {
        let response = match messages::decode(&request) {
            Ok(Request::Offer(offer)) => self.offer(offer).await,
            Ok(Request::Chunk(chunk)) => self.chunk(chunk).await,
            Ok(Request::Finish { transfer, vote }) => self.finish(transfer, &vote).await,
            Err(error) => Err(error.into()),
        };
        response.unwrap_or_else(|refusal| {
            tracing::warn!("a snapshot is refused: {}", Chain(&refusal));
            Response::Answer(messages::refused(&Chain(&refusal)))
        })
    }

    async fn offer(&mut self, offer: Offer) -> Result<Response, Refusal> {
        let meta = self.judge(&offer)?;
        let is_needed = self.is_needed(&meta)?;
        let number = self.accepted + 1;
        let bytes = match &mut self.current {
            Some(current) if current.offer == offer && is_needed => {
                current.number = number;
                current.taken()
            }
            Some(Transfer { stage: Stage::Loading(loading), .. })
                if !loading.task.is_finished() =>
            {
                return Err(Refusal::Busy);
            }
            _ => {
                self.current = None;
                let stage = match is_needed {
                    true => Stage::Taking(self.begin(&offer).await?),
                    false => Stage::Unneeded,
                };
                self.current.insert(Transfer { number, offer, meta, stage }).taken()
            }
        };
        self.accepted = number;
        tracing::info!(transfer = number, bytes, "a snapshot is offered");
        Ok(answer(&Answer::Have { transfer: number, bytes }))
    }

    /// What the offered snapshot is of, if it can be one of this cluster.
    fn judge(&self, offer: &Offer) -> Result<SnapshotMeta, Refusal> {
        let (offered, ours) = (offer.cluster, self.receiving.cluster);
        if offered != ours {
            return Err(Refusal::ForeignCluster { offered, ours });
        }
        let (file_bytes, meta_bytes) = (offer.file_bytes, offer.meta.len());
        if meta_bytes > META_BYTES_MAX || file_bytes < FILE_BYTES_MIN + meta_bytes as u64 {
            return Err(Refusal::Size { file_bytes, meta_bytes });
        }
        let meta = snapshot_meta(&offer.meta).map_err(Refusal::Meta)?;
        let described = meta.last_log_id.map(|id| id.index);
        match described == Some(offer.index) {
            true => Ok(meta),
            false => Err(Refusal::Misnamed { named: offer.index, described }),
        }
    }

    /// Whether there is something in it that has not been applied.
    fn is_needed(&self, meta: &SnapshotMeta) -> Result<bool, Refusal> {
        let applied = self.replica.with_state(|state| state.applied);
        let is_needed = meta.last_log_id > applied;
        let index = |id: &Option<_>| id.as_ref().map(|id: &super::super::types::LogId| id.index);
        // openraft panics at this, rightly: two different entries were committed at one index.
        if is_needed && index(&meta.last_log_id) <= index(&applied) {
            let (offered, applied) = (format!("{:?}", meta.last_log_id), format!("{applied:?}"));
            return Err(Refusal::Contradiction { offered, applied });
        }
        Ok(is_needed)
    }

    async fn begin(&self, offer: &Offer) -> Result<Taking, Refusal> {
        let (checkpoints, id) = (self.receiving.checkpoints.clone(), offer.id());
        let begun = tokio::task::spawn_blocking(move || {
            let incoming = checkpoints.incoming(id)?;
            let needed = id.file_bytes - incoming.length();
            // A disk that does not tell is found to be full by writing to it.
            let free = checkpoints.free_bytes().unwrap_or(u64::MAX);
            if needed.saturating_add(ROOM_LEFT_BYTES) > free {
                incoming.discard();
                return Err(Refusal::NoRoom { needed, free });
            }
            Ok(incoming)
        });
        Ok(Taking { incoming: begun.await??, buffer: BytesMut::new(), writing: None })
    }

    async fn chunk(&mut self, chunk: Chunk) -> Result<Response, Refusal> {
        let Chunk { transfer, offset, crc, bytes } = chunk;
        let current = self.current(transfer)?;
        let (expected, file_bytes) = (current.taken(), current.offer.file_bytes);
        let length = bytes.len();
        let fits = offset == expected
            && (1..=CHUNK_BYTES_MAX).contains(&length)
            && length as u64 <= file_bytes - expected;
        let Stage::Taking(taking) = &mut current.stage else { return Err(Refusal::Superseded) };
        if !fits {
            return Err(Refusal::Misplaced { offset, length, expected });
        }
        if crc32fast::hash(&bytes) != crc {
            return Err(Refusal::ChunkDamaged { offset });
        }
        if let Err(error) = taking.push(&bytes).await {
            self.discard().await;
            return Err(error.into());
        }
        Ok(answer(&Answer::Taken { bytes: expected + length as u64 }))
    }

    async fn finish(&mut self, transfer: u64, vote: &[u8]) -> Result<Response, Refusal> {
        let vote = encoding::decode_vote(vote).map_err(Refusal::Vote)?;
        let current = self.current(transfer)?;
        if !vote.committed || is_newer(&current.meta, &vote) {
            return Err(Refusal::VoteTooOld);
        }
        let (taken, file_bytes) = (current.taken(), current.offer.file_bytes);
        if taken != file_bytes {
            return Err(Refusal::Incomplete { taken, file_bytes });
        }
        if let Stage::Taking(taking) = &mut current.stage {
            if let Err(error) = taking.write_all().await {
                self.discard().await;
                return Err(error.into());
            }
            self.begin_to_load();
        }
        let current = self.current(transfer)?;
        let data = match &mut current.stage {
            Stage::Loading(loading) => match loading.wait().await {
                None => {
                    let records = loading.records.load(Ordering::Relaxed);
                    return Ok(answer(&Answer::Working { records }));
                }
                Some(loaded) => loaded.map(SnapshotData::Loaded),
            },
            Stage::Unneeded => Ok(SnapshotData::Nothing),
            Stage::Taking(_) => return Err(Refusal::Incomplete { taken, file_bytes }),
        };
        let meta = current.meta.clone();
        self.current = None;
        Ok(Response::Install(Box::new(Received { vote, meta, data: data? })))
    }

    fn current(&mut self, number: u64) -> Result<&mut Transfer, Refusal> {
        let current = self.current.as_mut().filter(|current| current.number == number);
        current.ok_or(Refusal::Superseded)
    }

    fn begin_to_load(&mut self) {
        let Some(current) = &mut self.current else { return };
        let stage = std::mem::replace(&mut current.stage, Stage::Unneeded);
        let Stage::Taking(taking) = stage else { return };
        let records = Arc::<AtomicU64>::default();
        let (receiving, offer) = (self.receiving.clone(), current.offer.clone());
        let counter = Arc::clone(&records);
        let task = tokio::task::spawn_blocking(move || {
            load(taking.incoming, &offer, &receiving, &counter)
        });
        current.stage = Stage::Loading(Loading { task, records });
    }

    /// Removes what has come: it cannot be written.
    async fn discard(&mut self) {
        if let Some(Transfer { stage: Stage::Taking(taking), .. }) = self.current.take() {
            let removed = tokio::task::spawn_blocking(move || taking.incoming.discard());
            if let Err(error) = removed.await {
                tracing::warn!(%error, "a part of a received checkpoint may be left");
            }
        }
    }
}

/// Whether the snapshot ends after what a leader with this vote can have.
fn is_newer(meta: &SnapshotMeta, vote: &Vote) -> bool {
    let leader = (vote.leader_id.term, vote.leader_id.node_id);
    meta.last_log_id.is_some_and(|id| (id.leader_id.term, id.leader_id.node_id) > leader)
}

fn answer(answer: &Answer) -> Response {
    Response::Answer(messages::encode(answer))
}

impl Transfer {
    fn taken(&self) -> u64 {
        match &self.stage {
            Stage::Taking(taking) => taking.incoming.length() + taking.buffer.len() as u64,
            Stage::Loading(_) | Stage::Unneeded => self.offer.file_bytes,
        }
    }
}

impl Taking {
    async fn push(&mut self, bytes: &[u8]) -> Result<(), CheckpointError> {
        self.buffer.extend_from_slice(bytes);
        while self.buffer.len() >= PIECE_BYTES_MAX {
            self.written().await?;
            self.write(PIECE_BYTES_MAX);
        }
        Ok(())
    }

    async fn write_all(&mut self) -> Result<(), CheckpointError> {
        self.written().await?;
        if !self.buffer.is_empty() {
            self.write(self.buffer.len());
        }
        self.written().await
    }

    fn write(&mut self, length: usize) {
        let piece = self.buffer.split_to(length).freeze();
        let (done, writing) = oneshot::channel();
        self.incoming.append(piece, Box::new(move |result| drop(done.send(result))));
        self.writing = Some(writing);
    }

    /// Waits until the piece that is being written is durable.
    async fn written(&mut self) -> Result<(), CheckpointError> {
        let Some(writing) = &mut self.writing else { return Ok(()) };
        let result = writing.await.unwrap_or(Err(CheckpointError::NoBackground));
        self.writing = None;
        result
    }
}

impl Loading {
    /// What it came to; `None` when it takes longer than a moment.
    async fn wait(&mut self) -> Option<Result<Box<Loaded>, Refusal>> {
        let ended = tokio::time::timeout(WORKING_LIMIT, &mut self.task).await.ok()?;
        Some(ended.unwrap_or_else(|error| Err(error.into())))
    }
}

/// Verifies and loads what has come, and makes it a checkpoint of this member. Blocks.
fn load(
    incoming: Incoming,
    offer: &Offer,
    receiving: &Receiving,
    records: &AtomicU64,
) -> Result<Box<Loaded>, Refusal> {
    let verified = incoming.read().map_err(Refusal::from).and_then(|reader| {
        let info = reader.info().clone();
        if info.file_crc != offer.file_crc || info.head.meta != offer.meta {
            return Err(Refusal::NotAsOffered);
        }
        // Reads every byte, and holds all of them against their checksums.
        let mut reader = reader;
        let (_, first) = read_runs(&mut reader)?;
        let cold = Box::new(ColdInMemory::default());
        Ok((restore_queue(first, reader, offer.index, records, cold)?, info))
    });
    let (queue, info) = match verified {
        Ok(verified) => verified,
        Err(refusal) => {
            incoming.discard();
            return Err(refusal);
        }
    };
    incoming.publish()?;
    let source = SnapshotSource::open(&receiving.checkpoints, info, &receiving.transfers)?;
    Ok(Box::new(Loaded { queue, source }))
}
