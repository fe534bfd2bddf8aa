//! Disks that lose power, fail, hang, are slow or full, and bits that change.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use beanpole_chaos::faults::{Kind, Plan, Target};

use super::scene::{DISK_BYTES, cluster_for, hurt, only, suffer, suffer_in, suffer_plainly};
use crate::support::{
    ClusterOptions, PATIENCE, agent_before, alone, cluster_of, cluster_options, now,
};

/// How long a disk hangs: what is on its way to it when that begins is answered yet.
const HANGS_FOR: Duration = Duration::from_secs(2);
/// How long a client of an agent waits for another member at most, on a busy machine.
const MOVED_WITHIN: Duration = Duration::from_secs(3);

fn with_disks() -> ClusterOptions {
    ClusterOptions { disk_size: Some(DISK_BYTES), ..cluster_options() }
}

#[test]
fn what_was_acknowledged_is_there_after_all_have_lost_power() {
    let _alone = alone();
    let Some(mut cluster) = cluster_for(Kind::PowerLoss, with_disks()) else {
        return;
    };
    let put = cluster.client(0).put("0 0 60", b"kept").expect("the member serves");
    let id = put.strip_prefix("INSERTED ").unwrap_or_else(|| panic!("put: {put}")).to_owned();
    let plan = Plan { kind: Kind::PowerLoss, target: Target::All };
    suffer_in(&mut cluster, plan, |cluster, installed| {
        for member in hurt(installed) {
            assert!(!cluster.is_running(member));
        }
    });
    let found = cluster.client(1).ask(&format!("peek {id}"));
    assert_eq!(found.ok(), Some(format!("FOUND {id} 4\r\nkept")));
}

#[test]
fn a_leader_whose_sync_fails_ends_and_comes_back() {
    let _alone = alone();
    let Some(mut cluster) = cluster_for(Kind::FailedSync, cluster_options()) else { return };
    // The next sync is that of the next write.
    let leader = cluster.leader();
    let mut client = cluster.client((leader + 1) % 3);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let put = client.put("0 0 60", b"x").expect("the member serves");
                assert!(put.starts_with("INSERTED "), "{put}");
            }
        });
        let plan = Plan { kind: Kind::FailedSync, target: Target::Leader };
        suffer_in(&mut cluster, plan, |cluster, installed| {
            is_over.store(true, Ordering::Relaxed);
            let member = only(installed);
            assert!(!cluster.is_running(member));
            assert!(cluster.log(member).contains("os error 5"), "{}", cluster.log(member));
        });
    });
}

#[test]
fn who_speaks_to_an_agent_goes_on_when_a_disk_hangs() {
    let _alone = alone();
    let Some(mut cluster) = cluster_for(Kind::HungDisk, cluster_options()) else { return };
    let agent = agent_before(&cluster);
    // Some at each member.
    let mut clients: Vec<_> = (0..9).map(|_| agent.client()).collect();
    let mut longest_put = || {
        let end = now() + HANGS_FOR;
        let mut longest = Duration::ZERO;
        while now() < end {
            for client in &mut clients {
                let began = now();
                let put = client.put("0 0 60", b"x").expect("another member serves");
                assert!(put.starts_with("INSERTED "), "{put}");
                longest = longest.max(now() - began);
            }
        }
        longest
    };
    longest_put();
    let plan = Plan { kind: Kind::HungDisk, target: Target::Follower };
    suffer_in(&mut cluster, plan, |_, _| {
        let longest = longest_put();
        eprintln!("a disk hangs: a pause of {longest:?}");
        assert!(longest < MOVED_WITHIN, "{longest:?}");
    });
}

#[test]
fn a_leader_whose_disk_hangs_hands_over() {
    let _alone = alone();
    suffer_plainly(Kind::HungDisk, Target::Leader, |cluster, installed| {
        let hurt = only(installed);
        let mut client = cluster.client((hurt + 1) % 3);
        let put = client.put("0 0 60", b"x").expect("the member serves");
        assert!(put.starts_with("INSERTED "), "{put}");
        cluster.wait_for("another leader", PATIENCE, |it| {
            it.leader_now().is_some_and(|leader| leader != hurt)
        });
    });
}

#[test]
fn a_member_whose_disk_is_slow_goes_on() {
    let _alone = alone();
    suffer_plainly(Kind::SlowDisk, Target::Follower, |cluster, installed| {
        assert!(cluster.is_running(only(installed)));
    });
}

#[test]
fn a_member_whose_disk_is_full_has_room_again_when_healed() {
    let _alone = alone();
    suffer(Kind::FullDisk, Target::Follower, with_disks(), |cluster, installed| {
        let disk = cluster.disk(only(installed)).expect("it has one");
        let refused = std::fs::write(disk.path().join("more"), vec![1; 1 << 16]);
        assert!(refused.is_err());
        std::fs::remove_file(disk.path().join("more")).expect("it was begun");
    });
}

#[test]
fn a_member_with_a_flipped_bit_in_its_log_serves_or_is_replaced() {
    let _alone = alone();
    suffer_plainly(Kind::FlipLog, Target::Follower, |_, installed| {
        assert!(installed.note.starts_with("log-"), "{}", installed.note);
    });
}

#[test]
fn a_single_member_with_a_flipped_bit_in_its_log_loses_nothing() {
    let _alone = alone();
    let mut cluster = cluster_of(1);
    let mut client = cluster.client(0);
    let ids: Vec<String> = (0..50)
        .map(|_| {
            let put = client.put("0 0 60", b"kept").expect("the member serves");
            put.strip_prefix("INSERTED ").unwrap_or_else(|| panic!("put: {put}")).to_owned()
        })
        .collect();
    let plan = Plan { kind: Kind::FlipLog, target: Target::One(0) };
    suffer_in(&mut cluster, plan, |_, installed| {
        assert!(installed.note.starts_with("log-"), "{}", installed.note);
    });
    let mut client = cluster.client(0);
    for id in ids {
        let found = client.ask(&format!("peek {id}"));
        assert_eq!(found.ok(), Some(format!("FOUND {id} 4\r\nkept")), "{}", cluster.log(0));
    }
}
