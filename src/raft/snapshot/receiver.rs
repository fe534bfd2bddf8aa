//! Takes a checkpoint that another member sends, and the run files that it lists: keeps them, verifies
//! them, makes them durable, loads the state.
//!
//! One transfer at a time; another offer ends the one before, unless that is being loaded. What was
//! refused has changed nothing but what was kept of the files themselves. The work on files that takes
//! its time is in `loading`.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::super::cold::{ColdRuns, Cooling};
use super::super::encoding;
use super::super::listed::ListedRuns;
use super::super::state_machine::Replica;
use super::super::types::{SnapshotMeta, Vote};
use super::loading::{Listing, Work, list, load};
use super::messages::{self, Answer, Chunk, Offer, Request};
use super::refusal::{ROOM_LEFT_BYTES, Refusal};
use super::runs::Runs;
use super::source::Transfers;
use super::taking::Taking;
use super::{CHUNK_BYTES_MAX, Loaded, SnapshotData, snapshot_meta};
use crate::chain::Chain;
use crate::storage::checkpoint::{Checkpoints, FILE_BYTES_MIN, Incoming, META_BYTES_MAX};
use crate::storage::runs::{RunId, RunOptions, RunUid};

/// Where checkpoints are received.
#[derive(Clone)]
pub(in crate::raft) struct Receiving {
    pub(in crate::raft) checkpoints: Checkpoints,
    pub(in crate::raft) cluster: u128,
    pub(in crate::raft) transfers: Arc<Transfers>,
    /// This member's cold jobs, whose place those of a snapshot take.
    pub(in crate::raft) cold: ColdRuns,
    /// How those are opened.
    pub(in crate::raft) runs: RunOptions,
    /// What hot jobs may take up in memory, bytes.
    pub(in crate::raft) hot_bytes_max: Option<u64>,
    /// The run files that the checkpoints here list.
    pub(in crate::raft) listed: ListedRuns,
}

/// The receiving side of a member: there is one, whatever number of links there are.
pub(in crate::raft) struct Receiver {
    receiving: Receiving,
    replica: Arc<Replica>,
    /// How many offers were accepted: the number of the present transfer.
    accepted: u64,
    current: Option<Transfer>,
    /// Run files that have come and were verified in this life of the process.
    verified: BTreeSet<RunId>,
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
    /// The checkpoint comes.
    Taking(Taking<Incoming>),
    /// It is looked which run files are missing.
    Listing(Work<Listing>),
    /// They come.
    Runs(Box<Runs>),
    Loading(Work<Box<Loaded>>),
}

/// What stands between a snapshot and its installation.
pub(super) enum Left {
    Nothing,
    /// So much of this file.
    Bytes {
        taken: u64,
        file_bytes: u64,
    },
    /// A run file, from this byte on.
    Run {
        id: RunId,
        bytes: u64,
    },
    /// Work, which has come so far.
    Work {
        progress: u64,
    },
}

impl Receiver {
    /// A receiver for `replica`, to which what it hands out is to be given.
    pub(in crate::raft) fn new(receiving: Receiving, replica: Arc<Replica>) -> Self {
        Self { receiving, replica, accepted: 0, current: None, verified: BTreeSet::new() }
    }

