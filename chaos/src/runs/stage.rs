//! The time of a run: what goes on, for how long, and how the members are meanwhile.

use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::clock::{Clock, Moment, now};
use crate::faults::{self, FaultError, Installed, Plan};
use crate::history::{Fault, FaultState, Line, Phase, PhaseName};
use crate::testbed::{Cluster, Random};
use crate::workload::Workload;

use super::recording::stop;
use super::watch::Watch;

/// How often it is seen whether there is something to show.
const SHOW_INTERVAL: Duration = Duration::from_millis(200);

/// Members under load.
pub(super) struct Stage<'a> {
    pub(super) cluster: Cluster,
    pub(super) clock: Clock,
    pub(super) lines: &'a SyncSender<Line>,
    pub(super) random: Random,
    /// Until its clients are stopped.
    pub(super) workload: Option<Workload>,
    pub(super) watch: Watch,
}

/// A fault that is on.
struct Active {
    plan: Plan,
    began: Moment,
    installed: Installed,
}

impl Stage<'_> {
    /// The next part of the run begins.
    pub(super) fn enter(&mut self, name: PhaseName) -> Result<()> {
        self.watch.enter(name);
        self.write(Line::Phase(Phase { name, at: self.clock.now() }))
    }

    /// Lets time pass.
    pub(super) fn stay(&mut self, time: Duration) {
        let end = now() + time;
        loop {
            self.watch.show(self.workload.as_ref());
            let left = end.saturating_duration_since(now());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(SHOW_INTERVAL));
        }
    }

    /// Installs faults, one after the other, lets them stay, and takes them back, the last one first.
    pub(super) fn suffer(&mut self, plans: &[Plan], lasts: Duration) -> Result<()> {
        let mut active = Vec::new();
        for plan in plans {
            active.extend(self.install(*plan)?);
        }
        self.stay(if active.is_empty() { Duration::ZERO } else { lasts });
        while let Some(fault) = active.pop() {
            self.heal(fault)?;
        }
        Ok(())
    }

    fn install(&mut self, plan: Plan) -> Result<Option<Active>> {
        let began = self.clock.now();
        self.watch.fault_begins(&plan.to_string());
        match faults::install(&plan, &mut self.cluster, &mut self.random) {
            Ok(installed) => Ok(Some(Active { plan, began, installed })),
            Err(error) => {
                self.watch.fault_ends(&plan.to_string(), "not there");
                let state = match error {
                    FaultError::Missing(_) => FaultState::Skipped,
                    _ => FaultState::Indeterminate,
                };
                if state == FaultState::Indeterminate {
                    faults::recover(&mut self.cluster).context("nothing works any more")?;
                }
                let healed = Some(self.clock.now());
                let members = self.all_members();
                self.tell(plan, members, (began, healed), state, error.to_string())?;
                Ok(None)
            }
        }
    }

    fn heal(&mut self, fault: Active) -> Result<()> {
        let Active { plan, began, installed } = fault;
        let (members, note) = (installed.members.clone(), installed.note.clone());
        let healed = installed.heal(&mut self.cluster);
        if let Some(workload) = &self.workload {
            workload.set_addresses(self.addresses());
        }
        self.watch.fault_ends(&plan.to_string(), "healed");
        let at = self.clock.now();
        self.tell(plan, members, (began, Some(at)), FaultState::Installed, note)?;
        healed.with_context(|| format!("{plan} does not heal"))
    }

    fn tell(
        &self,
        plan: Plan,
        members: Vec<u32>,
        (began, healed): (Moment, Option<Moment>),
        state: FaultState,
        note: String,
    ) -> Result<()> {
        let (name, target) = (plan.kind.name().to_owned(), plan.target.to_string());
        self.write(Line::Fault(Fault { name, target, members, began, healed, state, note }))
    }

    /// Lets all clients finish what they have, and close their connections.
    pub(super) fn stop_clients(&mut self) -> Result<()> {
        self.workload.take().map_or(Ok(()), stop)
    }

    /// Where clients connect, by place.
    pub(super) fn addresses(&self) -> Vec<std::net::SocketAddr> {
        (0..self.cluster.member_count()).map(|member| self.cluster.address(member)).collect()
    }

    fn all_members(&self) -> Vec<u32> {
        (0..).take(self.cluster.member_count()).collect()
    }

    /// Writes down how the members are at this moment.
    pub(super) fn look(&self) -> Result<()> {
        for member in 0..self.cluster.member_count() {
            let sample = self.cluster.sample(member, self.clock.now());
            self.write(Line::Sample(sample))?;
        }
        Ok(())
    }

    fn write(&self, line: Line) -> Result<()> {
        self.lines.send(line).context("the history cannot be written any more")
    }
}
