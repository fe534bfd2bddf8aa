//! Q9: the figures add up, at every member.
//!
//! Each `stats-tube` and `stats` of the run is held against what clients know (`existence.rs`): the
//! jobs of a tube in all four states together must be as many as surely were there while the command
//! was under way, and no more than can have been; all tubes together likewise. `total-jobs` of the
//! server counts at least the puts that were acknowledged before the command was sent, and at most
//! those that may have been carried out when it was answered; it is the cluster's and outlives
//! restarts. While clients rest, members that are asked of the same tube must tell the same, as far
//! as nothing was left unanswered, and no connections but those that ask: all others were closed a
//! second before.
//!
//! Not claimed: how the jobs are divided among the states, `total-jobs` of a tube (a tube ends with
//! its last job), and any other figure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Finding;
use super::existence::{Census, Existence};
use super::fate;
use super::index::{self, Index};
use crate::history::{Command, History, PhaseName, Record, Reply};

/// The figures that together count all jobs.
const STATES: [&str; 4] =
    ["current-jobs-ready", "current-jobs-reserved", "current-jobs-delayed", "current-jobs-buried"];

/// After clients have closed their connections, members may take so long to know it.
const REST: Duration = Duration::from_secs(1);

/// Whoever asks has one connection; the end of the one before it may not be known yet.
const ASKING_MAX: u64 = 2;

pub(super) fn check(history: &History) -> Finding {
    let mut finding = Finding::default();
    let index = Index::new(history);
    let census = Census::new(&index);
    let nothing = Existence::default();
    for (place, record) in history.records.iter().enumerate() {
        let existence = match &record.command {
            Command::Stats => &census.all,
            Command::StatsTube { tube } => census.tubes.get(tube.as_str()).unwrap_or(&nothing),
            _ => continue,
        };
        if let Some(jobs) = jobs_of(record) {
            finding.cases += 1;
            judge_jobs(record, place, jobs, existence, &mut finding);
        }
        if let Some(total) = figure(record, "total-jobs").filter(|_| is_of_server(record)) {
            finding.cases += 1;
            judge_total(record, place, total, existence, &mut finding);
        }
    }
    judge_rest(history, &census, &mut finding);
    finding
}

fn is_of_server(record: &Record) -> bool {
    matches!(record.command, Command::Stats)
}

fn figure(record: &Record, name: &str) -> Option<u64> {
    let Reply::Stats { values } = fate::reply(record)? else { return None };
    values.get(name)?.parse().ok()
}

/// All jobs that a reply counts, in whatever state.
fn jobs_of(record: &Record) -> Option<u64> {
    let counts = STATES.iter().map(|state| figure(record, state));
    counts.sum()
}

fn judge_jobs(record: &Record, place: usize, jobs: u64, of: &Existence, finding: &mut Finding) {
    let (least, most) = bounds(record, of);
    if jobs < least || jobs > most {
        let what = format!(
            "member {} counts {jobs} jobs in {}; there were {least} to {most}",
            record.member,
            subject(record)
        );
        finding.break_with(what, vec![place]);
    }
}

fn judge_total(record: &Record, place: usize, total: u64, of: &Existence, finding: &mut Finding) {
    let (least, most) = (of.acknowledged(record.invoked), of.attempted(record.returned));
    if total < least || total > most {
        let what = format!(
            "member {} counts {total} puts in all; {least} were acknowledged, {most} attempted",
            record.member
        );
        finding.break_with(what, vec![place]);
    }
}

fn bounds(record: &Record, of: &Existence) -> (u64, u64) {
    (of.least(record.invoked, record.returned), of.most(record.invoked, record.returned))
}

fn subject(record: &Record) -> String {
    match &record.command {
        Command::StatsTube { tube } => format!("tube {tube}"),
        _ => "all tubes".to_owned(),
    }
}

