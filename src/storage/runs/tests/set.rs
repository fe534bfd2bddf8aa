//! A set: what it costs, what it survives, and how it merges.

use super::*;
use crate::storage::disk::Disk;

fn given(ids: std::ops::Range<u64>) -> Vec<Record> {
    ids.map(|id| record(place(0, id, id))).collect()
}

#[test]
fn a_full_disk_leaves_a_run_in_memory_and_it_is_written_when_there_is_room() {
    let disk = SimDisk::new();
    let mut bench = bench(&disk);
    disk.set_capacity(Some(10_000));
    bench.set.seal(given(0..1000));
    bench.heard.recv().unwrap();
    let failures = bench.set.write_sealed();
    assert!(matches!(&failures[..], [failure] if failure.is_full()), "{failures:?}");
    let found = bench.set.find(7).unwrap().unwrap();
    assert_eq!(bench.set.body(&found.body).unwrap(), body_of(7));
    assert!(bench.set.resident().sealed > 50_000);
    // It is not tried again before it is known that there is room.
    assert!(bench.set.is_out_of_room());
    assert!(bench.set.write_sealed().is_empty());
    bench.set.measured(DiskRoom { free_bytes: 10_000, spare_bytes: 0 });
    assert!(bench.set.is_out_of_room());
    disk.set_capacity(None);
    bench.set.measured(DiskRoom { free_bytes: 2 << 20, spare_bytes: 0 });
    assert!(!bench.set.is_out_of_room());
    bench.settle();
    assert_eq!(bench.set.resident().sealed, 0);
    assert_eq!(bench.set.body(&found.body).unwrap(), body_of(7));
}

#[test]
#[should_panic(expected = "is sealed already")]
fn an_id_that_is_sealed_is_not_sealed_again() {
    let mut bench = bench(&SimDisk::new());
    // Without a background writer it stays in memory.
    drop(std::mem::replace(&mut bench._background, background()));
    bench.set.seal(given(0..10));
    bench.set.seal(given(9..12));
}

#[test]
#[should_panic(expected = "is taken twice")]
fn a_record_is_taken_once() {
    let mut bench = bench(&SimDisk::new());
    bench.set.seal(given(0..10));
    let found = bench.set.find(3).unwrap().unwrap();
    bench.set.take(&found).unwrap();
    bench.set.take(&found).unwrap();
}

#[test]
fn files_that_nobody_lists_are_removed_at_the_start_and_kept_ones_are_not() {
    let disk = SimDisk::new();
    let mut first = bench(&disk);
    let uids: Vec<_> = (0..3).map(|run| first.set.seal(given(run * 10..run * 10 + 10))).collect();
    first.settle();
    let states = first.set.freeze().states().unwrap();
    drop(first);
    for leftover in
        ["run-00000000000000000000000000000001.new", "run-00000000000000000000000000000001.ids"]
    {
        disk.create(&Path::new(DIR).join(leftover)).unwrap();
    }
    let listed = states.into_iter().filter(|state| state.uid == uids[0]).collect();
    let mut second = open(&disk, listed, &BTreeSet::from([uids[1]])).unwrap();
    let names = |disk: &SimDisk| disk.list(Path::new(DIR)).unwrap();
    assert_eq!(names(&disk), [format::name(uids[0]), format::name(uids[1])]);
    assert_eq!(second.release(&[]), 1);
    assert_eq!(names(&disk), [format::name(uids[0])]);
    assert_eq!(second.set.records(), 10);
}

#[test]
fn opening_removes_nothing_before_the_directory_is_claimed() {
    let disk = SimDisk::new();
    let mut first = bench(&disk);
    first.set.seal(given(0..10));
    first.settle();
    drop(first);
    let (before, background) = (disk.list(Path::new(DIR)).unwrap(), background());
    let (options, _heard) = options(&disk, &background);
    let mut set = RunSet::open(options, Vec::new()).unwrap();
    assert_eq!(disk.list(Path::new(DIR)).unwrap(), before);
    set.claim(&BTreeSet::new()).unwrap();
    assert_eq!(disk.list(Path::new(DIR)).unwrap(), [""; 0]);
}

