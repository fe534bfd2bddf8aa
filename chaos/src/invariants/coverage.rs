//! What a run has exercised: a run in which nothing happened proves nothing.
//!
//! Only what the course of faults makes certain is asked for; the rest is counted and shown. Whether
//! a snapshot was installed is not in a history, since members do not tell.

use std::collections::BTreeMap;
use std::time::Duration;

use super::expiry::needs_hold;
use super::fate;
use super::index::{self, Index, Job, is_delivery};
use super::q07_never_early::delay_of;
use crate::clock::Moment;
use crate::history::{
    Command, FaultState, History, MemberSample, Outcome, PhaseName, Record, Reply,
};

/// Commands a second that clients must get through before anything is broken.
const PER_SECOND_MIN: u64 = 50;
/// A shorter time says nothing about that.
const WARM_MIN: Duration = Duration::from_secs(3);
/// Of so many deliveries some are of jobs that were released.
const DELIVERIES_MANY: u64 = 1_000;
/// At so many changes of leader some job is held and some is delayed.
const CHANGES_MANY: u64 = 10;
/// At so many sudden ends of a member some client waits for an answer.
const ENDS_MANY: u64 = 3;

/// Faults that end a process with the commands that it has.
const ENDINGS: [&str; 4] = ["kill", "restart", "power-loss", "oom-kill"];
/// The fault that is not there before another member leads.
const TRANSFER: &str = "transfer";

/// One thing that can happen in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exercise {
    /// What.
    pub what: &'static str,
    /// How often it did.
    pub count: u64,
    /// How often it must in this run, at least. 0: it need not.
    pub least: u64,
}

impl Exercise {
    /// Whether it happened too seldom.
    pub fn is_lacking(&self) -> bool {
        self.count < self.least
    }
}

/// What a history, sorted by [`History::sort`], shows of all that can happen.
pub(super) fn coverage(history: &History) -> Vec<Exercise> {
    let index = Index::new(history);
    let changes = changes_of_leader(&history.samples);
    let count_of_changes = changes.len() as u64;
    let has_many_changes = count_of_changes >= CHANGES_MANY;
    let installed = |names: &[&str]| {
        let faults = history.faults.iter().filter(|fault| fault.state == FaultState::Installed);
        faults.filter(|fault| names.contains(&fault.name.as_str())).count() as u64
    };
    let deliveries = count(history, is_delivery);
    let jobs = || index.jobs.values();
    let again = jobs().map(|job| job.deliveries.len().saturating_sub(1) as u64).sum();
    let (per_second, is_long) = before_faults(history);
    let exercise = |what, count, is_needed| Exercise { what, count, least: u64::from(is_needed) };
    let per_second_min = if is_long { PER_SECOND_MIN } else { 0 };
    vec![
        Exercise {
            what: "commands a second before anything was broken",
            count: per_second,
            least: per_second_min,
        },
        exercise("jobs handed out", deliveries, false),
        exercise("jobs handed out again", again, deliveries >= DELIVERIES_MANY),
        exercise(
            "commands of which nobody knows what they did",
            count(history, fate::is_doubtful),
            // An agent finds out what became of them.
            installed(&ENDINGS) >= ENDS_MANY && !history.head.has_agent,
        ),
        exercise("jobs of puts that were never answered", of_unanswered_puts(&index), false),
        exercise("changes of leader", count_of_changes, installed(&[TRANSFER]) > 0),
        exercise(
            "times to run that ended after a change of leader",
            jobs().map(|job| ran_out_across(&index, job, &changes)).sum(),
            has_many_changes,
        ),
        exercise(
            "delays that ended after a change of leader",
            jobs().map(|job| delayed_across(&index, job, &changes)).sum(),
            has_many_changes,
        ),
        exercise("members replaced", replaced(&history.samples), false),
        exercise("answers DEADLINE_SOON", replies(history, &[Reply::DeadlineSoon]), false),
        exercise(
            "answers OUT_OF_MEMORY or DRAINING",
            replies(history, &[Reply::OutOfMemory, Reply::Draining]),
            false,
        ),
        exercise(
            "connections that ended by themselves",
            count(history, |record| record.command == Command::Broken),
            false,
        ),
    ]
}

fn count(history: &History, is: impl Fn(&Record) -> bool) -> u64 {
    history.records.iter().filter(|record| is(record)).count() as u64
}

fn replies(history: &History, known: &[Reply]) -> u64 {
    let is_one = |record: &Record| match &record.outcome {
        Outcome::Replied(reply) => known.contains(reply),
        _ => false,
    };
    count(history, is_one)
}

/// Commands that were answered in a second while nothing was broken yet, and whether that took long
/// enough to say something.
fn before_faults(history: &History) -> (u64, bool) {
    let Some((from, until)) = index::phase(history, PhaseName::Warm) else { return (0, false) };
    let end = history.records.last().map_or(from, |record| record.invoked);
    let lasted = until.min(end).since(from);
    let is_within = |record: &Record| {
        let is_answer = fate::reply(record).is_some_and(|reply| *reply != Reply::Done);
        is_answer && record.invoked >= from && record.returned <= until
    };
    let per_second = count(history, is_within) as f64 / lasted.as_secs_f64().max(1.0);
    (per_second as u64, lasted >= WARM_MIN)
}

