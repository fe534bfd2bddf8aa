//! Q6: a reserve takes the ready job of the least priority number, and of those the oldest, out of
//! all its tubes; and it takes one if there is one.
//!
//! For each delivery of a job to a reserve: the jobs of the reserve's tubes that come before it and
//! were surely ready all the time from sending to reply (`ready.rs`). Reserves of which nobody knows
//! what they took may hold one of them each, so more than that many must be there for the order to
//! be wrong. The same goes for a reserve that was answered TIMED_OUT or DEADLINE_SOON, with all jobs
//! of its tubes.
//!
//! Not claimed: anything about jobs that became ready by time or by the end of a connection, about
//! tubes that may be paused, and about which of several waiting reserves gets a job.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::fate;
use super::index::Index;
use super::ready::{self, Pauses, Ready};
use crate::clock::Moment;
use crate::history::{Command, History, Record, Reply};

/// Where a job stands in its tube's order.
type Rank = (u32, u64);

pub(super) fn check(history: &History) -> Finding {
    let index = Index::new(history);
    let pauses = ready::pauses(&index);
    let spans = ready::spans(&index);
    let mut sweep =
        Sweep { index: &index, pauses, ready: BTreeMap::new(), ending: BTreeSet::new() };
    let mut finding = Finding::default();
    let (mut next, mut not_judged) = (0, 0_u64);
    for (place, record) in history.records.iter().enumerate() {
        let Command::Reserve { tubes, .. } = &record.command else { continue };
        while let Some(ready) = spans.get(next).filter(|ready| ready.from <= record.invoked) {
            sweep.begin(next, *ready);
            next += 1;
        }
        sweep.end_before(record.invoked, &spans);
        let Some(rank) = sweep.rank_taken(record) else { continue };
        if tubes.iter().all(|tube| sweep.is_paused(record, tube)) {
            not_judged += 1;
            continue;
        }
        finding.cases += 1;
        let (passed_over, ghosts) = sweep.passed_over(record, tubes, rank, &spans);
        if passed_over.len() > ghosts {
            let what = describe(record, &spans[passed_over[0]], ghosts);
            let mut shown: Vec<usize> = passed_over.iter().map(|&span| spans[span].since).collect();
            shown.push(place);
            shown.sort_unstable();
            finding.break_with(what, shown);
        }
    }
    finding.measure("spans in which a job was surely ready", spans.len());
    finding.measure("reserves of tubes that may be paused", not_judged);
    finding.measure("reserves of which nobody knows what they took", ghosts_in_all(history));
    finding
}

/// The jobs that are surely ready as the sweep goes through the reserves.
struct Sweep<'a, 'b> {
    index: &'b Index<'a>,
    pauses: Pauses<'a>,
    /// By tube: rank, and which of the spans.
    ready: BTreeMap<&'a str, BTreeMap<Rank, usize>>,
    ending: BTreeSet<(Moment, usize)>,
}

