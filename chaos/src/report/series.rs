//! A history as curves: what happened in each second, who led, how large members were.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Moment;
use crate::history::{Command, History, MemberSample, Outcome, PhaseName, Record};
use crate::workload::{Latency, latency_of, may_wait};

/// The most steps of a run; one that takes longer has steps of more than a second.
const STEPS_MAX: u64 = 7_200;
const SECOND: u64 = 1_000_000_000;
const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// All curves of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    /// Seconds from one step to the next.
    pub(super) step: u64,
    /// What happened, from the beginning.
    pub(super) steps: Vec<Step>,
    /// Who led, by time.
    pub(super) reigns: Vec<Reign>,
    /// The greatest resident size in each step in MiB, by the member's place.
    pub(super) resident: BTreeMap<u32, Vec<Option<f64>>>,
    /// How many members there are.
    pub(super) members: u32,
    /// When the run was over.
    pub(super) end: Moment,
    /// The longest time in which no command was answered while clients worked.
    pub(super) longest_silence: Duration,
}

/// What happened in one step.
#[derive(Clone, Debug, Default)]
pub(super) struct Step {
    /// Commands that were answered.
    pub(super) completed: u64,
    /// Commands that nobody knows the fate of.
    pub(super) unknown: u64,
    /// Commands that surely had no effect.
    pub(super) refused: u64,
    /// Of those that were answered and did not ask to wait.
    pub(super) latency: Option<Latency>,
}

/// A time in which one member led, as far as members said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reign {
    pub(super) term: u64,
    pub(super) leader: u64,
    /// The leader's place, when it is known.
    pub(super) member: Option<u32>,
    /// When it was first said.
    pub(super) from: Moment,
    /// When it was last said.
    pub(super) to: Moment,
}

impl Series {
    /// The curves of a history.
    pub(super) fn of(history: &History) -> Self {
        let end = end_of(history);
        let step = end.0.div_ceil(SECOND).div_ceil(STEPS_MAX).max(1);
        let count = end.0 / (step * SECOND) + 1;
        let mut series = Self {
            step,
            members: members_of(history),
            end,
            longest_silence: longest_silence(history),
            ..Self::default()
        };
        series.steps.resize_with(index(count), Step::default);
        series.add_records(&history.records);
        series.add_resident(&history.samples);
        series.reigns = reigns(&history.samples);
        series
    }

    /// The end in seconds.
    pub(super) fn end_seconds(&self) -> f64 {
        self.end.since(Moment::default()).as_secs_f64()
    }

    fn step_of(&self, at: Moment) -> usize {
        index(at.0 / (self.step * SECOND)).min(self.steps.len() - 1)
    }

    fn add_records(&mut self, records: &[Record]) {
        let mut latencies = vec![Vec::new(); self.steps.len()];
        for record in records {
            let place = self.step_of(record.returned);
            let step = &mut self.steps[place];
            match &record.outcome {
                Outcome::Unknown { .. } => step.unknown += 1,
                Outcome::NoEffect { .. } => step.refused += 1,
                Outcome::Replied(_) if is_of_connection(&record.command) => {}
                Outcome::Replied(_) => {
                    step.completed += 1;
                    if !may_wait(&record.command) {
                        latencies[place].push(latency_of(record));
                    }
                }
            }
        }
        for (step, mut latencies) in self.steps.iter_mut().zip(latencies) {
            step.latency = quantiles(&mut latencies);
        }
    }

    fn add_resident(&mut self, samples: &[MemberSample]) {
        for sample in samples {
            let Some(bytes) = sample.resident_bytes else { continue };
            let place = self.step_of(sample.at);
            let steps = self.steps.len();
            let curve = self.resident.entry(sample.member).or_insert_with(|| vec![None; steps]);
            let size = bytes as f64 / MEBIBYTE;
            curve[place] = Some(curve[place].map_or(size, |most: f64| most.max(size)));
        }
    }
}

/// Latencies of a whole history.
pub(super) fn latency_of_all(history: &History) -> Option<Latency> {
    let is_counted = |record: &&Record| {
        matches!(record.outcome, Outcome::Replied(_))
            && !is_of_connection(&record.command)
            && !may_wait(&record.command)
    };
    let mut latencies: Vec<_> = history.records.iter().filter(is_counted).map(latency_of).collect();
    quantiles(&mut latencies)
}

