//! When nothing was wrong: what the time of a cluster can be held against.
//!
//! Delays and times to run end by the leader's clock, which stands still while nobody leads. So
//! their ends are certain only where nothing disturbed the members: no fault, and no change of
//! leader that has no fault as its reason.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fate::NEVER;
use crate::clock::Moment;
use crate::history::{Fault, FaultState, History, MemberSample};

/// How long after it was healed a fault may still be felt.
const AFTERMATH: Duration = Duration::from_secs(5);

/// Spans in which something was wrong, apart from each other, in order.
#[derive(Debug, Default)]
pub(super) struct Trouble(Vec<(Moment, Moment)>);

impl Trouble {
    pub(super) fn of(history: &History) -> Self {
        let faults = history.faults.iter().filter(|fault| fault.state != FaultState::Skipped);
        let faults = faults.map(|fault| (fault.began, fault.healed.unwrap_or(NEVER)));
        let mut spans: Vec<(Moment, Moment)> = faults.chain(changes_of_leader(history)).collect();
        spans.sort_unstable();
        let mut trouble = Self::default();
        for (from, until) in spans {
            let until = until.after(AFTERMATH);
            match trouble.0.last_mut() {
                Some(last) if last.1 >= from => last.1 = last.1.max(until),
                _ => trouble.0.push((from, until)),
            }
        }
        trouble
    }

    /// Whether nothing was wrong at any moment of a span.
    pub(super) fn is_calm(&self, from: Moment, until: Moment) -> bool {
        let next = self.0.partition_point(|&(_, end)| end < from);
        self.0.get(next).is_none_or(|&(begin, _)| begin > until)
    }
}

/// Whether a fault names a member at some moment of a span, or did until so long before.
pub(super) fn is_hit(
    fault: &Fault,
    member: u32,
    (from, until): (Moment, Moment),
    aftermath: Duration,
) -> bool {
    fault.members.contains(&member) && is_felt(fault, (from, until), aftermath)
}

/// Whether a fault was there at some moment of a span, or was until so long before.
pub(super) fn is_felt(fault: &Fault, (from, until): (Moment, Moment), aftermath: Duration) -> bool {
    fault.state != FaultState::Skipped
        && fault.began <= until
        && fault.healed.is_none_or(|healed| healed.after(aftermath) >= from)
}

/// Between which samples members got to another term, or saw nobody lead: nobody may have led in
/// between.
fn changes_of_leader(history: &History) -> Vec<(Moment, Moment)> {
    let mut last: BTreeMap<u32, &MemberSample> = BTreeMap::new();
    let mut changes = Vec::new();
    for sample in history.samples.iter().filter(|sample| sample.term.is_some()) {
        let Some(before) = last.insert(sample.member, sample) else { continue };
        if before.term != sample.term || sample.leader.is_none() {
            changes.push((before.at, sample.at));
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::super::testing::Story;
    use super::*;

    fn is_calm(story: &mut Story, from: u64, until: u64) -> bool {
        Trouble::of(&story.history()).is_calm(Story::moment(from), Story::moment(until))
    }

    #[test]
    fn nothing_is_calm_beside_a_fault_and_right_after_it() {
        let mut story = Story::new();
        story.fault("kill", &[0], (10_000, 12_000), FaultState::Indeterminate);
        story.fault("freeze", &[0], (16_000, 17_000), FaultState::Installed);
        story.fault("delay", &[0], (40_000, 50_000), FaultState::Skipped);
        for (from, until, expected) in [
            (0, 9_999, true),
            (0, 10_000, false),
            (16_500, 16_600, false),
            (22_000, 30_000, false),
            (22_001, 30_000, true),
            (0, 90_000, false),
            (41_000, 42_000, true),
        ] {
            assert_eq!(is_calm(&mut story, from, until), expected, "{from} to {until}");
        }
    }

    #[test]
    fn nothing_is_calm_while_the_leader_changes() {
        let mut story = Story::new();
        for (at, term, leader) in [(1_000, 1, Some(1)), (2_000, 2, Some(2)), (9_000, 2, None)] {
            let (at, term) = (Story::moment(at), Some(term));
            story.sample(MemberSample { at, term, leader, ..MemberSample::default() });
        }
        assert!(is_calm(&mut story, 0, 999));
        assert!(!is_calm(&mut story, 1_500, 1_600));
        assert!(!is_calm(&mut story, 8_000, 8_001), "nobody may have led");
        assert!(is_calm(&mut story, 14_001, 14_002));
    }
}
