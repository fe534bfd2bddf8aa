//! Q10: memory stays in bounds.
//!
//! The resident size of a member, each time it was looked at, is at most the limit of its control
//! group; without one, a third more than its budget. The kernel kills nothing in its group, but for
//! a fault whose name begins with "oom" and that hits this member.
//!
//! Not claimed: anything between two samples, and the group's own high-water mark, which counts
//! what the kernel caches of files and gives back when asked (it is measured).

use std::collections::BTreeMap;
use std::time::Duration;

use super::Finding;
use super::calm::is_hit;
use crate::clock::Moment;
use crate::history::{Fault, History, MemberSample};

/// A fault whose name begins so may let the kernel kill its members.
const ORDERED: &str = "oom";

pub(super) fn check(history: &History) -> Finding {
    let mut finding = Finding::default();
    let bound = bound(history);
    let mut last: BTreeMap<u32, (Moment, u64)> = BTreeMap::new();
    for sample in &history.samples {
        if let (Some(resident), Some(bound)) = (sample.resident_bytes, bound) {
            finding.cases += 1;
            if resident > bound {
                let what = format!(
                    "member {} had {resident} bytes resident at {}; the bound is {bound}",
                    sample.member, sample.at
                );
                finding.break_with(what, Vec::new());
            }
        }
        let Some(kills) = sample.oom_kills else { continue };
        finding.cases += 1;
        let (since, before) = last.insert(sample.member, (sample.at, kills)).unwrap_or_default();
        if kills > before && !is_ordered(history, sample, since) {
            let what = format!(
                "the kernel killed in the group of member {} between {since} and {}",
                sample.member, sample.at
            );
            finding.break_with(what, Vec::new());
        }
    }
    let most = |of: fn(&MemberSample) -> Option<u64>| history.samples.iter().filter_map(of).max();
    let named = [
        ("bound in bytes", bound),
        ("most resident bytes", most(|sample| sample.resident_bytes)),
        ("most bytes of a group", most(|sample| sample.group_bytes_max)),
    ];
    for (name, value) in named {
        if let Some(value) = value {
            finding.measure(name, value);
        }
    }
    finding
}

fn bound(history: &History) -> Option<u64> {
    let head = &history.head;
    head.memory_limit.or(head.memory_budget.map(|budget| budget.saturating_add(budget / 3)))
}

/// Whether a fault was to bring the kill about, at some time since the last sample.
fn is_ordered(history: &History, sample: &MemberSample, since: Moment) -> bool {
    let span = (since, sample.at);
    let is_one = |fault: &Fault| {
        fault.name.starts_with(ORDERED) && is_hit(fault, sample.member, span, Duration::ZERO)
    };
    history.faults.iter().any(is_one)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Story;
    use super::check;
    use crate::history::{FaultState, MemberSample};

    fn sample(at: u64, resident_bytes: u64, oom_kills: u64) -> MemberSample {
        MemberSample {
            member: 1,
            at: Story::moment(at),
            resident_bytes: Some(resident_bytes),
            oom_kills: Some(oom_kills),
            ..MemberSample::default()
        }
    }

    #[test]
    fn more_than_the_bound_is_noticed() {
        let mut story = Story::new();
        story.head().memory_budget = Some(300);
        story.sample(sample(10, 400, 0)).sample(sample(20, 401, 0));
        let finding = check(&story.history());
        assert_eq!((finding.cases, finding.broken), (4, 1));
        story.head().memory_limit = Some(500);
        assert_eq!(check(&story.history()).broken, 0);
    }

    #[test]
    fn a_kill_that_nobody_ordered_is_noticed() {
        let mut story = Story::new();
        story.sample(sample(10, 1, 0)).sample(sample(20, 1, 1)).sample(sample(30, 1, 1));
        let finding = check(&story.history());
        assert_eq!((finding.cases, finding.broken), (3, 1));
        story.fault("oom-kill", &[0], (15, 25), FaultState::Installed);
        assert_eq!(check(&story.history()).broken, 1, "that hit another member");
    }

    #[test]
    fn a_kill_that_a_fault_was_to_bring_is_fine() {
        let mut story = Story::new();
        story.sample(sample(10, 1, 0)).sample(sample(30, 1, 1));
        story.fault("oom-kill", &[1], (15, 25), FaultState::Indeterminate);
        assert_eq!(check(&story.history()).broken, 0);
    }
}
