//! Checkpoints from outside: made, read, damaged, cut short.

use std::sync::mpsc;

use super::*;
use crate::storage::background::{Background, BackgroundOptions};
use crate::storage::disk::RealDisk;
use crate::storage::sim::{Crash, SimDisk};
use crate::storage::tests::test_now;

const CLUSTER: u128 = 0xC1;

struct Bench {
    checkpoints: Checkpoints,
    room: mpsc::Receiver<()>,
    on_room: OnRoom,
    _background: Background,
}

fn bench(disk: Arc<dyn Disk>, dir: &Path, reserve: Option<Arc<Reserve>>) -> Bench {
    let background = Background::start(BackgroundOptions {
        rate_bytes_per_second: u64::MAX,
        ..BackgroundOptions::new(test_now())
    })
    .unwrap();
    let checkpoints = Checkpoints::open(disk, dir, background.handle(), reserve).unwrap();
    let (told, room) = mpsc::sync_channel(1);
    let on_room: OnRoom = Arc::new(move || {
        let _ = told.try_send(());
    });
    Bench { checkpoints, room, on_room, _background: background }
}

fn sim_bench(disk: &SimDisk) -> Bench {
    bench(Arc::new(disk.clone()), Path::new("/data/checkpoints"), None)
}

fn record(number: u64, bytes: usize) -> Vec<u8> {
    let mut record = number.to_le_bytes().to_vec();
    record.resize(bytes.max(8), number as u8);
    record
}

impl Bench {
    fn make(&self, index: u64, records: &[Vec<u8>]) -> Result<CheckpointInfo, CheckpointError> {
        let meta = Bytes::from(format!("meta of {index}"));
        let head = CheckpointHead { cluster: CLUSTER, applied_index: index, meta };
        let mut writer = self.checkpoints.begin(head, self.on_room.clone());
        for record in records {
            while writer.try_push(record).is_err() {
                self.room.recv().unwrap();
            }
        }
        let (told, finished) = mpsc::channel();
        writer.finish(Box::new(move |result| told.send(result).unwrap()));
        finished.recv().unwrap()
    }

    fn records(&self, index: u64) -> Result<Vec<Vec<u8>>, CheckpointError> {
        let mut reader = self.checkpoints.read(CLUSTER, index)?;
        let mut records = Vec::new();
        while let Some(record) = reader.next_record()? {
            records.push(record.to_vec());
        }
        Ok(records)
    }
}

#[test]
fn records_of_all_lengths_are_read_back_from_real_files() {
    let temp = tempfile::tempdir().unwrap();
    let bench = bench(Arc::new(RealDisk), &temp.path().join("checkpoints"), None);
    let lengths = [8, 100, 70_000, 3_000_000, 8, 65_000, 5_000];
    let records: Vec<_> =
        (0..700).map(|number| record(number, lengths[number as usize % 7])).take(60).collect();
    let info = bench.make(42, &records).unwrap();
    assert_eq!((info.records, &info.head.meta[..]), (60, &b"meta of 42"[..]));
    assert_eq!(bench.records(42).unwrap(), records);
    let choice = bench.checkpoints.newest_valid(CLUSTER).unwrap().unwrap();
    assert_eq!((choice.chosen, choice.damaged.len()), (info, 0));
}

#[test]
fn a_checkpoint_of_nothing_is_one() {
    let bench = sim_bench(&SimDisk::new());
    assert!(bench.checkpoints.newest_valid(CLUSTER).unwrap().is_none());
    assert_eq!(bench.make(0, &[]).unwrap().records, 0);
    assert!(bench.records(0).unwrap().is_empty());
}

#[test]
fn the_newest_two_are_kept_and_the_older_one_serves_when_the_newest_is_damaged() {
    let disk = SimDisk::new();
    let bench = sim_bench(&disk);
    for index in [5, 9, 10] {
        bench.make(index, &[record(index, 100)]).unwrap();
    }
    assert_eq!(bench.checkpoints.list().unwrap(), [10, 9]);
    disk.edit(&bench.checkpoints.path(10), |bytes| bytes[100] ^= 4);
    let choice = bench.checkpoints.newest_valid(CLUSTER).unwrap().unwrap();
    assert_eq!((choice.chosen.head.applied_index, choice.damaged.len()), (9, 1));
    disk.edit(&bench.checkpoints.path(9), |bytes| bytes.truncate(50));
    let refused = bench.checkpoints.newest_valid(CLUSTER);
    assert!(matches!(refused, Err(CheckpointError::Corrupt { .. })));
    assert_eq!(bench.checkpoints.list().unwrap(), [10, 9]);
}

