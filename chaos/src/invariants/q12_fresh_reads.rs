//! Q12: what is read is what was acknowledged before, at whichever member.
//!
//! A member that does not lead any more, or was frozen, must not answer from what it remembers. So
//! of each `peek`, `peek-*`, `stats-job`, `stats-tube` and `list-tubes`:
//!
//! - a job that was there before it was sent, and that nobody may have deleted until the reply, is
//!   not answered NOT_FOUND; one whose delete was answered before is not shown;
//! - a job that is surely held all the time (as Q3 has it) is shown as reserved, and by no `peek-*`;
//!   one that is surely buried is shown as buried;
//! - `peek-ready` shows something if more jobs are surely ready than ghosts can hold (`ready.rs`);
//! - a tube that surely has a job is listed, and has figures.
//!
//! Reads of what may be there or not are no cases.
//!
//! Not claimed: other figures (Q9 has the counts), and which job `peek-*` shows.

use super::Finding;
use super::existence::Census;
use super::fate::{self, NEVER};
use super::index::{Index, Job};
use super::kicks::{Kicked, kicked};
use super::ready::{self, Ready};
use crate::clock::Moment;
use crate::history::{Command, History, Record, Reply};

pub(super) fn check(history: &History) -> Finding {
    let mut finding = Finding::default();
    let index = Index::new(history);
    for (&id, job) in &index.jobs {
        Facts::new(&index, id, job).judge(&mut finding);
    }
    let census = Census::new(&index);
    let mut heads =
        Heads { index: &index, spans: ready::spans(&index), next: 0, ready: Vec::new() };
    for (place, record) in history.records.iter().enumerate() {
        let wrong = match (&record.command, fate::reply(record)) {
            (Command::PeekReady { tube }, Some(Reply::NotFound)) => heads.wrong(record, tube),
            (Command::StatsTube { tube }, Some(Reply::NotFound)) => {
                missing_tube(&census, record, |other| other == tube)
            }
            (Command::ListTubes, Some(Reply::Names { names })) => {
                missing_tube(&census, record, |tube| !names.iter().any(|name| name == tube))
            }
            _ => continue,
        };
        let has_tube = || missing_tube(&census, record, |_| true).is_some();
        let is_list = record.command == Command::ListTubes;
        finding.cases += u64::from(wrong.is_some() || is_list && has_tube());
        if let Some((what, mut shown)) = wrong {
            shown.push(place);
            finding.break_with(what, shown);
        }
    }
    finding
}

type Wrong = (String, Vec<usize>);

/// A tube that surely has a job and is not told.
fn missing_tube(
    census: &Census<'_>,
    record: &Record,
    is_missing: impl Fn(&str) -> bool,
) -> Option<Wrong> {
    let has_job = |tube: &&str| census.tubes[tube].least(record.invoked, record.returned) > 0;
    let tube = census.tubes.keys().find(|tube| is_missing(tube) && has_job(tube))?;
    let what = format!("member {} has no tube {tube}, which has jobs", record.member);
    Some((what, Vec::new()))
}

/// What is certain about one job.
struct Facts<'a, 'b> {
    index: &'b Index<'a>,
    id: u64,
    job: &'b Job,
    /// The first reply that shows it.
    shown: Option<usize>,
    /// The first command that may have deleted it was sent.
    may_end: Moment,
    /// The first reply that says that it is deleted.
    deleted: Option<usize>,
}

impl<'a, 'b> Facts<'a, 'b> {
    fn new(index: &'b Index<'a>, id: u64, job: &'b Job) -> Self {
        let first = |is: &dyn Fn(&Record) -> bool| {
            let places = job.records.iter().copied().filter(|&place| is(index.record(place)));
            places.min_by_key(|&place| index.record(place).returned)
        };
        let is_delete = |record: &Record| matches!(record.command, Command::Delete { .. });
        let deletes = job.records.iter().map(|&place| index.record(place));
        let may_end = deletes.filter(|record| is_delete(record) && fate::may_have_effect(record));
        Self {
            index,
            id,
            job,
            shown: first(&fate::shows_job),
            may_end: may_end.map(|record| record.invoked).min().unwrap_or(NEVER),
            deleted: first(&|record| is_delete(record) && fate::has_effect(record)),
        }
    }

    fn judge(&self, finding: &mut Finding) {
        for &place in &self.job.records {
            let record = self.index.record(place);
            if !is_read(&record.command) || fate::reply(record).is_none() {
                continue;
            }
            let wrong = self.wrong(record);
            finding.cases += u64::from(self.is_certain(record) || wrong.is_some());
            if let Some((why, shown)) = wrong {
                let what = format!("member {} tells of job {}: {why}", record.member, self.id);
                let mut shown = vec![shown, place];
                shown.sort_unstable();
                finding.break_with(what, shown);
            }
        }
    }

