//! The judge of the bench: each broken promise must be noticed, and nothing else.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "the benches need more of it")]
mod common;

#[expect(dead_code, reason = "the bench needs more of it")]
mod jobs;
#[expect(dead_code, reason = "the bench needs more of it")]
mod judge;

use std::{collections::BTreeSet, time::Duration};

use jobs::{Jobs, Variety};
use judge::{Bitmap, Broken, Judge};

const COUNT: u64 = 103;
const SIZE: u32 = 37;
const LATE: Duration = Duration::from_secs(3600);

/// The commands that put a job, and its body.
fn put(jobs: &Jobs, sequence: u64, previous: Option<u64>) -> (String, Vec<u8>) {
    let mut out = Vec::new();
    jobs.write_put(sequence, previous, &mut out).expect("a Vec takes what it is given");
    let start = out.len() - 2 - SIZE as usize;
    let commands = String::from_utf8(out[..start].to_vec()).expect("commands are text");
    (commands, out[start..out.len() - 2].to_vec())
}

fn body(jobs: &Jobs, sequence: u64) -> Vec<u8> {
    put(jobs, sequence, None).1
}

fn plain() -> (Jobs, Judge) {
    let jobs = Jobs::new(COUNT, SIZE, Variety::Plain);
    (jobs, Judge::new(jobs))
}

#[test]
fn jobs_that_come_once_and_in_order_are_all_there() {
    let (jobs, mut judge) = plain();
    for number in 0..COUNT {
        assert_eq!(judge.missing(), COUNT - number);
        judge.came(1000 + number, &body(&jobs, number), LATE).expect("nothing is wrong");
    }
    assert_eq!(judge.missing(), 0);
}

#[test]
fn a_job_that_comes_twice_is_noticed() {
    let (jobs, mut judge) = plain();
    judge.came(1, &body(&jobs, 5), LATE).expect("the first time");
    let again = judge.came(2, &body(&jobs, 5), LATE);
    assert_eq!(again, Err(Broken::Twice { id: 2, number: 5 }));
}

#[test]
fn a_job_out_of_order_is_noticed() {
    let (jobs, mut judge) = plain();
    judge.came(8, &body(&jobs, 5), LATE).expect("the first one");
    let earlier = judge.came(7, &body(&jobs, 4), LATE);
    let expected = Broken::OutOfOrder { id: 7, priority: 0, last_id: 8, last_priority: 0 };
    assert_eq!(earlier, Err(expected));
}

#[test]
fn priority_goes_before_id() {
    let jobs = Jobs::new(COUNT, SIZE, Variety::Priorities);
    let mut order: Vec<_> = (0..COUNT)
        .map(|number| {
            let known = jobs.recognise(&body(&jobs, number)).expect("it is as it was put");
            (jobs.priority(known), number)
        })
        .collect();
    order.sort_unstable();
    let mut judge = Judge::new(jobs);
    for &(_, number) in &order {
        judge.came(number, &body(&jobs, number), LATE).expect("by priority");
    }
    let mut judge = Judge::new(jobs);
    let in_order_of_id =
        (0..COUNT).try_for_each(|number| judge.came(number, &body(&jobs, number), LATE));
    assert!(matches!(in_order_of_id, Err(Broken::OutOfOrder { .. })));
}

#[test]
fn a_body_with_any_byte_changed_is_noticed() {
    let (jobs, _) = plain();
    let good = body(&jobs, 77);
    // The due time, which jobs without a delay do not have, is nobody's business.
    for place in (0..8).chain(16..good.len()) {
        let mut bad = good.clone();
        bad[place] ^= 0x10;
        assert!(jobs.recognise(&bad).is_none(), "byte {place}");
    }
    let length = good.len() - 1;
    let short = Judge::new(jobs).came(9, &good[..length], LATE);
    assert_eq!(short, Err(Broken::NotAsPut { id: 9, length }));
}

#[test]
fn a_job_before_its_time_or_after_later_ones_is_noticed() {
    let jobs = Jobs::new(COUNT, SIZE, Variety::Delays(50));
    let mut due: Vec<_> = (0..COUNT)
        .map(|number| {
            let body = body(&jobs, number);
            (jobs.recognise(&body).expect("it is as it was put").due, body)
        })
        .collect();
    due.sort();
    let mut judge = Judge::new(jobs);
    for (due, body) in &due {
        judge.came(1, body, *due).expect("in time");
    }
    let (first_due, first) = &due[0];
    let early = Judge::new(jobs).came(1, first, *first_due - Duration::from_nanos(1));
    assert_eq!(early, Err(Broken::Early { id: 1, by: Duration::from_nanos(1) }));
    let mut judge = Judge::new(jobs);
    judge.came(1, &due[COUNT as usize - 1].1, LATE).expect("late is allowed");
    assert!(matches!(judge.came(2, first, LATE), Err(Broken::DueOutOfOrder { id: 2, .. })));
}

#[test]
fn a_deleted_job_that_comes_is_noticed() {
    let (jobs, mut judge) = plain();
    let mut deleted = Bitmap::new(COUNT);
    assert!(!deleted.set(3));
    assert!(deleted.set(3));
    judge.know_deleted(100, deleted, 1);
    assert_eq!(judge.missing(), COUNT - 1);
    judge.came(102, &body(&jobs, 2), LATE).expect("it was not deleted");
    assert_eq!(judge.came(103, &body(&jobs, 3), LATE), Err(Broken::Deleted { id: 103 }));
}

#[test]
fn jobs_go_to_all_tubes_in_turns_and_each_is_put_once() {
    let jobs = Jobs::new(COUNT, SIZE, Variety::Tubes(10));
    assert_eq!(jobs.count, 100);
    let mut numbers = BTreeSet::new();
    let (mut uses, mut last_in_tube) = (Vec::new(), [None; 10]);
    for sequence in 0..jobs.count {
        let previous = sequence.checked_sub(1);
        let (commands, body) = put(&jobs, sequence, previous);
        let number = jobs.recognise(&body).expect("it is as it was put").number;
        assert!(numbers.insert(number));
        let tube = jobs.tube_of(number);
        let last = last_in_tube[tube as usize].replace(number);
        assert!(last < Some(number));
        if let Some(rest) = commands.strip_prefix("use ") {
            assert_eq!(rest.split("\r\n").next(), Some(format!("t{tube}").as_str()));
            uses.push(tube);
        }
    }
    let rounds: Vec<u64> = (0..4).flat_map(|_| 0..10).collect();
    assert_eq!(uses, rounds);
}

#[test]
fn a_job_of_another_tube_is_noticed() {
    let jobs = Jobs::new(COUNT, SIZE, Variety::Tubes(10));
    let mut judge = Judge::new(jobs);
    judge.enter_tube(4);
    let found = judge.came(1, &body(&jobs, 0), LATE);
    assert_eq!(found, Err(Broken::WrongTube { id: 1, tube: 0, asked: 4 }));
}
