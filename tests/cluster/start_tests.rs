//! Members start in every order, and not all of them.

use std::time::Duration;

use super::scene::{TTR, expect};
use crate::support::{Client, Load, PATIENCE, Traffic, alone, cluster_of};

/// Puts a job that must be there at the end; its id.
fn put(client: &mut Client, body: &str) -> u64 {
    let put = client.put("0 0 1000", body.as_bytes()).expect("the member serves");
    let id = put.strip_prefix("INSERTED ").and_then(|id| id.parse().ok());
    id.unwrap_or_else(|| panic!("put: {put}"))
}

#[test]
fn members_start_in_every_order_and_two_are_enough() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let mut jobs = vec![put(&mut cluster.client(0), "before")];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        (0..3).for_each(|member| cluster.kill(member));
        cluster.spawn(order[0]);
        cluster.spawn(order[1]);
        cluster.wait_serving(order[0]);
        cluster.wait_serving(order[1]);
        // What it had when it was killed last time is there, without the third.
        for &job in &jobs {
            let reply = cluster.client(order[1]).ask(&format!("peek {job}"));
            assert!(reply.is_ok_and(|reply| reply.starts_with("FOUND ")), "{order:?}: {job}");
        }
        jobs.push(put(&mut cluster.client(order[0]), "of two"));
        cluster.restart(order[2]);
        cluster.wait_in_step();
        let reply = cluster.client(order[2]).ask(&format!("peek {}", jobs[jobs.len() - 1]));
        assert!(reply.is_ok_and(|reply| reply.starts_with("FOUND ")), "{order:?}");
    }
}

#[test]
fn one_of_three_alone_serves_nobody() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    for alone in 0..3 {
        (0..3).for_each(|member| cluster.kill(member));
        cluster.spawn(alone);
        cluster.wait_for("the member's socket", PATIENCE, |it| it.status(alone).is_ok());
        // Longer than an election and than the lease.
        std::thread::sleep(Duration::from_millis(2500));
        assert!(cluster.refuses(alone), "member {alone} takes clients\n{}", cluster.logs());
        assert_eq!(cluster.status(alone).map(|view| view.phase).as_deref(), Ok("no-majority"));
        assert_eq!(cluster.can_stop(alone), Ok(false), "what is there to lose but the majority");
        cluster.spawn((alone + 1) % 3);
        cluster.wait_serving(alone);
    }
}

#[test]
fn a_member_that_is_missing_for_ever_is_not_needed() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    cluster.kill(2);
    for round in 0..3 {
        let job = put(&mut cluster.client(0), "of two");
        for member in [0, 1] {
            cluster.kill(member);
            cluster.restart(member);
            cluster.wait_serving(1 - member);
        }
        let reply = cluster.client(1).ask(&format!("peek {job}"));
        assert!(reply.is_ok_and(|reply| reply.starts_with("FOUND ")), "round {round}");
    }
}

#[test]
fn two_of_three_may_restart_at_once() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    for kept in 0..3 {
        let two = [(kept + 1) % 3, (kept + 2) % 3];
        let job = put(&mut cluster.client(kept), "before");
        two.iter().for_each(|&member| cluster.kill(member));
        two.iter().for_each(|&member| cluster.spawn(member));
        cluster.wait_in_step();
        for member in 0..3 {
            let reply = cluster.client(member).ask(&format!("peek {job}"));
            assert!(reply.is_ok_and(|reply| reply.starts_with("FOUND ")), "member {member}");
        }
    }
}

#[test]
fn all_killed_at_once_under_load_lose_nothing() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    for _ in 0..3 {
        let mut load = Load::on((0..3).map(|member| cluster.address(member)).collect());
        load.depth = 8;
        let traffic = Traffic::start(&load);
        traffic.wait_for_writes(500, PATIENCE).unwrap_or_else(|why| panic!("{why}"));
        (0..3).for_each(|member| cluster.kill(member));
        (0..3).for_each(|member| cluster.spawn(member));
        cluster.wait_in_step();
        traffic.wait_for_writes(500, PATIENCE).unwrap_or_else(|why| panic!("{why}"));
        let history = traffic.finish(&mut cluster.client(0)).unwrap_or_else(|why| panic!("{why}"));
        let mut verdict = history.judge(TTR);
        // All clients had to see their connection end.
        assert!(verdict.troubles >= 8, "{verdict:#?}");
        verdict.troubles = 0;
        assert!(verdict.is_clean(), "{verdict:#?}");
    }
    expect(&mut cluster.client(1), "reserve-with-timeout 0", "TIMED_OUT");
}
