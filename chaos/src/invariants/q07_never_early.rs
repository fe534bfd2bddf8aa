//! Q7: a delay never ends early.
//!
//! A job that was put with a delay is not handed out, and not shown as ready, before the put was
//! sent plus the delay; the same after a release with a delay that was answered, for what surely
//! came after it. A kick, a `kick-job` or a `reserve-job` in between excuses it; a kick that was not
//! answered as many jobs as it can move (`kicks.rs`).
//!
//! How late a job came to a reserve that was waiting for it is measured, inside and outside of
//! faults, and not judged.
//!
//! Not claimed: anything about time to run (Q3), pauses, and reserves' own timeouts.

use std::time::Duration;

use super::Finding;
use super::fate;
use super::index::{self, Index, Job, is_delivery};
use super::kicks::{Doubts, Kicked, kicked};
use super::q04_redelivery_explained::may_be_taken;
use crate::clock::Moment;
use crate::history::{Command, FaultState, History, Record, Reply};

/// How long after it was healed a fault counts for what came late.
const AFTERMATH: Duration = Duration::from_secs(3);

pub(super) fn check(history: &History) -> Finding {
    let mut finding = Finding::default();
    let index = Index::new(history);
    let mut late = Lateness::default();
    let mut doubts = Doubts::default();
    for (&id, job) in &index.jobs {
        for &place in &job.records {
            let Some(delay) = delay_of(index.record(place)) else { continue };
            let delayed = Delayed { index: &index, job, id, place, delay };
            delayed.judge(&mut finding, &mut doubts);
            if let Some(came) = delayed.lateness() {
                late.add(came, is_disturbed(history, index.record(place).returned, came));
            }
        }
    }
    doubts.settle(&index, &mut finding);
    late.tell(&mut finding);
    finding
}

/// The delay that a put or release set, if it surely did and there is one.
pub(super) fn delay_of(record: &Record) -> Option<Duration> {
    let delay = match record.command {
        Command::Put { delay, .. } if fate::may_have_effect(record) => delay,
        Command::Release { delay, .. } if fate::has_effect(record) => delay,
        _ => return None,
    };
    let is_buried = matches!(fate::reply(record), Some(Reply::Buried { .. }));
    (delay > 0 && !is_buried).then(|| index::seconds(delay))
}

/// A job from the moment it got a delay.
struct Delayed<'a, 'b> {
    index: &'b Index<'a>,
    job: &'b Job,
    id: u64,
    /// The put or release.
    place: usize,
    delay: Duration,
}

impl<'a> Delayed<'a, '_> {
    fn judge(&self, finding: &mut Finding, doubts: &mut Doubts<'a>) {
        finding.cases += 1;
        let due = self.index.record(self.place).invoked.after(self.delay);
        for &shown in &self.job.records {
            let record = self.index.record(shown);
            if record.returned < due && shows_ready(record) && self.is_after(shown) {
                let what = format!(
                    "job {} was ready by {}, but its delay lasts until {due}",
                    self.id, record.returned
                );
                let records = vec![self.place, shown];
                match self.excuse(shown) {
                    (Kicked::Maybe, _) => continue,
                    (Kicked::InDoubt, tube) => doubts.add(tube, record.returned, what, records),
                    (Kicked::No, _) => finding.break_with(what, records),
                }
                return;
            }
        }
    }

    /// Whether what was shown surely came after the delay was set. For a put it always did; what is
    /// handed out cannot lie between the delivery to who released it and the release.
    fn is_after(&self, shown: usize) -> bool {
        let set = self.index.record(self.place);
        if matches!(set.command, Command::Put { .. }) {
            return true;
        }
        let record = self.index.record(shown);
        if record.invoked >= set.returned {
            return true;
        }
        let holder = index::connection(set);
        let mut own = self.job.records.iter().rev().filter(|&&place| place < self.place);
        let Some(&held) = own.find(|&&place| {
            let other = self.index.record(place);
            is_delivery(other) && index::connection(other) == holder
        }) else {
            return false;
        };
        let held_from = self.index.record(held).returned;
        let ended = || self.index.earliest_end(self.job, shown);
        is_delivery(record)
            && shown != held
            && record.returned >= set.invoked
            && (record.invoked > held_from || ended() > held_from)
    }

    /// What may have made it ready before its time, and its tube.
    fn excuse(&self, shown: usize) -> (Kicked, &'a str) {
        let set = self.index.record(self.place);
        let record = self.index.record(shown);
        let Some(put) = self.index.put(self.job) else { return (Kicked::Maybe, "") };
        let is_taken = matches!(record.command, Command::ReserveJob { .. })
            || may_be_taken(self.index, self.job, set.invoked, shown);
        if is_taken {
            return (Kicked::Maybe, put.tube);
        }
        (kicked(self.index, self.job, put.tube, (set.invoked, record.returned)), put.tube)
    }

    /// How late the job came to a reserve that was waiting when it was due, and when it came.
    fn lateness(&self) -> Option<Came> {
        let due = self.index.record(self.place).returned.after(self.delay);
        let places = self.job.deliveries.iter();
        let next = places.map(|&place| self.index.record(place)).find(|record| {
            matches!(record.command, Command::Reserve { .. }) && record.returned >= due
        })?;
        (next.invoked <= due).then(|| Came { late: next.returned.since(due), at: next.returned })
    }
}

