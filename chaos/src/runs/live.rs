//! A cluster under faults, from its start to the verdict.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use crate::check::Verdict;
use crate::clock::Clock;
use crate::faults::{self, Kind, Plan, Target};
use crate::history::{self, Fault, FaultState, Head, Line};
use crate::testbed::{Agent, Cluster, Random};
use crate::workload::{self, Backlog, Workload, WorkloadOptions};

use super::bed;
use super::recording::record;
use super::sampler::{Leaders, Sampler};
use super::schedule::course;
use super::stage::{Stage, Subject, all_tubes, tubes};
use super::verdict::conclude;
use super::watch::Watch;
use super::{Live, Mix, Via};

/// For how long each of the 64 ways to cut stays, and how long nothing is cut after it.
const PATTERN_LASTS: Duration = Duration::from_secs(3);
const PATTERN_PAUSE: Duration = Duration::from_secs(2);

/// Faults that come together.
struct Step {
    pause: Duration,
    plans: Vec<Plan>,
    apart: Duration,
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
    let (growth, kinds): (Vec<Kind>, Vec<Kind>) =
        live.kinds.iter().partition(|kind| **kind == Kind::Grow);
    // Once, and before what takes three.
    let growth = course(&growth, Mix::Alone, Duration::ZERO, Kind::beside, &mut random);
    let others = course(&kinds, live.mix, live.time, Kind::beside, &mut random);
    let steps = growth.into_iter().chain(others).map(|window| Step {
        pause: window.pause,
        plans: window.kinds.into_iter().map(|kind| plan(kind, live.members, &mut random)).collect(),
        apart: window.apart,
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
    let step = |plan| Step {
        pause: PATTERN_PAUSE,
        plans: vec![plan],
        apart: Duration::ZERO,
        lasts: PATTERN_LASTS,
    };
    let steps: Vec<Step> = faults::patterns().into_iter().map(step).collect();
    let random = Random::new(live.seed);
    let ended = record(&live.out, |lines| run(&live, &steps, random, lines))?;
    conclude(&live, ended)
}

/// A fault of a cluster of so many members.
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
        has_agent: live.via == Via::Agent,
        has_keys: true,
        memory_budget: Some(bed::MEMORY_BUDGET),
        memory_limit: options.memory_limit,
    }))?;
    let steps = leave_out(steps, clock, lines)?;
    let cluster = Cluster::try_start(options).map_err(|why| anyhow!(why))?;
    let addresses = cluster.addresses();
    let backlog = |tube, jobs| {
        let (bytes, seed) = (bed::BACKLOG_BODY_BYTES, live.seed);
        Backlog { tube, jobs, bytes, seed }
    };
    let worked = backlog(last_of(tubes()), bed::WORKED_JOBS);
    for backlog in [&worked, &backlog(last_of(all_tubes()), bed::RESTING_JOBS)] {
        let filled = workload::fill(backlog, &addresses, clock, lines);
        // A member may refuse some of them; then there are fewer cold jobs.
        ensure!(filled > 0, "no job is taken before anything is broken");
    }
    let agent = agent(live, &cluster)?;
    let options = workload_options(live, addresses, agent.as_ref());
    let workload = Workload::start(options, clock, lines.clone());
    let leaders = Leaders::default();
    let sampler = Sampler::start(cluster.watch(), clock, lines.clone(), leaders.clone());
    let watch = Watch::new(clock, leaders);
    let workload = Some(workload);
    let mut stage = Stage {
        subject: cluster,
        clock,
        lines,
        random,
        agent,
        workload,
        backlog: Some(worked),
        watch,
    };
    let result = stage.walk(|stage| play(stage, &steps, live.has_bursts));
    drop(sampler);
    // For whoever looks for the reason.
    for member in 0..stage.subject.member_count() {
        fs::write(live.out.join(format!("member-{member}.log")), stage.subject.log(member))?;
    }
    result
}

/// The agent in front of all members that there will be, if clients speak to one.
fn agent(live: &Live, cluster: &Cluster) -> Result<Option<Agent>> {
    if live.via == Via::Members {
        return Ok(None);
    }
    let members = (0..usize::from(live.members)).map(|place| cluster.address_at(place));
    let members: Vec<SocketAddr> = members.collect();
    let log = File::create(live.out.join("agent.log")).context("the agent's log")?;
    let agent = Agent::logging(&live.program, &members, log);
    agent.map(Some).map_err(|why| anyhow!(why))
}

fn workload_options(
    live: &Live,
    members: Vec<SocketAddr>,
    agent: Option<&Agent>,
) -> WorkloadOptions {
    let options = WorkloadOptions { tubes: tubes(), ..WorkloadOptions::on(members, live.seed) };
    match agent {
        None => options,
        Some(agent) => WorkloadOptions {
            addresses: vec![agent.address()],
            first_place: live.members.into(),
            members_behind: live.members.into(),
            ..options
        },
    }
}

fn play(stage: &mut Stage<'_, Cluster>, steps: &[Step], has_bursts: bool) -> Result<()> {
    for step in steps {
        stage.stay(step.pause);
        stage.suffer(&step.plans, (step.apart, has_bursts), step.lasts)?;
    }
    Ok(())
}

/// The last tube, with its place.
fn last_of(tubes: Vec<String>) -> (usize, String) {
    tubes.into_iter().enumerate().next_back().expect("a run has tubes")
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
        left.push(Step { pause: step.pause, plans, apart: step.apart, lasts: step.lasts });
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
