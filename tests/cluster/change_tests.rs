//! Many changes of leader under load: every job that was acknowledged is there exactly once.

use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::scene::{Keepers, RESUMES_WITHIN, TTR};
use crate::support::{
    Cluster, Load, PATIENCE, Random, Traffic, alone, cluster_of, number_from_environment,
};

const CHANGES: usize = 20;
/// One change in so many is by SIGKILL.
const KILL_ONCE_IN: u64 = 10;

#[test]
fn changes_of_leader_lose_and_double_nothing() {
    let _alone = alone();
    let changes = number_from_environment("BEANPOLE_CHANGES").unwrap_or(CHANGES);
    let seed = number_from_environment("BEANPOLE_SEED").unwrap_or_else(Random::fresh_seed);
    let mut random = Random::new(seed);
    let mut cluster = cluster_of(3);
    let mut done = 0;
    while done < changes {
        // A history of its own for each piece: the check holds all events in memory.
        let piece = (changes - done).min(CHANGES);
        let kept = Keepers::at(&cluster, &[0]);
        let mut load = Load::on((0..3).map(|member| cluster.address(member)).collect());
        load.depth = 8;
        let traffic = Traffic::start(&load);
        let mut kills = 0;
        for _ in 0..piece {
            let writes = random.within(20..300);
            let flows = traffic.wait_for_writes(writes, RESUMES_WITHIN);
            flows.unwrap_or_else(|why| panic!("seed {seed}: {why}\n{}", cluster.logs()));
            let leader = cluster.leader();
            // The first member keeps its clients: their connections must survive everything.
            if leader != 0 && random.once_in(KILL_ONCE_IN) {
                cluster.kill(leader);
                cluster.restart(leader);
                cluster.wait_in_step();
                kills += 1;
            } else {
                transfer(&mut cluster, leader, &mut random);
            }
        }
        done += piece;
        let history = traffic.finish(&mut cluster.client(0));
        let history = history.unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        let mut verdict = history.judge(TTR);
        if kills > 0 {
            // Clients of a member that was killed saw their connection end.
            verdict.troubles = 0;
        }
        assert!(verdict.is_clean(), "seed {seed}: {verdict:#?}");
        kept.check(&cluster, 0);
    }
}

/// Lets another lead, and waits until it does.
fn transfer(cluster: &mut Cluster, leader: usize, random: &mut Random) {
    let to = (leader + 1 + usize::from(random.once_in(2))) % 3;
    let id = cluster.id(to);
    let asked = cluster.change(leader, &json!({"do": "transfer", "to": id}));
    asked.unwrap_or_else(|why| panic!("transfer: {why}\n{}", cluster.logs()));
    cluster.wait_for("another leader", PATIENCE, |it| {
        it.leader_now().is_some_and(|now| now != leader)
    });
}

/// As it is for who has just begun to lead, and has not heard all others yet.
#[test]
fn a_transfer_waits_until_who_is_to_lead_is_heard() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let leader = cluster.leader();
    let to = (leader + 1) % 3;
    let transfer = json!({"do": "transfer", "to": cluster.id(to)});
    cluster.freeze(to);
    thread::sleep(Duration::from_secs(1));
    let pid = i32::try_from(cluster.pid(to)).ok().and_then(Pid::from_raw).expect("it runs");
    let asked = thread::scope(|scope| {
        let asking = scope.spawn(|| cluster.change(leader, &transfer));
        thread::sleep(Duration::from_millis(200));
        kill_process(pid, Signal::CONT).expect("it is there");
        asking.join().expect("it has an answer")
    });
    cluster.thaw(to);
    asked.unwrap_or_else(|why| panic!("transfer: {why}\n{}", cluster.logs()));
    cluster.wait_for("another leader", PATIENCE, |it| {
        it.leader_now().is_some_and(|now| now != leader)
    });
}

#[test]
fn a_transfer_is_hardly_a_pause() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let load = Load::on((0..3).map(|member| cluster.address(member)).collect());
    let traffic = Traffic::start(&load);
    let mut random = Random::new(1);
    traffic.wait_for_writes(200, PATIENCE).unwrap_or_else(|why| panic!("{why}"));
    let began = traffic.clock();
    for _ in 0..5 {
        let leader = cluster.leader();
        transfer(&mut cluster, leader, &mut random);
        traffic.wait_for_writes(200, PATIENCE).unwrap_or_else(|why| panic!("{why}"));
    }
    let ended = traffic.clock();
    let history = traffic.finish(&mut cluster.client(0)).unwrap_or_else(|why| panic!("{why}"));
    let verdict = history.judge(TTR);
    assert!(verdict.is_clean(), "{verdict:#?}");
    let gap = history.longest_gap(began, ended);
    assert!(gap < Duration::from_secs(3), "{gap:?}");
}
