//! A whole workload and a drain against the beanstalkd that is installed, and against nobody.

use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Stdio};
use std::sync::mpsc::sync_channel;

use super::super::fake::{FakeServer, read, send};
use super::super::{StopFigures, Workload, WorkloadOptions, tube_names};
use super::*;
use crate::history::{Outcome, Record};

/// More than a few seconds make.
const LINES_MAX: usize = 1 << 17;

/// A reply, and whether it is one.
type Kind = (&'static str, fn(&Reply) -> bool);

/// Replies that a workload must have had.
const REPLIES: [Kind; 8] = [
    ("RELEASED", |reply| matches!(reply, Reply::Released)),
    ("TOUCHED", |reply| matches!(reply, Reply::Touched)),
    ("BURIED", |reply| matches!(reply, Reply::Buried { .. })),
    ("KICKED", |reply| matches!(reply, Reply::Kicked { .. })),
    ("FOUND", |reply| matches!(reply, Reply::Found { .. })),
    ("NOT_FOUND", |reply| matches!(reply, Reply::NotFound)),
    ("OK with names", |reply| matches!(reply, Reply::Names { .. })),
    ("TIMED_OUT", |reply| matches!(reply, Reply::TimedOut)),
];

/// Debian's server, over when dropped.
struct Beanstalkd {
    process: Child,
    address: SocketAddr,
}

impl Beanstalkd {
    /// None, and a line that says so, when it is not installed.
    fn start() -> Option<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let mut command = std::process::Command::new("beanstalkd");
        command.args(["-l", "127.0.0.1", "-p", &address.port().to_string()]);
        match command.stdin(Stdio::null()).spawn() {
            Ok(process) => Some(Self { process, address }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let is_needed = std::env::var("BEANPOLE_CI").as_deref() == Ok("1");
                assert!(!is_needed, "left out, though BEANPOLE_CI=1: no beanstalkd");
                writeln!(io::stderr(), "left out: no beanstalkd is installed").unwrap();
                None
            }
            Err(error) => panic!("beanstalkd: {error}"),
        }
    }
}

