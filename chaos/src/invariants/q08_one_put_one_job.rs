//! Q8: every put makes at most one job, with an id that no other job has, and ids rise.
//!
//! A put that was answered before another was sent has the lesser id. No id is seen with two keys
//! (given twice), and no key with two ids (put twice), whether the put was answered or not: clients
//! send a key once.
//!
//! Not claimed: that there are no gaps, and an order of puts that were under way at once.

use std::collections::BTreeMap;

use super::Finding;
use super::fate;
use super::index;
use crate::clock::Moment;
use crate::history::{Command, History, Record};

pub(super) fn check(history: &History) -> Finding {
    let mut finding = Finding::default();
    judge_names(history, &mut finding);
    judge_order(history, &mut finding);
    finding
}

/// The key and the id that a record ties together.
fn names(record: &Record) -> Option<(u64, u64)> {
    let id = fate::job(record)?;
    let put = index::put_of(record).filter(|_| fate::has_effect(record)).map(|put| put.body);
    let body = put.or_else(|| index::shown_body(record))?;
    (body.key != 0).then_some((body.key, id))
}

fn judge_names(history: &History, finding: &mut Finding) {
    let mut ids: BTreeMap<u64, (u64, usize)> = BTreeMap::new();
    let mut keys: BTreeMap<u64, (u64, usize)> = BTreeMap::new();
    for (place, record) in history.records.iter().enumerate() {
        let Some((key, id)) = names(record) else { continue };
        let is_put = matches!(record.command, Command::Put { .. });
        let (known_id, first) = *ids.entry(key).or_insert((id, place));
        if known_id != id {
            let what = format!("what was put once is job {known_id} and job {id}");
            finding.break_with(what, vec![first, place]);
            continue;
        }
        let (known_key, first) = *keys.entry(id).or_insert((key, place));
        if known_key != key || (is_put && first != place && is_put_of(history, first)) {
            finding.break_with(format!("id {id} was given twice"), vec![first, place]);
        }
    }
}

fn is_put_of(history: &History, place: usize) -> bool {
    matches!(history.records[place].command, Command::Put { .. })
}

fn judge_order(history: &History, finding: &mut Finding) {
    // Beginnings come before ends of the same moment: nothing is claimed of those.
    let mut events: Vec<(Moment, bool, usize, u64)> = Vec::new();
    for (place, record) in history.records.iter().enumerate() {
        if let Some(id) = fate::job(record).filter(|_| is_put(record)) {
            events.push((record.invoked, false, place, id));
            events.push((record.returned, true, place, id));
        }
    }
    events.sort_unstable();
    let mut greatest: Option<(u64, usize)> = None;
    for (_, is_end, place, id) in events {
        if is_end {
            greatest = greatest.max(Some((id, place)));
            continue;
        }
        finding.cases += 1;
        if let Some((before, first)) = greatest.filter(|&(before, _)| id < before) {
            let what = format!("id {id} was given after id {before}");
            finding.break_with(what, vec![first, place]);
        }
    }
}

fn is_put(record: &Record) -> bool {
    matches!(record.command, Command::Put { .. }) && fate::has_effect(record)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Story, inserted, put, reserved_as};
    use super::check;

    #[test]
    fn an_id_that_was_given_twice_is_noticed() {
        let mut story = Story::new();
        story.told(1, 10, put(1), inserted(5)).told(1, 20, put(2), inserted(5));
        let finding = check(&story.history());
        assert_eq!((finding.cases, finding.broken), (2, 1));
        let mut story = Story::new();
        story.told(1, 10, put(1), inserted(5)).unanswered(1, 20, put(2));
        story.told(3, 30, super::super::testing::reserve(), reserved_as(5, 2));
        assert_eq!(check(&story.history()).broken, 1);
    }

    #[test]
    fn a_put_that_made_two_jobs_is_noticed() {
        let mut story = Story::new();
        story.unanswered(1, 10, put(1));
        story.told(2, 20, super::super::testing::reserve(), reserved_as(5, 1));
        story.told(2, 30, super::super::testing::reserve(), reserved_as(6, 1));
        assert_eq!(check(&story.history()).broken, 1);
    }

    #[test]
    fn ids_that_fall_are_noticed() {
        let mut story = Story::new();
        story.told(1, 10, put(1), inserted(5)).told(2, 20, put(2), inserted(4));
        assert_eq!(check(&story.history()).broken, 1);
    }

    #[test]
    fn puts_at_once_may_have_any_order_and_gaps_are_fine() {
        let mut story = Story::new();
        story.op(1, (10, 30), put(1), inserted(5)).op(2, (20, 40), put(2), inserted(4));
        story.unanswered(3, 10, put(3)).told(1, 50, put(4), inserted(9));
        let finding = check(&story.history());
        assert_eq!((finding.cases, finding.broken), (3, 0));
    }
}