#[test]
fn no_flipped_bit_and_no_cut_is_accepted() {
    let disk = SimDisk::new();
    let bench = sim_bench(&disk);
    let records: Vec<_> = (0..20).map(|number| record(number, 40)).collect();
    bench.make(7, &records).unwrap();
    let path = bench.checkpoints.path(7);
    let whole = disk.bytes(&path).unwrap();
    let verify = || bench.checkpoints.read(CLUSTER, 7).and_then(CheckpointReader::verify);
    for bit in 0..whole.len() * 8 {
        disk.edit(&path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        assert!(verify().is_err(), "bit {bit}");
        disk.edit(&path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
    }
    for length in 0..whole.len() {
        disk.edit(&path, |bytes| bytes.truncate(length));
        assert!(verify().is_err(), "cut at {length}");
        disk.edit(&path, |bytes| bytes.clone_from(&whole));
    }
    verify().unwrap();
}

#[test]
fn another_cluster_and_another_name_are_refused() {
    let disk = SimDisk::new();
    let bench = sim_bench(&disk);
    bench.make(7, &[]).unwrap();
    let foreign = bench.checkpoints.read(CLUSTER + 1, 7).map(|_| ());
    assert!(matches!(foreign, Err(CheckpointError::ForeignCluster { .. })));
    disk.rename(&bench.checkpoints.path(7), &bench.checkpoints.path(8)).unwrap();
    let renamed = bench.checkpoints.read(CLUSTER, 8).map(|_| ());
    assert!(matches!(renamed, Err(CheckpointError::Corrupt { why: Damage::Head, .. })));
}

#[test]
fn a_crash_at_any_moment_leaves_the_older_checkpoint_or_the_new_one() {
    let before = SimDisk::new();
    sim_bench(&before).make(1, &[record(1, 2000)]).unwrap();
    let records = [record(2, 3000), record(3, 90_000)];
    for changes in 0..30 {
        let disk = before.kill();
        let bench = sim_bench(&disk);
        disk.power_off_after(changes);
        let made = bench.make(2, &records);
        for seed in 0..4 {
            let after = disk.crash(Crash::Random { seed });
            let bench = sim_bench(&after);
            let choice = bench.checkpoints.newest_valid(CLUSTER).unwrap().unwrap();
            let chosen = choice.chosen.head.applied_index;
            assert!(chosen == 2 || (made.is_err() && chosen == 1), "{changes} {seed}");
            assert!(choice.damaged.is_empty(), "{changes} {seed}");
            let unfinished = after.list(Path::new("/data/checkpoints")).unwrap();
            assert!(unfinished.iter().all(|name| !name.ends_with(".new")), "{unfinished:?}");
        }
    }
}

#[test]
fn one_that_is_given_up_leaves_nothing() {
    let disk = SimDisk::new();
    let bench = sim_bench(&disk);
    let head = CheckpointHead { cluster: CLUSTER, applied_index: 1, meta: Bytes::new() };
    let mut writer = bench.checkpoints.begin(head, bench.on_room.clone());
    for number in 0..50 {
        writer.try_push(&record(number, 40_000)).unwrap();
    }
    drop(writer);
    bench.make(2, &[]).unwrap();
    assert_eq!(disk.list(Path::new("/data/checkpoints")).unwrap(), ["checkpoint-2"]);
}

#[test]
fn a_full_disk_fails_the_checkpoint_or_takes_the_reserve() {
    let disk = SimDisk::new();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    disk.create_dir(Path::new("/data")).unwrap();
    let reserve = Arc::new(Reserve::new(shared.clone(), PathBuf::from("/data/reserve")));
    reserve.set_wanted(300_000);
    let bench = bench(shared, Path::new("/data/checkpoints"), Some(reserve.clone()));
    reserve.refill(&bench.checkpoints.background);
    bench.make(1, &[]).unwrap();
    assert_eq!(reserve.held_bytes(), 300_000);
    disk.set_capacity(Some(310_000));
    let records = [record(1, 200_000)];
    bench.make(2, &records).unwrap();
    assert_eq!(reserve.held_bytes(), 0);
    let refused = bench.make(3, &records);
    assert!(matches!(&refused, Err(CheckpointError::Io { source, .. })
        if crate::storage::disk::is_full(source)));
    assert_eq!(bench.checkpoints.list().unwrap(), [2, 1]);
}

#[test]
fn without_the_background_writer_nobody_waits() {
    let disk = SimDisk::new();
    let Bench { checkpoints, on_room, _background, .. } = sim_bench(&disk);
    drop(_background);
    let head = CheckpointHead { cluster: CLUSTER, applied_index: 1, meta: Bytes::new() };
    let mut writer = checkpoints.begin(head, on_room);
    for number in 0..300 {
        writer.try_push(&record(number, 40_000)).unwrap();
    }
    let (told, finished) = mpsc::channel();
    writer.finish(Box::new(move |result| told.send(result).unwrap()));
    assert!(matches!(finished.recv().unwrap(), Err(CheckpointError::NoBackground)));
}
