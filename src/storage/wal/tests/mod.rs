//! The log from outside: what is handed over, what is read back, what a restart finds.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc;

use parking_lot::Mutex;

use super::*;

mod crash;
mod damage;
mod full;
mod stepper;

use crate::storage::background::{Background, BackgroundOptions};
use crate::storage::disk::RealDisk;
use crate::storage::sim::{Crash, SimDisk};
use crate::storage::tests::test_now;

const OWNER: Owner = Owner { cluster: 0xBEA9, member: 1 };

/// A log on some disk, with everything it needs.
struct Bench {
    wal: Wal,
    recovered: Recovered,
    failed: Arc<Mutex<Option<WalError>>>,
    // After the log, which uses it.
    _background: Background,
}

fn small_options() -> WalOptions {
    WalOptions {
        segment_bytes_first: 1024,
        segment_bytes_max: 4096,
        may_create: true,
        ..WalOptions::new(OWNER, test_now())
    }
}

fn dir() -> PathBuf {
    PathBuf::from("/data/wal")
}

fn try_open(disk: &Arc<dyn Disk>, dir: &Path, options: WalOptions) -> Result<Bench, WalError> {
    let background = Background::start(BackgroundOptions {
        rate_bytes_per_second: u64::MAX,
        ..BackgroundOptions::new(test_now())
    })
    .unwrap();
    let failed = Arc::new(Mutex::new(None));
    let told = failed.clone();
    let fatal: Fatal = Arc::new(move |error| *told.lock() = Some(error));
    let (wal, recovered) = Wal::open(disk.clone(), dir, options, background.handle(), fatal)?;
    Ok(Bench { wal, recovered, failed, _background: background })
}

fn open(disk: &SimDisk) -> Bench {
    try_open(&(Arc::new(disk.clone()) as Arc<dyn Disk>), &dir(), small_options()).unwrap()
}

fn id(term: u64, index: u64) -> EntryId {
    EntryId { term, member: 1, index }
}

fn payload(term: u64, index: u64, bytes: usize) -> Bytes {
    let mut payload = format!("{term}.{index}.").into_bytes();
    payload.resize(bytes.max(payload.len()), b'x');
    payload.into()
}

impl Bench {
    fn append_later(&self, term: u64, indexes: std::ops::Range<u64>, bytes: usize, done: Done) {
        let entries = indexes
            .map(|index| {
                let payload: Arc<dyn Payload> = Arc::new(payload(term, index, bytes));
                (id(term, index), payload)
            })
            .collect();
        self.wal.append(entries, done);
    }

    fn append(&self, term: u64, indexes: std::ops::Range<u64>, bytes: usize) {
        let (done, wait) = waiter();
        self.append_later(term, indexes, bytes, done);
        wait.recv().expect("the append is durable");
    }

    fn vote(&self, vote: &'static str) {
        let (done, wait) = waiter();
        self.wal.save_vote(Bytes::from_static(vote.as_bytes()), done);
        wait.recv().expect("the vote is durable");
    }

    fn terms(&self, from: u64, to: u64) -> Vec<(u64, u64)> {
        let mut found = Vec::new();
        let mut next = from;
        while next < to {
            let entries = self.wal.read(next, to, 300).unwrap();
            let Some((last, _)) = entries.last() else { break };
            next = last.index + 1;
            found.extend(entries.iter().map(|(id, bytes)| {
                assert_eq!(*bytes, payload(id.term, id.index, bytes.len()));
                (id.index, id.term)
            }));
        }
        found
    }
}

fn waiter() -> (Done, mpsc::Receiver<()>) {
    let (told, wait) = mpsc::channel();
    (Box::new(move || told.send(()).unwrap_or(())), wait)
}

#[test]
fn entries_votes_and_notes_are_there_after_a_restart_on_real_files() {
    let temp = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let dir = temp.path().join("wal");
    let first = try_open(&disk, &dir, small_options()).unwrap();
    assert_eq!(first.recovered, Recovered::default());
    first.vote("me in 1");
    first.wal.note(Bytes::from_static(b"noon"));
    for index in 0..100 {
        first.append(1, index..index + 1, 100);
    }
    assert_eq!(first.terms(0, 1000).len(), 100);
    first.wal.note(Bytes::from_static(b"one"));
    drop(first);
    let second = try_open(&disk, &dir, small_options()).unwrap();
    assert_eq!(second.recovered.vote.as_deref(), Some(&b"me in 1"[..]));
    assert_eq!(second.recovered.note.as_deref(), Some(&b"one"[..]));
    assert_eq!(second.recovered.last, Some(id(1, 99)));
    assert_eq!(second.recovered.torn_bytes, 0);
    assert_eq!(second.terms(7, 1000), (7..100).map(|index| (index, 1)).collect::<Vec<_>>());
    second.append(2, 100..150, 50);
    assert_eq!(second.terms(90, 1000).len(), 60);
}

