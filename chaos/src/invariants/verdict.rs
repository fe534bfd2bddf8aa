//! Whether a run kept its promises.

use super::{Exercise, Finding, Invariant, coverage};
use crate::history::History;

/// How one promise stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was put to the test and held.
    Kept,
    /// It was broken.
    Broken,
    /// It was not put to the test, and should have been: no pass.
    Untested,
    /// It was not put to the test, and need not be in such a run.
    NotAsked,
}

/// What a run comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The names of the promises that were broken.
    pub broken: Vec<&'static str>,
    /// The names of those that should have been put to the test and were not.
    pub untested: Vec<&'static str>,
    /// What else happened or not.
    pub coverage: Vec<Exercise>,
}

impl Verdict {
    /// Whether nothing was broken, everything was put to the test, and what had to happen did.
    pub fn is_pass(&self) -> bool {
        self.broken.is_empty() && self.untested.is_empty() && self.lacking().next().is_none()
    }

    /// What had to happen in such a run, and did not.
    pub fn lacking(&self) -> impl Iterator<Item = &Exercise> {
        self.coverage.iter().filter(|exercise| exercise.is_lacking())
    }
}

/// What all findings of a run come to. Whether its faults were there is for others to judge.
pub fn verdict(history: &History, findings: &[(Invariant, Finding)]) -> Verdict {
    let mut verdict = Verdict { coverage: coverage(history), ..Verdict::default() };
    for (invariant, finding) in findings {
        match standing(history, invariant, finding) {
            Standing::Broken => verdict.broken.push(invariant.name),
            Standing::Untested => verdict.untested.push(invariant.name),
            Standing::Kept | Standing::NotAsked => {}
        }
    }
    verdict
}

/// How one promise stands.
pub fn standing(history: &History, invariant: &Invariant, finding: &Finding) -> Standing {
    if finding.broken > 0 {
        Standing::Broken
    } else if finding.cases > 0 {
        Standing::Kept
    } else if may_be_empty(history, invariant.name) {
        Standing::NotAsked
    } else {
        Standing::Untested
    }
}

/// The promises that a run may leave untested: keys if clients have none, memory if it has no bound
/// and no group, agreement if there is one member, and those of an agent if there is none.
fn may_be_empty(history: &History, name: &str) -> bool {
    let head = &history.head;
    match name {
        "Q5" => !head.has_keys,
        "Q10" => head.memory_budget.is_none() && head.memory_limit.is_none(),
        "Q13" => head.members < 2,
        "Q16" => !head.has_agent,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Story;
    use super::super::{ALL, judge};
    use super::*;
    use crate::history::FaultState;

    fn finding(cases: u64, broken: u64) -> Finding {
        Finding { cases, broken, ..Finding::default() }
    }

    #[test]
    fn a_pass_needs_cases_and_nothing_broken() {
        let history = Story::new().history();
        let all = |cases, broken| -> Vec<(Invariant, Finding)> {
            ALL.iter().map(|invariant| (*invariant, finding(cases, broken))).collect()
        };
        assert!(verdict(&history, &all(1, 0)).is_pass());
        assert_eq!(verdict(&history, &all(1, 1)).broken.len(), ALL.len());
        assert_eq!(
            verdict(&history, &all(0, 0)).untested.len(),
            ALL.len() - 3,
            "but for memory, keys and an agent"
        );
    }

    #[test]
    fn an_empty_history_passes_nothing_and_breaks_nothing() {
        let mut story = Story::new();
        story.head().members = 1;
        let history = story.history();
        let verdict = verdict(&history, &judge(&history));
        assert!(verdict.broken.is_empty() && !verdict.is_pass());
        assert_eq!(verdict.untested.len(), ALL.len() - 4);
    }

    #[test]
    fn a_run_in_which_something_had_to_happen_and_did_not_is_no_pass() {
        let mut story = Story::new();
        story.fault("transfer", &[], (1_000, 2_000), FaultState::Installed);
        let history = story.history();
        let all: Vec<(Invariant, Finding)> =
            ALL.iter().map(|invariant| (*invariant, finding(1, 0))).collect();
        let verdict = verdict(&history, &all);
        let lacking: Vec<&str> = verdict.lacking().map(|exercise| exercise.what).collect();
        assert_eq!((verdict.is_pass(), lacking), (false, vec!["changes of leader"]));
    }

    #[test]
    fn names_are_those_of_the_promises() {
        let names: Vec<&str> = ALL.iter().map(|invariant| invariant.name).collect();
        let expected: Vec<String> = (1..=16).map(|number| format!("Q{number}")).collect();
        assert_eq!(names, expected);
    }
}
