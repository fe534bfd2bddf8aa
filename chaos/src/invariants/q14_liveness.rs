//! Q14: work goes on, and times to run end.
//!
//! *Healed*: from five seconds after everything was healed until clients stop, at each member puts,
//! reserves and deletes succeed, if clients tried at least ten times there, and nothing that is sent
//! stays without an answer, on connections that answered anything since the healing.
//!
//! *During a fault* that lasts at least three seconds and hurts fewer than half of the members: at
//! least a hundred commands are answered to clients of the others, and never longer than five
//! seconds apart. Faults that overlap with one that hurts other members, or follow within five
//! seconds of its healing, are looked at together; if they hurt half of the members, nothing is
//! claimed.
//!
//! *Always*: no member ends but by a fault (`lives.rs`).
//!
//! *Times to run*: who overslept has lost its job (`expiry.rs`).
//!
//! Measured, not judged: the longest pause of all (P7 promises less than a second).
//!
//! Not claimed: anything about clients of members that are hurt, and how late delays end (Q7
//! measures that).

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use super::Finding;
use super::expiry;
use super::fate::{self, NEVER};
use super::index::{self, Connection};
use super::lives;
use crate::clock::Moment;
use crate::history::{Command, Fault, FaultState, History, Outcome, PhaseName, Record, Reply};

/// How long after everything was healed errors are no surprise.
const SETTLE: Duration = Duration::from_secs(5);

/// What is looked at must last so long after that.
const HEALED_MIN: Duration = Duration::from_secs(1);

/// So many attempts at one member must not all fail.
const ATTEMPTS_MIN: u64 = 10;

/// Shorter faults prove nothing.
const FAULT_MIN: Duration = Duration::from_secs(3);

/// A member that was hurt may still be on its way back so long after its fault was healed.
const RECOVERY: Duration = Duration::from_secs(5);

/// So many commands must be answered during a fault.
const COMMANDS_MIN: usize = 100;

/// The longest pause between two of them.
const PAUSE_MAX: Duration = Duration::from_secs(5);

pub(super) fn check(history: &History) -> Finding {
    let mut finding = Finding::default();
    judge_healed(history, &mut finding);
    judge_faults(history, &mut finding);
    lives::judge(history, &mut finding);
    expiry::judge(history, &mut finding);
    finding
}

fn judge_healed(history: &History, finding: &mut Finding) {
    let Some((healed, ended)) = index::phase(history, PhaseName::Healed) else {
        finding.measure("healed", "no such part of the run");
        return;
    };
    let last = history.records.last().map_or(Moment(0), |record| record.invoked);
    let (from, until) = (healed.after(SETTLE), ended.min(last));
    if until.since(from) < HEALED_MIN {
        finding.measure("healed", format!("not judged: it lasted {:.1?}", until.since(healed)));
        return;
    }
    let within = |record: &&Record| record.invoked >= from && record.invoked < until;
    let records: Vec<&Record> = history.records.iter().filter(within).collect();
    for member in history.head.places() {
        for what in ["put", "reserve", "delete"] {
            judge_success(&records, member, what, finding);
        }
    }
    let alive = answered_since(history, healed);
    let is_unanswered = |record: &Record| {
        within(&record)
            && matches!(record.outcome, Outcome::Unknown { .. })
            && alive.contains(&index::connection(record))
    };
    let mut unanswered =
        history.records.iter().enumerate().filter(|(_, record)| is_unanswered(record));
    finding.cases += 1;
    let refused = records.iter().filter(|record| is_refused(record)).count();
    finding.measure("puts refused when healed", refused);
    if let Some((place, _)) = unanswered.next() {
        let count = unanswered.count() + 1;
        let what = format!("{count} commands were not answered although everything was healed");
        finding.break_with(what, vec![place]);
    }
}

/// Connections that were made or answered something from then on. Another may have ended in a fault
/// without its client's notice, until it sends the next command.
fn answered_since(history: &History, from: Moment) -> HashSet<Connection> {
    let answered = history
        .records
        .iter()
        .filter(|record| record.invoked >= from && fate::reply(record).is_some());
    answered.map(index::connection).collect()
}