#[test]
fn a_file_goes_when_neither_the_set_nor_anything_frozen_nor_a_checkpoint_has_it() {
    let disk = SimDisk::new();
    let mut bench = bench(&disk);
    let uid = bench.set.seal(given(0..2));
    bench.settle();
    let frozen = bench.set.freeze();
    let bodies = [bench.take(0), bench.take(1)];
    bench.set.let_go(&bodies[0]);
    assert_eq!(bench.set.body(&bodies[1]).unwrap(), body_of(1));
    drop(bench.set.freeze());
    bench.set.let_go(&bodies[1]);
    assert_eq!(bench.release(&[]), 0);
    drop(frozen);
    assert_eq!(bench.release(&[uid]), 0);
    assert_eq!(bench.release(&[]), 1);
    assert_eq!(disk.used_bytes(), 0);
}

#[test]
fn runs_that_lie_one_behind_the_other_are_not_merged_and_overlapping_ones_are() {
    let mut bench = bench(&SimDisk::new());
    for run in 0..20 {
        bench.set.seal(given(run * 10..run * 10 + 10));
    }
    bench.settle();
    assert_eq!(bench.set.plan_merge(), None);
    for run in 20..37 {
        let ids = run * 10..run * 10 + 10;
        bench.set.seal(ids.map(|id| record(place(1, id % 10, id))).collect());
    }
    bench.settle();
    let plan = bench.set.plan_merge().unwrap();
    assert_eq!((plan.inputs.len(), plan.rewrites.len()), (MERGE_RUNS, 0));
    assert!(bench.set.merge(plan));
    assert_eq!(bench.set.plan_merge(), None);
    bench.publish();
    assert_eq!((bench.set.runs.len(), bench.set.parts.len()), (30, 38));
    assert_eq!(bench.set.plan_merge(), None);
}

#[test]
fn bodies_of_files_that_are_mostly_dead_are_moved_and_the_files_go() {
    let disk = SimDisk::new();
    let mut bench = bench(&disk);
    bench.set.seal(given(0..1000));
    bench.settle();
    for id in (0..1000).filter(|id| id % 4 > 0) {
        let body = bench.take(id);
        bench.set.let_go(&body);
    }
    let before = disk.used_bytes();
    let plan = bench.set.plan_merge().unwrap();
    assert_eq!((plan.inputs.len(), plan.rewrites.len()), (1, 1));
    bench.set.merge(plan);
    // Taken while the merge runs: one body stays where it was, as long as it is needed.
    let stays = bench.take(4);
    bench.publish();
    assert_eq!(bench.set.plan_merge(), None);
    assert_eq!(bench.release(&[]), 0);
    assert_eq!(bench.set.body(&stays).unwrap(), body_of(4));
    bench.set.let_go(&stays);
    assert_eq!(bench.release(&[]), 1);
    assert!(disk.used_bytes() < before / 2, "{} of {before}", disk.used_bytes());
    let found = bench.set.find(8).unwrap().unwrap();
    assert_eq!(bench.set.body(&found.body).unwrap(), body_of(8));
    assert_eq!((bench.set.records(), bench.set.find(4).unwrap()), (249, None));
}

#[test]
fn many_records_may_be_taken_while_a_merge_runs() {
    let mut bench = bench(&SimDisk::new());
    for run in 0..3 {
        let ids = (0..20_000).map(|number| number * 3 + run);
        bench.set.seal(ids.map(|id| record(place(0, id, id))).collect());
    }
    bench.settle();
    bench.merge(&[0, 1, 2], &[]);
    let group = Group { tube: 0, kind: 0 };
    for id in 0..30_000 {
        assert_eq!(bench.set.first(group).unwrap(), Some(place(0, id, id)));
        bench.take(id);
    }
    bench.publish();
    assert_eq!(bench.set.runs.len(), 1);
    assert_eq!(bench.set.records(), 30_000);
    for id in 30_000..30_100 {
        assert_eq!(bench.set.first(group).unwrap(), Some(place(0, id, id)));
        bench.take(id);
    }
}