/// Half, 99 of 100, and all; nothing when there are none.
fn quantiles(latencies: &mut [Duration]) -> Option<Latency> {
    latencies.sort_unstable();
    let at =
        |percent: usize| latencies.get((latencies.len() * percent / 100).min(latencies.len() - 1));
    let max = *latencies.last()?;
    Some(Latency { p50: *at(50)?, p99: *at(99)?, max })
}

/// Connecting and closing are no commands.
pub(super) fn is_of_connection(command: &Command) -> bool {
    matches!(command, Command::Connect | Command::Close | Command::Broken)
}

fn end_of(history: &History) -> Moment {
    let records = history.records.iter().map(|record| record.returned);
    let faults = history.faults.iter().map(|fault| fault.healed.unwrap_or(fault.began));
    let phases = history.phases.iter().map(|phase| phase.at);
    let samples = history.samples.iter().map(|sample| sample.at);
    let end = records.chain(faults).chain(phases).chain(samples).max();
    // A run without a length has no axis.
    end.unwrap_or_default().max(Moment(SECOND))
}

fn members_of(history: &History) -> u32 {
    let sampled = history.samples.iter().map(|sample| sample.member + 1);
    let spoken = history.records.iter().map(|record| record.member + 1);
    sampled.chain(spoken).chain([history.head.members, 1]).max().unwrap_or(1)
}

fn longest_silence(history: &History) -> Duration {
    let begin_of = |names: &[PhaseName]| {
        history.phases.iter().find(|phase| names.contains(&phase.name)).map(|phase| phase.at)
    };
    let from = begin_of(&[PhaseName::Warm]).unwrap_or_default();
    let to = begin_of(&[PhaseName::Quiet, PhaseName::Drain, PhaseName::Over]);
    let to = to.unwrap_or_else(|| end_of(history));
    let answered = history.records.iter().filter(|record| {
        matches!(record.outcome, Outcome::Replied(_)) && !is_of_connection(&record.command)
    });
    let mut moments: Vec<Moment> =
        answered.map(|record| record.returned).filter(|at| (from..to).contains(at)).collect();
    if moments.is_empty() {
        return Duration::ZERO;
    }
    moments.push(to);
    moments.sort_unstable();
    let pauses = moments.windows(2).map(|pair| pair[1].since(pair[0]));
    pauses.max().unwrap_or_default()
}

/// Who led, by what members said. A member that is behind still names the leader before: what is
/// said of an earlier term does not count.
fn reigns(samples: &[MemberSample]) -> Vec<Reign> {
    let places: BTreeMap<u64, u32> =
        samples.iter().filter_map(|sample| Some((sample.id?, sample.member))).collect();
    let mut reigns: Vec<Reign> = Vec::new();
    for sample in samples {
        let (Some(term), Some(leader)) = (sample.term, sample.leader) else { continue };
        if leader == 0 {
            continue;
        }
        match reigns.last_mut() {
            Some(last) if term < last.term => {}
            Some(last) if term == last.term && leader == last.leader => last.to = sample.at,
            _ => {
                let member = places.get(&leader).copied();
                reigns.push(Reign { term, leader, member, from: sample.at, to: sample.at });
            }
        }
    }
    reigns
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("few steps")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leader_of_an_earlier_term_does_not_count() {
        let sample = |member: u32, at, term, leader| MemberSample {
            member,
            at: Moment(at),
            id: Some(u64::from(member) + 1),
            term: Some(term),
            leader: Some(leader),
            ..MemberSample::default()
        };
        let samples = [
            sample(0, 1, 4, 1),
            sample(1, 2, 4, 1),
            sample(1, 3, 5, 2),
            sample(0, 4, 4, 1),
            sample(2, 5, 5, 2),
        ];
        let reign = |term, leader, from, to| Reign {
            term,
            leader,
            member: u32::try_from(leader).ok().map(|id| id - 1),
            from: Moment(from),
            to: Moment(to),
        };
        assert_eq!(reigns(&samples), [reign(4, 1, 1, 2), reign(5, 2, 3, 5)]);
    }

    #[test]
    fn quantiles_of_a_hundred_are_exact() {
        let mut latencies: Vec<_> = (1..=100).rev().map(Duration::from_millis).collect();
        let latency = quantiles(&mut latencies).unwrap();
        let milliseconds = [latency.p50, latency.p99, latency.max].map(|time| time.as_millis());
        assert_eq!(milliseconds, [51, 100, 100]);
        assert_eq!(quantiles(&mut []), None);
    }
}