/// Whether the job was ready, or had been, when this was answered.
fn shows_ready(record: &Record) -> bool {
    match (&record.command, fate::reply(record)) {
        (_, Some(Reply::Reserved { .. }))
        | (Command::PeekReady { .. }, Some(Reply::Found { .. })) => true,
        (Command::StatsJob { .. }, Some(Reply::Stats { values })) => {
            values.get("state").is_some_and(|state| state == "ready")
        }
        _ => false,
    }
}

#[derive(Clone, Copy, Debug)]
struct Came {
    late: Duration,
    at: Moment,
}

fn is_disturbed(history: &History, from: Moment, came: Came) -> bool {
    history.faults.iter().filter(|fault| fault.state != FaultState::Skipped).any(|fault| {
        let over = fault.healed.map_or(fate::NEVER, |healed| healed.after(AFTERMATH));
        fault.began <= came.at && over >= from
    })
}

/// How late jobs came: undisturbed, and while faults were on.
#[derive(Debug, Default)]
struct Lateness {
    calm: Vec<Duration>,
    disturbed: Vec<Duration>,
}

impl Lateness {
    fn add(&mut self, came: Came, is_disturbed: bool) {
        let all = if is_disturbed { &mut self.disturbed } else { &mut self.calm };
        all.push(came.late);
    }

    fn tell(mut self, finding: &mut Finding) {
        for (name, all) in [("calm", &mut self.calm), ("faults", &mut self.disturbed)] {
            all.sort_unstable();
            let Some(worst) = all.last() else { continue };
            let [median, high] = [50, 99].map(|hundredth| all[(all.len() - 1) * hundredth / 100]);
            let figures = format!("{median:.1?}, {high:.1?}, {worst:.1?} of {}", all.len());
            finding.measure(&format!("late by p50, p99, worst ({name})"), figures);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Story, found, measure};
    use super::check;
    use crate::history::{Command, Reply};

    /// Job 1 is put with a delay of 3 s.
    fn delayed() -> Story {
        let mut story = Story::new();
        story.put_as(1, 10, 1, |put| put.delay = 3);
        story
    }

    #[test]
    fn a_job_before_its_time_is_noticed() {
        let mut story = delayed();
        story.reserve(2, 3_000, 1);
        let finding = check(&story.history());
        assert_eq!((finding.cases, finding.broken), (1, 1));
        let mut story = delayed();
        story.told(2, 3_000, Command::PeekReady { tube: "t".into() }, found(1));
        assert_eq!(check(&story.history()).broken, 1);
    }

    #[test]
    fn a_released_job_before_its_time_is_noticed_by_who_was_waiting() {
        let mut story = Story::new();
        story.put(1, 10, 1).reserve(2, 20, 1).reserve_in(3, (30, 2_000), 1);
        let release = Command::Release { id: 1, priority: 1, delay: 3 };
        story.told(2, 100, release, Reply::Released);
        let finding = check(&story.history());
        assert_eq!((finding.cases, finding.broken), (1, 1));
    }

    #[test]
    fn a_job_in_time_is_measured() {
        let mut story = delayed();
        story.reserve_in(2, (3_000, 3_022), 1);
        let finding = check(&story.history());
        assert_eq!((finding.cases, finding.broken), (1, 0));
        assert_eq!(
            measure(&finding, "late by p50, p99, worst (calm)"),
            "10.0ms, 10.0ms, 10.0ms of 1"
        );
    }

    #[test]
    fn kicks_and_reserve_job_excuse_it() {
        let kick = Command::Kick { tube: "t".into(), bound: 5 };
        let mut story = delayed();
        story.unanswered(3, 5, kick).reserve(2, 100, 1);
        assert_eq!(check(&story.history()).broken, 0);
        let kick = Command::Kick { tube: "t".into(), bound: 1 };
        let mut story = delayed();
        story.unanswered(3, 5, kick).put_as(1, 11, 2, |put| put.delay = 3);
        story.reserve(2, 100, 1).reserve(2, 110, 2);
        assert_eq!(check(&story.history()).broken, 1, "it moves one job");
        let mut story = delayed();
        story.told(3, 50, Command::KickJob { id: 1 }, Reply::Kicked { count: None });
        story.reserve(2, 100, 1);
        assert_eq!(check(&story.history()).broken, 0);
        let mut story = delayed();
        story.told(3, 50, Command::ReserveJob { id: 1 }, super::super::testing::reserved(1));
        story.close(3, 60).reserve(2, 100, 1);
        assert_eq!(check(&story.history()).broken, 0);
    }

    #[test]
    fn a_release_that_was_not_answered_sets_no_delay() {
        let mut story = Story::new();
        story.put(1, 10, 1).reserve(2, 20, 1);
        story.unanswered(2, 30, Command::Release { id: 1, priority: 1, delay: 3 });
        story.reserve(3, 100, 1);
        let finding = check(&story.history());
        assert_eq!((finding.cases, finding.broken), (0, 0));
    }
}
