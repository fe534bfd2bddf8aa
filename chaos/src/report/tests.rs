//! The page of a made-up run.

use crate::clock::Moment;
use crate::history::{
    Body, Command, FORMAT, Fault, FaultState, Head, History, MemberSample, Outcome, Phase,
    PhaseName, Record, Reply,
};
use crate::invariants::{Finding, Invariant, Repeats};

use super::*;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;

/// Forty seconds, with one fault after the other and two leaders.
fn history() -> History {
    let head = Head {
        format: FORMAT,
        seed: 42,
        command: "beanpole-chaos run --seed 42 --faults 'a<b'".to_owned(),
        server: "beanpole 0.1.0".to_owned(),
        members: 3,
        has_agent: false,
        has_keys: false,
        memory_budget: Some(128 << 20),
        memory_limit: Some(256 << 20),
    };
    History {
        head,
        records: (0..4_000).map(record).collect(),
        faults: faults(),
        phases: phases(),
        samples: (0..400).flat_map(|tenth| (0..3).map(move |place| sample(place, tenth))).collect(),
    }
}

/// A put each 10 ms; nothing is answered while the leader is away.
fn record(number: u64) -> Record {
    let invoked = number * 10 * MILLISECOND;
    let is_away = (10 * SECOND..11 * SECOND).contains(&invoked);
    let took = if is_away { 900 } else { 1 + number % 7 };
    let body = Body { key: number + 1, bytes: 40, is_intact: true };
    let outcome = if is_away {
        Outcome::Unknown { why: "reset <by> peer".to_owned() }
    } else {
        Outcome::Replied(Reply::Inserted { id: number + 1 })
    };
    Record {
        client: 1,
        connection: 1,
        member: u32::try_from(number % 3).unwrap(),
        invoked: Moment(invoked),
        returned: Moment(invoked + took * MILLISECOND),
        command: Command::Put {
            tube: "t".to_owned(),
            priority: 0,
            delay: 0,
            ttr: 30,
            body,
            under: None,
        },
        outcome,
    }
}

fn faults() -> Vec<Fault> {
    let fault = |name: &str, from: u64, to: u64, state| Fault {
        name: name.to_owned(),
        target: "the leader, member 0".to_owned(),
        members: vec![0],
        began: Moment(from * SECOND),
        healed: (to > 0).then_some(Moment(to * SECOND)),
        state,
        note: "connections end".to_owned(),
    };
    vec![
        fault("kill-leader", 10, 14, FaultState::Installed),
        fault("isolate-follower", 12, 22, FaultState::Installed),
        fault("delay", 23, 23, FaultState::Skipped),
        fault("full-disk", 24, 31, FaultState::Indeterminate),
        fault("freeze-with-a-name-that-is-long", 37, 0, FaultState::Installed),
    ]
}

fn phases() -> Vec<Phase> {
    let names = [
        (PhaseName::Warm, 0),
        (PhaseName::Faults, 8),
        (PhaseName::Healed, 31),
        (PhaseName::Quiet, 36),
        (PhaseName::Drain, 37),
        (PhaseName::Over, 40),
    ];
    names.map(|(name, at)| Phase { name, at: Moment(at * SECOND) }).to_vec()
}

fn sample(member: u32, tenth: u64) -> MemberSample {
    let is_running = member != 0 || !(100..140).contains(&tenth);
    let is_second_term = tenth >= 103;
    let (term, leader) = if is_second_term { (3, 2) } else { (2, 1) };
    MemberSample {
        member,
        at: Moment(tenth * 100 * MILLISECOND),
        is_running,
        resident_bytes: is_running
            .then_some((30 << 20) + tenth * 40_000 + u64::from(member) * 999_999),
        id: is_running.then_some(u64::from(member) + 1),
        leader: is_running.then_some(leader),
        term: is_running.then_some(term),
        ..MemberSample::default()
    }
}

fn findings() -> Vec<(Invariant, Finding)> {
    let invariant = |name, promise| Invariant {
        name,
        promise,
        check: |_| Finding::default(),
        repeats: Repeats::Apart,
    };
    let mut lost = Finding { cases: 3_900, ..Finding::default() };
    lost.break_with("job 1001 is <lost>".to_owned(), vec![2_000, 2_001]);
    lost.break_with("job 3 is lost".to_owned(), vec![2, 3]);
    lost.measures.push(("lost in the middle".to_owned(), "2".to_owned()));
    let kept = Finding { cases: 12, ..Finding::default() };
    vec![
        (invariant("Q1", "No acknowledged job is lost"), lost),
        (invariant("Q2", "No deleted job comes back"), kept),
        (invariant("Q10", "Memory is bounded"), Finding::default()),
    ]
}

#[test]
fn page_says_all_and_needs_nothing_beside_itself() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("report.html");
    write_html(&path, &history(), &findings(), false).unwrap();
    let page = fs::read_to_string(&path).unwrap();
    for expected in [
        "<span class=\"verdict bad\">broken</span>",
        "beanpole-chaos run --seed 42 --faults 'a&lt;b'",
        "No acknowledged job is lost",
        ">no case<",
        ">holds<",
        ">skipped<",
        ">indeterminate<",
        "job 1001 is &lt;lost&gt;",
        "<p class=\"what\">job 3 is lost</p>",
        "key=0000000000000003",
        "prefers-color-scheme:dark",
        "term 3",
        "lost in the middle",
        "<td class=\"promise\">changes of leader</td><td class=\"number\">1</td>",
        "<details><summary>The timeline in numbers</summary>",
    ] {
        assert!(page.contains(expected), "no {expected:?}");
    }
    let foreign = ["src=", "href=", "<script", "@import", "url(", "<lost>"];
    for foreign in foreign {
        assert!(!page.contains(foreign), "{foreign:?}");
    }
    // A name space is a name and not fetched.
    let page = page.replace("http://www.w3.org/2000/svg", "");
    assert!(!page.contains("http"), "the page points outside");
}

#[test]
fn run_that_broke_nothing_and_is_no_pass_is_not_called_broken() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("report.html");
    write_html(&path, &history(), &findings()[1..], false).unwrap();
    let page = fs::read_to_string(&path).unwrap();
    assert!(page.contains("<span class=\"verdict bad\">not passed</span>"));
}

#[test]
fn page_of_an_empty_history_is_written() {
    let directory = tempfile::tempdir().unwrap();
    write_html(&directory.path().join("report.html"), &History::default(), &[], true).unwrap();
}

#[test]
fn picture_stands_for_itself() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("timeline.svg");
    write_svg(&path, &history()).unwrap();
    let picture = fs::read_to_string(&path).unwrap();
    assert!(picture.contains("<svg class=\"timeline\""));
    assert!(picture.trim_end().ends_with("</svg>"));
    for name in
        ["kill-leader", "isolate-follower", "full-disk", "member 2", "Resident size", "drain"]
    {
        assert!(picture.contains(name), "no {name:?}");
    }
    assert!(!picture.contains(">delay"), "a fault that was skipped was not there");
}

#[test]
fn place_that_cannot_be_written_is_an_error() {
    let error = write_svg(Path::new("/proc/none/timeline.svg"), &history()).unwrap_err();
    assert!(matches!(error, ReportError::Write { .. }), "{error}");
}