impl<'a> Sweep<'a, '_> {
    fn begin(&mut self, span: usize, ready: Ready<'a>) {
        self.ending.insert((ready.until, span));
        self.ready.entry(ready.tube).or_default().insert((ready.priority, ready.id), span);
    }

    fn end_before(&mut self, at: Moment, spans: &[Ready<'a>]) {
        while let Some(&(until, span)) = self.ending.first().filter(|(until, _)| *until < at) {
            self.ending.remove(&(until, span));
            let Some(tube) = self.ready.get_mut(spans[span].tube) else { continue };
            let rank = (spans[span].priority, spans[span].id);
            if tube.get(&rank) == Some(&span) {
                tube.remove(&rank);
            }
        }
    }

    /// The least rank that what the reserve took can have had, or one above all when it took none;
    /// nothing when nobody knows.
    fn rank_taken(&self, record: &Record) -> Option<Rank> {
        match fate::reply(record)? {
            Reply::Reserved { id, .. } => {
                let job = self.index.jobs.get(id)?;
                let priorities =
                    ready::priorities(self.index, job, record.invoked, record.returned);
                Some((priorities.min()?, *id))
            }
            Reply::TimedOut | Reply::DeadlineSoon => Some((u32::MAX, u64::MAX)),
            _ => None,
        }
    }

    /// One job more than there are ghosts that was ready all the time and comes first; or fewer.
    fn passed_over(
        &self,
        record: &Record,
        tubes: &[String],
        rank: Rank,
        spans: &[Ready<'a>],
    ) -> (Vec<usize>, usize) {
        let tubes =
            || tubes.iter().map(String::as_str).filter(|tube| !self.is_paused(record, tube));
        let before = tubes()
            .filter_map(|tube| self.ready.get(tube))
            .flat_map(|tube| tube.range(..rank).map(|(_, &span)| span));
        let before: Vec<usize> =
            before.filter(|&span| spans[span].until >= record.returned).collect();
        // Most reserves need no more than this, which is cheap.
        let span = (record.invoked, record.returned);
        let least = tubes().map(|tube| ready::ghosts_of(self.index, tube, span)).max();
        match least {
            Some(ghosts) if before.len() > ghosts => {
                let ghosts = ready::ghosts(self.index, tubes(), span);
                (before.into_iter().take(ghosts + 1).collect(), ghosts)
            }
            _ => (Vec::new(), 0),
        }
    }

    fn is_paused(&self, record: &Record, tube: &str) -> bool {
        ready::may_be_paused(&self.pauses, tube, record.invoked, record.returned)
    }
}

fn describe(record: &Record, first: &Ready<'_>, ghosts: usize) -> String {
    let taken = match fate::job(record) {
        Some(id) => format!("job {id} was handed out"),
        None => "no job was handed out".to_owned(),
    };
    format!(
        "{taken} at {} although job {} (priority {}) was ready since {}; {ghosts} of those before \
         it may be held by unanswered reserves",
        record.returned, first.id, first.priority, first.from
    )
}

fn ghosts_in_all(history: &History) -> usize {
    history.records.iter().filter(|record| fate::is_ghost(record)).count()
}

#[cfg(test)]
mod tests {
    use super::super::testing::Story;
    use super::check;
    use crate::history::{Command, FaultState, Reply};

    fn reserve(tubes: &[&str]) -> Command {
        let tubes = tubes.iter().map(|&tube| tube.to_owned()).collect();
        Command::Reserve { tubes, timeout: Some(0) }
    }

    #[test]
    fn the_younger_job_first_is_noticed() {
        let mut story = Story::new();
        story.put(1, 10, 1).put(1, 20, 2).reserve(2, 30, 2);
        let finding = check(&story.history());
        assert_eq!((finding.cases, finding.broken), (1, 1));
        assert_eq!(finding.violations[0].records, [0, 2]);
    }

    #[test]
    fn the_greater_priority_number_first_is_noticed_over_all_tubes() {
        let mut story = Story::new();
        story.put_as(1, 10, 1, |put| put.priority = 7);
        story.put_as(1, 20, 2, |put| (put.priority, put.tube) = (6, "other"));
        story.told(2, 30, reserve(&["t", "other"]), super::super::testing::reserved(1));
        assert_eq!(check(&story.history()).broken, 1);
        let mut story = Story::new();
        story.put_as(1, 10, 1, |put| put.priority = 7);
        story.put_as(1, 20, 2, |put| (put.priority, put.tube) = (6, "other"));
        story.told(2, 30, reserve(&["t"]), super::super::testing::reserved(1));
        assert_eq!((check(&story.history()).cases, check(&story.history()).broken), (1, 0));
    }

    #[test]
    fn no_job_although_there_is_one_is_noticed() {
        let mut story = Story::new();
        story.put(1, 10, 1).told(2, 30, reserve(&["t"]), Reply::TimedOut);
        assert_eq!(check(&story.history()).broken, 1);
        let mut story = Story::new();
        story.put(1, 10, 1).op(2, (11, 30), reserve(&["t"]), Reply::TimedOut);
        assert_eq!(check(&story.history()).broken, 0, "the put may have come after it");
    }

    #[test]
    fn an_unanswered_reserve_may_hold_one_job_and_not_two() {
        let mut story = Story::new();
        story.put(1, 10, 1).put(1, 20, 2).put(1, 30, 3).unanswered(4, 5, reserve(&["t"]));
        story.reserve(2, 40, 2);
        assert_eq!((check(&story.history()).cases, check(&story.history()).broken), (1, 0));
        let mut story = Story::new();
        story.put(1, 10, 1).put(1, 20, 2).put(1, 30, 3).unanswered(4, 5, reserve(&["t"]));
        story.reserve(2, 40, 3);
        assert_eq!(check(&story.history()).broken, 1);
    }

    #[test]
    fn a_reserve_that_moved_may_have_held_a_job_until_it_was_answered() {
        // Client 4's took job 1 for a second, and then job 9; client 2's came in between.
        let told = |has_agent, faults: (u64, u64), took: u64| {
            let mut story = Story::new();
            story.head().has_agent = has_agent;
            story.fault("freeze", &[0], faults, FaultState::Installed);
            story.at_member(3).put(1, 10, 1).put(1, 20, 2).put(1, 25, 9);
            story.reserve_in(4, (9_000, 9_000 + took), 9).reserve(2, 9_500, 2);
            check(&story.history()).broken
        };
        assert_eq!(told(true, (9_100, 12_000), 1_000), 0);
        assert_eq!(told(true, (9_100, 12_000), 999), 2, "no time to run was over");
        assert_eq!(told(true, (1_000, 3_000), 1_000), 2, "no member was lost");
        assert_eq!(told(false, (9_100, 12_000), 1_000), 2, "nobody asked again");
    }

    #[test]
    fn what_may_have_been_taken_or_paused_is_no_case_for_complaint() {
        let mut story = Story::new();
        story.put(1, 10, 1).put(1, 20, 2).unanswered(4, 5, Command::Delete { id: 1 });
        story.reserve(2, 40, 2);
        assert_eq!(check(&story.history()).broken, 0);
        let pause = Command::PauseTube { tube: "other".into(), seconds: 1 };
        let mut story = Story::new();
        story.put_as(1, 10, 1, |put| put.tube = "other").put(1, 20, 2);
        story.told(4, 25, pause, Reply::Paused);
        story.told(2, 5_000, reserve(&["t", "other"]), super::super::testing::reserved(2));
        assert_eq!(check(&story.history()).broken, 0, "a pause may last longer");
        story.told(2, 5_010, reserve(&["other"]), Reply::TimedOut);
        assert_eq!(check(&story.history()).cases, 1, "nothing is known of that one");
        story.put(1, 5_050, 3);
        story.told(3, 5_100, reserve(&["other"]), super::super::testing::reserved(1));
        story.put_as(1, 5_200, 4, |put| put.tube = "other");
        story.put_as(1, 5_300, 5, |put| put.tube = "other");
        story.told(2, 5_400, reserve(&["other"]), super::super::testing::reserved(5));
        assert_eq!(check(&story.history()).broken, 1, "it is over once a job has come");
    }

    #[test]
    fn a_released_job_goes_back_to_its_old_place() {
        let release = Command::Release { id: 1, priority: 100, delay: 0 };
        let mut story = Story::new();
        story.put(1, 10, 1).put(1, 20, 2).reserve(2, 30, 1);
        story.told(2, 40, release.clone(), Reply::Released).reserve(3, 50, 2);
        assert_eq!(check(&story.history()).broken, 1);
        let mut story = Story::new();
        story.put(1, 10, 1).put(1, 20, 2).reserve(2, 30, 1);
        story.unanswered(2, 40, release).reserve(3, 50, 2);
        assert_eq!(check(&story.history()).broken, 0);
    }
}
