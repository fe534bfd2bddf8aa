//! What openraft's suite leaves out: the log after a crash, readers beside writers, long entries,
//! and that nothing is said to be durable before it is.

use std::io;
use std::sync::atomic::AtomicBool;

use futures_util::{FutureExt, StreamExt};
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;

use super::super::encoding;
use super::super::log_store::{LogStart, LogStore};
use super::super::types::{Command, Entry, LogId, Payload, TypeConfig, Vote};
use super::*;
use crate::clock::LogicalClock;
use crate::queue::{Batch, Incarnation, MemberId, OpNumber, Part};
use crate::storage::background::{Background, BackgroundOptions};
use crate::storage::disk::DiskFile;
use crate::storage::sim::Crash;
use crate::storage::wal::{EntryId, Wal, WalOptions};

/// A log store over a log on some disk.
pub(super) struct Bench {
    pub(super) store: LogStore,
    failed: Arc<Mutex<Option<String>>>,
    torn_bytes: u64,
    // After the log, which uses it.
    _background: Background,
}

impl Bench {
    fn open(disk: Arc<dyn Disk>) -> Self {
        Self::with_memory(disk, LOG_MEMORY)
    }

    fn with_memory(disk: Arc<dyn Disk>, memory_bytes: u64) -> Self {
        let now = crate::storage::tests::test_now();
        let background = Background::start(BackgroundOptions::new(Arc::clone(&now))).unwrap();
        let owner = crate::storage::Owner { cluster: 7, member: 1 };
        let options = WalOptions {
            segment_bytes_first: 16 << 10,
            segment_bytes_max: 16 << 10,
            may_create: true,
            ..WalOptions::new(owner, now)
        };
        let failed = Arc::new(Mutex::new(None));
        let told = Arc::clone(&failed);
        let (wal, recovered) = Wal::open(
            disk,
            &data().join("wal"),
            options,
            background.handle(),
            Arc::new(move |error| *told.lock() = Some(error.to_string())),
        )
        .unwrap();
        let start = LogStart {
            vote: recovered.vote.as_ref().map(|vote| encoding::decode_vote(vote).unwrap()),
            purged: recovered.purged.map(encoding::log_id),
            last: recovered.last.map(encoding::log_id),
        };
        let clock = LogicalClock::resume(TestClock::ticking(), None, LogicalTime(0));
        let store = LogStore::new(Some(Arc::new(wal)), start, Arc::new(clock), memory_bytes);
        let torn_bytes = recovered.torn_bytes;
        Self { store, failed, torn_bytes, _background: background }
    }

    pub(super) fn on(disk: &SimDisk) -> Self {
        Self::open(Arc::new(disk.clone()))
    }

    pub(super) async fn append(&self, entries: Vec<Entry>) {
        append(&mut self.store.clone(), entries).await.expect("the entries are durable");
    }

    pub(super) async fn all(&self) -> Vec<Entry> {
        self.store.clone().try_get_log_entries(..).await.unwrap()
    }
}

pub(super) async fn append(store: &mut LogStore, entries: Vec<Entry>) -> io::Result<()> {
    let (flushed, done) = TypeConfig::oneshot();
    store.append(entries, IOFlushed::signal(flushed)).await?;
    tokio::time::timeout(PATIENCE, done).await.expect("in time").expect("a log that lives")
}

fn id(term: u64, index: u64) -> LogId {
    encoding::log_id(EntryId { term, member: 1, index })
}

pub(super) fn entry(term: u64, index: u64, body_bytes: usize) -> Entry {
    let action = put(0, vec![index as u8; body_bytes]);
    let op = Op::plain(CONNECTION, Turn(0), action);
    let part = Part::Ops {
        member: MemberId(1),
        incarnation: Incarnation(1),
        first: OpNumber(index),
        ops: [op].into(),
    };
    let batch = Batch { now: LogicalTime(term), parts: vec![part] };
    Entry { log_id: id(term, index), payload: Payload::Normal(Command::new(batch)) }
}

pub(super) fn entries(term: u64, indexes: std::ops::Range<u64>, body_bytes: usize) -> Vec<Entry> {
    indexes.map(|index| entry(term, index, body_bytes)).collect()
}

pub(super) fn expect_same(found: &[Entry], expected: &[Entry]) {
    let ids = |entries: &[Entry]| entries.iter().map(|entry| entry.log_id).collect::<Vec<_>>();
    assert_eq!(ids(found), ids(expected));
    assert!(found.iter().zip(expected).all(|(one, other)| one.payload == other.payload));
}

