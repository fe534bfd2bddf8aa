//! Power failures at every moment, and every way in which a disk may come out of one.

use super::stepper::{Change, Stepper, check, recover_all, remove_spares, script};
use super::*;
use crate::storage::sim::{Crash, SECTOR_BYTES};

/// Runs the script until the power fails after so many changes of the disk. Returns the disk and how
/// many changes were acknowledged; `None` when the power lasted.
fn run_until_failure(changes: &[Change], seed: u64, power: u64) -> (SimDisk, Option<usize>) {
    let disk = SimDisk::new();
    disk.power_off_after(power);
    let acknowledged = match Stepper::new(&disk, small_options()) {
        Ok(mut stepper) => stepper.run(changes, seed),
        Err(_) => 0,
    };
    let lasted = acknowledged == changes.len();
    (disk, (!lasted).then_some(acknowledged))
}

/// All the ways in which each single pending write may be lost or torn, and a few of all.
fn crashes(disk: &SimDisk, seed: u64) -> Vec<Crash> {
    let mut crashes = vec![Crash::LoseAll, Crash::KeepAll];
    crashes.extend((0..4).map(|more| Crash::Random { seed: seed * 4 + more }));
    for (write, bytes) in disk.pending_writes().into_iter().enumerate() {
        crashes.push(Crash::Missing { write });
        let sectors = bytes.div_ceil(SECTOR_BYTES).min(8);
        crashes.extend((1..=sectors).map(|sectors| Crash::Torn { write, sectors }));
    }
    crashes
}

fn check_survivor(
    disk: &SimDisk,
    changes: &[Change],
    acknowledged: usize,
    what: &dyn std::fmt::Debug,
) {
    let outcome = recover_all(disk).unwrap_or_else(|error| panic!("{what:?}: {error}"));
    check(changes, acknowledged, &outcome).unwrap_or_else(|why| panic!("{what:?}: {why}"));
    let mut again = recover_all(disk).unwrap_or_else(|error| panic!("{what:?}, again: {error}"));
    // Only the first one finds the torn tail.
    again.recovered.torn_bytes = outcome.recovered.torn_bytes;
    assert_eq!(outcome, again, "{what:?}: a second recovery is another one");
}

