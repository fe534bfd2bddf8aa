//! Ways between members, and connections.

use std::time::Duration;

use beanpole_chaos::faults::{
    FaultError, Installed, Kind, Plan, Target, heal_all, install, patterns, recover,
};

use super::scene::{cluster_for, expect_service, only, suffer, suffer_in};
use crate::support::{
    Cluster, ClusterOptions, PATIENCE, Random, alone, cluster_of, cluster_options, now,
};

fn cabled() -> ClusterOptions {
    ClusterOptions { has_cables: true, ..cluster_options() }
}

/// Another member leads than the one that is hurt.
fn expect_it_deposed(cluster: &mut Cluster, installed: &Installed) {
    let hurt = only(installed);
    cluster.wait_for("another leader", PATIENCE, |it| {
        it.leader_now().is_some_and(|leader| leader != hurt)
    });
}

#[test]
fn a_leader_that_hears_nobody_or_is_not_heard_is_deposed() {
    let _alone = alone();
    suffer(Kind::CutOneWay, Target::Leader, cabled(), expect_it_deposed);
}

#[test]
fn a_leader_that_is_cut_off_is_deposed() {
    let _alone = alone();
    suffer(Kind::Isolate, Target::Leader, cabled(), |cluster, installed| {
        expect_it_deposed(cluster, installed);
        let hurt = only(installed);
        cluster.wait_for("it to refuse clients", PATIENCE, |it| it.refuses(hurt));
    });
}

#[test]
fn two_that_do_not_hear_each_other_are_named() {
    let _alone = alone();
    suffer(Kind::CutTwoWays, Target::Follower, cabled(), |_, installed| {
        assert_eq!(installed.members.len(), 2, "{installed:?}");
    });
}

#[test]
fn with_all_ways_cut_nobody_serves() {
    let _alone = alone();
    let all = patterns().pop().expect("there are 64").target;
    assert_eq!((patterns().len(), all), (64, Target::Ways(63)));
    suffer(Kind::CutPattern, all, cabled(), |cluster, installed| {
        assert_eq!(installed.members, [0, 1, 2]);
        cluster.wait_for("all to refuse clients", PATIENCE, |it| (0..3).all(|at| it.refuses(at)));
    });
}

#[test]
fn a_slow_way_makes_a_put_take_longer() {
    let _alone = alone();
    suffer(Kind::Delay, Target::All, cabled(), |cluster, installed| {
        let leader = cluster.leader();
        let mut client = cluster.client(leader);
        let began = now();
        let put = client.put("0 0 60", b"x");
        let took = now() - began;
        // Of the slower ways no more is promised than that nothing is lost: where an answer takes as
        // long as an election, there may be no leader.
        if installed.note.starts_with("20 ms") || put.is_ok() {
            let put = put.expect("the member serves");
            assert!(put.starts_with("INSERTED "), "{put}");
        }
        assert!(took > Duration::from_millis(40), "{took:?}: {}", installed.note);
    });
}

#[test]
fn ways_that_lose_packets_are_survived() {
    let _alone = alone();
    suffer(Kind::Loss, Target::All, cabled(), |cluster, _| {
        let leader = cluster.leader();
        let mut client = cluster.client(leader);
        let put = client.put("0 0 60", b"x");
        assert!(put.is_ok_and(|reply| reply.starts_with("INSERTED ")));
    });
}

#[test]
fn connections_that_are_reset_end() {
    let _alone = alone();
    for options in [cluster_options(), cabled()] {
        let kind = Kind::Reset;
        let Some(mut cluster) = cluster_for(kind, options) else { return };
        let mut client = cluster.client(0);
        suffer_in(&mut cluster, Plan { kind, target: Target::One(0) }, |_, _| {
            assert!(client.is_closed_within(PATIENCE));
        });
    }
}