/// What members tell while clients rest.
fn judge_rest(history: &History, census: &Census<'_>, finding: &mut Finding) {
    let Some((from, until)) = index::phase(history, PhaseName::Quiet) else {
        finding.measure("members compared", "none: clients never rested");
        return;
    };
    let mut members = BTreeSet::new();
    let mut told: BTreeMap<String, (u64, usize)> = BTreeMap::new();
    for (place, record) in history.records.iter().enumerate() {
        if record.invoked < from || record.returned > until {
            continue;
        }
        if let Some(connections) = figure(record, "current-connections")
            && record.invoked >= from.after(REST)
        {
            finding.cases += 1;
            if connections > ASKING_MAX {
                let what = format!(
                    "member {} counts {connections} connections though all clients have left",
                    record.member
                );
                finding.break_with(what, vec![place]);
            }
        }
        let Some(jobs) = jobs_of(record) else { continue };
        let existence = match &record.command {
            Command::StatsTube { tube } => census.tubes.get(tube.as_str()),
            _ => Some(&census.all),
        };
        members.insert(record.member);
        let (least, most) = existence.map_or((0, 0), |of| bounds(record, of));
        let (first, first_place) = *told.entry(subject(record)).or_insert((jobs, place));
        finding.cases += 1;
        if first.abs_diff(jobs) > most.saturating_sub(least) {
            let what = format!(
                "member {} counts {jobs} jobs in {} while clients rest, member {} {first}",
                record.member,
                subject(record),
                history.records[first_place].member
            );
            finding.break_with(what, vec![first_place, place]);
        }
    }
    finding.measure("members compared", members.len());
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Story, stats};
    use super::check;
    use crate::history::{Command, PhaseName, Reply};

    fn tube() -> Command {
        Command::StatsTube { tube: "t".into() }
    }

    /// Two jobs, one of which is deleted by 32 ms.
    fn one_left() -> Story {
        let mut story = Story::new();
        story.put(1, 10, 1).put(1, 20, 2).delete(1, 30, 1);
        story
    }

    #[test]
    fn a_count_that_cannot_be_is_noticed() {
        for jobs in [0, 2] {
            let mut story = one_left();
            story.told(2, 40, tube(), stats(jobs, 0));
            let finding = check(&story.history());
            assert_eq!((finding.cases, finding.broken), (1, 1), "{jobs}");
        }
        let mut story = one_left();
        story.told(2, 40, Command::Stats, stats(1, 1));
        assert_eq!((check(&story.history()).cases, check(&story.history()).broken), (2, 1));
    }

    #[test]
    fn what_is_under_way_or_unanswered_may_count_or_not() {
        for jobs in [0, 1] {
            let mut story = one_left();
            story.unanswered(3, 35, Command::Delete { id: 2 }).told(2, 40, tube(), stats(jobs, 0));
            assert_eq!(check(&story.history()).broken, 0, "{jobs}");
        }
        for jobs in [1, 2] {
            let mut story = one_left();
            story.put_unanswered(3, 35, 9).told(2, 40, tube(), stats(jobs, 0));
            assert_eq!(check(&story.history()).broken, 0, "{jobs}");
        }
        let mut story = one_left();
        story.op(2, (25, 50), tube(), stats(2, 0));
        assert_eq!(check(&story.history()).broken, 0);
    }

    #[test]
    fn a_put_that_never_showed_counts_nowhere_once_all_is_drained() {
        let mut story = one_left();
        story.put_unanswered(3, 35, 9).told(2, 40, tube(), stats(2, 0));
        story.phase(PhaseName::Drain, 50).reserve(9, 60, 2).delete(9, 70, 2);
        story.phase(PhaseName::Over, 90);
        assert_eq!(check(&story.history()).broken, 1);
    }

    #[test]
    fn connections_that_are_counted_when_all_have_left_are_noticed() {
        for (connections, at, broken) in [(1, 2_000, 0), (2, 2_000, 0), (9, 2_000, 1), (9, 500, 0)]
        {
            let mut story = one_left();
            story.phase(PhaseName::Quiet, 100);
            let mut figures = stats(1, 2);
            if let Reply::Stats { values } = &mut figures {
                values.insert("current-connections".to_owned(), connections.to_string());
            }
            story.told(2, at, Command::Stats, figures).phase(PhaseName::Drain, 9_000);
            assert_eq!(check(&story.history()).broken, broken, "{connections} at {at}");
        }
    }

    #[test]
    fn members_that_differ_at_rest_are_noticed() {
        let mut story = one_left();
        story.phase(PhaseName::Quiet, 100);
        story.at_member(0).told(2, 110, tube(), stats(1, 0));
        story.at_member(1).told(3, 120, tube(), stats(0, 0));
        story.phase(PhaseName::Drain, 200);
        let finding = check(&story.history());
        assert_eq!((finding.cases, finding.broken), (4, 2));
        assert_eq!(super::super::testing::measure(&finding, "members compared"), "2");
    }
}
