//! A history in which puts that were sent again are one put.
//!
//! All checks but those of the answers themselves take it that a put is sent once. Attempts with the
//! same key and the same body become one record, in the place of the first that may have been carried
//! out: it was sent then, and answered when the first answer to any of them came. The others have no
//! effect. That they made no second job is Q5's to say, and Q8's, which see the bodies of jobs.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::fate;
use crate::history::{Command, History, Outcome};

/// The history with each put in it once. Places stay what they are.
pub(super) fn merged(history: &History) -> Cow<'_, History> {
    let mut attempts: BTreeMap<(&str, u64), Vec<usize>> = BTreeMap::new();
    for (place, record) in history.records.iter().enumerate() {
        if let Command::Put { under: Some(key), body, .. } = &record.command
            && fate::may_have_effect(record)
        {
            attempts.entry((key, body.key)).or_default().push(place);
        }
    }
    let repeated: Vec<Vec<usize>> = attempts.into_values().filter(|all| all.len() > 1).collect();
    if repeated.is_empty() {
        return Cow::Borrowed(history);
    }
    let mut merged = history.clone();
    for places in repeated {
        merge(&mut merged, &places);
    }
    Cow::Owned(merged)
}

/// Makes one of them, which are in the order in which they were sent.
fn merge(history: &mut History, places: &[usize]) {
    let answered = places.iter().filter(|&&place| fate::has_effect(&history.records[place]));
    let answer = answered.min_by_key(|&&place| history.records[place].returned);
    let answer = answer.map(|&place| &history.records[place]);
    let answer = answer.map(|record| (record.returned, record.outcome.clone()));
    let (first, others) = places.split_first().expect("there are at least two");
    if let Some((returned, outcome)) = answer {
        let first = &mut history.records[*first];
        (first.returned, first.outcome) = (returned, outcome);
    }
    for &other in others {
        let why = "the put was sent before".to_owned();
        history.records[other].outcome = Outcome::NoEffect { why };
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Story, body, inserted, keyed};
    use super::*;
    use crate::history::Reply;

    #[test]
    fn attempts_are_one_put_from_the_first_to_the_first_answer() {
        let mut story = Story::new();
        story.unanswered(1, 10, keyed("k", 1)).op(1, (20, 90), keyed("k", 1), inserted(7));
        story.op(2, (30, 50), keyed("k", 1), inserted(7)).put(3, 60, 2);
        let history = story.history();
        let merged = merged(&history);
        assert_eq!(merged.records.len(), history.records.len());
        let first = &merged.records[0];
        assert_eq!((first.invoked, first.returned), (Story::moment(10), Story::moment(50)));
        assert_eq!(first.outcome, Outcome::Replied(inserted(7)));
        let has_effect: Vec<bool> = merged.records.iter().map(fate::may_have_effect).collect();
        assert_eq!(has_effect, [true, false, false, true]);
    }

    #[test]
    fn what_was_refused_and_what_says_something_else_stays() {
        let mut story = Story::new();
        story.told(1, 10, keyed("k", 1), Reply::OutOfMemory).told(
            1,
            20,
            keyed("k", 1),
            inserted(7),
        );
        story.told(1, 30, keyed("k", 2), Reply::KeyInUse).unanswered(1, 40, keyed("other", 1));
        let history = story.history();
        assert!(matches!(merged(&history), Cow::Borrowed(_)));
        assert_eq!(body(1).key, 1, "so they are of one body");
    }

    #[test]
    fn attempts_without_an_answer_are_one_that_may_come_at_any_time() {
        let mut story = Story::new();
        story.unanswered(1, 10, keyed("k", 1)).unanswered(1, 20, keyed("k", 1));
        let history = story.history();
        let merged = merged(&history);
        assert!(fate::is_doubtful(&merged.records[0]));
        assert!(!fate::may_have_effect(&merged.records[1]));
    }
}
