//! Q13: members that have applied the same entries have the same state, and none goes back.
//!
//! Of all samples, those of one applied index must tell one digest. A member's applied index does
//! not fall while it lives: between two samples in which it ran, unless a fault names it meanwhile
//! (it may have been started anew, and then begins at its last checkpoint), or its id changed.
//!
//! Not claimed: anything about samples without a digest; a digest that is told must belong to the
//! index beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Finding;
use super::calm::is_hit;
use crate::history::{Fault, History, MemberSample};

/// How long after its fault was healed a member may still have its restart before it.
const RESTART: Duration = Duration::from_secs(10);

pub(super) fn check(history: &History) -> Finding {
    let mut finding = Finding::default();
    let mut digests: BTreeMap<u64, (&str, &MemberSample)> = BTreeMap::new();
    let mut last: BTreeMap<u32, &MemberSample> = BTreeMap::new();
    let mut compared = BTreeSet::new();
    for sample in &history.samples {
        let before = last.insert(sample.member, sample);
        if let Some(before) = before.filter(|before| went_back(history, before, sample)) {
            let what = format!(
                "member {} went back from entry {:?} to {:?} at {}",
                sample.member, before.applied_index, sample.applied_index, sample.at
            );
            finding.break_with(what, Vec::new());
        }
        let (Some(index), Some(digest)) = (sample.applied_index, sample.digest.as_deref()) else {
            continue;
        };
        let (first, first_sample) = *digests.entry(index).or_insert((digest, sample));
        if first_sample.member == sample.member && first == digest {
            continue;
        }
        finding.cases += 1;
        compared.insert(sample.member);
        compared.insert(first_sample.member);
        if first != digest {
            let what = format!(
                "after entry {index}, member {} has the digest {digest}, member {} {first}",
                sample.member, first_sample.member
            );
            finding.break_with(what, Vec::new());
        }
    }
    finding.measure("members compared", compared.len());
    finding.measure("entries with a digest", digests.len());
    finding
}

fn went_back(history: &History, before: &MemberSample, after: &MemberSample) -> bool {
    let is_less = match (before.applied_index, after.applied_index) {
        (Some(before), Some(after)) => after < before,
        _ => false,
    };
    let lived = before.is_running && after.is_running && before.id == after.id;
    let span = (before.at, after.at);
    let is_hurt = |fault: &Fault| is_hit(fault, after.member, span, RESTART);
    is_less && lived && !history.faults.iter().any(is_hurt)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Story;
    use super::check;
    use crate::history::{FaultState, MemberSample};

    fn sample(at: u64, member: u32, applied_index: u64, digest: Option<&str>) -> MemberSample {
        MemberSample {
            member,
            at: Story::moment(at),
            is_running: true,
            applied_index: Some(applied_index),
            digest: digest.map(str::to_owned),
            ..MemberSample::default()
        }
    }

    #[test]
    fn two_digests_of_one_index_are_noticed() {
        let mut story = Story::new();
        story.sample(sample(10, 0, 5, Some("a"))).sample(sample(20, 1, 5, Some("b")));
        story.sample(sample(20, 2, 5, Some("a"))).sample(sample(30, 2, 6, Some("c")));
        let finding = check(&story.history());
        assert_eq!((finding.cases, finding.broken), (2, 1));
    }

    #[test]
    fn samples_of_one_member_and_without_a_digest_are_no_cases() {
        let mut story = Story::new();
        story.sample(sample(10, 0, 5, Some("a"))).sample(sample(20, 0, 5, Some("a")));
        story.sample(sample(20, 1, 5, None));
        let finding = check(&story.history());
        assert_eq!((finding.cases, finding.broken), (0, 0));
    }

    #[test]
    fn a_member_that_goes_back_is_noticed_unless_it_was_hurt() {
        let mut story = Story::new();
        story.sample(sample(10, 0, 5, None)).sample(sample(20, 0, 4, None));
        assert_eq!(check(&story.history()).broken, 1);
        story.fault("kill", &[0], (12, 13), FaultState::Installed);
        assert_eq!(check(&story.history()).broken, 0);
    }
}
