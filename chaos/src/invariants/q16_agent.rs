//! Q16: behind an agent nobody sees a member die.
//!
//! *Always*: the agent closes no connection and refuses none, and answers nothing with
//! INTERNAL_ERROR. A session lives on without a majority, since its lease runs in the cluster's
//! time; the agent gives up only after a minute without any member.
//!
//! *While a majority lives*: every command is answered, within [`PAUSE_MAX`]. That is so unless
//! faults hurt half of the members around it, as Q14 has it. Faults of all members, one after the
//! other, hurt one at a time, unless there is another.
//!
//! So a hold is never over because a member died: to Q3, Q4 and Q11 a connection to the agent is there
//! until the last command that it answered, whatever happens to members.
//!
//! Measured: commands without an answer, and the longest pause of a client while a majority lived, for
//! each kind of fault. A reserve pauses for what it took beyond the time that it was to wait.
//!
//! Not claimed: anything about who speaks to members themselves.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::time::Duration;

use super::Finding;
use super::calm::is_felt;
use super::fate::NEVER;
use super::index::{self, Connection};
use crate::history::{Command, Fault, History, Outcome, Record, Reply};

/// The longest time without an answer: the machine may be busy. P7 aims at 1.5 s.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// The aim.
const PAUSE_AIM: Duration = Duration::from_millis(1_500);

/// A member that was hurt may still be on its way back so long after its fault was healed.
const RECOVERY: Duration = Duration::from_secs(5);

/// Faults of several members that hurt no more than one at a time.
const ONE_BY_ONE: [&str; 2] = ["terminate", "reset"];

/// Where the pauses count that are beside no fault.
const CALM: &str = "no fault";

pub(super) fn check(history: &History) -> Finding {
    let mut finding = Finding::default();
    let Some(agent) = history.head.agent() else { return finding };
    let mut tally = Tally { given_up: given_up(history), ..Tally::default() };
    let mut faults: VecDeque<&Fault> = history.faults.iter().collect();
    for (place, record) in history.records.iter().enumerate() {
        // Those that are over are no more to any later record.
        while faults.front().is_some_and(|fault| !is_felt(fault, (record.invoked, NEVER), RECOVERY))
        {
            faults.pop_front();
        }
        if record.member == agent {
            let span = (record.invoked, record.returned);
            let begun = faults.iter().copied().take_while(|fault| fault.began <= span.1);
            let felt = begun.filter(|fault| is_felt(fault, span, RECOVERY)).collect();
            let around = Around { felt, members: history.head.members };
            judge((place, record), &around, &mut tally, &mut finding);
        }
    }
    finding.measure("commands without an answer", tally.unanswered);
    finding.measure("of these while a majority lived", tally.unanswered_in_time);
    finding.measure("connections that the agent closed", tally.closed);
    finding.measure("pauses above 1.5 s while a majority lived", tally.above_aim);
    for (name, pause) in &tally.pauses {
        finding.measure(&format!("longest pause, {name}"), format!("{pause:.2?}"));
    }
    finding.measure("longest pause without a majority", format!("{:.2?}", tally.without_majority));
    finding
}

#[derive(Debug, Default)]
struct Tally {
    unanswered: u64,
    unanswered_in_time: u64,
    closed: u64,
    above_aim: u64,
    /// The longest while a majority lived, by the names of the faults that were on.
    pauses: BTreeMap<String, Duration>,
    without_majority: Duration,
    /// Connections that their clients gave up for want of an answer.
    given_up: HashSet<Connection>,
}

/// The faults that may be felt in a command.
struct Around<'a> {
    felt: Vec<&'a Fault>,
    members: u32,
}

fn judge(
    (place, record): (usize, &Record),
    around: &Around<'_>,
    tally: &mut Tally,
    finding: &mut Finding,
) {
    finding.cases += 1;
    let pause = pause_of(record);
    match (&record.command, &record.outcome) {
        (Command::Broken, _) if tally.given_up.contains(&index::connection(record)) => {}
        (Command::Broken, _) => {
            tally.closed += 1;
            finding.break_with("the agent closed a connection".to_owned(), vec![place]);
        }
        (Command::Connect, Outcome::Unknown { .. } | Outcome::NoEffect { .. }) => {
            finding.break_with("the agent took no connection".to_owned(), vec![place]);
        }
        (_, Outcome::Replied(Reply::InternalError)) => {
            finding.break_with("the agent does not know what happened".to_owned(), vec![place]);
        }
        (_, Outcome::NoEffect { .. }) => {}
        (_, Outcome::Unknown { .. }) => {
            tally.unanswered += 1;
        }
        (_, Outcome::Replied(_)) => {}
    }
    if !around.has_majority() {
        tally.without_majority = tally.without_majority.max(pause);
        return;
    }
    let longest = tally.pauses.entry(around.names(record)).or_default();
    *longest = pause.max(*longest);
    tally.above_aim += u64::from(pause > PAUSE_AIM);
    tally.unanswered_in_time += u64::from(matches!(record.outcome, Outcome::Unknown { .. }));
    if pause >= PAUSE_MAX {
        let what = format!("nothing was answered for {pause:.1?} while a majority lived");
        finding.break_with(what, vec![place]);
    }
}

/// Connections whose clients did not wait any longer. Others that were not answered were ended by the
/// agent, which the record of their end says.
fn given_up(history: &History) -> HashSet<Connection> {
    let is_such = |record: &&Record| {
        matches!(record.outcome, Outcome::Unknown { .. }) && pause_of(record) >= PAUSE_MAX
    };
    history.records.iter().filter(is_such).map(index::connection).collect()
}

