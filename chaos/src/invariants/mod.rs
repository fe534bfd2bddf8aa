//! The promises Q1 to Q16, each in a file of its own, each with a case in which it must fail.
//!
//! A check goes over a whole history and rests only on what is certain: what was sent and not
//! answered may have happened or not, at any time after. `index` finds what concerns a job,
//! `existence` counts, `ready` tells when a job is surely ready. Puts that were sent again with their
//! keys are one put for all but those that judge answers (`repeats`).

mod calm;
mod coverage;
mod existence;
mod expiry;
mod fate;
mod index;
mod kicks;
mod lives;
mod q01_nothing_lost;
mod q02_deleted_stays_deleted;
mod q03_one_holder;
mod q04_redelivery_explained;
mod q05_keys;
mod q06_order;
mod q07_never_early;
mod q08_one_put_one_job;
mod q09_counts;
mod q10_memory;
mod q11_linearizable;
mod q12_fresh_reads;
mod q13_replicas_agree;
mod q14_liveness;
mod q15_legal_answers;
mod q16_agent;
mod ready;
mod repeats;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod testing;
mod verdict;

use crate::history::History;

pub use coverage::Exercise;
pub use verdict::{Standing, Verdict, standing, verdict};

/// Violations that are described in full; all are counted.
pub const DESCRIBED_MAX: usize = 20;

/// One promise.
#[derive(Clone, Copy, Debug)]
pub struct Invariant {
    /// Its stable name, `Q1` to `Q16`.
    pub name: &'static str,
    /// The promise, in one line.
    pub promise: &'static str,
    /// Holds a history against it.
    pub check: fn(&History) -> Finding,
    /// What that history says of puts that were sent again.
    pub repeats: Repeats,
}

/// What becomes of puts that were sent again with their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeats {
    /// Each stays what it was.
    Apart,
    /// All of them are one put.
    Merged,
}

/// What a check has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// How many cases there were in which it could have been broken. None is no pass.
    pub cases: u64,
    /// In how many of them it was.
    pub broken: u64,
    /// The first of those that the check came upon.
    pub violations: Vec<Violation>,
    /// What else is worth knowing: name and value.
    pub measures: Vec<(String, String)>,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What is wrong, in one line.
    pub what: String,
    /// The places in [`History::records`] of what shows it, by time.
    pub records: Vec<usize>,
}

impl Finding {
    /// Counts a broken promise and keeps it if there is room.
    pub fn break_with(&mut self, what: String, records: Vec<usize>) {
        self.broken += 1;
        if self.violations.len() < DESCRIBED_MAX {
            self.violations.push(Violation { what, records });
        }
    }

    /// Notes something that is worth knowing.
    pub fn measure(&mut self, name: &str, value: impl ToString) {
        self.measures.push((name.to_owned(), value.to_string()));
    }
}

/// All promises, in order.
pub const ALL: &[Invariant] = &[
    Invariant {
        name: "Q1",
        promise: "no acknowledged job is lost",
        check: q01_nothing_lost::check,
        repeats: Repeats::Merged,
    },
    Invariant {
        name: "Q2",
        promise: "a deleted job does not come back",
        check: q02_deleted_stays_deleted::check,
        repeats: Repeats::Merged,
    },
    Invariant {
        name: "Q3",
        promise: "a job has one holder",
        check: q03_one_holder::check,
        repeats: Repeats::Merged,
    },
    Invariant {
        name: "Q4",
        promise: "what is handed out again has a reason",
        check: q04_redelivery_explained::check,
        repeats: Repeats::Merged,
    },
    Invariant {
        name: "Q5",
        promise: "a put with a key is one job",
        check: q05_keys::check,
        repeats: Repeats::Apart,
    },
    Invariant {
        name: "Q6",
        promise: "the first job by priority and id is taken",
        check: q06_order::check,
        repeats: Repeats::Merged,
    },
    Invariant {
        name: "Q7",
        promise: "a delay never ends early",
        check: q07_never_early::check,
        repeats: Repeats::Merged,
    },
    Invariant {
        name: "Q8",
        promise: "one put, one job, one rising id",
        check: q08_one_put_one_job::check,
        repeats: Repeats::Merged,
    },
    Invariant {
        name: "Q9",
        promise: "the figures add up at every member",
        check: q09_counts::check,
        repeats: Repeats::Merged,
    },
    Invariant {
        name: "Q10",
        promise: "memory stays in bounds",
        check: q10_memory::check,
        repeats: Repeats::Merged,
    },
    Invariant {
        name: "Q11",
        promise: "what is done to a job has an order",
        check: q11_linearizable::check,
        repeats: Repeats::Merged,
    },
    Invariant {
        name: "Q12",
        promise: "reads show all that was acknowledged",
        check: q12_fresh_reads::check,
        repeats: Repeats::Merged,
    },
    Invariant {
        name: "Q13",
        promise: "members have the same state",
        check: q13_replicas_agree::check,
        repeats: Repeats::Merged,
    },
    Invariant {
        name: "Q14",
        promise: "work goes on, and times to run end",
        check: q14_liveness::check,
        repeats: Repeats::Apart,
    },
    Invariant {
        name: "Q15",
        promise: "every answer is legal and belongs to its command",
        check: q15_legal_answers::check,
        repeats: Repeats::Apart,
    },
    Invariant {
        name: "Q16",
        promise: "behind an agent nobody sees a member die",
        check: q16_agent::check,
        repeats: Repeats::Apart,
    },
];

/// Holds a history, sorted by [`History::sort`], against all promises.
pub fn judge(history: &History) -> Vec<(Invariant, Finding)> {
    let merged = repeats::merged(history);
    let find = |invariant: &Invariant| match invariant.repeats {
        Repeats::Apart => (invariant.check)(history),
        Repeats::Merged => (invariant.check)(&merged),
    };
    ALL.iter().map(|invariant| (*invariant, find(invariant))).collect()
}

/// What a history, sorted by [`History::sort`], shows of all that can happen.
pub fn coverage(history: &History) -> Vec<Exercise> {
    coverage::coverage(&repeats::merged(history))
}
