//! What can be seen of the members from outside, and the lines that tell of changes.

use std::time::Duration;

use super::layout::Place;
use super::process::Process;
use crate::admin::{ClusterStatus, Reply, Request, ask_within};

/// How long a member may take to say how it is. One that takes longer does not answer.
const STATUS_LIMIT: Duration = Duration::from_millis(300);

/// The number of jobs is told once in so many looks: it may change all the time.
const LOOKS_BETWEEN_JOBS: u32 = 5;

/// A member, as it is seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) id: u64,
    pub(super) state: State,
}

/// What a member does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It answers.
    Answers(ClusterStatus),
    /// Its process lives, and it does not answer.
    Silent,
    /// Its process has ended, and nobody has started another.
    Ended(String),
}

/// Asks all members at once.
pub(super) async fn look(places: &[Place], ids: &[u64], processes: &mut [Process]) -> Vec<Seen> {
    let asked = places.iter().map(|place| ask_within(&place.data, &Request::Status, STATUS_LIMIT));
    let answers = futures_util::future::join_all(asked).await;
    let seen = answers.into_iter().zip(ids).zip(processes).map(|((answer, id), process)| {
        let state = match (answer, process.ended()) {
            // Also if it has ended: then somebody has started it again.
            (Ok(Reply::Status(status)), _) => State::Answers(status),
            (_, Some(status)) => State::Ended(status.to_string()),
            (_, None) => State::Silent,
        };
        Seen { id: *id, state }
    });
    seen.collect()
}

/// Knows what was told.
#[derive(Default)]
pub(super) struct Watcher {
    seen: Vec<Seen>,
    leader: Option<Leader>,
    jobs: Option<u64>,
    looks: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Leader {
    /// `None`: nobody leads.
    id: Option<u64>,
    term: u64,
}

impl Watcher {
    /// The lines for what has changed since the last look.
    pub(super) fn changes(&mut self, seen: Vec<Seen>) -> Vec<String> {
        let mut lines = Vec::new();
        for (index, now) in seen.iter().enumerate() {
            let text = condition(&now.state);
            if self.seen.get(index).is_none_or(|before| condition(&before.state) != text) {
                lines.push(format!("member {} {text}", now.id));
            }
        }
        let leader = leader(&seen);
        if self.leader.replace(leader) != Some(leader) {
            lines.push(match leader.id {
                Some(id) => format!("member {id} leads (term {})", leader.term),
                None => "nobody leads".to_owned(),
            });
        }
        let jobs = jobs(&seen, leader);
        if self.looks.is_multiple_of(LOOKS_BETWEEN_JOBS) && jobs.is_some() && jobs != self.jobs {
            lines.extend(jobs.map(|jobs| format!("jobs: {jobs}")));
            self.jobs = jobs;
        }
        self.looks = self.looks.wrapping_add(1);
        self.seen = seen;
        lines
    }
}

fn condition(state: &State) -> String {
    match state {
        State::Answers(status) => format!("is {}", status.phase),
        State::Silent => "does not answer".to_owned(),
        State::Ended(how) => format!("has ended ({how})"),
    }
}

/// Whom those follow that have seen the latest term. One whose process has ended does not lead,
/// whatever others still believe.
fn leader(seen: &[Seen]) -> Leader {
    let answers = seen.iter().filter_map(answer);
    let latest = answers.max_by_key(|status| (status.term, status.leader.is_some()));
    let Some(latest) = latest else { return Leader { id: None, term: 0 } };
    let has_ended = |id: u64| {
        seen.iter().any(|member| member.id == id && matches!(member.state, State::Ended(_)))
    };
    match latest.leader.filter(|id| !has_ended(*id)) {
        Some(id) => Leader { id: Some(id), term: latest.term },
        // One word for all terms in which nobody was elected.
        None => Leader { id: None, term: 0 },
    }
}

/// How many jobs there are, by the leader if it answers.
fn jobs(seen: &[Seen], leader: Leader) -> Option<u64> {
    let is_leader = |member: &&Seen| Some(member.id) == leader.id;
    let of_leader = seen.iter().find(is_leader).and_then(answer).and_then(|status| status.jobs);
    of_leader.or_else(|| {
        let answers = seen.iter().filter_map(answer).filter(|status| status.jobs.is_some());
        answers.max_by_key(|status| status.term).and_then(|status| status.jobs)
    })
}

fn answer(seen: &Seen) -> Option<&ClusterStatus> {
    match &seen.state {
        State::Answers(status) => Some(status),
        State::Silent | State::Ended(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(term: u64, leader: Option<u64>, jobs: u64) -> State {
        State::Answers(ClusterStatus {
            leader,
            term,
            phase: "serving".to_owned(),
            jobs: Some(jobs),
            ..Default::default()
        })
    }

    fn seen(states: [State; 3]) -> Vec<Seen> {
        (1..).zip(states).map(|(id, state)| Seen { id, state }).collect()
    }

    fn killed() -> State {
        State::Ended("signal: 9 (SIGKILL)".to_owned())
    }

    #[test]
    fn a_kill_of_the_leader_is_told_line_by_line() {
        let mut watcher = Watcher::default();
        let all = |jobs| seen([(); 3].map(|()| answers(1, Some(1), jobs)));
        let first = watcher.changes(all(0));
        let serving = |id| format!("member {id} is serving");
        assert_eq!(first[..3], [1, 2, 3].map(serving));
        assert_eq!(first[3..], ["member 1 leads (term 1)", "jobs: 0"]);
        assert!(watcher.changes(all(0)).is_empty());

        // The others still follow the one that is gone.
        let gone =
            watcher.changes(seen([killed(), answers(1, Some(1), 0), answers(1, Some(1), 0)]));
        assert_eq!(gone, ["member 1 has ended (signal: 9 (SIGKILL))", "nobody leads"]);
        let electing =
            watcher.changes(seen([killed(), answers(2, None, 0), answers(1, Some(1), 0)]));
        assert!(electing.is_empty(), "{electing:?}");
        let new = watcher.changes(seen([killed(), answers(2, Some(3), 0), answers(2, Some(3), 0)]));
        assert_eq!(new, ["member 3 leads (term 2)"]);
        let back = watcher.changes(seen([(); 3].map(|()| answers(2, Some(3), 0))));
        assert_eq!(back, ["member 1 is serving"]);
    }

    #[test]
    fn jobs_are_told_now_and_then_and_by_the_leader() {
        let mut watcher = Watcher::default();
        let states =
            |jobs| seen([answers(1, Some(2), 0), answers(1, Some(2), jobs), State::Silent]);
        assert!(watcher.changes(states(0)).contains(&"jobs: 0".to_owned()));
        let lines: Vec<_> = (1..=10).flat_map(|jobs| watcher.changes(states(jobs))).collect();
        assert_eq!(lines, ["jobs: 5", "jobs: 10"]);
    }

    #[test]
    fn a_frozen_member_does_not_answer_and_the_leader_is_still_told() {
        let mut watcher = Watcher::default();
        let all = seen([(); 3].map(|()| answers(1, Some(1), 4)));
        watcher.changes(all);
        let lines =
            watcher.changes(seen([State::Silent, answers(2, Some(2), 4), answers(2, Some(2), 4)]));
        assert_eq!(lines, ["member 1 does not answer", "member 2 leads (term 2)"]);
    }
}
