//! Processes that end, stop and come back.

use beanpole_chaos::faults::{Kind, Target};
use serde_json::json;

use super::scene::{cluster_for, expect_service, hurt, only, suffer, suffer_plainly};
use crate::support::{Cluster, ClusterOptions, PATIENCE, alone, cluster_options};

/// How often a member has begun to serve.
fn starts(cluster: &Cluster, member: usize) -> usize {
    cluster.log(member).matches("ready, listening").count()
}

/// Room for a member without jobs, whose budget is a part of it.
const MEMBER_LIMIT_BYTES: u64 = 256 << 20;

#[test]
fn two_that_are_killed_are_down_until_healed() {
    let _alone = alone();
    suffer_plainly(Kind::Kill, Target::Two, |cluster, installed| {
        assert_eq!(installed.members.len(), 2);
        for member in hurt(installed) {
            assert!(!cluster.is_running(member) && cluster.refuses(member));
        }
    });
}

#[test]
fn a_leader_that_is_restarted_is_another_process() {
    let _alone = alone();
    suffer_plainly(Kind::Restart, Target::Leader, |cluster, installed| {
        let member = only(installed);
        assert!(cluster.is_running(member));
        cluster.wait_for("it to serve again", PATIENCE, |it| starts(it, member) == 2);
    });
}

#[test]
fn all_that_are_frozen_answer_nobody() {
    let _alone = alone();
    suffer_plainly(Kind::Freeze, Target::All, |cluster, installed| {
        for member in hurt(installed) {
            assert!(cluster.is_running(member) && cluster.status(member).is_err());
        }
    });
}

#[test]
fn members_that_are_told_to_end_one_after_the_other_have_all_ended_once() {
    let _alone = alone();
    suffer_plainly(Kind::Terminate, Target::All, |cluster, _| {
        for member in 0..3 {
            assert_eq!(starts(cluster, member), 2, "{}", cluster.log(member));
        }
    });
}

#[test]
fn a_member_that_the_kernel_kills_is_counted() {
    let _alone = alone();
    let memory_limit = Some(MEMBER_LIMIT_BYTES);
    let options = ClusterOptions { memory_limit, ..cluster_options() };
    suffer(Kind::OomKill, Target::Leader, options, |cluster, installed| {
        let member = only(installed);
        assert!(!cluster.is_running(member) && installed.note.starts_with("oom"));
        let group = cluster.memory_group(member).expect("it was there");
        assert!(group.oom_kills() > 0);
    });
}

#[test]
fn clocks_that_jump_are_named() {
    let _alone = alone();
    let options = ClusterOptions { has_clocks: true, ..cluster_options() };
    suffer(Kind::ClockJump, Target::All, options, |_, installed| {
        assert!(installed.note.contains("member 2 by"), "{}", installed.note);
    });
}

#[test]
fn a_member_whose_clock_is_set_writes_another_time_into_its_log() {
    let _alone = alone();
    let options = ClusterOptions { has_clocks: true, ..cluster_options() };
    let Some(mut cluster) = cluster_for(Kind::ClockJump, options) else { return };
    let leader = cluster.leader();
    let began = second_of_day(&cluster, leader);
    cluster.set_clock(leader, 3600).expect("it has a clock");
    cluster.wait_for("a line an hour later", PATIENCE, |cluster| {
        // It logs that it was asked.
        let asked = cluster.change(leader, &json!({"do": "remove", "member": 99}));
        assert!(asked.is_err(), "there is no such member");
        let passed = (second_of_day(cluster, leader) + DAY - began) % DAY;
        (3600..3660).contains(&passed)
    });
    expect_service(&mut cluster);
}

const DAY: u64 = 86_400;

/// When the last line of a member's log was written, by its own clock.
fn second_of_day(cluster: &Cluster, member: usize) -> u64 {
    let log = cluster.log(member);
    let last = log.lines().rfind(|line| line.contains("beanpole")).expect("it has logged");
    let (_, time) = last.split_once('T').expect("a line begins with its time");
    let part = |at: usize| time[at..at + 2].parse::<u64>().expect("two digits");
    (part(0) * 60 + part(3)) * 60 + part(6)
}
