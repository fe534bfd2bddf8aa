//! Q5: a put with a key that is sent again makes no second job.
//!
//! All puts with one key that say the same (body and tube) are answered with one id, however often and
//! at whichever member they were sent, also when that job is gone. Bodies that were sent under the key
//! show in no second job. Another body, or another tube, is answered KEY_IN_USE, and that only then.
//!
//! Claimed within the window of a key: ten minutes and 32,768 puts with keys since the first that may
//! have been carried out was sent, both of which are shorter than the server's own.
//!
//! Not claimed: which of several bodies that were sent at once is taken; anything past the window; and
//! that priority, delay and time to run are those of the first (Q6, Q7 and Q3 look at that).

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::Finding;
use super::fate::{self, NEVER};
use super::index;
use crate::clock::Moment;
use crate::history::{Command, History, Record, Reply};

/// For how long a key is remembered.
const WINDOW: Duration = Duration::from_mins(10);

/// For how many puts with keys.
const WINDOW_PUTS: usize = 1 << 15;

pub(super) fn check(history: &History) -> Finding {
    let mut finding = Finding::default();
    let mut keys: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut sent = Vec::new();
    for (place, record) in history.records.iter().enumerate() {
        if let Command::Put { under: Some(key), .. } = &record.command {
            keys.entry(key).or_default().push(place);
            sent.extend(fate::may_have_effect(record).then_some(record.invoked));
        }
    }
    let shown = shown(history);
    let mut tally = Tally::default();
    for (key, places) in keys {
        let is_first = |place: &&usize| fate::may_have_effect(&history.records[**place]);
        let first = *places.iter().find(is_first).unwrap_or(&places[0]);
        let from = history.records[first].invoked;
        let later = sent.partition_point(|&at| at < from) + WINDOW_PUTS;
        let until = sent.get(later).copied().unwrap_or(NEVER).min(from.after(WINDOW));
        let puts = Puts { history, key, places: &places, until };
        puts.judge_answers(&mut tally, &mut finding);
        puts.judge_jobs(&shown, &mut finding);
    }
    finding.measure("puts that were sent again and answered", tally.again);
    finding.measure("of these after one that was not answered", tally.after_loss);
    finding.measure("other bodies that were refused", tally.refused);
    finding
}

#[derive(Debug, Default)]
struct Tally {
    again: u64,
    after_loss: u64,
    refused: u64,
}

/// The jobs in which the body with a key of its own was seen: id and place, by that key.
type Shown = HashMap<u64, Vec<(u64, usize)>>;

fn shown(history: &History) -> Shown {
    let mut shown = Shown::new();
    for (place, record) in history.records.iter().enumerate() {
        if let (Some(body), Some(id)) = (index::shown_body(record), fate::job(record)) {
            let jobs = shown.entry(body.key).or_default();
            if !jobs.iter().any(|&(known, _)| known == id) {
                jobs.push((id, place));
            }
        }
    }
    shown
}

/// All puts with one key, in the order in which they were sent.
struct Puts<'a> {
    history: &'a History,
    key: &'a str,
    places: &'a [usize],
    /// The key may be forgotten from then on.
    until: Moment,
}