fn of_unanswered_puts(index: &Index<'_>) -> u64 {
    let is_unanswered =
        |job: &&Job| job.put.is_some_and(|place| fate::is_doubtful(index.record(place)));
    index.jobs.values().filter(is_unanswered).count() as u64
}

/// Between which moments another term with a leader began: when the term before was last told of,
/// and when this one first was. In order and apart from each other.
fn changes_of_leader(samples: &[MemberSample]) -> Vec<(Moment, Moment)> {
    let mut changes = Vec::new();
    let mut known: Option<(u64, Moment)> = None;
    for sample in samples {
        let (Some(term), Some(_)) = (sample.term, sample.leader) else { continue };
        match known {
            Some((before, _)) if term < before => continue,
            Some((before, at)) if term > before => changes.push((at, sample.at)),
            _ => {}
        }
        known = Some((term, sample.at));
    }
    changes
}

/// Whether a change of leader lies within a span as a whole.
fn has_change(changes: &[(Moment, Moment)], from: Moment, until: Moment) -> bool {
    let next = changes.partition_point(|&(begin, _)| begin < from);
    changes.get(next).is_some_and(|&(_, end)| end <= until)
}

/// How many holds of a job had a change of leader in their time to run, and ended with that time.
fn ran_out_across(index: &Index<'_>, job: &Job, changes: &[(Moment, Moment)]) -> u64 {
    let ran_out = job.deliveries.iter().filter_map(|&delivery| ran_out(index, job, delivery));
    ran_out.filter(|&(from, until)| has_change(changes, from, until)).count() as u64
}

/// From when to when a time to run surely lasted that ended a hold: the holder did nothing to end
/// it, and was refused later; or its connection was there, and the job was handed out again.
fn ran_out(index: &Index<'_>, job: &Job, delivery: usize) -> Option<(Moment, Moment)> {
    let ttr = index.put(job)?.ttr;
    let begin = index.record(delivery);
    let (mut from, mut by) = (begin.invoked, begin.returned);
    for place in index.places_by_holder(job, delivery) {
        let record = index.record(place);
        let is_of_holder = needs_hold(&record.command);
        if is_of_holder && fate::reply(record) == Some(&Reply::NotFound) {
            return Some((by, from.after(ttr)));
        }
        match record.command {
            Command::Touch { .. } if fate::has_effect(record) => {
                (from, by) = (record.invoked, record.returned);
            }
            Command::StatsJob { .. } | Command::Peek { .. } => {}
            _ => return None,
        }
    }
    let over = by.after(ttr);
    let is_again = job.deliveries.iter().any(|&place| index.record(place).returned > over);
    let is_there = index.sure_until(index::connection(begin)) > over;
    (is_again && is_there).then_some((by, from.after(ttr)))
}

/// How many delays of a job had a change of leader in them, and ended: the job was handed out.
fn delayed_across(index: &Index<'_>, job: &Job, changes: &[(Moment, Moment)]) -> u64 {
    let is_case = |&&place: &&usize| {
        let record = index.record(place);
        let Some(delay) = delay_of(record).filter(|_| fate::has_effect(record)) else {
            return false;
        };
        let due = record.invoked.after(delay);
        has_change(changes, record.returned, due)
            && job.deliveries.iter().any(|&later| index.record(later).returned >= due)
    };
    job.records.iter().filter(is_case).count() as u64
}

