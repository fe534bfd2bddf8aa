//! The judge of the bench: each broken promise and each missed aim must be noticed, and nothing
//! else.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "the benches need more of it")]
mod common;

mod judge;
mod phase;

use std::time::Duration;

use judge::{Counts, Judge, Looked};
use phase::{Phase, Phases, Seen};

const JOBS: u64 = 30_000;

/// A phase whose puts took so long, but for two in a hundred that took `tail`.
fn seen(most: Duration, tail: Duration) -> Seen {
    let mut seen = Seen::default();
    for number in 0..1000 {
        let took = if number % 50 == 0 { tail } else { most };
        seen.put(took, took);
    }
    seen
}

fn milliseconds(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// All phases as they should be, with this one instead.
fn judged(phase: Phase, instead: Seen) -> Judge {
    let calm = || seen(milliseconds(1), milliseconds(2));
    let mut phases: Phases = [Phase::Fill, Phase::BaseLine, Phase::Writing, Phase::Refill]
        .map(|phase| (phase, calm()))
        .into();
    phases.insert(phase, instead);
    let mut judge = Judge::new(String::from("a run"));
    judge.phases(&phases);
    judge
}

/// The rows whose aims were missed.
fn missed(judge: &Judge) -> Vec<String> {
    let text = judge.section.to_string();
    text.lines().filter(|row| row.contains("**missed**")).map(str::to_owned).collect()
}

fn counts(ready: u64, delayed: u64) -> Counts {
    Counts::from([("ready", ready), ("reserved", 0), ("delayed", delayed), ("buried", 0)])
}

#[test]
fn a_good_run_has_nothing_broken_and_nothing_missed() {
    let mut judge = judged(Phase::Refill, seen(milliseconds(1), milliseconds(3)));
    judge.leaders(2, 2);
    judge.counts("member 4", JOBS, &counts(JOBS, 0));
    judge.agree(&[JOBS, JOBS, JOBS]);
    judge.looked(Looked { asked: 100, same: 97, absent: 3 });
    assert_eq!(judge.broken, Vec::<String>::new());
    assert_eq!(missed(&judge), Vec::<String>::new());
}

#[test]
fn a_p99_that_more_than_doubles_is_missed_and_breaks_nothing() {
    let judge = judged(Phase::Refill, seen(milliseconds(1), milliseconds(5)));
    let rows = missed(&judge);
    assert!(rows.len() == 1 && rows[0].contains("refill / base line | 2.5"), "{rows:?}");
    assert_eq!(judge.broken, Vec::<String>::new());
}

#[test]
fn a_p999_of_20_ms_is_missed_where_checkpoints_are_written() {
    for phase in [Phase::BaseLine, Phase::Writing] {
        let judge = judged(phase, seen(milliseconds(1), milliseconds(21)));
        let rows = missed(&judge);
        assert!(rows.len() == 1 && rows[0].contains("p99.9 below 20 ms"), "{rows:?}");
        assert_eq!(judge.broken, Vec::<String>::new());
    }
    let judge = judged(Phase::Fill, seen(milliseconds(1), milliseconds(21)));
    assert_eq!(missed(&judge), Vec::<String>::new());
}

#[test]
fn an_error_of_a_client_breaks_in_each_phase() {
    for phase in [Phase::Fill, Phase::BaseLine, Phase::Writing, Phase::Refill] {
        let mut seen = seen(milliseconds(1), milliseconds(2));
        seen.error(String::from("the server hung up"));
        let judge = judged(phase, seen);
        assert!(
            judge.broken.len() == 1 && judge.broken[0].contains("hung up"),
            "{:?}",
            judge.broken
        );
    }
}

#[test]
fn refused_puts_break_only_when_nobody_floods_the_server() {
    let broken = |phase| {
        let mut seen = seen(milliseconds(1), milliseconds(2));
        seen.refused = 1;
        judged(phase, seen).broken.len()
    };
    let all = [Phase::Fill, Phase::BaseLine, Phase::Writing, Phase::Refill];
    assert_eq!(all.map(broken), [0, 1, 1, 1]);
}

#[test]
fn what_all_clients_saw_is_counted_together() {
    let mut all = seen(milliseconds(1), milliseconds(2));
    let mut other = seen(milliseconds(9), milliseconds(40_000));
    other.error(String::from("the first one"));
    other.refused = 2;
    all.add(other);
    assert_eq!((all.from_due.len(), all.errors, all.refused), (2000, 1, 2));
    assert!(all.from_due.max() > 39_000_000_000, "{}", all.from_due.max());
    assert_eq!(all.first_error.as_deref(), Some("the first one"));
}

#[test]
fn a_job_too_few_or_too_many_or_in_another_state_breaks() {
    for counts in [counts(JOBS - 1, 0), counts(JOBS + 1, 0), counts(JOBS, 1)] {
        let mut judge = Judge::new(String::from("a run"));
        judge.counts("member 4", JOBS, &counts);
        assert_eq!(judge.broken.len(), 1, "{counts:?}");
    }
}

#[test]
fn members_that_do_not_agree_break() {
    let broken = |totals: &[u64]| {
        let mut judge = Judge::new(String::from("a run"));
        judge.agree(totals);
        judge.broken.len()
    };
    assert_eq!([broken(&[7, 7, 7]), broken(&[7, 7, 6]), broken(&[6, 7, 7])], [0, 1, 1]);
}

#[test]
fn jobs_that_differ_or_are_not_found_at_all_break() {
    let differ = Looked { asked: 100, same: 98, absent: 1 };
    let nowhere = Looked { asked: 100, same: 0, absent: 100 };
    for looked in [differ, nowhere] {
        let mut judge = Judge::new(String::from("a run"));
        judge.looked(looked);
        assert_eq!(judge.broken.len(), 1, "{looked:?}");
    }
}

#[test]
fn a_change_of_leader_is_missed_and_breaks_nothing() {
    let mut judge = Judge::new(String::from("a run"));
    judge.leaders(2, 3);
    assert_eq!((missed(&judge).len(), judge.broken.len()), (1, 0));
}
