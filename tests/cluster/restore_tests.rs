//! A leader that has lost the unsynced tail of its log restarts before anybody misses it.
//!
//! openraft can let such a leader go on leading without a vote. With a log that is synced behind
//! its back that loses what others have acknowledged; it must be off.

use std::time::Duration;

use super::scene::TTR;
use crate::support::{Cluster, Load, PATIENCE, Traffic, alone, left_out};

const ROUNDS: usize = 5;

#[test]
fn a_leader_that_lost_its_unsynced_tail_and_restarts_at_once_loses_nothing() {
    let _alone = alone();
    let mut cluster = Cluster::start(3);
    for round in 0..ROUNDS {
        let leader = cluster.leader();
        let mut load = Load::on(cluster.addresses_without(leader));
        load.depth = 8;
        let traffic = Traffic::start(&load);
        traffic.wait_for_writes(300, PATIENCE).unwrap_or_else(|why| panic!("{why}"));
        // From here on the two others are the majority: what is acknowledged now is not on the
        // leader's disk.
        if let Err(why) = cluster.hang(leader) {
            return left_out(&format!("a leader without the tail of its log: {why}"));
        }
        traffic.wait_for_writes(50, PATIENCE).unwrap_or_else(|why| panic!("{why}"));
        cluster.kill(leader);
        cluster.spawn(leader);
        let flows = traffic.wait_for_writes(300, PATIENCE);
        flows.unwrap_or_else(|why| panic!("round {round}: {why}\n{}", cluster.logs()));
        cluster.wait_in_step();
        let history = traffic.finish(&mut cluster.client(leader));
        let history = history.unwrap_or_else(|why| panic!("round {round}: {why}"));
        let verdict = history.judge(TTR);
        assert!(verdict.is_clean(), "round {round}: {verdict:#?}");
        // What is waited for is time: the next round begins with a leader of some age.
        std::thread::sleep(Duration::from_millis(300));
    }
}