#[test]
fn an_old_id_that_comes_again_costs_one_page_more() {
    let disk = SimDisk::new();
    let mut bench = bench(&disk);
    for run in 0..10 {
        bench.set.seal(given(run * 2000..run * 2000 + 2000));
    }
    let body = RecordBody::At(bench.take(5));
    let again = Record { body, ..record(place(0, 5, 5)) };
    // It stretches the range of ids of this run, not of its pages.
    bench.set.seal(given(20_000..22_000).into_iter().chain([again]).collect());
    bench.settle();
    let pages = |bench: &Bench, id: u64| {
        let may = |run: &Arc<super::super::run::Run>| run.file().unwrap().page_of_id(id).is_some();
        bench.set.runs.values().filter(|member| may(&member.run)).count()
    };
    assert_eq!(pages(&bench, 5), 2);
    assert_eq!(pages(&bench, 9_000), 2);
    assert_eq!(pages(&bench, 15_000), 2);
    assert_eq!(pages(&bench, 20_500), 1);
    assert_eq!(bench.set.find(5).unwrap().unwrap().place, place(0, 5, 5));
}

#[test]
fn six_bytes_for_a_hundred_records_stay_in_memory_and_a_bit_for_each_if_some_are_taken() {
    let disk = SimDisk::new();
    let mut bench = bench(&disk);
    let ids = 0..300_000_u64;
    let bare =
        |id| Record { body: RecordBody::Given(Bytes::new()), ..record(place(0, id % 1000, id)) };
    bench.set.seal(ids.map(bare).collect());
    bench.settle();
    let resident = bench.set.resident();
    assert_eq!((resident.sealed, resident.marks), (0, 0));
    assert!(resident.indexes < 300_000 / 100 * 6, "{resident:?}");
    for id in (0..300_000).step_by(50) {
        bench.take(id);
    }
    let resident = bench.set.resident();
    assert!(resident.marks < 300_000 / 8 + 2000, "{resident:?}");
    assert!(resident.cache <= 4 << 20, "{resident:?}");
}

#[test]
fn a_hundred_thousand_groups_over_thirty_runs_are_taken_in_order() {
    const GROUPS: u64 = 100_000;
    let mut bench = bench(&SimDisk::new());
    let bare = |id: u64| {
        let place = place(id * 77_777 % GROUPS, 100 - id / 5000, id);
        Record { place, facts: Bytes::new(), body: RecordBody::Given(Bytes::new()) }
    };
    for run in 0..30 {
        bench.set.seal((run * 5000..run * 5000 + 5000).map(bare).collect());
    }
    bench.settle();
    while let Some(plan) = bench.set.plan_merge() {
        bench.set.merge(plan);
        bench.publish();
    }
    assert!(bench.set.runs.len() <= OVERLAP_MAX);
    for tube in (0..GROUPS).step_by(101) {
        let group = Group { tube, kind: 0 };
        let expected = bench.set.after(group, None, 9).unwrap();
        for found in &expected {
            assert_eq!(bench.set.first(group).unwrap(), Some(found.place));
            bench.set.take(found).unwrap();
        }
        assert!(expected.is_sorted_by_key(|found| found.place) && !expected.is_empty());
        assert_eq!(bench.set.first(group).unwrap(), None);
    }
    let resident = bench.set.resident();
    assert!(resident.cursors <= 1 << 20, "{resident:?}");
}

#[test]
fn readers_on_other_threads_see_the_same_while_runs_are_written() {
    let mut bench = bench(&SimDisk::new());
    for run in 0..8 {
        bench.set.seal(given(run * 1000..run * 1000 + 1000));
    }
    fn can_go_to_a_thread<T: Send + Sync>(_: &T) {}
    let set = &bench.set;
    can_go_to_a_thread(set);
    std::thread::scope(|scope| {
        for reader in 0..3 {
            scope.spawn(move || {
                for id in (reader..8000).step_by(3) {
                    let found = set.find(id).unwrap().unwrap();
                    assert_eq!(set.body(&found.body).unwrap(), body_of(id));
                    assert_eq!(set.first(place(0, 0, 0).group).unwrap(), Some(place(0, 0, 0)));
                }
            });
        }
    });
}

