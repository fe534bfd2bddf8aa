//! When a job was surely ready, and when a tube was surely not paused.
//!
//! A job is surely ready from the reply to what made it ready to the moment at which the first
//! command was sent that could take it away. What made it ready must be known: an answered put or
//! release without delay, or `kick-job`. Time (TTR, delay) and ends of connections make jobs ready
//! at an unknown moment, so nothing is claimed then.
//!
//! An unanswered reserve may have taken any job of its tubes, at any time after, but only one at a
//! time, and it does nothing with it: its client left the connection. So every job that is surely
//! ready here is *ready or held by such a ghost*; whoever claims something counts the ghosts. A reserve
//! behind an agent that moved may have held a job in the same way, until it was answered.

use std::collections::{BTreeMap, BTreeSet};

use super::fate::{self, NEVER};
use super::index::{Index, Job};
use crate::clock::Moment;
use crate::history::{Command, Record, Reply};

/// A job that is surely ready (or held by a ghost).
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready<'a> {
    pub(super) tube: &'a str,
    /// The greatest priority number that it can have.
    pub(super) priority: u32,
    pub(super) id: u64,
    pub(super) from: Moment,
    /// Up to this moment; not after.
    pub(super) until: Moment,
    /// The place of what made it ready.
    pub(super) since: usize,
}

/// All of them, by the moment they begin.
pub(super) fn spans<'a>(index: &Index<'a>) -> Vec<Ready<'a>> {
    let mut spans = Vec::new();
    for (&id, job) in &index.jobs {
        let Some(put) = index.put(job) else { continue };
        for &since in &job.records {
            let record = index.record(since);
            let Some(priority) = made_ready(index, job, record) else { continue };
            let until = first_taker(index, job, since);
            if until > record.returned {
                let (tube, from) = (put.tube, record.returned);
                spans.push(Ready { tube, priority, id, from, until, since });
            }
        }
    }
    spans.sort_by_key(|ready| ready.from);
    spans
}

/// The greatest priority of the job if this made it ready.
fn made_ready(index: &Index<'_>, job: &Job, record: &Record) -> Option<u32> {
    match (&record.command, fate::reply(record)?) {
        (Command::Put { priority, delay: 0, .. }, Reply::Inserted { .. })
        | (Command::Release { priority, delay: 0, .. }, Reply::Released) => Some(*priority),
        (Command::KickJob { .. }, Reply::Kicked { .. }) => {
            priorities(index, job, record.invoked, record.returned).max()
        }
        _ => None,
    }
}

/// When the first command was sent that could take the job away after this one.
fn first_taker(index: &Index<'_>, job: &Job, since: usize) -> Moment {
    let from = index.record(since).invoked;
    let takers =
        job.records.iter().filter(|&&place| place != since).map(|&place| index.record(place));
    takers
        .filter(|record| takes(record) && fate::latest(record) > from)
        .map(|record| record.invoked)
        .min()
        .unwrap_or(NEVER)
}

fn takes(record: &Record) -> bool {
    let takes = matches!(
        record.command,
        Command::Reserve { .. } | Command::ReserveJob { .. } | Command::Delete { .. }
    );
    takes && fate::may_have_effect(record)
}

/// All priorities that a job can have at some moment from `from` to `until`: those of commands that
/// set it before `until`, but for what another has surely set anew before `from`.
pub(super) fn priorities<'b>(
    index: &'b Index<'_>,
    job: &'b Job,
    from: Moment,
    until: Moment,
) -> impl Iterator<Item = u32> + 'b {
    let setters = move || {
        let records = job.records.iter().map(|&place| index.record(place));
        records.filter_map(set_priority).filter(move |(record, _)| record.invoked <= until)
    };
    let renewed = setters()
        .filter(|(record, _)| fate::has_effect(record) && record.returned <= from)
        .map(|(record, _)| record.invoked)
        .max()
        .unwrap_or_default();
    setters()
        .filter(move |(record, _)| fate::latest(record) >= renewed)
        .map(|(_, priority)| priority)
}