impl<'a> Puts<'a> {
    fn record(&self, place: usize) -> &'a Record {
        &self.history.records[place]
    }

    /// Those that were answered while the key was surely remembered, the first answer first.
    fn answered(&self) -> Vec<(usize, &'a Reply)> {
        let reply = |&place: &usize| Some((place, fate::reply(self.record(place))?));
        let mut answered: Vec<_> = self.places.iter().filter_map(reply).collect();
        answered.retain(|&(place, _)| self.record(place).returned <= self.until);
        answered.sort_by_key(|&(place, _)| self.record(place).returned);
        answered
    }

    fn judge_answers(&self, tally: &mut Tally, finding: &mut Finding) {
        let mut known: Option<(u64, usize)> = None;
        for (place, reply) in self.answered() {
            match (reply, known) {
                (Reply::Inserted { id }, None) => {
                    known = Some((*id, place));
                    tally.after_loss += u64::from(self.is_after_loss(place));
                }
                (Reply::Inserted { id }, Some((first_id, first))) => {
                    finding.cases += 1;
                    tally.again += 1;
                    if !self.is_same(first, place) {
                        let what = format!("another put with the key {} was taken", self.key);
                        finding.break_with(what, vec![first, place]);
                    } else if *id != first_id {
                        let what = format!(
                            "one put with the key {} is job {first_id} and job {id}",
                            self.key
                        );
                        finding.break_with(what, vec![first, place]);
                    }
                }
                (Reply::KeyInUse, _) => {
                    finding.cases += 1;
                    tally.refused += 1;
                    if !self.may_be_in_use(place) {
                        let what = format!("the key {} was in use by no other put", self.key);
                        finding.break_with(what, vec![place]);
                    }
                }
                _ => {}
            }
        }
    }

    /// Whether an earlier attempt of the same put was not answered.
    fn is_after_loss(&self, place: usize) -> bool {
        let before = self.places.iter().take_while(|&&other| other < place);
        let mut before = before.filter(|&&other| self.is_same(other, place));
        before.any(|&other| fate::is_doubtful(self.record(other)))
    }

    fn is_same(&self, one: usize, other: usize) -> bool {
        let [one, other] = [one, other].map(|place| index::put_of(self.record(place)));
        one.zip(other).is_some_and(|(one, other)| (one.body, one.tube) == (other.body, other.tube))
    }

    /// Whether another put may have been carried out with the key before this one was refused.
    fn may_be_in_use(&self, refused: usize) -> bool {
        let others = self.places.iter().filter(|&&place| !self.is_same(place, refused));
        let until = self.record(refused).returned;
        others
            .map(|&place| self.record(place))
            .any(|other| fate::may_have_effect(other) && other.invoked <= until)
    }

    /// Bodies show in one job only, which is the one that was answered.
    fn judge_jobs(&self, shown: &Shown, finding: &mut Finding) {
        let is_in_time = |place: usize| self.record(place).returned <= self.until;
        let told = self.places.iter().filter(|&&place| is_in_time(place)).filter_map(|&place| {
            let record = self.record(place);
            Some((fate::job(record).filter(|_| fate::has_effect(record))?, place))
        });
        let mut bodies: Vec<u64> = self.bodies().collect();
        bodies.sort_unstable();
        bodies.dedup();
        let seen = bodies.iter().filter_map(|body| shown.get(body)).flatten().copied();
        let mut known: Option<(u64, usize)> = told.min_by_key(|&(_, place)| place);
        for (id, place) in seen.filter(|&(_, place)| is_in_time(place)) {
            let (first_id, first) = *known.get_or_insert((id, place));
            finding.cases += 1;
            if id != first_id {
                let what =
                    format!("puts with the key {} have made job {first_id} and job {id}", self.key);
                finding.break_with(what, vec![first, place]);
            }
        }
    }

    /// The bodies that may have been put, by their keys.
    fn bodies(&self) -> impl Iterator<Item = u64> + '_ {
        let records = self.places.iter().map(|&place| self.record(place));
        let may = records.filter(|record| fate::may_have_effect(record));
        may.filter_map(|record| index::put_of(record).map(|put| put.body.key))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Story, inserted, keyed, measure, reserve, reserved_as};
    use super::*;

    fn judged(story: &mut Story) -> (u64, u64) {
        let finding = check(&story.history());
        (finding.cases, finding.broken)
    }

    /// Put under the key `k` at 10 ms, as job 7.
    fn begun() -> Story {
        let mut story = Story::new();
        story.told(1, 10, keyed("k", 1), inserted(7));
        story
    }

    #[test]
    fn a_put_that_makes_a_second_job_is_noticed() {
        let mut story = begun();
        story.at_member(1).told(2, 20, keyed("k", 1), inserted(8));
        assert_eq!(judged(&mut story), (1, 1));
        let mut story = begun();
        story.delete(3, 15, 7).told(2, 20, keyed("k", 1), inserted(7));
        assert_eq!(judged(&mut story), (1, 0), "also when it is gone");
    }

    #[test]
    fn a_second_job_that_only_shows_is_noticed() {
        let mut story = begun();
        story.unanswered(2, 20, keyed("k", 1)).told(3, 30, reserve(), reserved_as(7, 1));
        assert_eq!(judged(&mut story), (1, 0));
        story.told(4, 40, reserve(), reserved_as(8, 1));
        assert_eq!(judged(&mut story), (2, 1));
        let mut story = Story::new();
        story.unanswered(1, 10, keyed("k", 1)).unanswered(2, 20, keyed("k", 1));
        story.told(3, 30, reserve(), reserved_as(7, 1)).told(4, 40, reserve(), reserved_as(8, 1));
        assert_eq!(judged(&mut story), (2, 1), "nobody was told of either");
    }

    #[test]
    fn what_was_lost_and_sent_again_counts() {
        let mut story = Story::new();
        story.unanswered(1, 10, keyed("k", 1)).told(1, 20, keyed("k", 1), inserted(7));
        let finding = check(&story.history());
        assert_eq!(measure(&finding, "of these after one that was not answered"), "1");
        assert_eq!(finding.broken, 0);
    }

    #[test]
    fn another_body_that_is_taken_is_noticed() {
        let mut story = begun();
        story.told(2, 20, keyed("k", 2), Reply::KeyInUse);
        assert_eq!(judged(&mut story), (1, 0));
        let mut story = begun();
        story.told(2, 20, keyed("k", 2), inserted(8));
        assert_eq!(judged(&mut story), (1, 1));
        let mut story = begun();
        story.unanswered(2, 20, keyed("k", 2)).told(3, 30, reserve(), reserved_as(8, 2));
        assert_eq!(judged(&mut story), (1, 1), "it shows");
    }

    #[test]
    fn a_key_that_only_this_put_has_is_not_in_use() {
        let mut story = begun();
        story.told(2, 20, keyed("k", 1), Reply::KeyInUse);
        assert_eq!(judged(&mut story), (1, 1));
        let mut story = Story::new();
        story.unanswered(1, 10, keyed("k", 2)).told(2, 20, keyed("k", 1), Reply::KeyInUse);
        assert_eq!(judged(&mut story), (1, 0));
        let mut story = Story::new();
        story.told(1, 10, keyed("k", 2), Reply::Draining).told(
            2,
            20,
            keyed("k", 1),
            Reply::KeyInUse,
        );
        assert_eq!(judged(&mut story), (1, 1), "the other was refused");
    }

    #[test]
    fn nothing_is_said_past_the_window() {
        let ten_minutes = 600_000;
        let mut story = begun();
        story.told(2, 10 + ten_minutes, keyed("k", 1), inserted(8));
        assert_eq!(judged(&mut story), (0, 0));
        let mut story = begun();
        for number in 0..WINDOW_PUTS as u64 {
            story.told(2, 20 + number, keyed(&format!("other{number}"), 100 + number), inserted(9));
        }
        story.told(3, 90_000, keyed("k", 1), inserted(8));
        assert_eq!(judged(&mut story), (0, 0));
    }
}
