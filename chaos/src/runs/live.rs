//! A cluster under faults, from its start to the verdict.

use std::fs;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};

use crate::clock::Clock;
use crate::faults::{self, Kind, Plan, Target};
use crate::history::{self, Fault, FaultState, Head, Line, PhaseName};
use crate::testbed::{Cluster, Random};
use crate::workload::{self, Backlog, Workload, WorkloadOptions, tube_names};

use super::bed;
use super::recording::record;
use super::sampler::{Leaders, Sampler};
use super::schedule::course;
use super::stage::Stage;
use super::verdict::judge;
use super::watch::Watch;
use super::{Live, Verdict};

/// Clients work before anything is broken, and after all is healed.
const WARM: Duration = Duration::from_secs(5);
const HEALED: Duration = Duration::from_secs(20);
/// How long taking out all jobs may take.
pub(super) const DRAIN_LIMIT: Duration = Duration::from_secs(120);
/// For how long each of the 64 ways to cut stays, and how long nothing is cut after it.
const PATTERN_LASTS: Duration = Duration::from_secs(3);
const PATTERN_PAUSE: Duration = Duration::from_secs(2);
pub(super) const TUBES: usize = 4;

/// Faults that come together.
struct Step {
    pause: Duration,
    plans: Vec<Plan>,
    lasts: Duration,
}

/// Runs a cluster through a course of faults.
///
/// # Errors
/// When the run cannot be made. What was written of its history stays.
pub fn live(live: &Live) -> Result<Verdict> {
    let ended = observe(live)?;
    conclude(live, ended)
}

/// Runs a cluster through a course of faults and writes down what happens. Returns how the run ended
/// by itself.
pub(super) fn observe(live: &Live) -> Result<Result<()>> {
    let mut random = Random::new(live.seed);
    let windows = course(&live.kinds, live.mix, live.time, &mut random);
    let steps = windows.into_iter().map(|window| Step {
        pause: window.pause,
        plans: window.kinds.into_iter().map(|kind| plan(kind, live.members, &mut random)).collect(),
        lasts: window.lasts,
    });
    let steps: Vec<Step> = steps.collect();
    record(&live.out, |lines| run(live, &steps, random, lines))
}

/// Runs a cluster of three through all 64 ways to cut the directions between its members.
///
/// # Errors
/// As [`live`].
pub fn patterns(live: &Live) -> Result<Verdict> {
    let live = Live { kinds: vec![Kind::CutPattern], ..live.clone() };
    let step = |plan| Step { pause: PATTERN_PAUSE, plans: vec![plan], lasts: PATTERN_LASTS };
    let steps: Vec<Step> = faults::patterns().into_iter().map(step).collect();
    let random = Random::new(live.seed);
    let ended = record(&live.out, |lines| run(&live, &steps, random, lines))?;
    conclude(&live, ended)
}

/// Judges what was seen, however the run ended.
fn conclude(live: &Live, ended: Result<()>) -> Result<Verdict> {
    let verdict = judge(&live.out)?;
    ended?;
    Ok(verdict)
}

/// A fault of a cluster that has so many members at the beginning.
fn plan(kind: Kind, members: u8, random: &mut Random) -> Plan {
    match members {
        1 => Plan { kind, target: Target::One(0) },
        _ => Plan::any_of(kind, random),
    }
}

fn run(live: &Live, steps: &[Step], random: Random, lines: &SyncSender<Line>) -> Result<()> {
    let clock = Clock::start();
    let options = bed::options(live);
    lines.send(Line::Head(Head {
        format: history::FORMAT,
        seed: live.seed,
        command: live.command.clone(),
        server: bed::version(&live.program)?,
        members: live.members.into(),
        memory_budget: Some(bed::MEMORY_BUDGET),
        memory_limit: options.memory_limit,
    }))?;
    let steps = leave_out(steps, clock, lines)?;
    let cluster = Cluster::try_start(options).map_err(|why| anyhow!(why))?;
    let addresses = (0..cluster.member_count()).map(|member| cluster.address(member)).collect();
    let options =
        WorkloadOptions { tubes: tube_names(TUBES), ..WorkloadOptions::on(addresses, live.seed) };
    let deep = Backlog {
        tube: (TUBES - 1, tube_names(TUBES)[TUBES - 1].clone()),
        jobs: bed::BACKLOG_JOBS,
        bytes: bed::BACKLOG_BODY_BYTES,
        seed: live.seed,
    };
    let filled = workload::fill(&deep, &options.addresses, clock, lines);
    // A member may refuse some of them; then there are fewer cold jobs.
    ensure!(filled > 0, "no job is taken before anything is broken");
    let workload = Workload::start(options, clock, lines.clone());
    let leaders = Leaders::default();
    let sampler = Sampler::start(cluster.watch(), clock, lines.clone(), leaders.clone());
    let watch = Watch::new(clock, leaders);
    let workload = Some(workload);
    let mut stage = Stage { cluster, clock, lines, random, workload, watch };
    let result = play(&mut stage, &steps);
    drop(sampler);
    // For whoever looks for the reason.
    for member in 0..stage.cluster.member_count() {
        fs::write(live.out.join(format!("member-{member}.log")), stage.cluster.log(member))?;
    }
    result
}

fn play(stage: &mut Stage<'_>, steps: &[Step]) -> Result<()> {
    stage.enter(PhaseName::Warm)?;
    stage.stay(WARM);
    stage.enter(PhaseName::Faults)?;
    for step in steps {
        stage.stay(step.pause);
        stage.suffer(&step.plans, step.lasts)?;
    }
    stage.enter(PhaseName::Healed)?;
    stage.stay(HEALED);
    stage.stop_clients()?;
    stage.enter(PhaseName::Quiet)?;
    let tubes = tube_names(TUBES);
    workload::look(&stage.addresses(), &tubes, stage.clock, stage.lines)?;
    stage.look()?;
    stage.enter(PhaseName::Drain)?;
    workload::drain(&stage.addresses(), &tubes, stage.clock, stage.lines, DRAIN_LIMIT)?;
    stage.look()?;
    stage.enter(PhaseName::Over)
}

/// Writes down what this machine cannot do, and gives back what it can.
fn leave_out(steps: &[Step], clock: Clock, lines: &SyncSender<Line>) -> Result<Vec<Step>> {
    let mut known: Vec<(Kind, Result<(), String>)> = Vec::new();
    let mut left = Vec::new();
    for step in steps {
        let mut plans = Vec::new();
        for plan in &step.plans {
            if !known.iter().any(|(kind, _)| *kind == plan.kind) {
                let can = faults::probe(plan.kind);
                if let Err(why) = &can {
                    lines.send(Line::Fault(skipped(*plan, why, clock)))?;
                }
                known.push((plan.kind, can));
            }
            let can = known.iter().find(|(kind, _)| *kind == plan.kind);
            plans.extend(can.is_some_and(|(_, can)| can.is_ok()).then_some(*plan));
        }
        left.push(Step { pause: step.pause, plans, lasts: step.lasts });
    }
    Ok(left)
}

fn skipped(plan: Plan, why: &str, clock: Clock) -> Fault {
    Fault {
        name: plan.kind.name().to_owned(),
        target: plan.target.to_string(),
        members: Vec::new(),
        began: clock.now(),
        healed: Some(clock.now()),
        state: FaultState::Skipped,
        note: why.to_owned(),
    }
}
