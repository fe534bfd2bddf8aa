//! openraft's own tests of a log and a state machine, on ours.
//!
//! Two things of the suite are not of a member as it is, and stand in `Published` and
//! `BeginsAnywhere`.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;

use bytes::Bytes;
use futures_util::Stream;
use openraft::StorageError;
use openraft::storage::{
    EntryResponder, IOFlushed, LogState, RaftLogReader, RaftLogStorage, RaftStateMachine,
};
use openraft::testing::log::{StoreBuilder, Suite};

use super::super::cold::ColdRuns;
use super::super::encoding;
use super::super::life::Life;
use super::super::listed::ListedRuns;
use super::super::log_store::{LogStart, LogStore};
use super::super::restoring::{CheckpointMeta, CheckpointRecord};
use super::super::snapshot::{
    Call, CallError, Receiver, Receiving, Response, SentRuns, SnapshotData, SnapshotSource,
    installed, send,
};
use super::super::state_machine::{ReadySnapshot, Replica, ReplicaState, StateMachine};
use super::super::types::{
    Entry, LogId, SnapshotMeta, SnapshotOf, StoredMembership, TypeConfig, Vote,
};
use super::*;
use crate::clock::LogicalClock;
use crate::queue::{Incarnation, MemberId};
use crate::storage::background::{Background, BackgroundOptions};
use crate::storage::checkpoint::{CheckpointHead, Checkpoints};
use crate::storage::disk::RealDisk;
use crate::storage::runs::{RunOptions, RunSet};
use crate::storage::wal::{EntryId, Wal, WalOptions};

/// A state machine that makes a checkpoint of this moment wherever openraft insists on a snapshot, and
/// is sent those of others. In a member the one is for `upkeep`, the other comes over a link.
#[derive(Clone)]
struct Published {
    machine: StateMachine,
    shelf: Arc<Shelf>,
}

/// Where the checkpoints of a [`Published`] are.
struct Shelf {
    receiving: Receiving,
    _background: Background,
}

impl Shelf {
    fn new() -> Self {
        let now = crate::storage::tests::test_now();
        let background = Background::start(BackgroundOptions::new(now)).unwrap();
        let disk = Arc::new(SimDisk::new());
        let checkpoints =
            Checkpoints::open(disk.clone(), data(), background.handle(), None).unwrap();
        let runs = RunOptions {
            disk,
            dir: data().join("runs"),
            cluster: 7,
            member: 1,
            life: 1,
            background: background.handle(),
            cache_bytes_max: 1 << 20,
            cursor_bytes_max: 1 << 20,
            on_change: Arc::new(|| {}),
        };
        let mut set = RunSet::open(runs.clone(), Vec::new()).unwrap();
        set.claim(&BTreeSet::new()).unwrap();
        let receiving = Receiving {
            checkpoints,
            cluster: 7,
            transfers: Arc::default(),
            cold: ColdRuns::new(set),
            runs,
            hot_bytes_max: None,
            listed: ListedRuns::default(),
        };
        Self { receiving, _background: background }
    }

    /// Makes a checkpoint of `replica`, if something was applied there.
    async fn keep(&self, replica: &Replica) -> Option<Arc<SnapshotSource>> {
        let mut records = Vec::new();
        let (applied, membership) = replica.with_state(|state| {
            state.queue.begin_checkpoint();
            assert!(state.queue.checkpoint_slice(usize::MAX, &mut records));
            (state.applied, state.membership.clone())
        });
        let id = encoding::entry_id(&applied?);
        let meta = CheckpointMeta {
            applied: (id.term, id.member, id.index),
            membership: encoding::stored_membership_bytes(&membership),
        };
        let head = CheckpointHead {
            cluster: self.receiving.cluster,
            applied_index: id.index,
            meta: postcard::to_stdvec(&meta).unwrap().into(),
        };
        let mut writer = self.receiving.checkpoints.begin(head, Arc::new(|| {}));
        for record in records {
            let record = CheckpointRecord::Queue(record);
            writer.try_push(&postcard::to_stdvec(&record).unwrap()).unwrap();
        }
        let (done, made) = tokio::sync::oneshot::channel();
        writer.finish(Box::new(move |result| drop(done.send(result))));
        let info = made.await.unwrap().unwrap();
        let Receiving { checkpoints, transfers, cold, .. } = &self.receiving;
        let runs = SentRuns::new(cold, BTreeSet::new());
        Some(SnapshotSource::open(checkpoints, info, transfers, runs).unwrap())
    }
}

/// Hands over what was received.
struct Wire<'a> {
    receiver: Receiver,
    received: &'a mut Option<SnapshotData>,
}

impl Call for Wire<'_> {
    async fn call(&mut self, request: Vec<u8>, _: Duration) -> Result<Bytes, CallError> {
        match self.receiver.handle(request.into()).await {
            Response::Answer(answer) => Ok(answer.into()),
            Response::Install(received) => {
                *self.received = Some(received.data);
                Ok(installed(&[]).into())
            }
        }
    }
}

