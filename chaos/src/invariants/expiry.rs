//! When a hold was surely over: a part of Q14.
//!
//! A hold is over, at the latest, its time to run after the *reply* of its delivery, or of the last
//! `touch` that may have been carried out. What only a holder can do (touch, release, bury) must not
//! succeed on that connection later, unless it got the job anew. A delete proves nothing: a job
//! whose time is over is ready, and anybody may delete it.
//!
//! Claimed only where nothing was wrong since the time to run began (`calm.rs`), with [`SLACK`] for
//! a machine that is busy.
//!
//! Not claimed: that the job is handed out to who waits for it, and anything on a connection that
//! got INTERNAL_ERROR for a reserve: it may hold the job again.

use std::collections::HashSet;
use std::time::Duration;

use super::Finding;
use super::calm::Trouble;
use super::fate;
use super::index::{self, Connection, Index, Job};
use crate::history::{Command, History, Reply};

/// How long after its end a hold may still seem to be there.
const SLACK: Duration = Duration::from_secs(2);

/// The name of the measure that counts cases.
const CASES: &str = "holds that had to be over";

/// Adds what it finds to a finding.
pub(super) fn judge(history: &History, finding: &mut Finding) {
    let index = Index::new(history);
    let ghosts = index.ghosts.values().flatten().map(|&place| index.record(place));
    let doubtful: HashSet<Connection> = ghosts.map(index::connection).collect();
    let trouble = Trouble::of(history);
    let cases_before = finding.cases;
    for (&id, job) in &index.jobs {
        for &delivery in &job.deliveries {
            if !doubtful.contains(&index::connection(index.record(delivery))) {
                judge_hold(&index, &trouble, (id, job, delivery), finding);
            }
        }
    }
    finding.measure(CASES, finding.cases - cases_before);
}

fn judge_hold(
    index: &Index<'_>,
    trouble: &Trouble,
    (id, job, delivery): (u64, &Job, usize),
    finding: &mut Finding,
) {
    let Some(put) = index.put(job) else { return };
    let begin = index.record(delivery);
    // When the time to run began for the last time: between these.
    let (mut from, mut by) = (begin.invoked, begin.returned);
    for place in index.places_by_holder(job, delivery) {
        let record = index.record(place);
        if !needs_hold(&record.command) {
            continue;
        }
        let over = by.after(put.ttr);
        let is_refused = fate::reply(record) == Some(&Reply::NotFound);
        let is_case = is_refused || fate::has_effect(record);
        if is_case && record.invoked > over.after(SLACK) && trouble.is_calm(from, record.returned) {
            finding.cases += 1;
            if !is_refused {
                let what = format!(
                    "client {} still held job {id} at {}, whose time to run was over by {over}",
                    record.client, record.invoked
                );
                finding.break_with(what, vec![delivery, place]);
            }
        }
        if fate::may_have_effect(record) {
            (from, by) = (record.invoked, fate::latest(record));
        }
    }
}

