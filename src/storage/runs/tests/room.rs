//! A disk with too little room, and files that go.

use super::*;
use crate::storage::disk::Disk;

const LITTLE: DiskRoom = DiskRoom { free_bytes: 1000, spare_bytes: 0 };
const MUCH: DiskRoom = DiskRoom { free_bytes: 1 << 40, spare_bytes: 1 << 40 };

fn given(ids: std::ops::Range<u64>) -> Vec<Record> {
    ids.map(|id| record(place(0, id, id))).collect()
}

/// A set with a run that could not be written.
fn full_bench(disk: &SimDisk) -> (Bench, RunUid) {
    let mut bench = bench(disk);
    disk.set_capacity(Some(1000));
    let uid = bench.set.seal(given(0..1000));
    bench.heard.recv().unwrap();
    assert_eq!(bench.set.write_sealed().len(), 1);
    bench.set.measured(LITTLE);
    assert!(bench.set.is_out_of_room());
    (bench, uid)
}

fn files(disk: &SimDisk) -> Vec<String> {
    disk.list(Path::new(DIR)).unwrap()
}

#[test]
fn a_sealed_run_of_which_nothing_is_needed_is_not_written() {
    let disk = SimDisk::new();
    let (mut bench, _) = full_bench(&disk);
    assert!(bench.set.needed_bytes().0 > 50_000);
    for id in 0..1000 {
        let body = bench.take(id);
        bench.set.let_go(&body);
    }
    assert_eq!((bench.set.sealed_runs(), bench.set.needed_bytes()), (0, (0, 0)));
    disk.set_capacity(None);
    bench.set.measured(MUCH);
    let second = bench.set.seal(given(2000..2010));
    bench.settle();
    assert_eq!(files(&disk), [format::name(second)]);
}

#[test]
fn a_sealed_run_that_a_checkpoint_has_frozen_is_written_though_nothing_else_needs_it() {
    let disk = SimDisk::new();
    let (mut bench, uid) = full_bench(&disk);
    let frozen = bench.set.freeze();
    for id in 0..1000 {
        let body = bench.take(id);
        bench.set.let_go(&body);
    }
    disk.set_capacity(None);
    bench.set.measured(MUCH);
    assert!(bench.set.write_sealed().is_empty());
    bench.heard.recv().unwrap();
    assert_eq!(frozen.states().unwrap()[0].uid, uid);
    drop(frozen);
    assert_eq!(bench.release(&[]), 1);
    assert_eq!(files(&disk), [""; 0]);
}

#[test]
fn all_that_is_not_written_can_be_taken_out_last_things_first() {
    let disk = SimDisk::new();
    let (mut bench, uid) = full_bench(&disk);
    let held = bench.set.seal_bodies(vec![(5000, body_of(50))]);
    let first = bench.set.unwritten(10);
    assert_eq!(first.ids, (990..1000).rev().collect::<Vec<_>>());
    assert_eq!(first.files, BTreeSet::from([uid, held[0].file]));
    for id in bench.set.unwritten(usize::MAX).ids {
        let body = bench.take(id);
        bench.set.let_go(&body);
    }
    assert_eq!(bench.set.unwritten(10).ids, [0; 0]);
    bench.set.let_go(&held[0]);
    assert_eq!(bench.set.unwritten(10), Unwritten::default());
    assert_eq!(bench.set.freeze().states(), Some(Vec::new()));
}

#[test]
fn no_file_refers_to_one_that_was_not_written() {
    let disk = SimDisk::new();
    let (mut bench, uid) = full_bench(&disk);
    let at = bench.take(3);
    assert_eq!(at.file, uid);
    let again = Record { body: RecordBody::At(at), ..record(place(1, 3, 3)) };
    let second = bench.set.seal(vec![again]);
    let found = bench.set.find(3).unwrap().unwrap();
    assert_eq!((found.body.file, bench.set.body(&found.body).unwrap()), (second, body_of(3)));
    disk.set_capacity(None);
    bench.set.measured(MUCH);
    bench.settle();
    assert_eq!(bench.set.body(&found.body).unwrap(), body_of(3));
    let live = bench.set.freeze().states().unwrap().iter().map(|state| state.live.bodies).sum();
    assert_eq!((bench.set.records(), live), (1000, 1000_u64));
}

/// So many runs that some should be merged.
fn overlapping(disk: &SimDisk) -> Bench {
    let mut bench = bench(disk);
    for run in 0..=OVERLAP_MAX as u64 {
        let ids = run * 100..run * 100 + 100;
        bench.set.seal(ids.map(|id| record(place(0, id % 100, id))).collect());
    }
    bench.settle();
    bench
}

#[test]
fn a_merge_is_begun_when_there_is_room_for_it_and_given_up_when_there_is_none_left() {
    let disk = SimDisk::new();
    let mut bench = overlapping(&disk);
    bench.set.measured(DiskRoom { free_bytes: 1 << 40, spare_bytes: 10_000 });
    assert_eq!(bench.set.plan_merge(), None);
    bench.set.measured(MUCH);
    let plan = bench.set.plan_merge().unwrap();
    assert!(bench.set.merge(plan));
    assert!(bench.set.needed_bytes().1 > 10_000);
    bench.set.measured(LITTLE);
    bench.heard.recv().unwrap();
    while bench.set.is_merging() {
        assert!(!bench.set.publish().unwrap());
    }
    assert_eq!((bench.set.runs.len(), bench.set.records()), (17, 1700));
    bench.release(&[]);
    assert_eq!(files(&disk).len(), 17);
}

#[test]
fn what_several_sets_were_merging_goes_when_they_are_given_up() {
    let disk = SimDisk::new();
    let background = background();
    let set = |life| {
        let (options, heard) = options(&disk, &background);
        (RunSet::open(RunOptions { life, ..options }, Vec::new()).unwrap(), heard)
    };
    let (mut ours, _heard) = set(1);
    ours.claim(&BTreeSet::new()).unwrap();
    for life in 2..4 {
        let (other, heard) = set(life);
        let mut other = Bench { set: other, heard, _background: self::background() };
        for run in 0..2 {
            other.set.seal(given(run * 10..run * 10 + 10));
        }
        other.settle();
        while other.heard.try_recv().is_ok() {}
        other.merge(&[0, 1], &[]);
        other.heard.recv().unwrap();
        ours.inherit(&mut other.set);
    }
    assert_eq!(files(&disk).len(), 6);
    assert!(!ours.publish().unwrap());
    while ours.release(&[]) > 0 {}
    assert_eq!(files(&disk), [""; 0]);
}

#[test]
fn a_file_that_is_held_again_before_it_is_gone_stays() {
    let disk = SimDisk::new();
    let mut bench = bench(&disk);
    let uids: Vec<_> = (0..40).map(|run| bench.set.seal(given(run * 2..run * 2 + 2))).collect();
    bench.settle();
    for id in 0..80 {
        let body = bench.take(id);
        bench.set.let_go(&body);
    }
    assert_eq!(bench.set.release(&[]), 40);
    let held = bench.set.hold(uids.iter().copied().collect());
    let there = files(&disk);
    bench.release(&[]);
    // The background writer has done all that was before it.
    bench.set.seal(given(100..101));
    bench.settle();
    assert!(there.iter().all(|name| files(&disk).contains(name)));
    drop(held);
    bench.release(&[]);
    assert_eq!(files(&disk).len(), 1);
}