#[test]
fn a_fault_without_its_means_is_left_out() {
    let _alone = alone();
    let mut cluster = cluster_of(1);
    for kind in [Kind::Isolate, Kind::Delay, Kind::PowerLoss, Kind::OomKill, Kind::ClockJump] {
        let plan = Plan { kind, target: Target::One(0) };
        let refused = install(&plan, &mut cluster, &mut Random::new(1));
        assert!(matches!(refused, Err(FaultError::Missing(_))), "{kind}: {refused:?}");
    }
    expect_service(&mut cluster);
}

#[test]
fn faults_that_overlap_are_taken_back_each_by_itself() {
    let _alone = alone();
    let Some(mut cluster) = cluster_for(Kind::Isolate, cabled()) else { return };
    let mut random = Random::new(1);
    let mut install = |cluster: &mut Cluster, kind, target| {
        let installed = install(&Plan { kind, target }, cluster, &mut random);
        installed.unwrap_or_else(|why| panic!("{kind}: {why}"))
    };
    let mut isolated = install(&mut cluster, Kind::Isolate, Target::One(0));
    let mut all = install(&mut cluster, Kind::CutPattern, Target::Ways(63));
    let mut killed = install(&mut cluster, Kind::Kill, Target::One(0));
    cluster.wait_for("all to refuse clients", PATIENCE, |it| (0..3).all(|at| it.refuses(at)));
    all.take_back(&mut cluster).unwrap_or_else(|why| panic!("{why}"));
    cluster.wait_for("two to serve", PATIENCE, |it| (1..3).all(|at| it.serves(at)));
    // Started again, but still alone.
    assert!(cluster.is_running(0) && !cluster.serves(0));
    for fault in [&mut killed, &mut isolated] {
        fault.take_back(&mut cluster).unwrap_or_else(|why| panic!("{why}"));
    }
    expect_service(&mut cluster);
}

#[test]
fn faults_that_keep_each_other_from_healing_are_healed_together() {
    let _alone = alone();
    let Some(mut cluster) = cluster_for(Kind::Isolate, cabled()) else { return };
    let mut random = Random::new(1);
    let mut faults = Vec::new();
    // What is killed last is started first, and cannot serve until it is heard again; what is flipped
    // is down, and refuses to start, or not.
    for (kind, target) in [
        (Kind::FlipLog, Target::One(0)),
        (Kind::Isolate, Target::One(0)),
        (Kind::Kill, Target::Two),
        (Kind::Freeze, Target::All),
    ] {
        let installed = install(&Plan { kind, target }, &mut cluster, &mut random);
        faults.push(installed.unwrap_or_else(|why| panic!("{kind}: {why}")));
    }
    let hindered = Plan { kind: Kind::HungDisk, target: Target::All };
    let hindered = install(&hindered, &mut cluster, &mut random);
    assert!(matches!(hindered, Err(FaultError::Hindered(_))), "{hindered:?}");
    heal_all(&mut faults, &mut cluster).unwrap_or_else(|why| panic!("{why}"));
    expect_service(&mut cluster);
}

#[test]
fn a_cluster_is_recovered_from_faults_that_nobody_heals() {
    let _alone = alone();
    let Some(mut cluster) = cluster_for(Kind::Delay, cabled()) else { return };
    let mut random = Random::new(1);
    for (kind, target) in [
        (Kind::Delay, Target::All),
        (Kind::CutTwoWays, Target::One(0)),
        (Kind::Freeze, Target::One(1)),
        (Kind::Kill, Target::One(2)),
    ] {
        let installed = install(&Plan { kind, target }, &mut cluster, &mut random);
        drop(installed.unwrap_or_else(|why| panic!("{kind}: {why}")));
    }
    let twice = Plan { kind: Kind::Loss, target: Target::All };
    let refused = install(&twice, &mut cluster, &mut random);
    assert!(matches!(refused, Err(FaultError::Missing(_))), "{refused:?}");
    recover(&mut cluster).unwrap_or_else(|why| panic!("{why}"));
    expect_service(&mut cluster);
}