fn set_priority(record: &Record) -> Option<(&Record, u32)> {
    match record.command {
        Command::Put { priority, .. }
        | Command::Release { priority, .. }
        | Command::Bury { priority, .. } => {
            fate::may_have_effect(record).then_some((record, priority))
        }
        _ => None,
    }
}

/// Spans in which a tube may be paused, by tube, in order and apart from each other.
pub(super) type Pauses<'a> = BTreeMap<&'a str, Vec<(Moment, Moment)>>;

/// A tube may be paused from the moment at which the pause was sent until a job of it was handed out
/// after the pause had been acknowledged: a pause may last longer than asked for.
pub(super) fn pauses<'a>(index: &Index<'a>) -> Pauses<'a> {
    let mut pauses = Pauses::new();
    let is_pause = |record: &Record| {
        matches!(record.command, Command::PauseTube { .. }) && fate::may_have_effect(record)
    };
    let paused: Vec<&Record> =
        index.history.records.iter().filter(|record| is_pause(record)).collect();
    if paused.is_empty() {
        return pauses;
    }
    let handed = handed_out(index);
    for record in paused {
        let Command::PauseTube { tube, .. } = &record.command else { continue };
        let after = (fate::latest(record), Moment(0));
        let first = handed.get(tube.as_str()).and_then(|tube| tube.range(after..).next());
        let until = first.map_or(NEVER, |&(_, returned)| returned);
        let spans = pauses.entry(tube).or_default();
        match spans.last_mut() {
            Some(last) if last.1 >= record.invoked => last.1 = last.1.max(until),
            _ => spans.push((record.invoked, until)),
        }
    }
    pauses
}

/// Whether a tube may be paused at some moment of a span.
pub(super) fn may_be_paused(pauses: &Pauses<'_>, tube: &str, from: Moment, until: Moment) -> bool {
    let Some(spans) = pauses.get(tube) else { return false };
    let next = spans.partition_point(|&(_, end)| end < from);
    spans.get(next).is_some_and(|&(begin, _)| begin <= until)
}

/// When jobs of each tube were handed out by a reserve: sent and answered.
fn handed_out<'a>(index: &Index<'a>) -> BTreeMap<&'a str, BTreeSet<(Moment, Moment)>> {
    let mut handed: BTreeMap<&str, BTreeSet<(Moment, Moment)>> = BTreeMap::new();
    for job in index.jobs.values() {
        let Some(put) = index.put(job) else { continue };
        for &place in &job.deliveries {
            let record = index.record(place);
            if matches!(record.command, Command::Reserve { .. }) {
                handed.entry(put.tube).or_default().insert((record.invoked, record.returned));
            }
        }
    }
    handed
}

/// How many reserves may hold a job of these tubes at some moment of a span without anybody's
/// knowledge: those of which nobody knows what they took, and those that may have been carried out
/// twice.
pub(super) fn ghosts<'b>(
    index: &Index<'_>,
    tubes: impl Iterator<Item = &'b str>,
    span: (Moment, Moment),
) -> usize {
    let places: BTreeSet<usize> = tubes.flat_map(|tube| ghosts_in(index, tube, span)).collect();
    places.len()
}

/// The same for one tube.
pub(super) fn ghosts_of(index: &Index<'_>, tube: &str, span: (Moment, Moment)) -> usize {
    ghosts_in(index, tube, span).count()
}

fn ghosts_in<'b>(
    index: &'b Index<'_>,
    tube: &str,
    (from, until): (Moment, Moment),
) -> impl Iterator<Item = usize> + 'b {
    let begun = move |places: Option<&'b Vec<usize>>| {
        let places = places.map_or(&[][..], Vec::as_slice);
        let count = places.partition_point(|&place| index.record(place).invoked <= until);
        places[..count].iter().copied()
    };
    let passing = begun(index.passing.get(tube));
    let passing = passing.filter(move |&place| index.record(place).returned >= from);
    begun(index.ghosts.get(tube)).chain(passing)
}