#[test]
fn nothing_acknowledged_is_lost_whenever_the_power_fails() {
    for seed in 0..6 {
        let changes = script(seed, 40);
        for power in 0.. {
            let (disk, Some(acknowledged)) = run_until_failure(&changes, seed, power) else {
                break;
            };
            for crash in crashes(&disk, power) {
                let what = ("seed", seed, "power", power, crash);
                check_survivor(&disk.crash(crash), &changes, acknowledged, &what);
            }
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_the_power_fails_again_while_recovering() {
    for seed in 0..8 {
        let changes = script(100 + seed, 40);
        for power in (20..).step_by(29) {
            let (disk, Some(acknowledged)) = run_until_failure(&changes, seed, power) else {
                break;
            };
            let survivor = disk.crash(Crash::Random { seed: power });
            for second_power in 0.. {
                let dying = survivor.kill();
                dying.power_off_after(second_power);
                let lasted = recover_all(&dying).is_ok();
                for crash in crashes(&dying, second_power) {
                    let what = ("seed", seed, "power", power, second_power, crash);
                    check_survivor(&dying.crash(crash), &changes, acknowledged, &what);
                }
                if lasted {
                    break;
                }
            }
        }
    }
}

/// Linux's file systems may say that a sync succeeded while they go down.
#[test]
fn nothing_acknowledged_is_lost_when_the_file_system_goes_down_in_a_sync() {
    let mut cut_off = 0;
    for seed in 0..40 {
        let changes = script(500 + seed, 60);
        for sync in 1.. {
            let disk = SimDisk::new();
            let mut stepper = Stepper::new(&disk, small_options()).unwrap();
            disk.shut_down_in_sync(sync);
            let acknowledged = stepper.run(&changes, seed);
            if acknowledged == changes.len() {
                break;
            }
            cut_off += 1;
            let what = ("seed", seed, "sync", sync);
            check_survivor(&disk.crash(Crash::LoseAll), &changes, acknowledged, &what);
        }
    }
    assert!(cut_off > 1000, "{cut_off}");
}

/// Also when it was not before: after a kill, and after a sync that failed.
#[test]
fn what_a_start_has_found_is_durable() {
    let changes = script(400, 60);
    for power in (20..).step_by(3) {
        let (disk, Some(_)) = run_until_failure(&changes, 400, power) else { break };
        let failed = SimDisk::new();
        let mut stepper = Stepper::new(&failed, small_options()).unwrap();
        failed.fail_sync(power / 3);
        stepper.run(&changes, 400);
        for survivor in [disk.kill(), failed.kill()] {
            for is_full in [false, true] {
                let disk = survivor.kill();
                if is_full {
                    remove_spares(&disk);
                    disk.set_capacity(Some(disk.used_bytes()));
                }
                let found = recover_all(&disk).unwrap();
                let mut after = recover_all(&disk.crash(Crash::LoseAll)).unwrap();
                after.recovered.torn_bytes = found.recovered.torn_bytes;
                assert_eq!(after, found, "power {power} full {is_full}");
            }
        }
    }
}

#[test]
fn a_log_goes_on_after_every_recovery() {
    for seed in 0..10 {
        let changes = script(200 + seed, 60);
        for power in (30..).step_by(23) {
            let (disk, Some(acknowledged)) = run_until_failure(&changes, seed, power) else {
                break;
            };
            let survivor = disk.crash(Crash::Random { seed: power });
            let before = recover_all(&survivor).unwrap();
            assert!(check(&changes, acknowledged, &before).is_ok());
            let next = before.recovered.last.map_or(0, |id| id.index + 1);
            let more: Vec<_> =
                (next..next + 30).map(|index| Change::Entry(id(99, index), 150)).collect();
            let done = Stepper::new(&survivor, small_options()).unwrap().run(&more, seed);
            assert_eq!(done, more.len());
            let after = recover_all(&survivor.crash(Crash::LoseAll)).unwrap();
            let mut expected = before.entries;
            expected.extend((next..next + 30).map(|index| (index, (99, 150))));
            assert_eq!(after.entries, expected, "seed {seed} power {power}");
        }
    }
}

/// The crash test must be able to fail: here a sync lies, as a planted fault.
#[test]
fn a_disk_that_lies_about_a_sync_is_found_out() {
    let changes = script(1, 40);
    let mut found = 0;
    for sync in 1..60 {
        let disk = SimDisk::new();
        let mut stepper = Stepper::new(&disk, small_options()).unwrap();
        disk.fail_sync(sync);
        let before_failure = stepper.run(&changes, 1);
        if before_failure == changes.len() {
            break;
        }
        // It claims one group more than it should.
        let claimed = before_failure + 1;
        let outcome = recover_all(&disk.crash(Crash::LoseAll));
        if !outcome.is_ok_and(|outcome| check(&changes, claimed, &outcome).is_ok()) {
            found += 1;
        }
    }
    assert!(found > 5, "{found} lies were found");
}

#[test]
fn threads_lose_nothing_acknowledged_either() {
    for seed in 0..40_u64 {
        let disk = SimDisk::new();
        let changes = script(300 + seed, 60);
        let bench = open(&disk);
        disk.power_off_after(10 + seed * 5);
        let acknowledged = Arc::new(AtomicU64::new(0));
        for (count, change) in (1..).zip(&changes) {
            let acknowledged = acknowledged.clone();
            let done: Done = Box::new(move || {
                acknowledged.fetch_max(count, Ordering::SeqCst);
            });
            match change {
                Change::Entry(id, bytes) => {
                    bench.append_later(id.term, id.index..id.index + 1, *bytes, done);
                }
                Change::Vote(vote) => bench.wal.save_vote(vote.clone(), done),
                Change::Truncate(last) => bench.wal.truncate_after(*last),
                Change::Purge(upto) => bench.wal.purge(*upto),
            }
        }
        drop(bench);
        let acknowledged = acknowledged.load(Ordering::SeqCst) as usize;
        for crash in crashes(&disk, seed) {
            let what = ("seed", seed, crash);
            check_survivor(&disk.crash(crash), &changes, acknowledged, &what);
        }
    }
}