/// Whether anything of this kind succeeded at a member.
fn judge_success(records: &[&Record], member: u32, what: &str, finding: &mut Finding) {
    let tried = || records.iter().filter(|record| record.member == member && is_try(record, what));
    let (attempts, successes) =
        (tried().count() as u64, tried().filter(|record| succeeds(record)).count());
    if attempts < ATTEMPTS_MIN && successes == 0 {
        finding.measure(&format!("{what} at member {member}"), format!("{attempts} attempts"));
        return;
    }
    finding.cases += 1;
    if successes == 0 {
        let what = format!(
            "none of {attempts} attempts to {what} at member {member} succeeded when healed"
        );
        finding.break_with(what, Vec::new());
    }
}

/// Whether a record is an attempt of a kind; an attempt to connect is one of all kinds.
fn is_try(record: &Record, what: &str) -> bool {
    match &record.command {
        Command::Connect => fate::reply(record) != Some(&Reply::Done),
        Command::Put { .. } => what == "put",
        Command::Reserve { .. } => what == "reserve",
        Command::Delete { .. } => what == "delete",
        _ => false,
    }
}

/// A reserve that found nothing has been served too: its tubes may be empty.
fn succeeds(record: &Record) -> bool {
    let is_served = matches!(fate::reply(record), Some(Reply::TimedOut | Reply::DeadlineSoon));
    fate::has_effect(record) || is_served
}

fn is_refused(record: &Record) -> bool {
    matches!(record.command, Command::Put { .. })
        && matches!(record.outcome, Outcome::Replied(Reply::OutOfMemory | Reply::Draining))
}

fn judge_faults(history: &History, finding: &mut Finding) {
    let mut pauses = Vec::new();
    let mut not_judged = 0_u64;
    let ended = work_ended(history);
    let answers = answers(history);
    for fault in history.faults.iter().filter(|fault| fault.state == FaultState::Installed) {
        let until = fault.healed.unwrap_or(NEVER).min(ended);
        let hurt = hurt_around(history, fault, until);
        let is_minority = hurt.len() * 2 < history.head.members as usize;
        if !is_minority || until.since(fault.began) < FAULT_MIN {
            not_judged += 1;
            continue;
        }
        finding.cases += 1;
        let answered = answered_elsewhere(&answers, &hurt, (fault.began, until));
        let pause = longest_pause(&answered, fault.began, until);
        pauses.push(pause);
        let name = format!("{} of {} at {}", fault.name, fault.target, fault.began);
        if answered.len() < COMMANDS_MIN {
            let count = answered.len();
            let what =
                format!("only {count} commands were answered at other members during {name}");
            finding.break_with(what, Vec::new());
        } else if pause > PAUSE_MAX {
            let what =
                format!("nothing was answered at other members for {pause:.1?} during {name}");
            finding.break_with(what, Vec::new());
        }
    }
    if let Some(longest) = pauses.iter().max() {
        let above = pauses.iter().filter(|&&pause| pause >= Duration::from_secs(1)).count();
        finding.measure("longest pause during a fault elsewhere", format!("{longest:.2?}"));
        finding.measure("pauses of a second and more", format!("{above} of {}", pauses.len()));
    }
    finding.measure("faults that prove nothing about progress", not_judged);
}

/// When clients stopped to work.
fn work_ended(history: &History) -> Moment {
    let rest = [PhaseName::Quiet, PhaseName::Drain, PhaseName::Over];
    let first = rest.iter().filter_map(|&name| index::phase(history, name)).map(|(at, _)| at).min();
    first.unwrap_or_else(|| history.records.last().map_or(Moment(0), |record| record.returned))
}

/// All members that are hurt at some time of a fault.
fn hurt_around(history: &History, fault: &Fault, until: Moment) -> BTreeSet<u32> {
    let others = history.faults.iter().filter(|other| {
        other.state != FaultState::Skipped
            && other.began <= until
            && other.healed.is_none_or(|healed| healed.after(RECOVERY) >= fault.began)
    });
    others.flat_map(|other| other.members.iter().copied()).collect()
}

/// When commands were answered and by which members, by time.
fn answers(history: &History) -> Vec<(Moment, u32)> {
    let is_counted =
        |record: &&Record| fate::reply(record).is_some_and(|reply| *reply != Reply::Done);
    let answered = history.records.iter().filter(is_counted);
    let mut answers: Vec<_> = answered.map(|record| (record.returned, record.member)).collect();
    answers.sort_unstable();
    answers
}