    /// Takes a request. Answers within a second or two, if the disk does. Can be dropped half way:
    /// the sender then has to offer anew.
    pub(in crate::raft) async fn handle(&mut self, request: Bytes) -> Response {
        let response = match messages::decode(&request) {
            Ok(Request::Offer(offer)) => self.offer(offer).await,
            Ok(Request::Chunk(chunk)) => self.chunk(chunk).await,
            Ok(Request::Finish { transfer, vote }) => self.finish(transfer, &vote).await,
            Ok(Request::Next { transfer }) => self.next(transfer).await,
            Ok(Request::RunChunk { run, chunk }) => self.run_chunk(RunUid(run), chunk).await,
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
            Some(Transfer { stage: Stage::Loading(work), .. }) if !work.is_over() => {
                return Err(Refusal::Busy);
            }
            _ => {
                self.leave().await;
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

    async fn begin(&self, offer: &Offer) -> Result<Taking<Incoming>, Refusal> {
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
        Ok(Taking::new(begun.await??))
    }

    /// Ends the present transfer; what was begun to be written of it is.
    async fn leave(&mut self) {
        let written = match self.current.take().map(|current| current.stage) {
            Some(Stage::Taking(mut taking)) => taking.written().await,
            Some(Stage::Runs(mut runs)) => runs.written().await,
            _ => Ok(()),
        };
        if let Err(error) = written {
            tracing::warn!("what has come of a snapshot may be of no use: {}", Chain(&error));
        }
    }

    async fn chunk(&mut self, chunk: Chunk) -> Result<Response, Refusal> {
        let current = self.current(chunk.transfer)?;
        let file_bytes = current.offer.file_bytes;
        let Stage::Taking(taking) = &mut current.stage else { return Err(Refusal::Superseded) };
        check_chunk(&chunk, taking.taken(), file_bytes)?;
        if let Err(refusal) = taking.push(&chunk.bytes).await {
            self.discard().await;
            return Err(refusal);
        }
        Ok(answer(&Answer::Taken { bytes: chunk.offset + chunk.bytes.len() as u64 }))
    }

    async fn run_chunk(&mut self, uid: RunUid, chunk: Chunk) -> Result<Response, Refusal> {
        let current = self.current(chunk.transfer)?;
        let Stage::Runs(runs) = &mut current.stage else { return Err(Refusal::NotWanted) };
        let taking = runs.coming(uid).ok_or(Refusal::NotWanted)?;
        check_chunk(&chunk, taking.taken(), taking.draft.id().file_bytes)?;
        if let Err(refusal) = taking.push(&chunk.bytes).await {
            self.discard().await;
            return Err(refusal);
        }
        Ok(answer(&Answer::Taken { bytes: chunk.offset + chunk.bytes.len() as u64 }))
    }

    async fn next(&mut self, transfer: u64) -> Result<Response, Refusal> {
        Ok(answer(&match self.go_on(transfer).await? {
            Left::Nothing => Answer::Complete,
            Left::Work { progress } => Answer::Working { progress },
            Left::Bytes { taken, file_bytes } => {
                return Err(Refusal::Incomplete { taken, file_bytes });
            }
            Left::Run { id, bytes } => {
                Answer::Wanted { run: id.uid.0, file_bytes: id.file_bytes, bytes }
            }
        }))
    }

    async fn finish(&mut self, transfer: u64, vote: &[u8]) -> Result<Response, Refusal> {
        let vote = encoding::decode_vote(vote).map_err(Refusal::Vote)?;
        let current = self.current(transfer)?;
        if !vote.committed || is_newer(&current.meta, &vote) {
            return Err(Refusal::VoteTooOld);
        }
        match self.go_on(transfer).await? {
            Left::Nothing => {}
            Left::Work { progress } => return Ok(answer(&Answer::Working { progress })),
            Left::Bytes { taken, file_bytes } => {
                return Err(Refusal::Incomplete { taken, file_bytes });
            }
            Left::Run { id, bytes } => {
                return Err(Refusal::Incomplete { taken: bytes, file_bytes: id.file_bytes });
            }
        }
        self.begin_to_load(transfer)?;
        let current = self.current(transfer)?;
        let data = match &mut current.stage {
            Stage::Loading(work) => match work.wait().await {
                Err(progress) => return Ok(answer(&Answer::Working { progress })),
                Ok(loaded) => loaded.map(SnapshotData::Loaded),
            },
            _ => Ok(SnapshotData::Nothing),
        };
        let meta = current.meta.clone();
        self.current = None;
        // They have their names now; or one of them is not as it was, and all are looked at anew.
        self.verified.clear();
        Ok(Response::Install(Box::new(Received { vote, meta, data: data? })))
    }

    /// Does what can be done without the sender, and tells what is left before the snapshot can be
    /// loaded.
    async fn go_on(&mut self, transfer: u64) -> Result<Left, Refusal> {
        let Self { receiving, current, verified, .. } = self;
        let current = current.as_mut().filter(|current| current.number == transfer);
        let left = current.ok_or(Refusal::Superseded)?.advance(receiving, verified).await;
        if left.is_err() {
            self.discard().await;
        }
        left
    }

    fn current(&mut self, number: u64) -> Result<&mut Transfer, Refusal> {
        let current = self.current.as_mut().filter(|current| current.number == number);
        current.ok_or(Refusal::Superseded)
    }

    fn begin_to_load(&mut self, transfer: u64) -> Result<(), Refusal> {
        let mut receiving = self.receiving.clone();
        // What is hot here stays so until the snapshot is installed: both have to fit.
        let ours = self.replica.with_state(|state| state.queue.hot_bytes());
        let rest = |max: u64| max.saturating_sub(ours).max(Cooling::share(max));
        receiving.hot_bytes_max = receiving.hot_bytes_max.map(rest);
        let current = self.current(transfer)?;
        match std::mem::replace(&mut current.stage, Stage::Unneeded) {
            Stage::Runs(runs) => {
                let (listing, offer) = (runs.into_listing(), current.offer.clone());
                let load = move |progress: &_| load(listing, &offer, &receiving, progress);
                current.stage = Stage::Loading(Work::begin(load));
            }
            other => current.stage = other,
        }
        Ok(())
    }

    /// Gives up what comes, because it cannot be written or is not what it should be.
    async fn discard(&mut self) {
        let discard: Box<dyn FnOnce() + Send> = match self.current.take().map(|it| it.stage) {
            Some(Stage::Taking(taking)) => Box::new(move || taking.draft.discard()),
            Some(Stage::Runs(runs)) => Box::new(move || runs.discard()),
            _ => return,
        };
        if let Err(error) = tokio::task::spawn_blocking(discard).await {
            tracing::warn!(%error, "a part of a received snapshot may be left");
        }
    }
}

/// Whether a chunk can follow what has been taken of a file, and is as it was sent.
fn check_chunk(chunk: &Chunk, expected: u64, file_bytes: u64) -> Result<(), Refusal> {
    let Chunk { offset, crc, bytes, .. } = chunk;
    let (offset, length) = (*offset, bytes.len());
    let fits = offset == expected
        && (1..=CHUNK_BYTES_MAX).contains(&length)
        && length as u64 <= file_bytes - expected;
    if !fits {
        return Err(Refusal::Misplaced { offset, length, expected });
    }
    match crc32fast::hash(bytes) == *crc {
        true => Ok(()),
        false => Err(Refusal::ChunkDamaged { offset }),
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
    /// How much of the checkpoint has come.
    fn taken(&self) -> u64 {
        match &self.stage {
            Stage::Taking(taking) => taking.taken(),
            _ => self.offer.file_bytes,
        }
    }

    async fn advance(
        &mut self,
        receiving: &Receiving,
        verified: &mut BTreeSet<RunId>,
    ) -> Result<Left, Refusal> {
        loop {
            match &mut self.stage {
                Stage::Unneeded | Stage::Loading(_) => return Ok(Left::Nothing),
                Stage::Taking(taking) => {
                    let (taken, file_bytes) = (taking.taken(), self.offer.file_bytes);
                    if taken != file_bytes {
                        return Ok(Left::Bytes { taken, file_bytes });
                    }
                    taking.write_all().await?;
                    self.begin_to_list(receiving.clone(), verified.clone());
                }
                Stage::Listing(work) => match work.wait().await {
                    Err(progress) => return Ok(Left::Work { progress }),
                    Ok(listing) => self.stage = Stage::Runs(Box::new(Runs::new(listing?))),
                },
                Stage::Runs(runs) => {
                    let left = runs.advance().await;
                    verified.extend(runs.take_verified());
                    return left;
                }
            }
        }
    }

    fn begin_to_list(&mut self, receiving: Receiving, verified: BTreeSet<RunId>) {
        let stage = std::mem::replace(&mut self.stage, Stage::Unneeded);
        let Stage::Taking(taking) = stage else { return };
        let (incoming, offer) = (taking.draft, self.offer.clone());
        let list = move |_: &_| list(incoming, &offer, &receiving, &verified);
        self.stage = Stage::Listing(Work::begin(list));
    }
}
