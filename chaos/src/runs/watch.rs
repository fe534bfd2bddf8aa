//! What whoever waits for a run is shown.

use std::io;
use std::time::{Duration, Instant};

use crate::clock::{Clock, now};
use crate::history::PhaseName;
use crate::progress::{ProgressLines, Status};
use crate::workload::Workload;

use super::sampler::Leaders;

const INTERVAL: Duration = Duration::from_secs(1);

/// A run, as far as it is shown.
pub(super) struct Watch {
    clock: Clock,
    lines: ProgressLines<io::Stderr>,
    phase: PhaseName,
    faults: Vec<String>,
    leaders: Leaders,
    shown: Instant,
}

impl Watch {
    pub(super) fn new(clock: Clock, leaders: Leaders) -> Self {
        Self {
            clock,
            lines: ProgressLines::stderr(),
            phase: PhaseName::Warm,
            faults: Vec::new(),
            leaders,
            shown: now(),
        }
    }

    pub(super) fn enter(&mut self, phase: PhaseName) {
        self.phase = phase;
        self.lines.note(self.clock.now(), &format!("{phase:?}").to_lowercase());
    }

    pub(super) fn fault_begins(&mut self, fault: &str) {
        self.faults.push(fault.to_owned());
        self.lines.note(self.clock.now(), &format!("begins: {fault}"));
    }

    pub(super) fn fault_ends(&mut self, fault: &str, how: &str) {
        self.faults.retain(|on| on != fault);
        self.lines.note(self.clock.now(), &format!("{how}: {fault}"));
    }

    /// Says how it goes, once a second, while there are clients.
    pub(super) fn show(&mut self, workload: Option<&Workload>) {
        let Some(workload) = workload.filter(|_| now() - self.shown >= INTERVAL) else { return };
        self.shown = now();
        let leader = self.leaders.latest().map(|id| format!("member id {id}"));
        self.lines.show(&Status {
            at: self.clock.now(),
            phase: self.phase,
            progress: &workload.progress(),
            leader,
            faults: &self.faults,
            unknown: workload.totals().unknown,
        });
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.lines.clear();
    }
}