/// How many places got a member of another id.
fn replaced(samples: &[MemberSample]) -> u64 {
    let mut last = BTreeMap::new();
    let told = samples.iter().filter_map(|sample| Some((sample.member, sample.id?)));
    let other = told.filter(|&(member, id)| {
        id != 0 && last.insert(member, id).is_some_and(|before| before != id)
    });
    other.count() as u64
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Story, put, reserve};
    use super::*;
    use crate::faults::Kind;

    fn exercise(story: &mut Story, what: &str) -> Exercise {
        let all = coverage(&story.history());
        *all.iter().find(|exercise| exercise.what.contains(what)).expect("there is one")
    }

    /// Member 0 leads in term 1 and member 1 in term 2, from between 3 s and 4 s on.
    fn led() -> Story {
        let mut story = Story::new();
        for (at, term) in [(1_000, 1), (3_000, 1), (4_000, 2), (5_000, 2)] {
            let (at, leader) = (Story::moment(at), Some(term));
            let term = Some(term);
            story.sample(MemberSample { at, term, leader, id: leader, ..MemberSample::default() });
        }
        story
    }

    const TOUCH: Command = Command::Touch { id: 1 };

    /// How many count when job 1, with 3 s to run, is handed out to client 2, and this follows.
    fn ran_out_at(at: u64, follows: fn(&mut Story)) -> u64 {
        let mut story = led();
        story.put_as(1, 10, 1, |put| put.ttr = 3).reserve(2, at, 1);
        follows(&mut story);
        exercise(&mut story, "times to run").count
    }

    fn refused(story: &mut Story) {
        story.told(2, 9_000, TOUCH, Reply::NotFound);
    }

    /// Job 1 goes to client 3 while client 2 is still there.
    fn again(story: &mut Story) {
        story.told(2, 9_000, reserve(), Reply::TimedOut).reserve(3, 8_000, 1);
    }

    #[test]
    fn names_of_faults_are_those_of_the_list() {
        for name in ENDINGS.into_iter().chain([TRANSFER]) {
            assert!(Kind::named(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_run_of_too_few_commands_is_lacking() {
        for (commands, is_lacking) in [(199, true), (200, false)] {
            let mut story = Story::new();
            story.phase(PhaseName::Warm, 0).phase(PhaseName::Faults, 4_000);
            for number in 0..commands {
                story.told(1, number * 20, Command::Delete { id: 1 }, Reply::NotFound);
            }
            story.told(1, 9_000, Command::Delete { id: 1 }, Reply::NotFound);
            assert_eq!(exercise(&mut story, "a second").is_lacking(), is_lacking, "{commands}");
        }
        let mut story = Story::new();
        story.phase(PhaseName::Warm, 0).phase(PhaseName::Faults, 2_000).put(1, 2_500, 1);
        assert!(!exercise(&mut story, "a second").is_lacking(), "that was short");
    }

    #[test]
    fn a_transfer_without_a_change_of_leader_is_lacking() {
        let mut story = led();
        story.fault(TRANSFER, &[], (3_000, 4_000), FaultState::Installed);
        let changes = exercise(&mut story, "changes of leader");
        assert_eq!((changes.count, changes.is_lacking()), (1, false));
        let mut story = Story::new();
        story.fault(TRANSFER, &[], (3_000, 4_000), FaultState::Skipped);
        assert!(!exercise(&mut story, "changes of leader").is_lacking());
        story.fault(TRANSFER, &[], (3_000, 4_000), FaultState::Installed);
        assert!(exercise(&mut story, "changes of leader").is_lacking());
    }

    #[test]
    fn members_that_end_three_times_and_leave_nothing_open_are_lacking() {
        let mut story = Story::new();
        for (at, name) in [(1, "kill"), (2, "oom-kill"), (3, "restart")] {
            assert!(!exercise(&mut story, "nobody knows").is_lacking(), "{name}");
            story.fault(name, &[0], (at * 10_000, at * 10_000 + 99), FaultState::Installed);
        }
        assert!(exercise(&mut story, "nobody knows").is_lacking());
        story.unanswered(1, 10_050, put(1));
        assert!(!exercise(&mut story, "nobody knows").is_lacking());
    }

    #[test]
    fn what_is_never_handed_out_again_is_lacking_among_many() {
        let mut story = Story::new();
        for id in 1..=DELIVERIES_MANY {
            story.reserve(1, id * 10, id);
        }
        assert!(exercise(&mut story, "handed out again").is_lacking());
        story.reserve(1, 90_000, 1);
        assert!(!exercise(&mut story, "handed out again").is_lacking());
    }

    #[test]
    fn a_time_to_run_counts_if_it_began_before_the_change_and_ended_after() {
        for (at, expected) in [(900, 0), (2_000, 1), (3_001, 0)] {
            assert_eq!(ran_out_at(at, refused), expected, "handed out at {at}");
        }
        assert_eq!(ran_out_at(2_000, again), 1);
    }

    #[test]
    fn a_hold_that_may_have_ended_otherwise_counts_not() {
        let alone = |story: &mut Story| {
            story.reserve(3, 8_000, 1);
        };
        assert_eq!(ran_out_at(2_000, alone), 0, "or with its connection");
        let released = |story: &mut Story| {
            let release = Command::Release { id: 1, priority: 1, delay: 0 };
            again(story.told(2, 4_500, release, Reply::Released));
        };
        assert_eq!(ran_out_at(2_000, released), 0);
        let touched = |story: &mut Story| refused(story.told(2, 4_500, TOUCH, Reply::Touched));
        assert_eq!(ran_out_at(2_000, touched), 0, "it began anew after the change");
    }

    #[test]
    fn a_delay_counts_if_it_began_before_the_change_and_ended_after() {
        for (at, expected) in [(900, 0), (2_000, 1), (3_001, 0)] {
            let mut story = led();
            story.put_as(1, at, 1, |put| put.delay = 3);
            assert_eq!(exercise(&mut story, "delays").count, 0, "nobody got it");
            story.reserve(2, 9_000, 1);
            assert_eq!(exercise(&mut story, "delays").count, expected, "put at {at}");
        }
    }

    #[test]
    fn a_place_with_another_id_is_a_replacement() {
        let mut story = led();
        assert_eq!(exercise(&mut story, "replaced").count, 1, "the story has one of each term");
        let history = story.history();
        assert_eq!(replaced(&history.samples[..2]), 0);
    }
}