#[test]
fn a_failed_sync_leaves_a_run_in_memory_and_it_is_written_anew() {
    for failing in 1..5 {
        let disk = SimDisk::new();
        let mut bench = bench(&disk);
        disk.fail_sync(failing);
        bench.set.seal(given(0..100));
        bench.heard.recv().unwrap();
        let failures = bench.set.write_sealed().len();
        bench.settle();
        let states = bench.set.freeze().states().unwrap();
        let after = disk.crash(crate::storage::sim::Crash::LoseAll);
        let again = open(&after, states.clone(), &BTreeSet::new()).unwrap();
        again.set.verify(states[0].uid).unwrap();
        assert_eq!(again.set.records(), 100);
        // One piece, the whole file, the directory.
        assert_eq!(failures, usize::from(failing <= 3), "sync {failing}");
    }
}

#[test]
fn a_merge_that_cannot_be_written_leaves_the_old_runs() {
    let disk = SimDisk::new();
    let mut bench = bench(&disk);
    for run in 0..2 {
        bench.set.seal(given(run * 500..run * 500 + 500));
    }
    bench.settle();
    disk.set_capacity(Some(disk.used_bytes() + 1000));
    bench.merge(&[0, 1], &[]);
    let body = bench.take(3);
    while bench.heard.recv().is_ok() {
        match bench.set.publish() {
            Ok(published) => assert!(!published),
            Err(error) => {
                assert!(error.is_full());
                break;
            }
        }
    }
    assert!(!bench.set.is_merging());
    assert_eq!((bench.set.records(), bench.set.find(3).unwrap()), (999, None));
    assert_eq!(bench.set.body(&body).unwrap(), body_of(3));
    disk.set_capacity(None);
    bench.merge(&[0, 1], &[]);
    bench.publish();
    assert_eq!((bench.set.records(), bench.set.runs.len()), (999, 1));
}

#[test]
fn real_files_are_written_merged_read_and_removed() {
    let temp = tempfile::tempdir().unwrap();
    let background = background();
    let (options, heard) = options(&SimDisk::new(), &background);
    let dir = temp.path().join("runs");
    let disk = Arc::new(crate::storage::disk::RealDisk);
    let options = RunOptions { disk: disk.clone(), dir: dir.clone(), ..options };
    let mut set = RunSet::open(options.clone(), Vec::new()).unwrap();
    set.claim(&BTreeSet::new()).unwrap();
    let mut bench = Bench { set, heard, _background: background };
    for run in 0..3 {
        bench.set.seal(given(run * 5000..run * 5000 + 5000));
    }
    bench.settle();
    let files: Vec<_> = bench.set.parts.keys().copied().collect();
    bench.merge(&[0, 1, 2], &files[..2]);
    bench.publish();
    assert_eq!(bench.release(&[]), 2);
    let states = bench.set.freeze().states().unwrap();
    let again = RunSet::open(options, states).unwrap();
    for id in 0..15_000 {
        let found = again.find(id).unwrap().unwrap();
        assert_eq!(again.body(&found.body).unwrap(), body_of(id));
    }
    assert_eq!(disk.list(&dir).unwrap().len(), 2);
}

#[test]
fn what_will_be_looked_for_is_announced_to_the_disk_once() {
    let disk = SimDisk::new();
    let mut bench = bench(&disk);
    for first in [0, 2000] {
        bench.set.seal((first..first + 2000).map(|id| record(place(0, id, id))).collect());
    }
    bench.settle();
    let ids = [10, 1500, 2010, 3500, 9999];
    bench.set.expect(&ids);
    // A page of ids and a block for each of those that are there.
    assert_eq!(disk.announced_reads(), 8);
    for id in ids {
        let found = bench.set.find(id).unwrap();
        assert_eq!(found.map(|found| found.place.id), (id < 4000).then_some(id));
    }
    bench.set.expect(&ids);
    assert_eq!(disk.announced_reads(), 8, "the pages are cached");
}

#[test]
fn the_first_of_a_group_is_found_without_a_look_at_the_ids() {
    let disk = SimDisk::new();
    let mut bench = bench(&disk);
    bench.set.seal((0..2000).map(|id| record(place(0, id, id))).collect());
    bench.settle();
    assert_eq!(bench.set.first(place(0, 0, 0).group).unwrap(), Some(place(0, 0, 0)));
    let found = bench.set.find(0).unwrap().expect("it is there");
    bench.set.expect(&[0]);
    assert_eq!(disk.announced_reads(), 1, "the page of ids is not cached yet");
    bench.set.take(&found).unwrap();
    assert_eq!(bench.set.find(0).unwrap(), None, "what is remembered of it is not believed");
}