#[test]
fn truncated_entries_are_gone_for_readers_at_once_and_after_a_restart() {
    let disk = SimDisk::new();
    let first = open(&disk);
    first.append(1, 0..50, 40);
    first.wal.truncate_after(Some(id(1, 19)));
    assert_eq!(first.terms(0, 1000).len(), 20);
    first.append(2, 20..30, 40);
    let expected: Vec<_> = (0..30).map(|index| (index, if index < 20 { 1 } else { 2 })).collect();
    assert_eq!(first.terms(0, 1000), expected);
    drop(first);
    let second = open(&disk);
    assert_eq!(second.recovered.last, Some(id(2, 29)));
    assert_eq!(second.terms(0, 1000), expected);
}

#[test]
fn purged_segments_are_recycled_and_what_is_left_can_be_read() {
    let disk = SimDisk::new();
    let first = open(&disk);
    first.vote("kept");
    for index in 0..300 {
        first.append(1, index..index + 1, 100);
    }
    let before = first.wal.state();
    first.wal.purge(id(1, 250));
    // Recycling comes after the acknowledgement of its group: the second one is after that.
    first.append(1, 300..301, 10);
    first.append(1, 301..302, 10);
    let after = first.wal.state();
    assert!(after.oldest_segment > before.oldest_segment, "{before:?} {after:?}");
    assert!(matches!(first.wal.read(250, 300, 1), Err(WalError::Purged { first: 251, .. })));
    assert_eq!(first.terms(251, 1000).len(), 51);
    for index in 302..400 {
        first.append(1, index..index + 1, 100);
    }
    drop(first);
    let second = open(&disk);
    assert_eq!(second.recovered.purged, Some(id(1, 250)));
    assert_eq!(second.recovered.vote.as_deref(), Some(&b"kept"[..]));
    assert_eq!(second.terms(251, 1000).len(), 149);
}

#[test]
fn a_log_purged_beyond_its_end_goes_on_after_the_purge_point() {
    let disk = SimDisk::new();
    let first = open(&disk);
    first.append(1, 0..10, 40);
    first.wal.purge(id(3, 99));
    assert_eq!(first.wal.state().next_index, 100);
    first.append(3, 100..105, 40);
    assert_eq!(first.terms(100, 1000).len(), 5);
    drop(first);
    let second = open(&disk);
    assert_eq!(second.recovered.purged, Some(id(3, 99)));
    assert_eq!(second.recovered.last, Some(id(3, 104)));
    second.wal.purge(id(3, 200));
    second.vote("x");
    drop(second);
    assert_eq!(open(&disk).recovered.last, Some(id(3, 200)));
}

#[test]
fn an_entry_longer_than_a_segment_gets_one_of_its_own() {
    let disk = SimDisk::new();
    let first = open(&disk);
    first.append(1, 0..1, 100_000);
    first.append(1, 1..3, 10);
    drop(first);
    let second = open(&disk);
    assert_eq!(second.terms(0, 10).len(), 3);
    assert_eq!(second.wal.read(0, 1, 0).unwrap()[0].1.len(), 100_000);
}

#[test]
fn a_missing_log_is_made_only_when_it_may_be() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
    let options = WalOptions { may_create: false, ..small_options() };
    assert!(matches!(try_open(&disk, &dir(), options), Err(WalError::Missing { .. })));
}

#[test]
fn nothing_is_done_after_a_sync_has_failed() {
    let disk = SimDisk::new();
    let bench = open(&disk);
    bench.append(1, 0..1, 10);
    disk.fail_sync(1);
    let count = Arc::new(AtomicU64::new(0));
    for index in 1..20 {
        let count = count.clone();
        let done = Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        bench.append_later(1, index..index + 1, 10, done);
    }
    let Bench { wal, failed, .. } = bench;
    drop(wal);
    assert!(matches!(*failed.lock(), Some(WalError::Io { action: "sync", .. })));
    // The mark of the idle time may have met the failure before the first of them was written.
    assert_eq!(count.load(Ordering::Relaxed), 0);
}

