//! Figures against aims and promises: what is only named when it is missed, and what breaks.

use std::{collections::BTreeMap, fmt, time::Duration};

use hdrhistogram::Histogram;

use super::phase::{Phase, Phases, Seen};
use crate::common::section::Section;

/// How much larger the p99 of put may be while a member is filled.
const P99_RATIO_MAX: f64 = 2.0;
/// For checkpoints and runs that are written.
const P999_MAX: Duration = Duration::from_millis(20);

/// The report, and the promises that were broken.
pub(crate) struct Judge {
    pub(crate) section: Section,
    pub(crate) broken: Vec<String>,
}

/// What one member says it holds, by the state of the jobs.
pub(crate) type Counts = BTreeMap<&'static str, u64>;

/// Jobs that were looked at on two members.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Looked {
    /// Ids that were asked for.
    pub(crate) asked: u64,
    /// The same job, as it was put, on both.
    pub(crate) same: u64,
    /// No job on either: an id that another client's job had.
    pub(crate) absent: u64,
}

impl Phase {
    fn label(self) -> &'static str {
        match self {
            Self::Fill => "while the backlog was put",
            Self::BaseLine => "base line",
            Self::Writing => "beside a moderate producer",
            Self::Refill => "refill",
        }
    }
}

impl Judge {
    pub(crate) fn new(heading: String) -> Self {
        Self { section: Section::new(heading), broken: Vec::new() }
    }

    /// A promise.
    pub(crate) fn promise(&mut self, name: &str, value: impl fmt::Display, aim: &str, held: bool) {
        if !held {
            self.broken.push(format!("{name}: {value}, not {aim}"));
        }
        self.section.judged(name, value, aim, held);
    }

    /// What the paced clients saw.
    pub(crate) fn phases(&mut self, phases: &Phases) {
        for (&phase, seen) in phases {
            self.phase(phase, seen);
        }
        let p99 = |phase| phases.get(&phase).map(|seen: &Seen| at(&seen.from_due, 0.99));
        let (Some(base), Some(refill)) = (p99(Phase::BaseLine), p99(Phase::Refill)) else {
            return;
        };
        let ratio = refill.as_secs_f64() / base.as_secs_f64();
        let name = "p99 of put, refill / base line";
        let met = ratio <= P99_RATIO_MAX;
        self.section.judged(name, format!("{ratio:.2}"), "at most 2", met);
    }

    /// Leaders that came while the member was filled, by the terms before and after.
    pub(crate) fn leaders(&mut self, before: u64, after: u64) {
        let changes = after.saturating_sub(before);
        let value = format!("{changes} (term {before}, then {after})");
        self.section.judged("refill: changes of leader", value, "none", changes == 0);
    }

    /// What a member says the backlog is: all that was acknowledged, all of it ready.
    pub(crate) fn counts(&mut self, member: &str, acknowledged: u64, counts: &Counts) {
        let value = counts.iter().map(|(state, count)| format!("{count} {state}"));
        let value = value.collect::<Vec<_>>().join(", ");
        let held = counts.iter().all(|(&state, &count)| {
            let expected = if state == "ready" { acknowledged } else { 0 };
            count == expected
        });
        let aim = format!("{acknowledged} ready");
        self.promise(&format!("{member}: backlog in the end"), value, &aim, held);
    }

    /// The jobs of all tubes, as each member says: what a client that was cut off left is there too.
    pub(crate) fn agree(&mut self, totals: &[u64]) {
        let value = totals.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        let held = totals.windows(2).all(|pair| pair[0] == pair[1]);
        self.promise("jobs over all tubes, member by member", value, "the same", held);
    }

    /// Jobs looked at on the member that was filled, and on the one that leads.
    pub(crate) fn looked(&mut self, looked: Looked) {
        let Looked { asked, same, absent } = looked;
        let value = format!("{same} the same, {absent} absent, of {asked}");
        let held = same > 0 && same + absent == asked;
        let name = "jobs looked at on the filled member and its leader";
        self.promise(name, value, "the same on both, as they were put", held);
    }

    fn phase(&mut self, phase: Phase, seen: &Seen) {
        let label = phase.label();
        for (from, latency) in [("from due", &seen.from_due), ("from sent", &seen.from_sent)] {
            let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|quantile| at(latency, quantile));
            let most = Duration::from_nanos(latency.max());
            let name = format!("{label}: put {from}, p50 / p99 / p99.9 / most");
            let value = format!("{p50:.1?} / {p99:.1?} / {p999:.1?} / {most:.1?}");
            let has_aim = matches!(phase, Phase::BaseLine | Phase::Writing);
            if has_aim && from == "from due" {
                self.section.judged(&name, value, "p99.9 below 20 ms", p999 < P999_MAX);
            } else {
                self.section.figure(&name, value);
            }
        }
        self.section.figure(&format!("{label}: puts"), seen.from_due.len());
        let refused = format!("{label}: puts refused");
        match phase {
            // Producers that flood it are what a server may refuse.
            Phase::Fill => self.section.figure(&refused, seen.refused),
            _ => self.promise(&refused, seen.refused, "none", seen.refused == 0),
        }
        let first = seen.first_error.as_ref().map(|first| format!(", first {first}"));
        let errors = format!("{}{}", seen.errors, first.unwrap_or_default());
        self.promise(&format!("{label}: errors of clients"), errors, "none", seen.errors == 0);
    }
}

fn at(latency: &Histogram<u64>, quantile: f64) -> Duration {
    Duration::from_nanos(latency.value_at_quantile(quantile))
}
