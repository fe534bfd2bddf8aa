//! Q4: whatever is handed out again has a reason.
//!
//! Before each delivery to a reserve there is the last command that surely made the job unavailable:
//! a delivery, a bury, or a put that was answered BURIED. Between the two there must be something
//! that can have made it ready: for a hold the end of its time to run or of its connection, or what
//! its holder did; for a buried job a kick, or a `reserve-job` and what its holder did.
//!
//! Kicks that were not answered explain as many jobs as they can move (`kicks.rs`).
//!
//! Not claimed: which of several reasons it was, and that each other reason explains one delivery
//! only (Q11 looks for an order). Deleted jobs are Q2's.

use super::Finding;
use super::fate;
use super::index::{Index, Job, is_delivery};
use super::kicks::{Doubts, Kicked, kicked};
use crate::clock::Moment;
use crate::history::{Command, History, Record, Reply};

pub(super) fn check(history: &History) -> Finding {
    let mut finding = Finding::default();
    let index = Index::new(history);
    let mut doubts = Doubts::default();
    for (id, job) in &index.jobs {
        let Some(put) = index.put(job) else { continue };
        let mut doubted = None;
        for &delivery in &job.deliveries {
            let record = index.record(delivery);
            if !matches!(record.command, Command::Reserve { .. }) {
                continue;
            }
            let Some(barrier) = last_barrier(&index, job, record.invoked) else { continue };
            finding.cases += 1;
            let what = || format!("job {id} was handed out again for no reason");
            match explained(&index, job, put.tube, (barrier, delivery)) {
                Kicked::Maybe => {}
                Kicked::No => finding.break_with(what(), vec![barrier, delivery]),
                // Of deliveries at once, one may come from the other.
                Kicked::InDoubt if doubted == Some(barrier) => {}
                Kicked::InDoubt => {
                    doubted = Some(barrier);
                    doubts.add(put.tube, record.returned, what(), vec![barrier, delivery]);
                }
            }
        }
    }
    doubts.settle(&index, &mut finding);
    finding
}

/// The last command that was answered by then and surely made the job unavailable.
fn last_barrier(index: &Index<'_>, job: &Job, by: Moment) -> Option<usize> {
    let is_barrier =
        |record: &Record| record.returned < by && (is_delivery(record) || buries(record));
    let places = job.records.iter().copied();
    places
        .filter(|&place| is_barrier(index.record(place)))
        .max_by_key(|&place| index.record(place).returned)
}

fn buries(record: &Record) -> bool {
    matches!(record.command, Command::Put { .. } | Command::Bury { .. } | Command::Release { .. })
        && matches!(fate::reply(record), Some(Reply::Buried { .. }))
}

/// Whether there is a reason, or only a kick that was not answered.
fn explained(
    index: &Index<'_>,
    job: &Job,
    tube: &str,
    (barrier, delivery): (usize, usize),
) -> Kicked {
    let until = index.record(delivery).returned;
    if is_delivery(index.record(barrier)) {
        let is_over = index.earliest_end(job, barrier) <= until;
        return if is_over { Kicked::Maybe } else { Kicked::No };
    }
    let from = index.record(barrier).invoked;
    if may_be_taken(index, job, from, delivery) {
        return Kicked::Maybe;
    }
    kicked(index, job, tube, (from, until))
}

/// Whether somebody else may have had the job by its id, between then and a delivery.
pub(super) fn may_be_taken(index: &Index<'_>, job: &Job, from: Moment, delivery: usize) -> bool {
    let until = index.record(delivery).returned;
    job.records.iter().filter(|&&place| place != delivery).any(|&place| {
        let record = index.record(place);
        matches!(record.command, Command::ReserveJob { .. })
            && fate::may_fall_into(record, from, until)
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::Story;
    use super::check;
    use crate::history::{Command, Reply};

    /// Job 1 was put, reserved and buried by client 2.
    fn buried() -> Story {
        let mut story = Story::new();
        story.put(1, 10, 1).reserve(2, 20, 1);
        story.told(2, 30, Command::Bury { id: 1, priority: 1 }, Reply::Buried { id: None });
        story
    }

    fn kick_none() -> Command {
        Command::Kick { tube: "t".into(), bound: 0 }
    }

    #[test]
    fn one_unanswered_kick_explains_two_deliveries_at_once_and_not_two_in_turn() {
        let kick = Command::Kick { tube: "t".into(), bound: 1 };
        let mut story = buried();
        story.unanswered(4, 25, kick.clone()).reserve_in(3, (40, 60), 1);
        story.told(3, 61, Command::Release { id: 1, priority: 1, delay: 0 }, Reply::Released);
        story.reserve_in(5, (50, 70), 1);
        assert_eq!((check(&story.history()).cases, check(&story.history()).broken), (2, 0));
        let mut story = buried();
        story.unanswered(4, 25, kick).reserve(3, 40, 1);
        story.told(3, 50, Command::Bury { id: 1, priority: 1 }, Reply::Buried { id: None });
        story.reserve(5, 60, 1);
        assert_eq!((check(&story.history()).cases, check(&story.history()).broken), (2, 1));
    }

    #[test]
    fn a_buried_job_that_comes_without_a_kick_is_noticed() {
        let mut story = buried();
        story.reserve(3, 60_000, 1);
        let finding = check(&story.history());
        assert_eq!((finding.cases, finding.broken), (1, 1));
    }

    #[test]
    fn a_kick_that_moved_none_explains_nothing() {
        let mut story = buried();
        story.told(
            4,
            40,
            Command::Kick { tube: "t".into(), bound: 9 },
            Reply::Kicked { count: Some(0) },
        );
        story.reserve(3, 60, 1);
        assert_eq!(check(&story.history()).broken, 1);
    }

    #[test]
    fn kicks_and_what_may_have_been_one_explain_it() {
        let kick = Command::Kick { tube: "t".into(), bound: 1 };
        let mut story = buried();
        story.told(4, 40, kick.clone(), Reply::Kicked { count: Some(1) }).reserve(3, 60, 1);
        assert_eq!((check(&story.history()).cases, check(&story.history()).broken), (1, 0));
        let mut story = buried();
        story.unanswered(4, 25, kick).reserve(3, 60_000, 1);
        assert_eq!(check(&story.history()).broken, 0);
        let mut story = buried();
        story.unanswered(4, 25, kick_none()).reserve(3, 60_000, 1);
        assert_eq!(check(&story.history()).broken, 1, "it moves none");
        let mut story = buried();
        story.unanswered(4, 40, Command::ReserveJob { id: 1 }).reserve(3, 60_000, 1);
        assert_eq!(check(&story.history()).broken, 0);
    }

    #[test]
    fn a_held_job_that_comes_too_early_has_no_reason_and_an_expired_one_has() {
        let mut story = Story::new();
        story.put(1, 10, 1).reserve(2, 20, 1).reserve(3, 9_000, 1);
        story.told(2, 9_900, Command::Touch { id: 1 }, Reply::NotFound);
        let finding = check(&story.history());
        assert_eq!((finding.cases, finding.broken), (1, 1));
        let mut story = Story::new();
        story.put(1, 10, 1).reserve(2, 20, 1).reserve(3, 10_030, 1);
        story.told(2, 10_040, Command::Touch { id: 1 }, Reply::NotFound);
        assert_eq!(check(&story.history()).broken, 0);
    }
}
