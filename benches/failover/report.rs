//! Turns the rounds into a Markdown table: gaps against aims, and counts that must be zero.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use super::{
    fault::{Fault, Role},
    round::Outcome,
};

/// What the worst gap of any fault must stay below.
const WORST_AIM: Duration = Duration::from_secs(1);
/// The same for a member that is asked to end.
const WORST_AIM_OF_TERM: Duration = Duration::from_millis(100);
/// What the median gap of a kill must stay below.
const MEDIAN_AIM_OF_KILL: Duration = Duration::from_millis(450);

/// All rounds, by fault and role.
#[derive(Default)]
pub(crate) struct Report {
    outcomes: BTreeMap<(Fault, Role), Vec<Outcome>>,
    given_up: Vec<String>,
}

impl Report {
    /// Adds a round.
    pub(crate) fn add(&mut self, fault: Fault, role: Role, outcome: Outcome) {
        self.outcomes.entry((fault, role)).or_default().push(outcome);
    }

    /// Rounds that could not be run, or not to their end.
    pub(crate) fn give_up(&mut self, fault: Fault, role: Role, why: String) {
        self.given_up.push(format!("{fault} of the {role}: {why}"));
    }

    /// Whether nothing was lost, doubled, held twice, or answered with an error, and no rounds are
    /// missing.
    pub(crate) fn all_zeros_are_zero(&self) -> bool {
        let mut outcomes = self.outcomes.values().flatten();
        self.given_up.is_empty() && outcomes.all(|outcome| outcome.verdict.is_clean())
    }

    /// The whole report.
    pub(crate) fn to_markdown(&self) -> String {
        let mut text = String::from(HEAD);
        for (&(fault, role), outcomes) in &self.outcomes {
            writeln!(text, "{}", row(fault, role, outcomes)).expect("a String takes all");
        }
        let troubles =
            self.outcomes.values().flatten().flat_map(|outcome| &outcome.verdict.described);
        for trouble in troubles.chain(&self.given_up) {
            write!(text, "\n- {trouble}").expect("a String takes all");
        }
        text.push('\n');
        text
    }
}

const HEAD: &str = "
The gap is the longest time without an acknowledged write over all eight clients, all of them of
members that live: without a fault (worst), while a member is lost (median and worst, with the aims),
while it comes back (worst). The counts are of all rounds and must be zero.

| fault | of the | rounds | writes/s | without, ms | median ms | worst ms | coming back, ms | errors | lost | doubled | held twice | back |
|---|---|---|---|---|---|---|---|---|---|---|---|---|
";

fn row(fault: Fault, role: Role, outcomes: &[Outcome]) -> String {
    let sorted = |gap: fn(&Outcome) -> Duration| {
        let mut gaps: Vec<Duration> = outcomes.iter().map(gap).collect();
        gaps.sort();
        gaps
    };
    let gaps = sorted(|outcome| outcome.gap);
    let [before, healing] = [|it: &Outcome| it.gap_before, |it: &Outcome| it.gap_healing]
        .map(|gap| sorted(gap).last().copied().unwrap_or_default());
    let (median, worst) = (gaps[gaps.len() / 2], gaps[gaps.len() - 1]);
    let worst_aim = if fault == Fault::Term { WORST_AIM_OF_TERM } else { WORST_AIM };
    let median_aim = (fault == Fault::Kill).then_some(MEDIAN_AIM_OF_KILL);
    let total = |count: fn(&Outcome) -> usize| outcomes.iter().map(count).sum::<usize>();
    format!(
        "| {fault} | {role} | {} | {:.0} | {:.0} | {} | {} | {:.0} | {} | {} | {} | {} | {} |",
        outcomes.len(),
        outcomes.iter().map(|outcome| outcome.rate).sum::<f64>() / outcomes.len() as f64,
        milliseconds(before),
        judged(median, median_aim),
        judged(worst, Some(worst_aim)),
        milliseconds(healing),
        total(|outcome| outcome.verdict.troubles),
        total(|outcome| outcome.verdict.lost),
        total(|outcome| outcome.verdict.doubled),
        total(|outcome| outcome.verdict.held_twice),
        total(|outcome| outcome.verdict.back),
    )
}

fn judged(gap: Duration, aim: Option<Duration>) -> String {
    let gap_ms = milliseconds(gap);
    match aim {
        None => format!("{gap_ms:.0}"),
        Some(aim) if gap < aim => format!("{gap_ms:.0}, aim {} met", aim.as_millis()),
        Some(aim) => format!("{gap_ms:.0}, aim {} **missed**", aim.as_millis()),
    }
}

/// One line for whoever waits.
pub(crate) fn progress(fault: Fault, role: Role, number: u32, outcome: &Outcome) -> String {
    let verdict = if outcome.verdict.is_clean() {
        String::new()
    } else {
        format!("  {:#?}", outcome.verdict)
    };
    format!(
        "{fault:<12} of the {role:<9} round {number:>3}  {:>6.0}/s  without {:>4.0} ms  \
         gap {:>5.0} ms  coming back {:>5.0} ms{verdict}",
        outcome.rate,
        milliseconds(outcome.gap_before),
        milliseconds(outcome.gap),
        milliseconds(outcome.gap_healing),
    )
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
