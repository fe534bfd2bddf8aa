//! What the clients of a dead member held comes back: after its time, and once.

use std::collections::BTreeMap;
use std::time::Duration;

use super::scene::{expect, next};
use crate::support::{Client, Cluster, alone, cluster_of, now};

const JOBS: u64 = 200;
/// The setting's default, and what a test may take it for: clocks of two processes.
const NOT_BEFORE: Duration = Duration::from_millis(1900);
const NOT_AFTER: Duration = Duration::from_secs(5);

#[test]
fn reservations_of_a_dead_leader_come_back_once_after_two_seconds() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let leader = cluster.leader();
    come_back(&mut cluster, leader);
}

#[test]
fn reservations_of_a_dead_follower_come_back_once_after_two_seconds() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let leader = cluster.leader();
    let follower = cluster.follower_beside(leader);
    come_back(&mut cluster, follower);
}

#[test]
fn reservations_of_a_member_that_is_back_at_once_come_back_as_late() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let leader = cluster.leader();
    let follower = cluster.follower_beside(leader);
    let holding = hold(&cluster, follower);
    let died = now();
    cluster.kill(follower);
    cluster.restart(follower);
    drop(holding);
    collect(&mut cluster.client(leader), died);
}

fn come_back(cluster: &mut Cluster, member: usize) {
    let holding = hold(cluster, member);
    let mut collector = cluster.client((member + 1) % 3);
    let died = now();
    cluster.kill(member);
    drop(holding);
    collect(&mut collector, died);
}

/// A client of the member holds so many jobs.
fn hold(cluster: &Cluster, member: usize) -> Client {
    let mut client = cluster.client(member);
    for _ in 0..JOBS {
        let put = client.put("0 0 1000", b"x").expect("the member serves");
        assert!(put.starts_with("INSERTED "), "{put}");
    }
    for _ in 0..JOBS {
        let reply = client.ask("reserve").expect("the member serves");
        assert!(reply.starts_with("RESERVED "), "{reply}");
    }
    client
}

/// Gets them all, each once, none too early.
fn collect(collector: &mut Client, died: std::time::Instant) {
    let mut times: BTreeMap<String, Duration> = BTreeMap::new();
    for _ in 0..JOBS {
        let reply = collector.ask("reserve-with-timeout 10").expect("the member serves");
        let after = now() - died;
        let id = reply.strip_prefix("RESERVED ").and_then(|rest| rest.split_once(' '));
        let (id, _) = id.unwrap_or_else(|| panic!("{} came back, then {reply}", times.len()));
        assert!(after >= NOT_BEFORE, "job {id} came back after {after:?}");
        assert!(after <= NOT_AFTER, "job {id} came back after {after:?}");
        assert_eq!(times.insert(id.to_owned(), after), None, "job {id} came twice");
    }
    expect(collector, "reserve-with-timeout 0", "TIMED_OUT");
    for id in times.keys() {
        expect(collector, &format!("delete {id}"), "DELETED");
    }
}

#[test]
fn a_waiter_of_a_dead_member_gets_nothing() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let leader = cluster.leader();
    let follower = cluster.follower_beside(leader);
    let mut lost = cluster.client(follower);
    lost.send(b"reserve\r\n").expect("the member serves");
    let mut waiter = cluster.client(leader);
    cluster.wait_for("a waiter", Duration::from_secs(5), |_| {
        let stats = waiter.ask("stats").expect("the member serves");
        stats.contains("\ncurrent-waiting: 1\n")
    });
    waiter.send(b"reserve\r\n").expect("the member serves");
    cluster.kill(follower);
    let mut putter = cluster.client(leader);
    // At once, while the dead one's session may still be there: it is known dead, or its silence
    // is noticed within 300 ms; a job that was handed to it first comes back after two seconds.
    let put = putter.put("0 0 1000", b"x").expect("the member serves");
    assert!(put.starts_with("INSERTED "), "{put}");
    assert_eq!(next(&mut waiter), "RESERVED 1 1\r\nx");
}
