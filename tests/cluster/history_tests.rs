//! The check of what became of the load notices each way in which a cluster can break its word.

use std::time::Duration;

use crate::support::{Event, History, Verdict, What};

const TTR: Duration = Duration::from_secs(10);

fn at(connection: u64, begun: u64, ended: u64, what: What) -> Event {
    let [begun, ended] = [begun, ended].map(Duration::from_millis);
    Event { connection, begun, ended, what }
}

fn put(key: u64, id: u64, begun: u64) -> Event {
    at(key, begun, begun + 1, What::Put { key, id })
}

fn handed(connection: u64, key: u64, id: u64, begun: u64) -> Event {
    at(connection, begun, begun + 1, What::Handed { key, id })
}

fn deleted(connection: u64, id: u64, begun: u64) -> Event {
    at(connection, begun, begun + 1, What::Deleted { id })
}

fn judge(events: Vec<Event>) -> Verdict {
    let mut history = History::default();
    history.add(events);
    history.judge(TTR)
}

#[test]
fn a_healthy_run_is_clean() {
    let events = vec![
        put(1, 1, 0),
        handed(7, 1, 1, 10),
        deleted(7, 1, 20),
        put(2, 2, 30),
        // Its holder's connection ended: it goes to another.
        handed(8, 2, 2, 40),
        at(8, 50, 50, What::Left),
        handed(9, 2, 2, 60),
        deleted(9, 2, 70),
        // Nobody was told: it may be there or not.
        at(3, 80, 90, What::PutUnanswered { key: 3 }),
        put(4, 4, 100),
        handed(9, 4, 4, 110),
        at(9, 120, 130, What::DeleteUnanswered { id: 4 }),
    ];
    let verdict = judge(events);
    assert!(verdict.is_clean(), "{verdict:#?}");
}

#[test]
fn each_broken_promise_is_noticed() {
    let lost = |verdict: &Verdict| verdict.lost;
    let doubled = |verdict: &Verdict| verdict.doubled;
    let back = |verdict: &Verdict| verdict.back;
    let held_twice = |verdict: &Verdict| verdict.held_twice;
    let troubles = |verdict: &Verdict| verdict.troubles;
    type Counter = fn(&Verdict) -> usize;
    let cases: Vec<(&str, Counter, Vec<Event>)> = vec![
        ("put and gone", lost, vec![put(1, 1, 0)]),
        ("handed out and gone", lost, vec![put(1, 1, 0), handed(7, 1, 1, 10)]),
        ("an id given twice", doubled, vec![put(1, 1, 0), put(2, 1, 10), deleted(7, 1, 20)]),
        (
            "one put, two jobs",
            doubled,
            vec![put(1, 1, 0), handed(7, 1, 2, 10), deleted(7, 1, 20), deleted(7, 2, 30)],
        ),
        ("a job that nobody put", doubled, vec![handed(7, 1, 1, 10), deleted(7, 1, 20)]),
        (
            "a later put with a lesser id",
            doubled,
            vec![put(1, 5, 0), put(2, 4, 10), deleted(7, 5, 20), deleted(7, 4, 30)],
        ),
        (
            "deleted and handed out",
            back,
            vec![put(1, 1, 0), handed(7, 1, 1, 10), deleted(7, 1, 20), handed(8, 1, 1, 30)],
        ),
        ("deleted twice", back, vec![put(1, 1, 0), deleted(7, 1, 20), deleted(8, 1, 30)]),
        (
            "held by two",
            held_twice,
            vec![put(1, 1, 0), handed(7, 1, 1, 10), handed(8, 1, 1, 20), deleted(8, 1, 30)],
        ),
        (
            "given away before its holder had gone",
            held_twice,
            vec![
                put(1, 1, 0),
                handed(7, 1, 1, 10),
                handed(8, 1, 1, 20),
                at(7, 25, 25, What::Left),
                deleted(8, 1, 30),
            ],
        ),
        ("an error", troubles, vec![at(7, 0, 1, What::Trouble("INTERNAL_ERROR".to_owned()))]),
    ];
    for (name, counter, events) in cases {
        let verdict = judge(events);
        assert!(counter(&verdict) > 0 && !verdict.described.is_empty(), "{name}: {verdict:#?}");
    }
}

#[test]
fn a_job_may_go_to_another_when_its_time_is_over() {
    let late = 11_000;
    let events =
        vec![put(1, 1, 0), handed(7, 1, 1, 10), handed(8, 1, 1, late), deleted(8, 1, late + 10)];
    assert!(judge(events).is_clean());
}

#[test]
fn the_longest_gap_counts_both_ends_and_only_writes() {
    let mut history = History::default();
    history.add(vec![put(1, 1, 99), handed(7, 1, 1, 250), deleted(7, 1, 399)]);
    let gap = |from, to| {
        history.longest_gap(Duration::from_millis(from), Duration::from_millis(to)).as_millis()
    };
    assert_eq!(gap(0, 400), 300);
    assert_eq!(gap(0, 1000), 600);
    assert_eq!(gap(500, 900), 400);
}