fn read_until(wal: &Wal, is_over: &AtomicBool) {
    let mut reads = 0;
    while !is_over.load(Ordering::Relaxed) || reads == 0 {
        let from = wal.state().first_index;
        let entries = match wal.read(from, u64::MAX, 5000) {
            Err(WalError::Purged { .. }) => continue,
            read => read.unwrap(),
        };
        for (next, (id, bytes)) in (from..).zip(entries) {
            assert_eq!((id.term, id.index), (1, next));
            assert_eq!(bytes, payload(1, next, 100));
        }
        reads += 1;
    }
}

#[test]
fn readers_see_only_whole_entries_while_segments_are_recycled() {
    let disk = SimDisk::new();
    let bench = open(&disk);
    bench.append(1, 0..1, 100);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| read_until(&bench.wal, &is_over));
        }
        for index in 1..3000 {
            bench.append(1, index..index + 1, 100);
            if index % 50 == 0 {
                bench.wal.purge(id(1, index - 40));
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let names = disk.list(&dir()).unwrap();
    assert!(names.len() < 30, "recycled, not only added: {names:?}");
}

#[test]
fn entries_that_wait_behind_a_truncation_never_show() {
    let disk = SimDisk::new();
    let bench = open(&disk);
    bench.append(1, 0..10, 100);
    for round in 2..200 {
        let (done, wait) = waiter();
        bench.append_later(round, 10..20, 100, Box::new(|| {}));
        bench.wal.truncate_after(Some(id(1, 9)));
        assert_eq!(bench.terms(0, 100).len(), 10, "round {round}");
        bench.append_later(round * 1000, 10..12, 100, done);
        wait.recv().unwrap();
        let last = bench.wal.read(11, 12, 1).unwrap();
        assert_eq!(last[0].0, id(round * 1000, 11));
        bench.wal.truncate_after(Some(id(1, 9)));
    }
}

#[test]
fn an_idle_log_writes_one_mark_and_no_more() {
    let disk = SimDisk::new();
    let bench = open(&disk);
    for written in [2, 4, 6] {
        bench.append(1, written / 2 - 1..written / 2, 10);
        // The entry and its mark; another mark would show in the next round.
        while bench.wal.state().records_written < written {
            std::thread::yield_now();
        }
        assert_eq!(bench.wal.state().records_written, written);
    }
}

#[test]
fn weaker_policies_acknowledge_before_the_sync_and_still_sync_votes() {
    for sync in [SyncPolicy::Never, SyncPolicy::Every(Duration::from_secs(3600))] {
        let disk = SimDisk::new();
        let options = WalOptions { sync, ..small_options() };
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let bench = try_open(&shared, &dir(), options).unwrap();
        bench.append(1, 0..1, 10);
        bench.vote("synced");
        bench.append(1, 1..2, 10);
        let after = stepper::recover_all(&disk.crash(Crash::LoseAll)).unwrap();
        assert_eq!(after.recovered.vote.as_deref(), Some(&b"synced"[..]));
        assert_eq!(after.recovered.last, Some(id(1, 0)), "{sync:?}");
        drop(bench);
        let closed = stepper::recover_all(&disk.crash(Crash::LoseAll)).unwrap();
        assert_eq!(closed.recovered.last, Some(id(1, 1)), "{sync:?}");
    }
}

#[test]
fn the_log_of_another_member_is_refused() {
    let disk = SimDisk::new();
    drop(open(&disk));
    let owner = Owner { member: 2, ..OWNER };
    let options = WalOptions { owner, ..small_options() };
    let refused = try_open(&(Arc::new(disk) as Arc<dyn Disk>), &dir(), options);
    assert!(matches!(refused, Err(WalError::ForeignOwner { .. })));
}

#[test]
fn a_segment_under_a_name_that_is_not_its_own_is_a_spare() {
    let disk = SimDisk::new();
    let bench = open(&disk);
    bench.append(1, 0..40, 100);
    drop(bench);
    // The first one was filled, whatever time there was for those after it.
    let bytes = disk.bytes(&dir().join("log-1")).unwrap();
    disk.create(&dir().join("log-77")).unwrap();
    disk.edit(&dir().join("log-77"), |stray| *stray = bytes);
    let again = open(&disk);
    assert_eq!(again.recovered.last, Some(id(1, 39)));
    assert_eq!(again.terms(0, 100).len(), 40);
    assert_eq!(again.wal.state().current_segment, 78);
    assert!(disk.bytes(&dir().join("log-77")).is_none());
}