    /// Whether the job is surely there, or surely gone, all through a read.
    fn is_certain(&self, read: &Record) -> bool {
        let is_before = |place: usize| self.index.record(place).returned < read.invoked;
        let is_there = self.shown.is_some_and(is_before) && self.may_end > read.returned;
        is_there || self.deleted.is_some_and(is_before)
    }

    /// What is wrong with a read, and the place of the record that shows it.
    fn wrong(&self, record: &Record) -> Option<(String, usize)> {
        if fate::reply(record) == Some(&Reply::NotFound) {
            let shown =
                self.shown.filter(|&place| self.index.record(place).returned < record.invoked);
            let is_there = shown.filter(|_| self.may_end > record.returned)?;
            return Some(("it is not there, but it was not deleted".to_owned(), is_there));
        }
        let deleted =
            self.deleted.filter(|&place| self.index.record(place).returned < record.invoked);
        if let Some(place) = deleted {
            return Some(("it is there, but it was deleted".to_owned(), place));
        }
        let state = told_state(record)?;
        if let Some(place) = self.held(record).filter(|_| state != "reserved") {
            return Some((format!("it is {state}, but it was held"), place));
        }
        let place = self.buried(record).filter(|_| state != "buried")?;
        Some((format!("it is {state}, but it was buried"), place))
    }

    /// The delivery whose hold surely lasts all through a read.
    fn held(&self, read: &Record) -> Option<usize> {
        let mut before = self.job.deliveries.iter().copied();
        before.find(|&place| {
            self.index.record(place).returned < read.invoked
                && self.index.earliest_end(self.job, place) > read.returned
        })
    }

    /// What buried the job, if it surely stayed so all through a read.
    fn buried(&self, read: &Record) -> Option<usize> {
        let put = self.index.put(self.job)?;
        let is_bury = |record: &Record| {
            record.returned < read.invoked
                && matches!(fate::reply(record), Some(Reply::Buried { .. }))
        };
        let places = self.job.records.iter().copied();
        let last = places
            .filter(|&place| is_bury(self.index.record(place)))
            .max_by_key(|&place| self.index.record(place).returned)?;
        let span = (self.index.record(last).invoked, read.returned);
        let may_leave = |record: &Record| {
            let leaves = matches!(
                record.command,
                Command::Delete { .. } | Command::ReserveJob { .. } | Command::Reserve { .. }
            );
            leaves && fate::may_fall_into(record, span.0, span.1)
        };
        let is_left = kicked(self.index, self.job, put.tube, span) != Kicked::No
            || self.job.records.iter().any(|&place| may_leave(self.index.record(place)));
        (!is_left).then_some(last)
    }
}

fn is_read(command: &Command) -> bool {
    matches!(
        command,
        Command::Peek { .. }
            | Command::PeekReady { .. }
            | Command::PeekDelayed { .. }
            | Command::PeekBuried { .. }
            | Command::StatsJob { .. }
    )
}

/// The state in which a reply shows a job.
fn told_state(record: &Record) -> Option<&str> {
    match (&record.command, fate::reply(record)?) {
        (Command::PeekReady { .. }, Reply::Found { .. }) => Some("ready"),
        (Command::PeekDelayed { .. }, Reply::Found { .. }) => Some("delayed"),
        (Command::PeekBuried { .. }, Reply::Found { .. }) => Some("buried"),
        (Command::StatsJob { .. }, Reply::Stats { values }) => {
            values.get("state").map(String::as_str)
        }
        _ => None,
    }
}

/// The jobs that are surely ready, as reads are gone through.
struct Heads<'a, 'b> {
    index: &'b Index<'a>,
    spans: Vec<Ready<'a>>,
    next: usize,
    ready: Vec<usize>,
}

