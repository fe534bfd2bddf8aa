//! One member is lost; clients of the others see a pause, and no error.

use std::time::Duration;

use super::scene::{Keepers, RESUMES_WITHIN, expect, under_load, with_workers};
use crate::support::{Cluster, Load, alone, cluster_of, left_out};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    Leader,
    Follower,
}

#[test]
fn clients_of_others_do_not_notice_a_killed_leader() {
    lose(Role::Leader, |cluster, member| cluster.kill(member));
}

#[test]
fn clients_of_others_do_not_notice_a_killed_follower() {
    lose(Role::Follower, |cluster, member| cluster.kill(member));
}

#[test]
fn clients_of_others_do_not_notice_a_frozen_leader() {
    lose(Role::Leader, |cluster, member| cluster.freeze(member));
}

#[test]
fn clients_of_others_do_not_notice_a_frozen_follower() {
    lose(Role::Follower, |cluster, member| cluster.freeze(member));
}

/// Loses the member of this role once, under load, with much that must survive it.
fn lose(role: Role, fault: impl Fn(&mut Cluster, usize)) {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let leader = cluster.leader();
    let lost = match role {
        Role::Leader => leader,
        Role::Follower => cluster.follower_beside(leader),
    };
    let others: Vec<usize> = (0..3).filter(|&member| member != lost).collect();
    let keepers = Keepers::at(&cluster, &others);
    let mut load = Load::on(cluster.addresses_without(lost));
    load.depth = 4;
    with_workers(&mut cluster, &others, |cluster| {
        under_load(cluster, &load, |cluster, traffic| {
            fault(cluster, lost);
            let resumed = traffic.wait_for_writes(1, RESUMES_WITHIN);
            resumed.unwrap_or_else(|why| panic!("the {role:?}: {why}"));
        });
        keepers.check(cluster, others[0]);
    });
}

#[test]
fn a_hung_disk_is_a_pause_for_clients_of_others() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let leader = cluster.leader();
    let follower = cluster.follower_beside(leader);
    for member in [follower, leader] {
        let others: Vec<usize> = (0..3).filter(|&other| other != member).collect();
        let keepers = Keepers::at(&cluster, &others);
        let load = Load::on(cluster.addresses_without(member));
        let mut is_left_out = None;
        under_load(&mut cluster, &load, |cluster, traffic| {
            is_left_out = cluster.hang(member).err();
            let resumed = traffic.wait_for_writes(200, RESUMES_WITHIN);
            resumed.unwrap_or_else(|why| panic!("member {member} hangs: {why}"));
        });
        if let Some(why) = is_left_out {
            return left_out(&format!("a disk that hangs: {why}"));
        }
        keepers.check(&cluster, others[0]);
        cluster.heal();
        cluster.wait_in_step();
    }
}

#[test]
fn a_rolling_restart_is_not_noticed_by_clients_of_other_members() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    for member in 0..3 {
        let others: Vec<usize> = (0..3).filter(|&other| other != member).collect();
        let keepers = Keepers::at(&cluster, &others);
        let load = Load::on(cluster.addresses_without(member));
        under_load(&mut cluster, &load, |cluster, _| {
            assert_eq!(cluster.terminate(member).code(), Some(0), "{}", cluster.logs());
            cluster.restart(member);
            cluster.wait_in_step();
        });
        keepers.check(&cluster, member);
    }
}

#[test]
fn a_member_that_ends_answers_what_it_has_begun() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let leader = cluster.leader();
    let mut client = cluster.client(leader);
    let mut commands = Vec::new();
    for _ in 0..100 {
        commands.extend_from_slice(b"put 0 0 1000 1\r\nx\r\n");
    }
    client.send(&commands).expect("the member serves");
    // The first reply shows that it has begun.
    let mut answered = usize::from(client.reply(RESUMES_WITHIN).is_some());
    cluster.terminate(leader);
    while client.reply(Duration::from_millis(200)).is_some() {
        answered += 1;
    }
    let mut other = cluster.client((leader + 1) % 3);
    let stats = other.ask("stats").expect("the member serves");
    let ready = stats.lines().find_map(|line| line.strip_prefix("current-jobs-ready: "));
    let ready: usize = ready.and_then(|count| count.parse().ok()).expect("a count");
    assert_eq!(ready, answered, "jobs beside answers; {stats}");
    expect(&mut other, "delete 1", "DELETED");
}
