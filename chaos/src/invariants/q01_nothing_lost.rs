//! Q1: no acknowledged job is lost.
//!
//! In the end one client takes out and deletes all jobs, until every tube is empty. A job that was
//! surely there (its put was answered, or somebody saw it) and was neither deleted nor handed out in
//! that drain is lost. One whose delete was not answered may be gone rightly.
//!
//! Losses are told apart by where they lie among the answered puts of their client: at the beginning
//! (a state that was forgotten as a whole), at the end (an unsynced tail), or between (damage, or
//! members that differ).
//!
//! Not claimed: anything when the drain did not come to its end, and anything about puts that were
//! not answered and never seen.

use std::collections::BTreeMap;

use super::Finding;
use super::fate;
use super::index::{self, Index, Job};
use crate::clock::Moment;
use crate::history::{Command, History, PhaseName};

pub(super) fn check(history: &History) -> Finding {
    let mut finding = Finding::default();
    let drain = index::phase(history, PhaseName::Drain);
    let (Some((drained_from, _)), Some(_)) = (drain, index::phase(history, PhaseName::Over)) else {
        finding.measure("not judged", "the drain did not come to its end");
        return finding;
    };
    let index = Index::new(history);
    let mut losses: BTreeMap<u32, Vec<bool>> = BTreeMap::new();
    for (id, job) in by_put(&index) {
        finding.cases += 1;
        let is_lost = !is_accounted_for(&index, job, drained_from);
        let client = job.put.map_or(u32::MAX, |place| index.record(place).client);
        losses.entry(client).or_default().push(is_lost);
        if is_lost {
            let last = job.records.last().map_or(Moment(0), |&place| index.record(place).returned);
            let what =
                format!("job {id} is lost: it was there and never deleted, last seen {last}");
            finding.break_with(what, job.records.clone());
        }
    }
    let [prefix, middle, suffix] = split(&losses);
    finding.measure("lost at the beginning of a client's puts", prefix);
    finding.measure("lost in the middle", middle);
    finding.measure("lost at the end", suffix);
    finding
}

/// All jobs that surely were there, in the order of their puts.
fn by_put<'b>(index: &'b Index<'_>) -> Vec<(u64, &'b Job)> {
    let was_there =
        |job: &Job| job.records.iter().any(|&place| fate::shows_job(index.record(place)));
    let mut jobs: Vec<(u64, &Job)> =
        index.jobs.iter().filter(|(_, job)| was_there(job)).map(|(&id, job)| (id, job)).collect();
    jobs.sort_by_key(|(_, job)| job.put);
    jobs
}

fn is_accounted_for(index: &Index<'_>, job: &Job, drained_from: Moment) -> bool {
    job.records.iter().map(|&place| index.record(place)).any(|record| match record.command {
        Command::Delete { .. } => fate::may_have_effect(record),
        _ => index::is_delivery(record) && record.invoked >= drained_from,
    })
}

/// How many are lost at the beginnings, in the middles and at the ends.
fn split(losses: &BTreeMap<u32, Vec<bool>>) -> [usize; 3] {
    let mut split = [0; 3];
    for lost in losses.values() {
        let all = lost.iter().filter(|&&is_lost| is_lost).count();
        let prefix = lost.iter().take_while(|&&is_lost| is_lost).count();
        let rest = &lost[prefix..];
        let suffix = rest.iter().rev().take_while(|&&is_lost| is_lost).count();
        split[0] += prefix;
        split[1] += all - prefix - suffix;
        split[2] += suffix;
    }
    split
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Story, measure};
    use super::check;
    use crate::history::{Command, PhaseName};

    /// Three jobs, of which the last is deleted while clients work.
    fn begun() -> Story {
        let mut story = Story::new();
        story.phase(PhaseName::Warm, 0);
        story.put(1, 10, 1).put(1, 20, 2).put(1, 30, 3);
        story.reserve(2, 40, 3).delete(2, 50, 3);
        story
    }

    #[test]
    fn a_job_that_nobody_finds_is_lost() {
        let mut story = begun();
        story.phase(PhaseName::Drain, 100).reserve(9, 110, 2).delete(9, 120, 2);
        story.phase(PhaseName::Over, 200);
        let finding = check(&story.history());
        assert_eq!((finding.cases, finding.broken), (3, 1));
        assert!(finding.violations[0].what.contains("job 1 "));
        assert_eq!(measure(&finding, "lost at the beginning of a client's puts"), "1");
    }

    #[test]
    fn a_job_that_was_seen_is_lost_though_its_put_was_not_answered() {
        let mut story = begun();
        story.put_unanswered(4, 35, 4).reserve(5, 60, 4);
        story.phase(PhaseName::Drain, 100);
        story.reserve(9, 110, 1).delete(9, 120, 1).reserve(9, 130, 2).delete(9, 140, 2);
        story.phase(PhaseName::Over, 200);
        assert_eq!((check(&story.history()).cases, check(&story.history()).broken), (4, 1));
    }

    #[test]
    fn what_may_have_been_deleted_or_never_put_is_not_lost() {
        let mut story = begun();
        story.unanswered(3, 60, Command::Delete { id: 1 }).put_unanswered(4, 70, 4);
        story.phase(PhaseName::Drain, 100).reserve(9, 110, 2);
        story.unanswered(9, 120, Command::Delete { id: 2 });
        story.phase(PhaseName::Over, 200);
        let finding = check(&story.history());
        assert_eq!((finding.cases, finding.broken), (3, 0));
    }

    #[test]
    fn nothing_is_said_without_the_end_of_the_drain() {
        let mut story = begun();
        story.phase(PhaseName::Drain, 100);
        let finding = check(&story.history());
        assert_eq!((finding.cases, finding.broken), (0, 0));
        assert!(measure(&finding, "not judged").contains("drain"));
    }
}
