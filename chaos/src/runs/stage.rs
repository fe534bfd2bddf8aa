//! The time of a run: what goes on, for how long, and how the members are meanwhile.

use std::net::SocketAddr;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::clock::{Clock, Moment, now};
use crate::faults::{self, FaultError, Installed, Plan};
use crate::history::{Fault, FaultState, Line, MemberSample, Phase, PhaseName};
use crate::testbed::{Agent, Cluster, Random};
use crate::workload::{self, Backlog, Workload, tube_names};

use super::recording::stop;
use super::watch::Watch;

/// Clients work before anything is broken, and after all is healed.
const WARM: Duration = Duration::from_secs(5);
const HEALED: Duration = Duration::from_secs(20);
/// How long nobody does anything before members are asked what they have.
const REST: Duration = Duration::from_millis(1_200);
/// How long taking out all jobs may take: there are ten thousand, and each takes two syncs, which a
/// busy machine does a hundred times a second.
const DRAIN_LIMIT: Duration = Duration::from_secs(300);
/// After which a fault is tried again that the members were not ready for.
const SECOND_CHANCE_AFTER: Duration = Duration::from_secs(3);
/// How often it is seen whether there is something to show.
const SHOW_INTERVAL: Duration = Duration::from_millis(200);
const TUBES: usize = 4;

/// What is put to the test.
pub(super) trait Subject {
    /// Where clients connect, by place.
    fn addresses(&self) -> Vec<SocketAddr>;

    /// How its members are.
    fn samples(&self, clock: Clock) -> Vec<MemberSample>;
}

/// Whatever is put to the test, under load.
pub(super) struct Stage<'a, S> {
    pub(super) subject: S,
    pub(super) clock: Clock,
    pub(super) lines: &'a SyncSender<Line>,
    pub(super) random: Random,
    /// What stands between clients and the members, if anything does.
    pub(super) agent: Option<Agent>,
    /// Until its clients are stopped.
    pub(super) workload: Option<Workload>,
    /// What can be put once more.
    pub(super) backlog: Option<Backlog>,
    pub(super) watch: Watch,
}

/// A fault that is on.
struct Active {
    plan: Plan,
    began: Moment,
    installed: Installed,
}

/// The tubes that clients know of.
pub(super) fn tubes() -> Vec<String> {
    tube_names(TUBES)
}

/// The tubes of a run: one more, in which jobs rest.
pub(super) fn all_tubes() -> Vec<String> {
    tube_names(TUBES + 1)
}

impl<S: Subject> Stage<'_, S> {
    /// Walks through all parts of a run; `break_things` is the one in the middle.
    pub(super) fn walk(
        &mut self,
        break_things: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        self.enter(PhaseName::Warm)?;
        self.stay(WARM);
        self.enter(PhaseName::Faults)?;
        if let Err(why) = break_things(self) {
            // Nobody may go on to ask where no member is any more.
            drop(self.stop_clients());
            return Err(why);
        }
        self.enter(PhaseName::Healed)?;
        self.stay(HEALED);
        self.stop_clients()?;
        self.enter(PhaseName::Quiet)?;
        self.stay(REST);
        let (addresses, tubes) = (self.subject.addresses(), all_tubes());
        workload::look(&addresses, &tubes, self.clock, self.lines)?;
        self.look()?;
        self.enter(PhaseName::Drain)?;
        workload::drain(&addresses, &tubes, self.clock, self.lines, DRAIN_LIMIT)?;
        self.look()?;
        self.enter(PhaseName::Over)
    }

    /// The next part of the run begins.
    fn enter(&mut self, name: PhaseName) -> Result<()> {
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

    /// Lets all clients finish what they have, and close their connections.
    fn stop_clients(&mut self) -> Result<()> {
        self.workload.take().map_or(Ok(()), stop)
    }

    /// Writes down how the members are at this moment.
    fn look(&self) -> Result<()> {
        let mut samples = self.subject.samples(self.clock).into_iter();
        samples.try_for_each(|sample| self.write(Line::Sample(sample)))
    }

    pub(super) fn write(&self, line: Line) -> Result<()> {
        self.lines.send(line).context("the history cannot be written any more")
    }
}

