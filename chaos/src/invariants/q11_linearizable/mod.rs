//! Q11: what was done to one job can have been done in one order.
//!
//! For each job the commands that name it, and were answered, are put in an order (`search.rs`)
//! that respects real time and that a single server would have answered so (`model.rs`). What
//! nobody knows is offered as a step at any time after it was sent, as often as it helps:
//! unanswered commands, kicks of the job's tube, and unanswered reserves that may have held it.
//! Delays and times to run, counted from when their command was sent (as in Q3 and Q7), end not
//! before they can, connections not before they were last sure; nothing must end in time (that is
//! Q7 and Q14).
//!
//! A search that takes too long is undecided, which counts as broken: it is no pass.
//!
//! Not claimed: anything about jobs whose put nobody knows, and anything that needs two jobs (Q6).

mod model;
mod search;

use super::Finding;
use super::fate;
use super::index::{self, Index, Job};
use crate::history::History;
use model::{Env, Kind, Op, Windows};
use search::{Search, Verdict};

/// Steps that all jobs of a history may take together. A job takes about two for each command.
const STEPS_MAX: u64 = 100_000_000;

/// Steps for one job.
const STEPS_OF_JOB_MAX: u64 = 2_000_000;

pub(super) fn check(history: &History) -> Finding {
    let mut finding = Finding::default();
    let index = Index::new(history);
    let windows = Windows::new(&index);
    let mut search = Search::default();
    let (mut steps, mut undecided, mut unknown, mut longest) = (0, 0_u64, 0_u64, 0);
    for (&id, job) in &index.jobs {
        let Some(put) = index.put(job) else {
            unknown += 1;
            continue;
        };
        finding.cases += 1;
        let ops = ops_of(&index, job);
        longest = longest.max(ops.len());
        let env = Env::new(&index, &windows, job, put);
        let left = STEPS_OF_JOB_MAX.min(STEPS_MAX.saturating_sub(steps));
        let (verdict, taken) = search.run(&ops, &env, left);
        steps += taken;
        match verdict {
            Verdict::Ordered => {}
            Verdict::Undecided => {
                undecided += 1;
                let what = format!("job {id} is undecided after {taken} steps");
                finding.break_with(what, job.records.clone());
            }
            Verdict::Impossible { stuck } => {
                let record = index.record(stuck);
                let what = format!(
                    "no order of what was done to job {id} explains {:?} at {}",
                    record.outcome, record.returned
                );
                finding.break_with(what, job.records.clone());
            }
        }
    }
    finding.measure("undecided", undecided);
    finding.measure("jobs whose put nobody knows", unknown);
    finding.measure("most commands of a job", longest);
    finding.measure("steps", steps);
    finding
}

/// What must have its place in the order, by the moment it was sent. The put must, even if it was
/// not answered: the job is there.
fn ops_of(index: &Index<'_>, job: &Job) -> Vec<Op> {
    let op = |&place: &usize| {
        let record = index.record(place);
        let kind = Kind::of(record)?;
        let (invoked, latest, by) =
            (record.invoked, fate::latest(record), index::connection(record));
        Some(Op { invoked, latest, kind, by, place })
    };
    job.records.iter().filter_map(op).collect()
}

#[cfg(test)]
mod tests;