impl RaftStateMachine<TypeConfig> for Published {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = ReadySnapshot;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        self.machine.applied_state().await
    }

    async fn apply<S>(&mut self, entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + Send,
    {
        self.machine.apply(entries).await
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<ReadySnapshot> {
        if force {
            let source = self.shelf.keep(&self.machine.replica).await;
            self.machine.replica.with_state(|state| {
                let last_membership = state.membership.clone();
                let meta = SnapshotMeta { last_log_id: state.applied, last_membership };
                state.publish(meta, source);
            });
        }
        self.machine.try_create_snapshot_builder(force).await
    }

    async fn get_snapshot_builder(&mut self) -> ReadySnapshot {
        self.machine.get_snapshot_builder().await
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        data: SnapshotData,
    ) -> Result<(), io::Error> {
        let SnapshotData::Own(source) = data else { panic!("nothing was sent") };
        let mut received = None;
        let receiver =
            Receiver::new(self.shelf.receiving.clone(), Arc::clone(&self.machine.replica));
        let vote = encoding::encode_vote(&Vote::new_committed(100, 1)).into();
        let mut wire = Wire { receiver, received: &mut received };
        send(&source, vote, &mut wire, std::future::pending::<()>()).await.unwrap();
        self.machine.install_snapshot(meta, received.expect("all was sent")).await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf>, io::Error> {
        self.machine.get_current_snapshot().await
    }
}

/// A log that may begin at any index, as the suite has it. Raft begins a log at 0 or after a purge,
/// and so does ours: the entries before the first one are purged here without a word.
#[derive(Clone)]
struct BeginsAnywhere {
    log: LogStore,
    hidden: Arc<Mutex<Option<LogId>>>,
}

impl BeginsAnywhere {
    async fn begin(&mut self, first: LogId) {
        let LogState { last_log_id, .. } = self.log.get_log_state().await.unwrap();
        if last_log_id.is_none() && first.index > 0 {
            let id = EntryId { index: first.index - 1, ..encoding::entry_id(&first) };
            *self.hidden.lock() = Some(encoding::log_id(id));
            self.log.purge(encoding::log_id(id)).await.unwrap();
        }
    }
}

impl RaftLogReader<TypeConfig> for BeginsAnywhere {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, io::Error> {
        self.log.try_get_log_entries(range).await
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.log.limited_get_log_entries(start, end).await
    }

    async fn entries_stream<R>(
        &mut self,
        range: R,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + Send
    where
        R: RangeBounds<u64> + Clone + Debug + Send,
    {
        self.log.entries_stream(range).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        self.log.read_vote().await
    }
}

impl RaftLogStorage<TypeConfig> for BeginsAnywhere {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let state = self.log.get_log_state().await?;
        let hidden = *self.hidden.lock();
        let shown = |id: Option<LogId>| id.filter(|id| Some(*id) != hidden);
        let (purged, last) = (shown(state.last_purged_log_id), shown(state.last_log_id));
        Ok(LogState { last_purged_log_id: purged, last_log_id: last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.log.save_vote(vote).await
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        if let Some(first) = entries.first() {
            self.begin(first.log_id).await;
        }
        self.log.append(entries, callback).await
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        self.log.truncate_after(last_log_id).await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        *self.hidden.lock() = None;
        self.log.purge(log_id).await
    }
}

fn clock() -> Arc<LogicalClock> {
    Arc::new(LogicalClock::resume(TestClock::ticking(), None, LogicalTime(0)))
}

fn machine(log: &LogStore) -> Published {
    let signature = Signature { member: MemberId(1), incarnation: Incarnation(1) };
    let life = Arc::new(Life::new(signature));
    let memory = memory();
    let outbox = Arc::new(Outbox::new(Arc::clone(&life), Arc::clone(&memory)));
    let desk = Arc::new(Desk::default());
    let state = ReplicaState::empty();
    let replica = Replica::new(life, clock(), log.clone(), outbox, desk, state);
    Published { machine: StateMachine::new(Arc::new(replica)), shelf: Arc::new(Shelf::new()) }
}

struct InMemory;

impl StoreBuilder<TypeConfig, BeginsAnywhere, Published> for InMemory {
    async fn build(&self) -> Result<((), BeginsAnywhere, Published), StorageError<TypeConfig>> {
        let log = LogStore::new(None, LogStart::default(), clock(), LOG_MEMORY);
        let machine = machine(&log);
        Ok(((), BeginsAnywhere { log, hidden: Arc::default() }, machine))
    }
}

#[derive(Default)]
struct OnDisk {
    failed: Arc<Mutex<Option<String>>>,
}

/// What a log on disk needs for as long as it is used, in the order in which it may end.
struct Guard {
    _background: Background,
    _directory: tempfile::TempDir,
}

impl StoreBuilder<TypeConfig, BeginsAnywhere, Published, Guard> for OnDisk {
    async fn build(&self) -> Result<(Guard, BeginsAnywhere, Published), StorageError<TypeConfig>> {
        let directory = tempfile::tempdir().unwrap();
        let now = crate::storage::tests::test_now();
        let background = Background::start(BackgroundOptions::new(Arc::clone(&now))).unwrap();
        let owner = crate::storage::Owner { cluster: 7, member: 1 };
        let options = WalOptions {
            segment_bytes_first: 4096,
            segment_bytes_max: 4096,
            may_create: true,
            ..WalOptions::new(owner, now)
        };
        let failed = Arc::clone(&self.failed);
        let (wal, _) = Wal::open(
            Arc::new(RealDisk),
            &directory.path().join("wal"),
            options,
            background.handle(),
            Arc::new(move |error| *failed.lock() = Some(error.to_string())),
        )
        .unwrap();
        let log = LogStore::new(Some(Arc::new(wal)), LogStart::default(), clock(), LOG_MEMORY);
        let machine = machine(&log);
        let guard = Guard { _background: background, _directory: directory };
        Ok((guard, BeginsAnywhere { log, hidden: Arc::default() }, machine))
    }
}

#[tokio::test]
async fn log_in_memory_passes_the_suite_of_openraft() {
    Suite::test_all(InMemory).await.unwrap();
}

#[tokio::test]
async fn log_on_disk_passes_the_suite_of_openraft() {
    let builder = OnDisk::default();
    let failed = Arc::clone(&builder.failed);
    Suite::test_all(builder).await.unwrap();
    assert_eq!(*failed.lock(), None);
}