impl Stage<'_, Cluster> {
    /// Installs faults, one so long after the other, maybe with a backlog put in between, lets them
    /// stay, and takes them back, the last one first.
    pub(super) fn suffer(
        &mut self,
        plans: &[Plan],
        (apart, has_burst): (Duration, bool),
        lasts: Duration,
    ) -> Result<()> {
        let mut active = Vec::new();
        for plan in plans {
            if !active.is_empty() {
                if has_burst {
                    self.put_backlog();
                }
                self.stay(apart);
            }
            let is_first = active.is_empty();
            match self.install(*plan, is_first) {
                Ok(installed) => active.extend(installed),
                Err(why) => {
                    // The run is over, but what was broken is to be in its history.
                    drop(self.heal(active));
                    return Err(why);
                }
            }
        }
        self.stay(if active.is_empty() { Duration::ZERO } else { lasts });
        self.heal(active)
    }

    /// Installs a fault. One that is not the first may be hindered by those before, which is no lack.
    fn install(&mut self, plan: Plan, is_first: bool) -> Result<Option<Active>> {
        self.watch.fault_begins(&plan.to_string());
        let mut began = self.clock.now();
        let mut result = faults::install(&plan, &mut self.subject, &mut self.random);
        if is_first && matches!(result, Err(FaultError::Hindered(_))) {
            // Clients may have used up what it is done to; or somebody was not there yet.
            self.put_backlog();
            self.stay(SECOND_CHANCE_AFTER);
            began = self.clock.now();
            result = faults::install(&plan, &mut self.subject, &mut self.random);
        }
        match result {
            Ok(installed) => Ok(Some(Active { plan, began, installed })),
            Err(FaultError::Hindered(why)) if !is_first => {
                self.watch.fault_ends(&plan.to_string(), &format!("not there, {why}"));
                Ok(None)
            }
            Err(error) => {
                self.watch.fault_ends(&plan.to_string(), "not there");
                let state = match error {
                    FaultError::Missing(_) | FaultError::Hindered(_) => FaultState::Skipped,
                    _ => FaultState::Indeterminate,
                };
                if state == FaultState::Indeterminate {
                    faults::recover(&mut self.subject).context("nothing works any more")?;
                }
                let healed = Some(self.clock.now());
                let members = self.all_members();
                self.tell(plan, members, (began, healed), state, error.to_string())?;
                Ok(None)
            }
        }
    }

    /// Puts the backlog once more. What is refused is in the history.
    fn put_backlog(&self) {
        if let Some(backlog) = &self.backlog {
            workload::fill(backlog, &self.subject.addresses(), self.clock, self.lines);
        }
    }

    /// Heals all that is on, and writes it down, whatever came of that.
    fn heal(&mut self, active: Vec<Active>) -> Result<()> {
        let (told, mut faults): (Vec<_>, Vec<Installed>) =
            active.into_iter().map(|it| ((it.plan, it.began), it.installed)).unzip();
        let healed = faults::heal_all(&mut faults, &mut self.subject);
        // An agent stays where it is, and so do members: it is told of all of them at its start.
        if let (Some(workload), None) = (&self.workload, &self.agent) {
            workload.set_addresses(self.subject.addresses());
        }
        let at = self.clock.now();
        let names: Vec<String> = told.iter().map(|(plan, _)| plan.to_string()).collect();
        for ((plan, began), fault) in told.into_iter().zip(faults) {
            self.watch.fault_ends(&plan.to_string(), "healed");
            let Installed { members, note, .. } = fault;
            self.tell(plan, members, (began, Some(at)), FaultState::Installed, note)?;
        }
        healed.with_context(|| format!("{} does not heal", names.join(" and ")))
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

    fn all_members(&self) -> Vec<u32> {
        (0..).take(self.subject.member_count()).collect()
    }
}

impl Subject for Cluster {
    fn addresses(&self) -> Vec<SocketAddr> {
        (0..self.member_count()).map(|member| self.address(member)).collect()
    }

    fn samples(&self, clock: Clock) -> Vec<MemberSample> {
        (0..self.member_count()).map(|member| self.sample(member, clock.now())).collect()
    }
}