/// Whether only who holds a job can do this to it.
pub(super) fn needs_hold(command: &Command) -> bool {
    matches!(command, Command::Touch { .. } | Command::Release { .. } | Command::Bury { .. })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Story, measure};
    use super::*;
    use crate::history::FaultState;

    const TOUCH: Command = Command::Touch { id: 1 };
    const RELEASE: Command = Command::Release { id: 1, priority: 1, delay: 0 };
    const BURY: Command = Command::Bury { id: 1, priority: 1 };

    /// Job 1 with 10 s to run is handed out to client 2 between 1 s and 2 s: its time is over by 12 s.
    fn held() -> Story {
        let mut story = Story::new();
        story.put(1, 10, 1).reserve_in(2, (1_000, 2_000), 1);
        story
    }

    fn judged(story: &mut Story) -> (u64, u64) {
        let mut finding = Finding::default();
        judge(&story.history(), &mut finding);
        assert_eq!(measure(&finding, CASES), finding.cases.to_string());
        (finding.cases, finding.broken)
    }

    #[test]
    fn a_hold_that_goes_on_past_its_time_is_noticed() {
        let done = [
            (TOUCH, Reply::Touched),
            (RELEASE, Reply::Released),
            (BURY, Reply::Buried { id: None }),
        ];
        for (command, reply) in done {
            let mut story = held();
            story.told(2, 14_001, command.clone(), reply.clone());
            assert_eq!(judged(&mut story), (1, 1), "{command:?}");
            let mut story = held();
            story.told(2, 14_000, command.clone(), reply);
            assert_eq!(judged(&mut story), (0, 0), "{command:?} within the slack");
            let mut story = held();
            story.told(2, 14_001, command.clone(), Reply::NotFound);
            assert_eq!(judged(&mut story), (1, 0), "{command:?} refused");
        }
    }

    #[test]
    fn a_delete_past_the_time_proves_nothing() {
        let mut story = held();
        story.delete(2, 30_000, 1);
        assert_eq!(judged(&mut story), (0, 0));
    }

    #[test]
    fn a_touch_that_may_have_been_done_begins_the_time_anew() {
        let mut story = held();
        story.told(2, 5_000, TOUCH, Reply::Touched).told(2, 16_000, RELEASE, Reply::Released);
        assert_eq!(judged(&mut story), (0, 0));
        story.told(2, 60_000, TOUCH, Reply::Touched);
        assert_eq!(judged(&mut story), (1, 1), "it was released at 16 s");
        let mut story = held();
        story.told(2, 5_000, TOUCH, Reply::InternalError).told(2, 60_000, BURY, Reply::NotFound);
        assert_eq!(judged(&mut story), (0, 0), "nobody knows when");
        let mut story = held();
        story.told(2, 5_000, TOUCH, Reply::OutOfMemory).told(2, 16_000, TOUCH, Reply::Touched);
        assert_eq!(judged(&mut story), (1, 1), "it was not done");
    }

    #[test]
    fn who_got_the_job_again_holds_it_again() {
        let mut story = held();
        story.reserve(2, 50_000, 1).told(2, 55_000, TOUCH, Reply::Touched);
        assert_eq!(judged(&mut story), (0, 0));
        let mut story = held();
        story.reserve(3, 50_000, 1).told(2, 55_000, TOUCH, Reply::Touched);
        assert_eq!(judged(&mut story), (1, 1), "another got it");
        let mut story = held();
        let reserve = Command::Reserve { tubes: vec!["t".into()], timeout: Some(0) };
        story.told(2, 50_000, reserve, Reply::InternalError);
        story.told(2, 55_000, TOUCH, Reply::Touched);
        assert_eq!(judged(&mut story), (0, 0), "it may have got it");
    }

    #[test]
    fn nothing_is_claimed_while_something_is_wrong() {
        let mut story = held();
        story.fault("kill", &[0], (11_000, 11_500), FaultState::Installed);
        story.told(2, 30_000, TOUCH, Reply::Touched);
        assert_eq!(judged(&mut story), (0, 0));
        story.told(2, 60_000, TOUCH, Reply::Touched);
        assert_eq!(judged(&mut story), (1, 1), "that was 20 s past the end of the second");
    }

    #[test]
    fn the_least_time_to_run_is_a_second() {
        let mut story = Story::new();
        story.put_as(1, 10, 1, |put| put.ttr = 0).reserve(2, 20, 1);
        story.told(2, 3_020, TOUCH, Reply::Touched).told(2, 6_100, TOUCH, Reply::Touched);
        assert_eq!(judged(&mut story), (1, 1), "the first is within the slack");
    }

    #[test]
    fn a_record_of_another_job_says_nothing() {
        let mut story = held();
        story.put(1, 20, 2).reserve(2, 3_000, 2);
        story.told(2, 12_500, Command::Touch { id: 2 }, Reply::Touched);
        assert_eq!(judged(&mut story), (0, 0));
    }
}
