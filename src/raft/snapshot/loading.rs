//! What a receiver does with files, on threads that may block: which run files a checkpoint lists and
//! which of them are missing, and, when all are there, the state.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::super::cold::Successor;
use super::super::opening::OpenError;
use super::super::restoring::{HotShare, Records, read_runs, restore_queue};
use super::Loaded;
use super::messages::Offer;
use super::receiver::Receiving;
use super::refusal::{ROOM_LEFT_BYTES, Refusal};
use super::source::{SentRuns, SnapshotSource};
use crate::storage::checkpoint::{CheckpointInfo, Incoming};
use crate::storage::runs::{Exchange, Held, RunId, RunOptions, RunSet, RunState, RunUid};

/// How long an answer is held back while something is being worked on.
pub(super) const WORKING_LIMIT: Duration = Duration::from_secs(1);

/// Work on a thread that may block.
pub(super) struct Work<T> {
    task: JoinHandle<Result<T, Refusal>>,
    /// How far it has come; it only grows.
    progress: Arc<AtomicU64>,
}

impl<T: Send + 'static> Work<T> {
    pub(super) fn begin(
        work: impl FnOnce(&AtomicU64) -> Result<T, Refusal> + Send + 'static,
    ) -> Self {
        let progress = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&progress);
        Self { task: tokio::task::spawn_blocking(move || work(&counter)), progress }
    }

    /// What it came to; how far it has come when it takes longer than a moment.
    pub(super) async fn wait(&mut self) -> Result<Result<T, Refusal>, u64> {
        match tokio::time::timeout(WORKING_LIMIT, &mut self.task).await {
            Ok(ended) => Ok(ended.unwrap_or_else(|error| Err(error.into()))),
            Err(_) => Err(self.progress.load(Ordering::Relaxed)),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.task.is_finished()
    }
}

/// What a checkpoint that has come needs beside itself.
pub(super) struct Listing {
    pub(super) incoming: Incoming,
    pub(super) exchange: Exchange,
    /// None of the files that are there goes away.
    pub(super) held: Held,
    /// The files that have to come.
    pub(super) missing: Vec<RunId>,
    /// Those that have come and were verified.
    pub(super) arrived: BTreeSet<RunUid>,
}

/// Reads which run files the checkpoint lists, and which of them are neither here nor among `verified`,
/// which have come. Removes what has come of others.
pub(super) fn list(
    incoming: Incoming,
    offer: &Offer,
    receiving: &Receiving,
    verified: &BTreeSet<RunId>,
) -> Result<Listing, Refusal> {
    let ids = match read_list(&incoming, offer) {
        Ok((_, states, _)) => states.iter().map(RunState::id).collect::<Vec<_>>(),
        Err(refusal) => {
            incoming.discard();
            return Err(refusal);
        }
    };
    let uids: BTreeSet<RunUid> = ids.iter().map(|id| id.uid).collect();
    // First: what is there now and was about to go stays.
    let (held, exchange) = receiving.cold.with(|set| (set.hold(uids.clone()), set.exchange()));
    exchange.keep_only(&uids)?;
    let (mut missing, mut arrived, mut needed) = (Vec::new(), BTreeSet::new(), 0_u64);
    for id in ids {
        if verified.contains(&id) {
            arrived.insert(id.uid);
        } else if !exchange.has(id)? {
            let rest = id.file_bytes.saturating_sub(exchange.arrived_bytes(id)?);
            needed = needed.saturating_add(rest);
            missing.push(id);
        }
    }
    // A disk that does not tell is found to be full by writing to it.
    let free = exchange.free_bytes().unwrap_or(u64::MAX);
    if needed.saturating_add(ROOM_LEFT_BYTES) > free && needed > 0 {
        // The checkpoint stays: else it would come again with each attempt.
        exchange.keep_only(&BTreeSet::new())?;
        return Err(Refusal::NoRoom { needed, free });
    }
    Ok(Listing { incoming, exchange, held, missing, arrived })
}

/// Verifies and loads what has come, and makes it a checkpoint of this member.
pub(super) fn load(
    listing: Listing,
    offer: &Offer,
    receiving: &Receiving,
    progress: &AtomicU64,
) -> Result<Box<Loaded>, Refusal> {
    // Until the files are listed by a checkpoint of this member, or given up.
    let Listing { incoming, held, arrived, .. } = listing;
    let read = read_list(&incoming, offer);
    let (info, states, records) = match read {
        Ok(read) => read,
        Err(refusal) => {
            incoming.discard();
            return Err(refusal);
        }
    };
    // Another life of the same process: no name of its files is one of the other set's.
    let options = RunOptions { life: crate::random::number(), ..receiving.runs.clone() };
    let set = RunSet::open_arrived(options, states, &arrived)?;
    let cold = Successor::new(receiving.cold.clone(), set);
    // It can be sent again, when there is room.
    let hot = HotShare { bytes_max: receiving.hot_bytes_max, is_strict: true };
    let queue = restore_queue(records, cold.cold(), hot, progress);
    let mut queue = match queue {
        Ok(queue) => queue,
        Err(error) => {
            if !matches!(error, OpenError::Run(_)) {
                incoming.discard();
            }
            return Err(error.into());
        }
    };
    queue.set_cold(Box::new(receiving.cold.clone()));
    cold.cold().with(|set| set.name_arrived())?;
    receiving.listed.add(offer.index, held.uids().clone());
    incoming.publish()?;
    let runs = SentRuns::new(&receiving.cold, held.uids().clone());
    let source = SnapshotSource::open(&receiving.checkpoints, info, &receiving.transfers, runs)?;
    Ok(Box::new(Loaded { queue, cold, source }))
}

/// The beginning of a checkpoint that has come, if it is the one that was offered.
fn read_list(
    incoming: &Incoming,
    offer: &Offer,
) -> Result<(CheckpointInfo, Vec<RunState>, Records), Refusal> {
    let reader = incoming.read()?;
    let info = reader.info().clone();
    if info.file_crc != offer.file_crc || info.head.meta != offer.meta {
        return Err(Refusal::NotAsOffered);
    }
    let (states, records) = read_runs(reader)?;
    Ok((info, states, records))
}
