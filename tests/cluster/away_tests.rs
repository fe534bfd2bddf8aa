//! A member that was away for some seconds goes on from the log: a snapshot would cost its clients
//! their connections.

use std::time::Duration;

use super::scene::{Keepers, under_load};
use crate::support::{Load, alone, cluster_of};

const AWAY: Duration = Duration::from_secs(5);
/// Enough that it is not by chance that nothing had to be sent.
const WRITES_MISSED: u64 = 500;
/// What the leader and the member that was away say of one.
const OF_SNAPSHOTS: [&str; 2] = ["sending a snapshot", "a snapshot is offered"];

#[test]
fn a_follower_that_was_stopped_for_five_seconds_needs_no_snapshot() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let leader = cluster.leader();
    let away = cluster.follower_beside(leader);
    let others: Vec<usize> = (0..3).filter(|&member| member != away).collect();
    let keepers = Keepers::at(&cluster, &others);
    let mut load = Load::on(cluster.addresses_without(away));
    load.depth = 8;
    under_load(&mut cluster, &load, |cluster, traffic| {
        let before = traffic.writes();
        cluster.freeze(away);
        // What is waited for is time itself.
        std::thread::sleep(AWAY);
        let missed = traffic.writes() - before;
        assert!(missed > WRITES_MISSED, "only {missed} writes while it was away");
        cluster.thaw(away);
        cluster.wait_in_step();
    });
    keepers.check(&cluster, away);
    for member in 0..3 {
        let log = cluster.log(member);
        let said = OF_SNAPSHOTS.iter().find(|line| log.contains(*line));
        assert_eq!(said, None, "{}", cluster.logs());
    }
}
