//! Whether what is said of the memory is true: measured in processes of their own, because others
//! take memory in this one.

use std::process::Command;

use bytes::Bytes;

use super::script::name;
use crate::queue::*;

/// Which scene a process is to measure.
const SCENE: &str = "BEANPOLE_TABLES_SCENE";

/// How far the estimate may be from what is measured.
const RATIOS: std::ops::RangeInclusive<f64> = 0.7..=1.3;

/// A name, and what to fill a queue with.
type Scene = (&'static str, fn(&mut Filled));

const SCENES: [Scene; 5] = [
    ("tubes with a job each", |filled| {
        for tube in 0..100_000 {
            filled.act(1, Action::Use { tube: filled.tube(tube) });
            filled.put(1);
        }
    }),
    ("sessions", |filled| {
        for session in 0..150_000 {
            filled.act(session, Action::Ignore { tube: filled.tube(0) });
        }
    }),
    ("sessions that hold a job each", |filled| {
        for session in 0..60_000 {
            filled.put(session);
            filled.act(session, Action::Reserve { wait: Wait::Forever, half_closed: false });
        }
    }),
    ("watches", |filled| filled.watch_many(2000, 400)),
    ("waits", |filled| {
        filled.watch_many(1000, 400);
        for session in 0..1000 {
            filled.act(session, Action::Reserve { wait: Wait::Seconds(99), half_closed: false });
        }
    }),
];

/// A queue, and how many ops it has had.
struct Filled {
    queue: Queue,
    ops: u64,
}

struct Nobody;

impl Observer for Nobody {
    fn before_op(&mut self, _: &Queue, _: SessionId) {}
    fn outcome(&mut self, _: SessionId, outcome: Outcome) {
        assert_ne!(outcome, Outcome::OutOfMemory);
    }
}

impl Filled {
    fn new() -> Self {
        let mut filled = Self { queue: Queue::new(), ops: 0 };
        let all = Some(u64::MAX);
        let change = LimitsChange { tubes: all, watches: all, held_jobs: all, sessions: all };
        let open = Part::Open { member: MemberId(1), incarnation: Incarnation(1), grace_millis: 0 };
        filled.apply(vec![open, Part::Limits { change }]);
        filled
    }

    fn apply(&mut self, parts: Vec<Part>) {
        self.queue.apply(&Batch { now: LogicalTime(0), parts }, &mut Nobody);
    }

    fn act(&mut self, session: u64, action: Action) {
        self.ops += 1;
        let op = Op::plain(ConnectionNumber(session), Turn(0), action);
        self.apply(vec![Part::Ops {
            member: MemberId(1),
            incarnation: Incarnation(1),
            first: OpNumber(self.ops),
            ops: vec![op].into(),
        }]);
    }

    fn put(&mut self, session: u64) {
        let body = Bytes::from_static(b"");
        self.act(session, Action::Put { priority: 0, delay: 0, ttr: 99, body, key: None });
    }

    fn tube(&self, tube: u64) -> TubeName {
        name(&format!("a-tube-of-a-usual-name-{tube}"))
    }

    /// Each session watches another number of tubes, up to `tubes_max`.
    fn watch_many(&mut self, sessions: u64, tubes_max: u64) {
        for session in 0..sessions {
            for tube in 0..=session % tubes_max {
                self.act(session, Action::Watch { tube: self.tube((session + tube) % 1000) });
            }
        }
    }
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("proc(5)");
    let kibibytes = line.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
    kibibytes.expect("a number") * 1024
}

/// Prints what a scene takes up, and what the queue says of that.
fn measure(scene: &str) {
    let (_, fill) = SCENES.iter().find(|(name, _)| *name == scene).expect("a scene of that name");
    let before = resident_bytes();
    let mut filled = Filled::new();
    fill(&mut filled);
    let measured = resident_bytes() - before;
    let estimated = filled.queue.table_bytes() + filled.queue.hot_bytes();
    println!("figures: {measured} {estimated}");
    // Taking it apart takes longer.
    std::mem::forget(filled);
}

#[test]
fn estimates_of_memory_are_near_what_is_measured() {
    if let Ok(scene) = std::env::var(SCENE) {
        return measure(&scene);
    }
    for (scene, _) in SCENES {
        let this = "queue::tests::tables::estimates_of_memory_are_near_what_is_measured";
        let program = std::env::current_exe().expect("a test is a program");
        let output = Command::new(program)
            .args([this, "--exact", "--nocapture", "--test-threads=1"])
            .env(SCENE, scene)
            .output()
            .expect("it starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let figures = text.lines().find_map(|line| line.split_once("figures: "));
        let figures: Vec<f64> = figures
            .map(|(_, figures)| figures.split(' ').filter_map(|word| word.parse().ok()).collect())
            .unwrap_or_default();
        let [measured, estimated] = figures[..] else { panic!("{scene}: {text}") };
        let ratio = estimated / measured;
        println!("{scene}: {measured} bytes, said to be {estimated}: {ratio:.2}");
        assert!(RATIOS.contains(&ratio), "{scene}: {measured} bytes, said to be {estimated}");
    }
}

#[test]
fn what_has_gone_takes_up_nothing() {
    let mut filled = Filled::new();
    let before = filled.queue.table_bytes();
    filled.watch_many(5, 5);
    for session in 0..5 {
        filled.act(session, Action::Use { tube: filled.tube(session + 50) });
        filled.act(session, Action::Reserve { wait: Wait::Forever, half_closed: false });
    }
    filled.put(9);
    assert!(filled.queue.table_bytes() > before);
    filled.queue.check_invariants();
    filled.act(9, Action::Delete { job: JobId(1) });
    for session in (0..5).chain([9]) {
        filled.act(session, Action::Close);
    }
    filled.act(9, Action::Close);
    assert_eq!(filled.queue.counters().current_connections, 0);
    filled.put(10);
    filled.act(10, Action::Delete { job: JobId(2) });
    filled.act(10, Action::Delete { job: JobId(1) });
    filled.act(10, Action::Close);
    assert_eq!(filled.queue.table_bytes(), before);
}
