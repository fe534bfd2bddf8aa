//! What kicks can have moved.
//!
//! An answered kick can have moved a job only while it was under way. One that was not answered can
//! at any time after it was sent, but once, and no more jobs than its bound: it explains so many
//! cases, and not all that follow. Else one lost kick would excuse everything in its tube until the
//! end of the run.

use std::collections::BTreeMap;

use super::Finding;
use super::fate;
use super::index::{Index, Job};
use crate::clock::Moment;
use crate::history::Command;

/// Whether a job can have been kicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kicked {
    /// It cannot.
    No,
    /// Only by a kick of its tube that was not answered.
    InDoubt,
    /// By an answered one, or by its id.
    Maybe,
}

/// Whether the job can have been kicked at some moment of a span.
pub(super) fn kicked(
    index: &Index<'_>,
    job: &Job,
    tube: &str,
    (from, until): (Moment, Moment),
) -> Kicked {
    let may_have = |place: usize| fate::may_fall_into(index.record(place), from, until);
    let is_by_id = |place: usize| matches!(index.record(place).command, Command::KickJob { .. });
    if job.records.iter().any(|&place| is_by_id(place) && may_have(place)) {
        return Kicked::Maybe;
    }
    let of_tube = index.kicks.get(tube).into_iter().flatten().copied();
    let mut kicked = Kicked::No;
    for place in of_tube.filter(|&place| may_have(place)) {
        if !fate::is_doubtful(index.record(place)) {
            return Kicked::Maybe;
        }
        kicked = Kicked::InDoubt;
    }
    kicked
}

/// Cases that nothing explains but kicks that were not answered, by tube.
#[derive(Debug, Default)]
pub(super) struct Doubts<'a>(BTreeMap<&'a str, Vec<Doubt>>);

#[derive(Debug)]
struct Doubt {
    /// The job had been kicked by then.
    by: Moment,
    what: String,
    records: Vec<usize>,
}

impl<'a> Doubts<'a> {
    /// A job of a tube that must have been kicked by then. Each kick of a job is to be added once.
    pub(super) fn add(&mut self, tube: &'a str, by: Moment, what: String, records: Vec<usize>) {
        self.0.entry(tube).or_default().push(Doubt { by, what, records });
    }

    /// Breaks for those that are more than unanswered kicks can have moved.
    pub(super) fn settle(self, index: &Index<'_>, finding: &mut Finding) {
        for (tube, mut doubts) in self.0 {
            doubts.sort_by_key(|doubt| doubt.by);
            let mut moved = 0;
            for Doubt { by, what, records } in doubts {
                let bound = bound_by(index, tube, by);
                if moved < bound {
                    moved += 1;
                    continue;
                }
                let what = format!("{what}; unanswered kicks of {tube} explain {bound}");
                finding.break_with(what, records);
            }
        }
    }
}

/// How many jobs the unanswered kicks that were sent by then can move.
fn bound_by(index: &Index<'_>, tube: &str, by: Moment) -> u64 {
    let places = index.kicks.get(tube).into_iter().flatten();
    let records = places.map(|&place| index.record(place));
    let bounds =
        records.filter(|record| fate::is_doubtful(record) && record.invoked <= by).map(|record| {
            match record.command {
                Command::Kick { bound, .. } => bound,
                _ => 0,
            }
        });
    bounds.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Story;
    use super::*;
    use crate::history::Reply;

    fn kick(bound: u64) -> Command {
        Command::Kick { tube: "t".into(), bound }
    }

    fn kicked_within(story: &mut Story, from: u64, until: u64) -> Kicked {
        let history = story.history();
        let index = Index::new(&history);
        kicked(&index, &index.jobs[&1], "t", (Story::moment(from), Story::moment(until)))
    }

    #[test]
    fn an_answered_kick_explains_while_it_is_under_way() {
        let mut story = Story::new();
        story.put(1, 10, 1).op(2, (20, 30), kick(1), Reply::Kicked { count: Some(1) });
        assert_eq!(kicked_within(&mut story, 25, 90), Kicked::Maybe);
        assert_eq!(kicked_within(&mut story, 31, 90), Kicked::No);
        story.told(2, 40, kick(9), Reply::Kicked { count: Some(0) });
        assert_eq!(kicked_within(&mut story, 31, 90), Kicked::No);
        story.unanswered(2, 5, kick(1));
        assert_eq!(kicked_within(&mut story, 31, 90), Kicked::InDoubt);
        assert_eq!(kicked_within(&mut story, 25, 90), Kicked::Maybe);
        story.unanswered(2, 60, Command::KickJob { id: 1 });
        assert_eq!(kicked_within(&mut story, 61, 90), Kicked::Maybe);
    }

    #[test]
    fn unanswered_kicks_explain_as_many_as_their_bounds() {
        let mut story = Story::new();
        story.unanswered(2, 10, kick(2)).unanswered(2, 50, kick(1));
        let history = story.history();
        let index = Index::new(&history);
        for (moments, broken) in [
            (vec![20, 30], 0),
            (vec![20, 30, 40], 1),
            (vec![20, 30, 60], 0),
            (vec![20, 30, 40, 60], 1),
            (vec![5, 60, 61, 62], 1),
            (vec![60, 61, 62, 63, 64], 2),
        ] {
            let mut doubts = Doubts::default();
            for &at in moments.iter().rev() {
                doubts.add("t", Story::moment(at), "a job".into(), Vec::new());
            }
            let mut finding = Finding::default();
            doubts.settle(&index, &mut finding);
            assert_eq!(finding.broken, broken, "{moments:?}");
        }
    }
}