#[tokio::test]
async fn acknowledged_entries_and_votes_survive_a_crash_with_a_torn_tail() {
    let mut torn = 0;
    for seed in 0..60 {
        let (disk, gate) = (SimDisk::new(), Arc::new(Gate::default()));
        let gated = GatedDisk { disk: disk.clone(), gate: Arc::clone(&gate) };
        let bench = Bench::open(Arc::new(gated));
        let mut store = bench.store.clone();
        let vote = Vote::new_committed(seed + 1, 1);
        store.save_vote(&vote).await.unwrap();
        let acknowledged = entries(1, 0..8, 700);
        bench.append(acknowledged.clone()).await;
        // Written and not synced when the power goes.
        gate.close();
        let unknown = entries(1, 8..16, 700);
        store.append(unknown.clone(), IOFlushed::noop()).await.unwrap();
        until("the write comes to its sync", || {
            gate.is_waited_at() && disk.pending_writes().iter().any(|bytes| *bytes > 6000)
        })
        .await;
        let after = disk.crash(Crash::Random { seed });
        gate.open();
        drop(bench);
        let again = Bench::on(&after);
        torn += u64::from(again.torn_bytes > 0);
        let found = again.all().await;
        assert!(found.len() >= acknowledged.len(), "seed {seed}: {} entries", found.len());
        let expected = [acknowledged, unknown].concat();
        expect_same(&found, &expected[..found.len()]);
        assert_eq!(again.store.clone().read_vote().await.unwrap(), Some(vote), "seed {seed}");
        // And it goes on from there.
        again.append(entries(2, found.len() as u64..40, 10)).await;
        assert_eq!(again.all().await.len(), 40);
    }
    assert!(torn > 10, "only {torn} of 60 logs ended in a torn write");
}

#[tokio::test]
async fn truncation_and_purge_are_what_a_restart_finds() {
    let disk = SimDisk::new();
    let bench = Bench::on(&disk);
    let mut store = bench.store.clone();
    bench.append(entries(1, 0..50, 300)).await;
    store.truncate_after(Some(id(1, 29))).await.unwrap();
    bench.append(entries(2, 30..40, 300)).await;
    store.purge(id(1, 9)).await.unwrap();
    bench.append(entries(2, 40..41, 300)).await;
    let expected = [entries(1, 10..30, 300), entries(2, 30..41, 300)].concat();
    expect_same(&bench.all().await, &expected);
    drop((store, bench));
    let again = Bench::on(&disk.crash(Crash::LoseAll));
    expect_same(&again.all().await, &expected);
    let state = again.store.clone().get_log_state().await.unwrap();
    let wanted = LogState { last_purged_log_id: Some(id(1, 9)), last_log_id: Some(id(2, 40)) };
    assert_eq!(state, wanted);
}

#[tokio::test]
async fn truncating_at_or_after_the_end_changes_nothing() {
    let bench = Bench::on(&SimDisk::new());
    let mut store = bench.store.clone();
    store.truncate_after(None).await.unwrap();
    bench.append(entries(1, 0..5, 10)).await;
    for index in [4, 5, 99] {
        store.truncate_after(Some(id(1, index))).await.unwrap();
        assert_eq!(store.get_log_state().await.unwrap().last_log_id, Some(id(1, 4)));
    }
    bench.append(entries(1, 5..6, 10)).await;
    assert_eq!(bench.all().await.len(), 6);
    assert_eq!(*bench.failed.lock(), None);
}

#[tokio::test]
async fn entries_longer_than_one_read_come_back_one_by_one_and_whole() {
    const LONG: usize = 3 << 20;
    let disk = SimDisk::new();
    let bench = Bench::on(&disk);
    let expected = [entries(1, 0..3, LONG), entries(1, 3..6, 10), entries(1, 6..8, LONG)].concat();
    bench.append(expected.clone()).await;
    expect_same(&bench.all().await, &expected);
    drop(bench);
    // After a restart all of them are on disk only.
    let again = Bench::on(&disk);
    let mut store = again.store.clone();
    expect_same(&again.all().await, &expected);
    let one = store.limited_get_log_entries(0, 8).await.unwrap();
    expect_same(&one, &expected[..1]);
    let few = store.limited_get_log_entries(3, 8).await.unwrap();
    assert!((3..=4).contains(&few.len()), "{} entries", few.len());
    expect_same(&few, &expected[3..3 + few.len()]);
    let streamed: Vec<_> = store.entries_stream(1..8).await.map(Result::unwrap).collect().await;
    expect_same(&streamed, &expected[1..]);
}