impl Drop for Beanstalkd {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn records_of(lines: &std::sync::mpsc::Receiver<Line>) -> Vec<Record> {
    let records = lines.try_iter().map(|line| match line {
        Line::Record(record) => record,
        line => panic!("{line:?} is no record"),
    });
    records.collect()
}

fn counts(records: &[Record], is_meant: impl Fn(&Record) -> bool) -> usize {
    records.iter().filter(|record| is_meant(record)).count()
}

fn is_reply(record: &Record, is_meant: impl Fn(&Reply) -> bool) -> bool {
    matches!(&record.outcome, Outcome::Replied(reply) if is_meant(reply))
}

#[test]
fn everything_that_a_workload_puts_is_drained() {
    let Some(server) = Beanstalkd::start() else { return };
    let clock = Clock::start();
    let (lines, receiver) = sync_channel(LINES_MAX);
    let options = WorkloadOptions {
        has_keys: false,
        // Both places are the same server, so that clients are at home in two.
        addresses: vec![server.address; 2],
        clients: 16,
        ..WorkloadOptions::on(vec![server.address], 1)
    };
    let (addresses, tubes) = (options.addresses.clone(), options.tubes.clone());
    let workload = Workload::start(options, clock, lines.clone());
    thread::sleep(Duration::from_secs(5));
    let progress = workload.progress();
    assert!(progress.completed > 1_000, "{progress:?}");
    assert!(progress.latency.p50 <= progress.latency.p99, "{progress:?}");
    assert!(progress.completed_by_member.iter().all(|&count| count > 100), "{progress:?}");
    let StopFigures { totals, panicked, backlog } = workload.stop();
    assert_eq!(panicked, 0);
    assert!(backlog <= u64::from(super::super::BACKLOG_MAX) * 5, "{backlog} jobs are left");

    look(&addresses, &tubes, clock, &lines).unwrap();
    let drained = drain(&addresses, &tubes, clock, &lines, Duration::from_secs(60)).unwrap();
    assert_eq!(drained.reserved, drained.deleted);
    assert_eq!(totals.puts, totals.deletes + drained.deleted, "{totals:?} {drained:?}");

    let records = records_of(&receiver);
    let is_doubtful = |record: &Record| {
        !matches!(record.outcome, Outcome::Replied(_))
            || is_reply(record, |reply| matches!(reply, Reply::Illegal { .. }))
            || record.command == Command::Broken
    };
    let doubtful: Vec<_> = records.iter().filter(|record| is_doubtful(record)).take(5).collect();
    // A server that is just starting refuses.
    let refused = counts(&doubtful.iter().copied().cloned().collect::<Vec<_>>(), |record| {
        matches!(record.outcome, Outcome::NoEffect { .. })
    });
    assert_eq!(doubtful.len(), refused, "{doubtful:?}");
    let opened = counts(&records, |record| {
        record.command == Command::Connect && is_reply(record, |reply| *reply == Reply::Done)
    });
    let closed = counts(&records, |record| record.command == Command::Close);
    assert_eq!(opened, closed);
    let missing: Vec<&str> = REPLIES
        .iter()
        .filter(|(_, is_meant)| counts(&records, |record| is_reply(record, is_meant)) == 0)
        .map(|(name, _)| *name)
        .collect();
    assert!(missing.is_empty(), "nobody was ever told {missing:?}");
    assert!(records.iter().all(|record| {
        is_reply(record, |reply| match reply {
            Reply::Reserved { body, .. } | Reply::Found { body, .. } => body.is_intact,
            _ => true,
        }) || matches!(record.outcome, Outcome::NoEffect { .. })
    }));
}

#[test]
fn drain_that_does_not_end_says_what_is_left() {
    let figures = "---\nname: tube-0\ncurrent-jobs-ready: 2\ncurrent-jobs-buried: 0\n";
    let reply = format!("OK {}\r\n{figures}\r\n", figures.len());
    let server = FakeServer::start(vec![vec![
        read("watch tube-0\r\n"),
        send("WATCHING 2\r\n"),
        read("stats-tube tube-0\r\n"),
        send(&reply),
    ]]);
    let (lines, _receiver) = sync_channel(LINES_MAX);
    let limit = Duration::ZERO;
    let drained = drain(&[server.address], &tube_names(1), Clock::start(), &lines, limit);
    let Err(DrainError::NotEmpty { figures, .. }) = drained else { panic!("{drained:?}") };
    assert_eq!(figures.left, Some(JobCounts { ready: 2, ..JobCounts::default() }));
}

#[test]
fn drain_of_an_empty_tube_is_over_at_once() {
    let server = FakeServer::start(vec![vec![
        read("watch tube-0\r\n"),
        send("WATCHING 2\r\n"),
        read("stats-tube tube-0\r\n"),
        send("NOT_FOUND\r\n"),
    ]]);
    let (lines, _receiver) = sync_channel(LINES_MAX);
    let limit = Duration::from_secs(10);
    let drained = drain(&[server.address], &tube_names(1), Clock::start(), &lines, limit).unwrap();
    assert_eq!((drained.reserved, drained.left), (0, Some(JobCounts::default())));
}

#[test]
fn members_without_figures_are_not_taken_for_empty() {
    let script = || {
        vec![
            read("watch tube-0\r\n"),
            send("WATCHING 2\r\n"),
            read("stats-tube tube-0\r\n"),
            send("INTERNAL_ERROR\r\n"),
        ]
    };
    let server = FakeServer::start(vec![script()]);
    let (lines, _receiver) = sync_channel(LINES_MAX);
    let drained = drain(&[server.address], &tube_names(1), Clock::start(), &lines, Duration::ZERO);
    let Err(DrainError::NotEmpty { figures, .. }) = drained else { panic!("{drained:?}") };
    assert_eq!(figures.left, None);
}
