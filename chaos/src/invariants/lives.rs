//! Members that end by themselves: a part of Q14.
//!
//! A process that runs in one sample and not in the next was ended by a fault, or has ended by
//! itself: a panic, an assertion. The others would hide that, and the next fault that is healed
//! starts it again. So it is a violation unless a fault names the member, or did until a few seconds
//! ago: members end themselves by design when their disk fails or their files are damaged.
//!
//! Not claimed: anything about what ends and is started again between two samples.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Finding;
use super::calm::is_hit;
use crate::history::{History, MemberSample};

/// How long after a fault was healed its end of a member may show.
const AFTERMATH: Duration = Duration::from_secs(5);

/// Adds what it finds to a finding.
pub(super) fn judge(history: &History, finding: &mut Finding) {
    let mut last: BTreeMap<u32, &MemberSample> = BTreeMap::new();
    let mut ended = 0_u64;
    for sample in &history.samples {
        let before = last.insert(sample.member, sample);
        let Some(before) = before.filter(|before| before.is_running && !sample.is_running) else {
            continue;
        };
        let span = (before.at, sample.at);
        if !history.faults.iter().any(|fault| is_hit(fault, sample.member, span, AFTERMATH)) {
            ended += 1;
            finding.cases += 1;
            let what = format!(
                "member {} ended by itself between {} and {}",
                sample.member, before.at, sample.at
            );
            finding.break_with(what, Vec::new());
        }
    }
    finding.measure("members that ended by themselves", ended);
}

#[cfg(test)]
mod tests {
    use super::super::testing::Story;
    use super::*;
    use crate::history::FaultState;

    /// Member 1 runs at 10 s and does not at 11 s.
    fn ended(members: &[u32], span: (u64, u64), state: FaultState) -> u64 {
        let mut story = Story::new();
        for (at, is_running) in [(10_000, true), (11_000, false), (12_000, false), (13_000, true)] {
            let at = Story::moment(at);
            let sample = MemberSample { member: 1, at, is_running, ..MemberSample::default() };
            story.sample(sample.clone());
            story.sample(MemberSample { member: 0, is_running: true, ..sample });
        }
        story.fault("failed-sync", members, span, state);
        let mut finding = Finding::default();
        judge(&story.history(), &mut finding);
        assert_eq!(finding.cases, finding.broken);
        finding.broken
    }

    #[test]
    fn a_member_that_ends_without_a_fault_of_its_own_is_noticed() {
        let installed = FaultState::Installed;
        for (members, span, state, broken) in [
            (&[1][..], (10_500, 12_000), installed, 0),
            (&[0, 1], (4_000, 5_000), installed, 0),
            (&[0, 1], (4_000, 4_999), installed, 1),
            (&[1], (11_001, 12_000), installed, 1),
            (&[0], (10_500, 12_000), installed, 1),
            (&[], (10_500, 12_000), installed, 1),
            (&[1], (10_500, 12_000), FaultState::Indeterminate, 0),
            (&[1], (10_500, 12_000), FaultState::Skipped, 1),
        ] {
            assert_eq!(ended(members, span, state), broken, "{members:?} {span:?} {state:?}");
        }
    }
}
