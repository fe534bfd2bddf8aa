//! How many jobs there must be and can be in a tube, at any moment of a run.

use std::collections::BTreeMap;

use super::fate::{self, NEVER};
use super::index::{self, Index, Job};
use crate::clock::Moment;
use crate::history::{Command, PhaseName, Record};

/// Jobs of one tube, or of all.
#[derive(Debug, Default)]
pub(super) struct Existence {
    surely: Spans,
    possibly: Spans,
    /// When answered puts were answered.
    answered: Vec<Moment>,
}

/// Beginnings and ends, each sorted.
#[derive(Debug, Default)]
struct Spans {
    from: Vec<Moment>,
    until: Vec<Moment>,
}

/// The jobs of every tube, and of all of them.
#[derive(Debug, Default)]
pub(super) struct Census<'a> {
    pub(super) tubes: BTreeMap<&'a str, Existence>,
    pub(super) all: Existence,
}

impl Existence {
    /// How many are surely there all the time from `from` to `until`.
    pub(super) fn least(&self, from: Moment, until: Moment) -> u64 {
        let begun = self.surely.from.partition_point(|&at| at <= from);
        let ended = self.surely.until.partition_point(|&at| at < until);
        begun.saturating_sub(ended) as u64
    }

    /// How many can be there at some moment from `from` to `until`.
    pub(super) fn most(&self, from: Moment, until: Moment) -> u64 {
        let begun = self.possibly.from.partition_point(|&at| at <= until);
        let ended = self.possibly.until.partition_point(|&at| at < from);
        begun.saturating_sub(ended) as u64
    }

    /// How many puts had been acknowledged by then.
    pub(super) fn acknowledged(&self, at: Moment) -> u64 {
        self.answered.partition_point(|&answered| answered <= at) as u64
    }

    /// How many puts may have been carried out by then.
    pub(super) fn attempted(&self, at: Moment) -> u64 {
        self.possibly.from.partition_point(|&begun| begun <= at) as u64
    }

    fn sort(&mut self) {
        self.surely.sort();
        self.possibly.sort();
        self.answered.sort_unstable();
    }
}

impl Spans {
    fn add(&mut self, from: Moment, until: Moment) {
        self.from.push(from);
        self.until.push(until);
    }

    fn sort(&mut self) {
        self.from.sort_unstable();
        self.until.sort_unstable();
    }
}

impl<'a> Census<'a> {
    pub(super) fn new(index: &Index<'a>) -> Self {
        let mut census = Self::default();
        for job in index.jobs.values() {
            census.add_job(index, job);
        }
        let is_complete = is_emptied(index);
        for record in &index.history.records {
            census.add_put(index, record, is_complete);
        }
        census.all.sort();
        census.tubes.values_mut().for_each(Existence::sort);
        census
    }

    /// From when to when a known job is surely there, and until when it can be.
    fn add_job(&mut self, index: &Index<'a>, job: &Job) {
        let Some(put) = index.put(job) else { return };
        let records = || job.records.iter().map(|&place| index.record(place));
        let from = records().filter(|record| fate::shows_job(record)).map(|record| record.returned);
        let seen = records().filter(|record| fate::shows_job(record)).map(|record| record.invoked);
        let deletes =
            || records().filter(|record| matches!(record.command, Command::Delete { .. }));
        let may_end = deletes().filter(|record| fate::may_have_effect(record));
        let ends = deletes().filter(|record| fate::has_effect(record));
        let may_end_at = may_end.map(|record| record.invoked).min().unwrap_or(NEVER);
        let until = may_end_at.max(seen.max().unwrap_or_default());
        let end = ends.map(|record| record.returned).min().unwrap_or(NEVER);
        let tube = self.tubes.entry(put.tube).or_default();
        for existence in [tube, &mut self.all] {
            if let Some(from) = from.clone().min() {
                existence.surely.add(from, until.max(from));
            }
            existence.possibly.until.push(end);
        }
    }

    /// When a put may have made a job. One that was not answered and whose job was never seen has
    /// made none, if in the end everything was taken out.
    fn add_put(&mut self, index: &Index<'a>, record: &'a Record, is_complete: bool) {
        let Some(put) = index::put_of(record).filter(|_| fate::may_have_effect(record)) else {
            return;
        };
        let is_answered = fate::has_effect(record);
        if is_complete && !is_answered && !index.seen.contains_key(&put.body.key) {
            return;
        }
        let tube = self.tubes.entry(put.tube).or_default();
        for existence in [tube, &mut self.all] {
            existence.possibly.from.push(record.invoked);
            if is_answered {
                existence.answered.push(record.returned);
            }
        }
    }
}

/// Whether all jobs were taken out in the end, and none was deleted by somebody who had not seen
/// whose it was.
fn is_emptied(index: &Index<'_>) -> bool {
    let is_deleted_unseen = |job: &Job| {
        job.put.is_none() && job.records.iter().any(|&place| fate::has_effect(index.record(place)))
    };
    index::phase(index.history, PhaseName::Over).is_some()
        && !index.jobs.values().any(is_deleted_unseen)
}
