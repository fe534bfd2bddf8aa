//! One round: load, fault, gap, healing, account.

use std::{thread, time::Duration};

use super::{
    common::support::{Cluster, Load, Traffic, Verdict},
    fault::{Fault, Role},
};

/// The load before the fault: what the gaps are without one.
const BEFORE: Duration = Duration::from_millis(700);
/// How long the member is lost. Longer than the aim, and than the time after which what clients of
/// a dead member held comes back.
const LOST_FOR: Duration = Duration::from_millis(2500);
/// The load after all three are in step again.
const AFTER: Duration = Duration::from_millis(300);
/// The least load that counts: a cluster that does nothing has no gaps worth a word.
const WRITES_BEFORE_MIN: u64 = 50;

/// What one round gave.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Longest time without an acknowledged write: before, while a member was lost, while it came
    /// back.
    pub(crate) gap_before: Duration,
    pub(crate) gap: Duration,
    pub(crate) gap_healing: Duration,
    /// Acknowledged writes per second before the fault.
    pub(crate) rate: f64,
    pub(crate) verdict: Verdict,
}

/// Runs one round, from three members in step to three members in step.
///
/// # Errors
///
/// What the machine lacks, or what the cluster did not do.
pub(crate) fn run(
    cluster: &mut Cluster,
    fault: Fault,
    role: Role,
    number: u32,
) -> Result<Outcome, String> {
    cluster.wait_in_step();
    let leader = cluster.leader();
    let lost = match role {
        Role::Leader => leader,
        Role::Follower => cluster.follower_beside(leader),
    };
    let load = Load::on(cluster.addresses_without(lost));
    let traffic = Traffic::start(&load);
    traffic.wait_for_writes(WRITES_BEFORE_MIN, LOST_FOR)?;
    let (begun, writes) = (traffic.clock(), traffic.writes());
    thread::sleep(BEFORE);
    let struck = traffic.clock();
    let rate = (traffic.writes() - writes) as f64 / (struck - begun).as_secs_f64();
    fault.strike(cluster, lost, number)?;
    thread::sleep(LOST_FOR);
    let healed = traffic.clock();
    fault.heal(cluster, lost);
    thread::sleep(AFTER);
    let ended = traffic.clock();
    let history = traffic.finish(&mut cluster.client((lost + 1) % cluster.member_count()))?;
    Ok(Outcome {
        gap_before: history.longest_gap(begun, struck),
        gap: history.longest_gap(struck, healed),
        gap_healing: history.longest_gap(healed, ended),
        rate,
        verdict: history.judge(load.ttr),
    })
}
