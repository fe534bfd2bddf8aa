//! openraft's own tests of a log and a state machine, on ours.
//!
//! Two things of the suite are not of a member as it is today, and stand in `Published` and
//! `BeginsAnywhere`. One is left out: its last case hands a snapshot to another member, and a
//! cluster of one refuses that; the test wants just this refusal, so all other cases have passed.

use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;

use futures_util::Stream;
use openraft::StorageError;
use openraft::storage::{
    EntryResponder, IOFlushed, LogState, RaftLogReader, RaftLogStorage, RaftStateMachine,
};
use openraft::testing::log::{StoreBuilder, Suite};

use super::super::encoding;
use super::super::log_store::{LogStart, LogStore};
use super::super::snapshot::SnapshotData;
use super::super::state_machine::{ReadySnapshot, Replica, ReplicaState, StateMachine};
use super::super::types::{
    Entry, LogId, SnapshotMeta, SnapshotOf, StoredMembership, TypeConfig, Vote,
};
use super::*;
use crate::clock::LogicalClock;
use crate::queue::{Incarnation, MemberId};
use crate::storage::background::{Background, BackgroundOptions};
use crate::storage::disk::RealDisk;
use crate::storage::wal::{EntryId, Wal, WalOptions};

/// A state machine with a snapshot of this moment wherever openraft insists on one. In a member
/// `upkeep` publishes it, when storage has made the checkpoint.
#[derive(Clone)]
struct Published(StateMachine);

impl RaftStateMachine<TypeConfig> for Published {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = ReadySnapshot;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        self.0.applied_state().await
    }

    async fn apply<S>(&mut self, entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + Send,
    {
        self.0.apply(entries).await
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<ReadySnapshot> {
        if force {
            self.0.0.with_state(|state| {
                let last_membership = state.membership.clone();
                let meta = SnapshotMeta { last_log_id: state.applied, last_membership };
                state.snapshot = Some(meta);
            });
        }
        self.0.try_create_snapshot_builder(force).await
    }

    async fn get_snapshot_builder(&mut self) -> ReadySnapshot {
        self.0.get_snapshot_builder().await
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        data: SnapshotData,
    ) -> Result<(), io::Error> {
        self.0.install_snapshot(meta, data).await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf>, io::Error> {
        self.0.get_current_snapshot().await
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
    let outbox = Arc::new(Outbox::new(signature));
    let desk = Arc::new(Desk::default());
    let state = ReplicaState::empty();
    Published(StateMachine(Arc::new(Replica::new(
        signature,
        clock(),
        log.clone(),
        outbox,
        desk,
        state,
    ))))
}

struct InMemory;

impl StoreBuilder<TypeConfig, BeginsAnywhere, Published> for InMemory {
    async fn build(&self) -> Result<((), BeginsAnywhere, Published), StorageError<TypeConfig>> {
        let log = LogStore::new(None, LogStart::default(), clock());
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
        let log = LogStore::new(Some(Arc::new(wal)), LogStart::default(), clock());
        let machine = machine(&log);
        let guard = Guard { _background: background, _directory: directory };
        Ok((guard, BeginsAnywhere { log, hidden: Arc::default() }, machine))
    }
}

fn expect_refused_at_the_end(result: Result<(), StorageError<TypeConfig>>) {
    let refused = result.expect_err("a cluster of one installs no snapshot").to_string();
    assert!(refused.contains("a cluster of one is sent no snapshot"), "{refused}");
}

#[tokio::test]
async fn log_in_memory_passes_the_suite_of_openraft() {
    expect_refused_at_the_end(Suite::test_all(InMemory).await);
}

#[tokio::test]
async fn log_on_disk_passes_the_suite_of_openraft() {
    let builder = OnDisk::default();
    let failed = Arc::clone(&builder.failed);
    expect_refused_at_the_end(Suite::test_all(builder).await);
    assert_eq!(*failed.lock(), None);
}