/// When members that are not hurt answered in a span.
fn answered_elsewhere(
    answers: &[(Moment, u32)],
    hurt: &BTreeSet<u32>,
    (from, until): (Moment, Moment),
) -> Vec<Moment> {
    let begin = answers.partition_point(|&(at, _)| at < from);
    let end = answers.partition_point(|&(at, _)| at <= until);
    let within = answers[begin..end].iter();
    within.filter(|(_, member)| !hurt.contains(member)).map(|&(at, _)| at).collect()
}

fn longest_pause(answered: &[Moment], from: Moment, until: Moment) -> Duration {
    let mut longest = Duration::ZERO;
    let mut before = from;
    for &at in answered.iter().chain([&until]) {
        longest = longest.max(at.since(before));
        before = at;
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Story, put};
    use super::check;
    use crate::history::{Command, FaultState, Outcome, PhaseName, Reply};

    /// Three members, everything healed at 1 s; each member serves 12 cycles from 7 s to 19 s.
    fn healed(dead: Option<u32>) -> Story {
        let mut story = Story::new();
        story.phase(PhaseName::Warm, 0).phase(PhaseName::Healed, 1_000);
        for id in 1..=36_u64 {
            let (member, at) = (id as u32 % 3, 7_000 + id * 300);
            story.at_member(member);
            if dead == Some(member) {
                let why = "refused".to_owned();
                story.ask(member, (at, at + 1), Command::Connect, Outcome::NoEffect { why });
            } else {
                story.put(member, at, id).reserve(member, at + 10, id).delete(member, at + 20, id);
            }
        }
        story.phase(PhaseName::Quiet, 20_000);
        story
    }

    #[test]
    fn a_member_at_which_nothing_succeeds_is_noticed() {
        let finding = check(&healed(None).history());
        assert_eq!((finding.cases, finding.broken), (10, 0), "{finding:?}");
        assert_eq!(check(&healed(Some(1)).history()).broken, 3);
    }

    #[test]
    fn a_command_without_an_answer_is_noticed_but_for_the_first_seconds() {
        let mut story = healed(None);
        story.told(50, 5_000, Command::Connect, Reply::Done).unanswered(50, 5_500, put(900));
        assert_eq!(check(&story.history()).broken, 0);
        story.unanswered(51, 6_500, put(901));
        assert_eq!(check(&story.history()).broken, 0, "the connection may have ended long before");
        story.told(52, 6_000, Command::Connect, Reply::Done).unanswered(52, 6_500, put(902));
        assert_eq!(check(&story.history()).broken, 1);
    }

    #[test]
    fn nothing_is_said_about_a_run_that_was_not_healed() {
        let mut story = Story::new();
        story.phase(PhaseName::Warm, 0).put(1, 10, 1);
        let finding = check(&story.history());
        assert_eq!((finding.cases, finding.broken), (0, 0));
    }

    /// A fault of member 0 from 10 s to 20 s; others answer `count` times in its first `span` ms.
    fn hurt(count: u64, span: u64) -> Story {
        let mut story = Story::new();
        story.phase(PhaseName::Faults, 0);
        story.fault("freeze", &[0], (10_000, 20_000), FaultState::Installed);
        for number in 0..count {
            story.at_member(1 + number as u32 % 2);
            let at = 10_000 + number * span / count;
            story.told(number as u32, at, Command::Delete { id: 9 }, Reply::NotFound);
        }
        story.phase(PhaseName::Quiet, 30_000);
        story
    }

    #[test]
    fn work_that_stops_during_a_fault_of_a_minority_is_noticed() {
        for (count, span, broken) in [(99, 9_900, 1), (200, 9_900, 0), (200, 4_000, 1)] {
            let finding = check(&hurt(count, span).history());
            assert_eq!((finding.cases, finding.broken), (1, broken), "{count} in {span} ms");
        }
    }

    #[test]
    fn a_fault_beside_one_of_another_member_proves_nothing() {
        let mut story = hurt(5, 1_000);
        story.fault("kill", &[1], (1_000, 6_000), FaultState::Indeterminate);
        let finding = check(&story.history());
        assert_eq!((finding.cases, finding.broken), (0, 0));
        let mut story = hurt(5, 1_000);
        story.fault("kill", &[1], (1_000, 4_000), FaultState::Indeterminate);
        assert_eq!(check(&story.history()).broken, 1, "that was over");
    }
}