#[tokio::test]
async fn a_stream_runs_from_the_disk_on_into_memory() {
    let disk = SimDisk::new();
    let first = Bench::on(&disk);
    first.append(entries(1, 0..2000, 3000)).await;
    drop(first);
    let bench = Bench::on(&disk);
    bench.append(entries(2, 2000..2100, 3000)).await;
    let mut store = bench.store.clone();
    let expected = [entries(1, 0..2000, 3000), entries(2, 2000..2100, 3000)].concat();
    let streamed: Vec<_> = store.entries_stream(..).await.map(Result::unwrap).collect().await;
    expect_same(&streamed, &expected);
    let part: Vec<_> = store.entries_stream(1990..=2010).await.map(Result::unwrap).collect().await;
    expect_same(&part, &expected[1990..2011]);
}

#[tokio::test]
async fn memory_keeps_no_more_than_its_share_of_what_was_applied() {
    let bench = Bench::on(&SimDisk::new());
    for round in 0..64 {
        bench.append(entries(1, round * 10..round * 10 + 10, 100_000)).await;
        bench.store.applied(round * 10 + 9);
    }
    let recent = bench.store.recent_bytes();
    assert!(recent < 10 << 20, "{recent} bytes of 64 MB are still in memory");
    assert_eq!(bench.all().await.len(), 640);
}

#[tokio::test]
async fn memory_keeps_no_more_than_its_share_of_what_was_not_applied() {
    let bench = Bench::with_memory(Arc::new(SimDisk::new()), 4 << 20);
    for round in 0..64 {
        bench.append(entries(1, round * 10..round * 10 + 10, 20_000)).await;
    }
    // As much again is for the bytes as they are sent, and a batch may be on top.
    let recent = bench.store.recent_bytes();
    assert!(recent < 5 << 19, "{recent} bytes of 12 MB are still in memory");
    assert_eq!(bench.all().await.len(), 640);
}

/// Which end of the log a reader looks at.
#[derive(Clone, Copy)]
enum End {
    /// On disk only, and being purged.
    Front,
    /// In memory, and being truncated.
    Back,
}