/// How long a client had to wait for more than it had asked for.
fn pause_of(record: &Record) -> Duration {
    let took = record.returned.since(record.invoked);
    match record.command {
        // From the last sign of life on.
        Command::Broken => Duration::ZERO,
        Command::Reserve { timeout: Some(seconds), .. } => {
            took.saturating_sub(index::seconds(seconds))
        }
        Command::Reserve { timeout: None, .. } => Duration::ZERO,
        _ => took,
    }
}

impl Around<'_> {
    /// The names of those that were on.
    fn names(&self, record: &Record) -> String {
        let span = (record.invoked, record.returned);
        let on = self.felt.iter().filter(|fault| is_felt(fault, span, Duration::ZERO));
        let mut names: Vec<&str> = on.map(|fault| &*fault.name).collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() { CALM.to_owned() } else { names.join(" and ") }
    }

    /// Whether more than half of the members were surely there all the time.
    fn has_majority(&self) -> bool {
        if let [only] = self.felt[..]
            && ONE_BY_ONE.contains(&&*only.name)
        {
            return self.members > 2;
        }
        let hurt: BTreeSet<u32> =
            self.felt.iter().flat_map(|fault| fault.members.iter().copied()).collect();
        hurt.len() * 2 < self.members as usize
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Story, inserted, measure, put, reserve};
    use super::*;
    use crate::history::{FaultState, PhaseName};

    const AGENT: u32 = 3;

    /// Three members behind an agent, of which these are hurt from 10 s to 20 s.
    fn story(name: &str, members: &[u32]) -> Story {
        let mut story = Story::new();
        story.head().has_agent = true;
        story.fault(name, members, (10_000, 20_000), FaultState::Installed);
        story.phase(PhaseName::Faults, 0).at_member(AGENT);
        story
    }

    fn judged(story: &mut Story) -> (u64, u64) {
        let finding = check(&story.history());
        (finding.cases, finding.broken)
    }

    fn broken_off(story: &mut Story, client: u32, span: (u64, u64)) {
        story.op(client, span, Command::Broken, Reply::Done);
    }

    #[test]
    fn a_connection_that_the_agent_closes_is_noticed_whatever_happens() {
        for members in [&[0][..], &[0, 1, 2]] {
            let mut story = story("kill", members);
            story.unanswered(1, 11_000, put(1));
            broken_off(&mut story, 1, (10_500, 11_003));
            let finding = check(&story.history());
            assert_eq!((finding.cases, finding.broken), (2, 1), "{members:?}");
            assert_eq!(measure(&finding, "connections that the agent closed"), "1");
            assert_eq!(measure(&finding, "commands without an answer"), "1");
        }
        let mut story = story("kill", &[0]);
        let why = "refused".to_owned();
        story.ask(1, (11_000, 11_001), Command::Connect, Outcome::NoEffect { why });
        story.told(2, 11_000, put(1), Reply::InternalError);
        assert_eq!(judged(&mut story), (2, 2));
    }

    #[test]
    fn who_speaks_to_a_member_sees_it_die() {
        let mut story = story("kill", &[0]);
        story.at_member(0).unanswered(1, 11_000, put(1));
        broken_off(&mut story, 1, (10_500, 11_003));
        assert_eq!(judged(&mut story), (0, 0));
        story.head().has_agent = false;
        assert_eq!(judged(&mut story), (0, 0));
    }

    /// A put that its client gave up after ten seconds, beginning then.
    fn given_up(story: &mut Story, at: u64) -> u64 {
        let why = "no reply in time".to_owned();
        story.ask(1, (at, at + 10_001), put(1), Outcome::Unknown { why });
        broken_off(story, 1, (at - 10, at + 10_002));
        judged(story).1
    }

    #[test]
    fn a_command_without_an_answer_is_noticed_if_a_majority_lived() {
        assert_eq!(given_up(&mut story("freeze", &[2]), 9_000), 1);
        assert_eq!(given_up(&mut story("freeze", &[0, 2]), 9_000), 0);
        assert_eq!(given_up(&mut story("freeze", &[0, 2]), 25_001), 1, "it was over");
        assert_eq!(given_up(&mut story("freeze", &[0, 2]), 24_999), 0, "it may be felt");
        assert_eq!(given_up(&mut story("terminate", &[0, 1, 2]), 9_000), 1, "one by one");
        let mut both = story("terminate", &[0, 1, 2]);
        both.fault("freeze", &[0], (12_000, 13_000), FaultState::Installed);
        assert_eq!(given_up(&mut both, 9_000), 0);
    }

    #[test]
    fn an_answer_that_comes_late_is_a_pause_and_too_late_is_noticed() {
        for (took, broken, above) in [(1_000, 0, "0"), (9_999, 0, "1"), (10_000, 1, "1")] {
            let mut story = story("kill", &[1]);
            story.op(1, (11_000, 11_000 + took), put(1), inserted(1));
            let finding = check(&story.history());
            assert_eq!(finding.broken, broken, "{took}");
            assert_eq!(measure(&finding, "pauses above 1.5 s while a majority lived"), above);
            let longest = format!("{:.2?}", Duration::from_millis(took));
            assert_eq!(measure(&finding, "longest pause, kill"), longest);
        }
    }

    #[test]
    fn who_asked_to_wait_does_not_pause_meanwhile() {
        let mut story = story("kill", &[1]);
        story.op(1, (11_000, 71_500), reserve(), Reply::TimedOut);
        let finding = check(&story.history());
        assert_eq!((finding.cases, finding.broken), (1, 0));
        assert_eq!(measure(&finding, "longest pause, kill"), "500.00ms");
    }
}
