//! Counts of what clients do, for whoever watches a run, and where records go.

use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::clock::{Clock, Moment};
use crate::history::{Command, Line, Outcome, Record, Reply};

/// The longest latency that is told from longer ones.
const LATENCY_MAX: Duration = Duration::from_secs(60);
/// Digits of a latency that are kept.
const LATENCY_DIGITS: u8 = 3;
/// Members that completions are counted for.
const MEMBERS_MAX: usize = 64;

/// What happened since the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// How long ago the last look was.
    pub duration: Duration,
    /// Commands that were answered.
    pub completed: u64,
    /// Commands of which nobody knows whether they happened.
    pub unknown: u64,
    /// Commands and connections that surely had no effect.
    pub refused: u64,
    /// Answers that a member is short of memory or disk or is about to stop; of `completed`.
    pub turned_down: u64,
    /// Of commands that were answered and that did not ask to wait.
    pub latency: Latency,
    /// Commands that were answered, by place of the member.
    pub completed_by_member: Vec<u64>,
}

/// Times between a command's first byte and the last of its reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Half of the commands took no longer.
    pub p50: Duration,
    /// 99 of 100 commands took no longer.
    pub p99: Duration,
    /// The slowest.
    pub max: Duration,
}

/// All that happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records written, those of connections included.
    pub records: u64,
    /// Commands that were answered.
    pub completed: u64,
    /// Commands of which nobody knows whether they happened.
    pub unknown: u64,
    /// Commands and connections that surely had no effect.
    pub refused: u64,
    /// Answers that are none to their command.
    pub illegal: u64,
    /// Puts that were acknowledged.
    pub puts: u64,
    /// Jobs that were handed out.
    pub deliveries: u64,
    /// Deletes that were acknowledged.
    pub deletes: u64,
    /// Connections that ended without the client's doing.
    pub broken_connections: u64,
    /// Records that nobody took: the history is not complete.
    pub lost_records: u64,
}

/// Where clients leave their records.
#[derive(Debug)]
pub(super) struct Recorder {
    clock: Clock,
    lines: SyncSender<Line>,
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    since: Moment,
    interval: Progress,
    latencies: Histogram<u64>,
    totals: Totals,
}

impl Recorder {
    /// Writes to `lines`, which holds back clients when it is full.
    pub(super) fn new(clock: Clock, lines: SyncSender<Line>) -> Self {
        let counts = Counts {
            since: clock.now(),
            interval: Progress::default(),
            latencies: empty_histogram(),
            totals: Totals::default(),
        };
        Self { clock, lines, counts: Mutex::new(counts) }
    }

    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Counts a record and writes it down.
    pub(super) fn write(&self, record: Record) {
        self.counts().add(&record);
        // Not under the lock: a full channel makes only its sender wait.
        if self.lines.send(Line::Record(record)).is_err() {
            self.counts().totals.lost_records += 1;
        }
    }

    /// Nobody takes records any more: to go on is of no use.
    pub(super) fn is_gone(&self) -> bool {
        self.counts().totals.lost_records > 0
    }

    /// What happened since the last look.
    pub(super) fn look(&self) -> Progress {
        let now = self.clock.now();
        let mut counts = self.counts();
        let quantile = |of: f64| Duration::from_micros(counts.latencies.value_at_quantile(of));
        let max = Duration::from_micros(counts.latencies.max());
        // A quantile is told as the upper end of a class, which may lie above the greatest value.
        let latency = Latency { p50: quantile(0.5).min(max), p99: quantile(0.99).min(max), max };
        let interval = std::mem::take(&mut counts.interval);
        let duration = now.since(counts.since);
        counts.latencies.reset();
        counts.since = now;
        Progress { duration, latency, ..interval }
    }

    pub(super) fn totals(&self) -> Totals {
        self.counts().totals
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().expect("nobody panics while counting")
    }
}

