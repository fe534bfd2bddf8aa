//! A full disk: waiting, not failing.

use super::stepper::{Change, Stepper, check, recover_all, remove_spares, script};
use super::*;
use crate::storage::sim::Crash;

fn full_disk() -> (SimDisk, Bench) {
    let disk = SimDisk::new();
    let bench = open(&disk);
    bench.append(1, 0..5, 100);
    disk.set_capacity(Some(disk.used_bytes()));
    (disk, bench)
}

/// Appends one by one until an append waits. Returns the index after the last one that did not, and
/// the wait of the next one.
fn fill(bench: &Bench, from: u64) -> (u64, mpsc::Receiver<()>) {
    for index in from.. {
        let (done, wait) = waiter();
        bench.append_later(1, index..index + 1, 100, done);
        loop {
            match wait.recv_timeout(Duration::from_millis(20)) {
                Ok(()) => break,
                Err(_) if bench.wal.state().stalled => return (index, wait),
                Err(_) => {}
            }
        }
    }
    unreachable!("the disk is full at some point")
}

#[test]
fn an_append_waits_on_a_full_disk_and_goes_on_when_there_is_room() {
    let (disk, bench) = full_disk();
    let (index, wait) = fill(&bench, 5);
    assert!(bench.wal.state().full);
    let (done, vote) = waiter();
    bench.wal.save_vote(Bytes::from_static(b"later"), done);
    assert_eq!(bench.terms(0, 1000).len() as u64, index);
    disk.set_capacity(None);
    wait.recv().unwrap();
    vote.recv().unwrap();
    bench.append(1, index + 1..index + 40, 100);
    let state = bench.wal.state();
    assert!(!state.stalled && bench.failed.lock().is_none(), "{state:?}");
    drop(bench);
    let again = open(&disk);
    assert_eq!(again.recovered.last, Some(id(1, index + 39)));
    assert_eq!(again.recovered.vote.as_deref(), Some(&b"later"[..]));
}

#[test]
fn a_purge_makes_room_on_a_full_disk_even_behind_a_waiting_append() {
    let (_disk, bench) = full_disk();
    let (index, wait) = fill(&bench, 5);
    bench.wal.purge(id(1, index - 2));
    wait.recv().unwrap();
    assert_eq!(bench.terms(index - 1, 1000).len(), 2);
}

#[test]
fn a_log_on_a_full_disk_can_be_closed_and_opened() {
    let (disk, bench) = full_disk();
    let (index, wait) = fill(&bench, 5);
    drop(bench);
    assert!(wait.recv().is_err(), "what waits for room is not acknowledged");
    let again = open(&disk);
    assert_eq!(again.recovered.last, Some(id(1, index - 1)));
    again.wal.purge(id(1, index - 1));
    again.append(1, index..index + 3, 100);
}

/// The reserve is used up as well: the last segment is written again in its own place.
#[test]
fn nothing_acknowledged_is_lost_when_the_power_fails_at_a_start_on_a_full_disk() {
    let changes = script(11, 60);
    for power in (25..).step_by(7) {
        let disk = SimDisk::new();
        disk.power_off_after(power);
        let acknowledged = match Stepper::new(&disk, small_options()) {
            Ok(mut stepper) => stepper.run(&changes, 11),
            Err(_) => 0,
        };
        if acknowledged == changes.len() {
            return;
        }
        let survivor = disk.crash(Crash::Random { seed: power });
        let before = recover_all(&survivor.kill()).unwrap();
        check(&changes, acknowledged, &before).unwrap();
        // Nothing to recycle, and no room.
        remove_spares(&survivor);
        for second_power in 0.. {
            let dying = survivor.kill();
            dying.set_capacity(Some(dying.used_bytes()));
            dying.power_off_after(second_power);
            let lasted = recover_all(&dying).is_ok();
            for crash in [Crash::LoseAll, Crash::KeepAll, Crash::Random { seed: second_power }] {
                let outcome = recover_all(&dying.crash(crash)).unwrap();
                let what = ("power", power, second_power, crash);
                check(&changes, acknowledged, &outcome)
                    .unwrap_or_else(|why| panic!("{what:?}: {why}"));
            }
            if lasted {
                break;
            }
        }
    }
}

/// Behind the record that was cut short others survived; the next ones are written over them.
#[test]
fn a_torn_tail_is_wiped_out_before_it_is_written_over() {
    let disk = SimDisk::new();
    let options = WalOptions { segment_bytes_first: 4096, ..small_options() };
    let entry = |term, index| Change::Entry(id(term, index), 200);
    let mut stepper = Stepper::new(&disk, options.clone()).unwrap();
    stepper.group(&[entry(1, 0)]).unwrap();
    // The next group is written and not synced.
    disk.power_off_after(1);
    stepper.group(&[entry(1, 1), entry(1, 2), entry(1, 3)]).unwrap_err();
    let torn = disk.kill();
    let second_record = 128 + 72 + 200;
    torn.edit(&dir().join("log-1"), |bytes| bytes[second_record + 100] ^= 1);
    torn.set_capacity(Some(torn.used_bytes()));
    let mut stepper = Stepper::new(&torn, options).unwrap();
    stepper.group(&[entry(2, 1)]).unwrap();
    let outcome = recover_all(&torn.crash(Crash::LoseAll)).unwrap();
    assert_eq!(outcome.recovered.last, Some(id(2, 1)));
    assert_eq!(outcome.entries, [(0, (1, 200)), (1, (2, 200))].into());
}
