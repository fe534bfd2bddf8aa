//! What clients were told, in the order of one clock, and whether it can be true.
//!
//! Jobs carry a key in their body, so that a job that was put twice, or that comes from nowhere, is
//! told from another. Keys, ids and times are all that is needed: each check goes once over the
//! events. What was sent and not answered may have happened or not; no check rests on it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Broken promises that are described; all are counted.
const DESCRIBED_MAX: usize = 10;

/// Something that happened on one connection.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// The connection; a client that connects again is another one.
    pub(crate) connection: u64,
    /// When the command was sent, since the clock's start.
    pub(crate) begun: Duration,
    /// When the reply had been read.
    pub(crate) ended: Duration,
    pub(crate) what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A job with this key was put and has this id.
    Put { key: u64, id: u64 },
    /// A put was sent and not answered.
    PutUnanswered { key: u64 },
    /// A job was handed out to this connection.
    Handed { key: u64, id: u64 },
    /// A job was deleted.
    Deleted { id: u64 },
    /// A delete was sent and not answered.
    DeleteUnanswered { id: u64 },
    /// The connection ended: what it held may go to others.
    Left,
    /// A reply that a healthy server does not give, or none, or the connection broke.
    Trouble(String),
}

/// All events of a run.
#[derive(Debug, Default)]
pub(crate) struct History {
    events: Vec<Event>,
}

/// How many promises were broken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Jobs whose put was acknowledged, and that are neither deleted nor there.
    pub(crate) lost: usize,
    /// Puts that made two jobs, ids that were given twice, jobs that nobody put.
    pub(crate) doubled: usize,
    /// Jobs that were handed out while another connection held them.
    pub(crate) held_twice: usize,
    /// Jobs that were handed out or deleted after they had been deleted.
    pub(crate) back: usize,
    /// Errors that clients saw.
    pub(crate) troubles: usize,
    /// The first few, in words.
    pub(crate) described: Vec<String>,
}

impl Verdict {
    /// Whether nothing was broken.
    pub(crate) fn is_clean(&self) -> bool {
        self.lost + self.doubled + self.held_twice + self.back + self.troubles == 0
    }

    fn describe(&mut self, text: String) {
        if self.described.len() < DESCRIBED_MAX {
            self.described.push(text);
        }
    }
}

impl History {
    /// Takes the events of one client.
    pub(crate) fn add(&mut self, events: Vec<Event>) {
        self.events.extend(events);
    }

    /// The errors that clients saw.
    fn troubles(&self) -> impl Iterator<Item = (&Event, &str)> {
        self.events.iter().filter_map(|event| match &event.what {
            What::Trouble(text) => Some((event, text.as_str())),
            _ => None,
        })
    }