impl Counts {
    fn add(&mut self, record: &Record) {
        self.totals.records += 1;
        match (&record.command, &record.outcome) {
            (Command::Broken, _) => self.totals.broken_connections += 1,
            (_, Outcome::Unknown { .. }) => {
                self.interval.unknown += 1;
                self.totals.unknown += 1;
            }
            (_, Outcome::NoEffect { .. }) => {
                self.interval.refused += 1;
                self.totals.refused += 1;
            }
            (Command::Connect | Command::Close, Outcome::Replied(_)) => {}
            (command, Outcome::Replied(reply)) => self.add_reply(record, command, reply),
        }
    }

    fn add_reply(&mut self, record: &Record, command: &Command, reply: &Reply) {
        self.interval.completed += 1;
        self.totals.completed += 1;
        match reply {
            Reply::Illegal { .. } => self.totals.illegal += 1,
            Reply::OutOfMemory | Reply::Draining => self.interval.turned_down += 1,
            Reply::Inserted { .. } | Reply::Buried { id: Some(_) } => self.totals.puts += 1,
            Reply::Reserved { .. } => self.totals.deliveries += 1,
            Reply::Deleted => self.totals.deletes += 1,
            _ => {}
        }
        let member = usize::try_from(record.member).unwrap_or(usize::MAX);
        if member < MEMBERS_MAX {
            let by_member = &mut self.interval.completed_by_member;
            by_member.resize(by_member.len().max(member + 1), 0);
            by_member[member] += 1;
        }
        if !may_wait(command) {
            self.latencies.saturating_record(microseconds(latency_of(record)));
        }
    }
}

/// From before a command's first byte to after the last of its reply.
pub(crate) fn latency_of(record: &Record) -> Duration {
    record.returned.since(record.invoked)
}

/// Whether the client asked the member to wait, so that the time taken says nothing.
pub(crate) fn may_wait(command: &Command) -> bool {
    matches!(command, Command::Reserve { timeout, .. } if *timeout != Some(0))
}

/// Latencies in microseconds, none yet.
fn empty_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, microseconds(LATENCY_MAX), LATENCY_DIGITS)
        .expect("the bounds are constants")
}

/// For a histogram.
fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    fn record(member: u32, milliseconds: u64, command: Command, outcome: Outcome) -> Record {
        let returned = Moment(milliseconds * 1_000_000);
        Record { client: 0, connection: 1, member, invoked: Moment(0), returned, command, outcome }
    }

    #[test]
    fn look_tells_what_was_new_and_totals_tell_all() {
        let (lines, _taken) = sync_channel(100);
        let recorder = Recorder::new(Clock::start(), lines);
        let reserve = Command::Reserve { tubes: Vec::new(), timeout: Some(9) };
        let replied = |reply| Outcome::Replied(reply);
        let why = || "reset".to_owned();
        for record in [
            record(0, 1, Command::Connect, replied(Reply::Done)),
            record(2, 20, Command::Delete { id: 1 }, replied(Reply::Deleted)),
            record(2, 9_000, reserve, replied(Reply::TimedOut)),
            record(0, 30, Command::Touch { id: 1 }, replied(Reply::OutOfMemory)),
            record(0, 40, Command::Touch { id: 1 }, Outcome::Unknown { why: why() }),
            record(1, 50, Command::Connect, Outcome::NoEffect { why: why() }),
        ] {
            recorder.write(record);
        }
        let progress = recorder.look();
        let Progress { completed, unknown, refused, turned_down, .. } = progress;
        assert_eq!((completed, unknown, refused, turned_down), (3, 1, 1, 1));
        assert_eq!(progress.completed_by_member, [1, 0, 2]);
        // The reserve waited: that says nothing of the member.
        assert!(progress.latency.max < Duration::from_millis(31), "{progress:?}");
        assert!(progress.latency.p50 >= Duration::from_millis(19), "{progress:?}");
        assert_eq!(recorder.look().completed, 0);
        let totals = recorder.totals();
        assert_eq!((totals.records, totals.completed, totals.deletes), (6, 3, 1));
    }
}