/// Reads until it is told to end. What comes is in order and is what was written.
async fn read_on(mut store: LogStore, end: End, reads: Arc<AtomicU64>, is_over: Arc<AtomicBool>) {
    while !is_over.load(Ordering::Relaxed) {
        let LogState { last_purged_log_id, last_log_id } = store.get_log_state().await.unwrap();
        let from = match end {
            End::Front => last_purged_log_id.map_or(0, |purged| purged.index + 1),
            End::Back => last_log_id.map_or(0, |last| last.index.saturating_sub(20)),
        };
        let Ok(found) = store.limited_get_log_entries(from, from + 40).await else {
            let purged = store.get_log_state().await.unwrap().last_purged_log_id;
            assert!(purged > last_purged_log_id, "an error, and nothing was purged meanwhile");
            continue;
        };
        let mut term_before = 0;
        for (index, found) in (from..).zip(&found) {
            let term = encoding::entry_id(&found.log_id).term;
            assert_eq!(found.log_id.index, index);
            assert!(term >= term_before, "entry {index}: term {term} after {term_before}");
            assert_eq!(found.payload, entry(term, index, 400).payload);
            term_before = term;
        }
        reads.fetch_add(u64::from(!found.is_empty()), Ordering::Relaxed);
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn readers_beside_append_truncate_and_purge_see_only_what_was_written() {
    const ON_DISK: u64 = 3000;
    let disk = SimDisk::new();
    let first = Bench::on(&disk);
    first.append(entries(1, 0..ON_DISK, 400)).await;
    drop(first);
    let bench = Bench::on(&disk);
    let is_over = Arc::new(AtomicBool::new(false));
    let reads = [End::Front, End::Back].map(|end| (end, Arc::new(AtomicU64::new(0))));
    let readers = reads.clone().map(|(end, reads)| {
        tokio::spawn(read_on(bench.store.clone(), end, reads, Arc::clone(&is_over)))
    });
    let few = || reads.iter().any(|(_, reads)| reads.load(Ordering::Relaxed) < 100);
    let (mut store, mut next, mut term) = (bench.store.clone(), ON_DISK, 1);
    while term < 400 || few() {
        term += 1;
        assert!(term < 100_000, "the readers get nowhere");
        store.append(entries(term, next..next + 12, 400), IOFlushed::noop()).await.unwrap();
        if term % 3 == 0 {
            let kept = store.try_get_log_entries(next + 3..next + 4).await.unwrap();
            store.truncate_after(Some(kept[0].log_id)).await.unwrap();
            next += 4;
        } else {
            next += 12;
        }
        if term % 8 == 0 {
            store.purge(id(1, (term * 7).min(ON_DISK - 100))).await.unwrap();
        }
        tokio::task::yield_now().await;
    }
    is_over.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
    assert_eq!(*bench.failed.lock(), None);
}

#[tokio::test]
async fn nothing_is_said_to_be_durable_before_its_sync_is_over() {
    let gate = Arc::new(Gate::default());
    let disk = GatedDisk { disk: SimDisk::new(), gate: Arc::clone(&gate) };
    let bench = Bench::open(Arc::new(disk));
    bench.append(entries(1, 0..1, 10)).await;
    gate.close();
    let mut store = bench.store.clone();
    let (flushed, done) = TypeConfig::oneshot();
    store.append(entries(1, 1..2, 10), IOFlushed::signal(flushed)).await.unwrap();
    until("the log thread comes to the sync", || gate.is_waited_at()).await;
    let mut done = std::pin::pin!(done);
    assert!(done.as_mut().now_or_never().is_none(), "told before the sync was over");
    assert_eq!(bench.store.synced_index(), 0);
    // Readers see it all the same: openraft sends entries on before they are synced.
    assert_eq!(bench.all().await.len(), 2);
    gate.open();
    tokio::time::timeout(PATIENCE, done).await.unwrap().unwrap().unwrap();
    assert_eq!(bench.store.synced_index(), 1);
}

#[tokio::test]
async fn callbacks_do_not_come_after_a_failed_sync() {
    let disk = SimDisk::new();
    let bench = Bench::on(&disk);
    bench.append(entries(1, 0..1, 10)).await;
    let mut store = bench.store.clone();
    disk.fail_sync(1);
    let (flushed, done) = TypeConfig::oneshot();
    store.append(entries(1, 1..2, 10), IOFlushed::signal(flushed)).await.unwrap();
    done.await.expect_err("the callback is dropped");
    until("the failure is reported", || bench.failed.lock().is_some()).await;
    let vote = Vote::new(5, 1);
    store.save_vote(&vote).await.expect_err("a log that has failed saves no vote");
}

#[tokio::test]
async fn the_last_callback_may_outlive_the_store() {
    for _ in 0..50 {
        let bench = Bench::on(&SimDisk::new());
        let (flushed, done) = TypeConfig::oneshot();
        let mut store = bench.store.clone();
        store.append(entries(1, 0..1, 10), IOFlushed::signal(flushed)).await.unwrap();
        let Bench { store: last, failed, _background, .. } = bench;
        drop((store, last));
        // Written, because a log writes what waits before it goes.
        done.await.unwrap().unwrap();
        assert_eq!(*failed.lock(), None);
    }
}

/// Where the syncs of the log thread wait while it is closed. Those of the background writer, which
/// makes the segments to come, pass.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: parking_lot::Condvar,
}

#[derive(Default)]
struct GateState {
    is_closed: bool,
    waiting: u32,
}

impl Gate {
    fn close(&self) {
        self.state.lock().is_closed = true;
    }

    fn open(&self) {
        self.state.lock().is_closed = false;
        self.changed.notify_all();
    }

    fn is_waited_at(&self) -> bool {
        self.state.lock().waiting > 0
    }

    fn pass(&self) {
        if std::thread::current().name() != Some("log") {
            return;
        }
        let mut state = self.state.lock();
        state.waiting += 1;
        // Not for ever: a test that has failed leaves it closed.
        self.changed.wait_while_for(&mut state, |state| state.is_closed, PATIENCE);
        state.waiting -= 1;
    }
}

/// A disk on which the log thread can be held up at a sync.
struct GatedDisk {
    disk: SimDisk,
    gate: Arc<Gate>,
}

struct GatedFile {
    file: Arc<dyn DiskFile>,
    gate: Arc<Gate>,
}

impl GatedDisk {
    fn gated(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(GatedFile { file, gate: Arc::clone(&self.gate) })
    }
}

impl Disk for GatedDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(path).map(|file| self.gated(file))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create(path).map(|file| self.gated(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.remove_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.disk.free_bytes(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn crate::storage::disk::DiskLock>> {
        self.disk.lock(path)
    }
}

impl DiskFile for GatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.gate.pass();
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.file.set_length(length)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.file.allocate(length)
    }

    fn will_read(&self, range: std::ops::Range<u64>) {
        self.file.will_read(range);
    }

    fn forget_cached(&self, range: std::ops::Range<u64>) {
        self.file.forget_cached(range);
    }
}