    /// The longest time without an acknowledged write between two moments, over all clients.
    pub(crate) fn longest_gap(&self, from: Duration, to: Duration) -> Duration {
        let within = |at: &Duration| (from..to).contains(at);
        let writes = self.events.iter().filter(|event| is_write(event));
        let mut moments: Vec<Duration> =
            writes.map(|event| event.ended).filter(within).chain([from, to]).collect();
        moments.sort();
        moments.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// How long the slowest write took of those that ended between two moments, whoever's it was.
    pub(crate) fn slowest_write(&self, from: Duration, to: Duration) -> Duration {
        let writes = self.events.iter().filter(|event| is_write(event));
        let ended = writes.filter(|event| (from..to).contains(&event.ended));
        ended.map(|event| event.ended - event.begun).max().unwrap_or_default()
    }

    /// Holds everything against the promises. All jobs must have been drained: a job that was put
    /// and never deleted is lost. `ttr` is that of all jobs.
    pub(crate) fn judge(&self, ttr: Duration) -> Verdict {
        let mut verdict = Verdict::default();
        for (event, text) in self.troubles() {
            verdict.troubles += 1;
            verdict.describe(format!(
                "connection {} at {:.3?}: {text}",
                event.connection, event.ended
            ));
        }
        let jobs = self.jobs(&mut verdict);
        self.judge_ids(&mut verdict);
        let left: BTreeMap<u64, Duration> = self
            .events
            .iter()
            .filter(|event| event.what == What::Left)
            .map(|event| (event.connection, event.begun))
            .collect();
        for (id, job) in &jobs {
            job.judge(*id, &left, ttr, &mut verdict);
        }
        verdict
    }

    /// The events, by job. Keys and ids that do not belong together are found on the way.
    fn jobs(&self, verdict: &mut Verdict) -> BTreeMap<u64, Job<'_>> {
        let mut jobs: BTreeMap<u64, Job<'_>> = BTreeMap::new();
        let mut ids: BTreeMap<u64, u64> = BTreeMap::new();
        let mut keys = BTreeSet::new();
        for event in &self.events {
            match event.what {
                What::Put { key, id } => {
                    let job = jobs.entry(id).or_default();
                    if !keys.insert(key) || job.put.replace(key).is_some() {
                        verdict.doubled += 1;
                        verdict.describe(format!("key {key:x} or id {id} was given twice"));
                    }
                }
                What::PutUnanswered { key } => drop(keys.insert(key)),
                What::Handed { id, .. } => jobs.entry(id).or_default().handed.push(event),
                What::Deleted { id } => jobs.entry(id).or_default().deleted.push(event),
                What::DeleteUnanswered { id } => jobs.entry(id).or_default().may_be_gone = true,
                What::Left | What::Trouble(_) => {}
            }
        }
        let told = self.events.iter().filter_map(|event| match event.what {
            What::Put { key, id } | What::Handed { key, id } => Some((key, id)),
            _ => None,
        });
        for (key, id) in told {
            let known = *ids.entry(key).or_insert(id);
            if known != id || !keys.contains(&key) {
                verdict.doubled += 1;
                verdict.describe(format!("key {key:x} is job {known} and job {id}, or never put"));
            }
        }
        for job in jobs.values_mut() {
            job.handed.sort_by_key(|event| event.ended);
            job.deleted.sort_by_key(|event| event.ended);
        }
        jobs
    }

    /// A put that began after another had ended has the greater id.
    fn judge_ids(&self, verdict: &mut Verdict) {
        let mut puts: Vec<(Duration, bool, u64)> = Vec::new();
        for event in &self.events {
            if let What::Put { id, .. } = event.what {
                puts.push((event.begun, false, id));
                puts.push((event.ended, true, id));
            }
        }
        // Of two at the same moment, the beginning comes first: no claim is made of those.
        puts.sort();
        let mut greatest_done = 0;
        let mut floor_of = BTreeMap::new();
        for (at, is_end, id) in puts {
            if !is_end {
                floor_of.insert(id, greatest_done);
                continue;
            }
            greatest_done = greatest_done.max(id);
            if floor_of.get(&id).is_some_and(|&floor| id < floor) {
                verdict.doubled += 1;
                verdict.describe(format!("id {id}, given at {at:.3?}, is less than one before"));
            }
        }
    }
}

/// What happened to one job.
#[derive(Debug, Default)]
struct Job<'a> {
    /// Its key, if its put was answered.
    put: Option<u64>,
    /// In order of time.
    handed: Vec<&'a Event>,
    /// In order of time.
    deleted: Vec<&'a Event>,
    /// A delete was not answered.
    may_be_gone: bool,
}

impl Job<'_> {
    fn judge(&self, id: u64, left: &BTreeMap<u64, Duration>, ttr: Duration, out: &mut Verdict) {
        if self.put.is_some() && self.deleted.is_empty() && !self.may_be_gone {
            out.lost += 1;
            out.describe(format!("job {id} is lost; it was handed out: {:?}", self.handed));
        }
        let gone_at = self.deleted.first().map(|event| event.ended);
        let is_back = |event: &&&Event| gone_at.is_some_and(|at| event.begun > at);
        let back = self.handed.iter().filter(is_back).count() + self.deleted.len().max(1) - 1;
        if back > 0 {
            out.back += back;
            out.describe(format!("job {id} is back: {:?} {:?}", self.handed, self.deleted));
        }
        for pair in self.handed.windows(2) {
            let [first, second] = pair else { unreachable!("windows of two") };
            // The earliest end of the first hold, so that there is no false alarm.
            let expires = first.begun + ttr;
            let ends = left.get(&first.connection).map_or(expires, |&left| left.min(expires));
            if second.ended < ends {
                out.held_twice += 1;
                out.describe(format!("job {id} was held twice: {first:?} and {second:?}"));
            }
        }
    }
}

fn is_write(event: &Event) -> bool {
    matches!(event.what, What::Put { .. } | What::Deleted { .. })
}