impl Heads<'_, '_> {
    /// What a `peek-ready` that found nothing should have found.
    fn wrong(&mut self, record: &Record, tube: &str) -> Option<Wrong> {
        while self.spans.get(self.next).is_some_and(|ready| ready.from <= record.invoked) {
            self.ready.push(self.next);
            self.next += 1;
        }
        self.ready.retain(|&span| self.spans[span].until >= record.invoked);
        let is_there = |span: &&usize| {
            self.spans[**span].tube == tube && self.spans[**span].until > record.returned
        };
        let span = (record.invoked, record.returned);
        let ghosts = ready::ghosts_of(self.index, tube, span);
        let there: Vec<usize> = self.ready.iter().filter(is_there).copied().collect();
        (there.len() > ghosts).then(|| {
            let what = format!("member {} finds nothing ready in {tube}", record.member);
            (what, vec![self.spans[there[0]].since])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Story, found, state};
    use super::check;
    use crate::history::{Command, Reply};

    const PEEK: Command = Command::Peek { id: 1 };
    const STATS_JOB: Command = Command::StatsJob { id: 1 };

    fn peek_ready() -> Command {
        Command::PeekReady { tube: "t".into() }
    }

    fn names(names: &[&str]) -> Reply {
        Reply::Names { names: names.iter().map(|&name| name.to_owned()).collect() }
    }

    fn broken(story: &mut Story) -> u64 {
        check(&story.history()).broken
    }

    #[test]
    fn what_was_put_is_there_for_all() {
        let stale = [
            (PEEK, Reply::NotFound),
            (STATS_JOB, Reply::NotFound),
            (peek_ready(), Reply::NotFound),
            (Command::StatsTube { tube: "t".into() }, Reply::NotFound),
            (Command::ListTubes, names(&["default"])),
        ];
        for (command, reply) in stale {
            let mut story = Story::new();
            story.put(1, 10, 1).told(2, 20, command.clone(), reply.clone());
            let finding = check(&story.history());
            assert_eq!((finding.cases, finding.broken), (1, 1), "{command:?}");
            let mut story = Story::new();
            story.op(2, (5, 11), command.clone(), reply).put(1, 10, 1);
            assert_eq!(broken(&mut story), 0, "{command:?} beside the put");
        }
    }

    #[test]
    fn what_may_have_been_taken_need_not_be_there() {
        let mut story = Story::new();
        story.put(1, 10, 1).unanswered(3, 15, Command::Delete { id: 1 });
        story.told(2, 20, PEEK, Reply::NotFound).told(2, 30, peek_ready(), Reply::NotFound);
        story.told(2, 40, Command::ListTubes, names(&[]));
        let finding = check(&story.history());
        assert_eq!((finding.cases, finding.broken), (0, 0), "nothing is certain");
        let reserve = Command::Reserve { tubes: vec!["t".into()], timeout: None };
        let mut story = Story::new();
        story.put(1, 10, 1).unanswered(3, 5, reserve).told(2, 30, peek_ready(), Reply::NotFound);
        assert_eq!(broken(&mut story), 0);
    }

    #[test]
    fn what_was_read_rightly_is_a_case_if_it_had_to_be_so() {
        let mut story = Story::new();
        story.told(2, 5, PEEK, Reply::NotFound).put(1, 10, 1);
        assert_eq!(check(&story.history()).cases, 0, "it might have been there");
        story.told(2, 20, PEEK, found(1)).told(2, 30, Command::ListTubes, names(&["t"]));
        assert_eq!((check(&story.history()).cases, broken(&mut story)), (2, 0));
        story.delete(2, 40, 1).told(2, 50, PEEK, Reply::NotFound);
        assert_eq!((check(&story.history()).cases, broken(&mut story)), (3, 0));
    }

    #[test]
    fn what_was_deleted_is_not_shown() {
        let mut story = Story::new();
        story.put(1, 10, 1).delete(2, 20, 1).told(3, 30, PEEK, found(1));
        assert_eq!(broken(&mut story), 1);
    }

    #[test]
    fn what_is_held_or_buried_is_not_shown_as_ready() {
        for (command, reply) in [(peek_ready(), found(1)), (STATS_JOB, state("ready"))] {
            let mut story = Story::new();
            story.put(1, 10, 1).reserve(2, 20, 1).told(3, 30, command.clone(), reply.clone());
            story.delete(2, 40, 1);
            assert_eq!(broken(&mut story), 1, "held");
            let mut story = Story::new();
            story.put(1, 10, 1).reserve(2, 20, 1);
            story.told(2, 30, Command::Bury { id: 1, priority: 1 }, Reply::Buried { id: None });
            story.told(3, 40, command.clone(), reply.clone());
            assert_eq!(broken(&mut story), 1, "buried");
            story.unanswered(4, 25, Command::Kick { tube: "t".into(), bound: 1 });
            assert_eq!(broken(&mut story), 0, "or kicked");
        }
    }

    #[test]
    fn a_hold_that_may_be_over_proves_nothing() {
        let mut story = Story::new();
        story.put(1, 10, 1).reserve(2, 20, 1).close(2, 5_000).told(
            3,
            30,
            STATS_JOB,
            state("ready"),
        );
        assert_eq!(broken(&mut story), 0);
    }
}
