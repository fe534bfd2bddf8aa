//! A leader that has lost the unsynced tail of its log restarts before anybody misses it.
//!
//! openraft can let such a leader go on leading without a vote. With a log that is synced behind
//! its back that loses what others have acknowledged; it must be off.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::scene::{TTR, expect, lead};
use crate::support::{
    Cluster, ClusterOptions, Load, LoopDisk, PATIENCE, Traffic, alone, cluster_of, cluster_options,
    left_out,
};

const ROUNDS: usize = 5;
/// The member that loses power, on a disk of its own.
const STRUCK: usize = 2;
const DISK_BYTES: u64 = 512 << 20;
const DEPTH: usize = 8;
/// Of a leader that may have handed over already when it loses power.
const ATTEMPTS_MAX: usize = 10;
const STRUCK_LEADERS: usize = 2;
/// A disk is taken for hung after 300 ms: this must be over by then.
const ACKNOWLEDGED: u64 = 100;
/// In which a leader that is restored without a vote would have begun to lead.
const RESTORED_AFTER: Duration = Duration::from_millis(300);

#[test]
fn a_leader_that_lost_its_unsynced_tail_and_restarts_at_once_loses_nothing() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
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

/// The others are stopped meanwhile, so that nobody can be elected first.
#[test]
fn a_leader_that_lost_power_and_is_the_first_to_be_back_loses_nothing() {
    let _alone = alone();
    let what = "a leader that loses power";
    let disk = match LoopDisk::mount(DISK_BYTES) {
        Ok(disk) => disk,
        Err(why) => return left_out(&format!("{what}: {why}")),
    };
    // A trial, so that a kernel without such an end is found out here.
    if let Err(why) = disk.shut_down().and_then(|()| disk.mount_again()) {
        return left_out(&format!("{what}: {why}"));
    }
    let apart = Some((STRUCK, disk.path().join("data")));
    let options = ClusterOptions { apart, ..cluster_options() };
    let mut cluster = Cluster::start_with(options).expect("no cables are asked for");
    let mut struck = 0;
    for attempt in 0..ATTEMPTS_MAX {
        match lose_power(&mut cluster, &disk, attempt) {
            Ok(led) => struck += usize::from(led),
            Err(why) => return left_out(&format!("{what}: {why}")),
        }
        if struck == STRUCK_LEADERS {
            return;
        }
    }
    panic!("it has always handed over before: {struck} of {STRUCK_LEADERS} times it led");
}

/// Strikes once, under load; whether it led until then.
fn lose_power(cluster: &mut Cluster, disk: &LoopDisk, attempt: usize) -> Result<bool, String> {
    lead(cluster, STRUCK);
    let mut load = Load::on(cluster.addresses_without(STRUCK));
    load.depth = DEPTH;
    let mut client = cluster.client(0);
    expect(&mut client, "use marked", "USING marked");
    let traffic = Traffic::start(&load);
    traffic.wait_for_writes(300, PATIENCE).unwrap_or_else(|why| panic!("{why}"));
    cluster.hang(STRUCK)?;
    // More than was under way: the rest came when the disk had been hanging for a while.
    traffic.wait_for_writes(ACKNOWLEDGED, PATIENCE).unwrap_or_else(|why| panic!("{why}"));
    let marker = format!("marker {attempt} of what was acknowledged by two others");
    let put = client.put("0 0 1000", marker.as_bytes()).expect("the member serves");
    let id = put.strip_prefix("INSERTED ").unwrap_or_else(|| panic!("put: {put}")).to_owned();
    for other in [0, 1] {
        cluster.freeze(other);
    }
    let led = cluster.status(STRUCK).is_ok_and(|view| view.leader == Some(view.this_member));
    disk.shut_down()?;
    cluster.kill(STRUCK);
    disk.mount_again()?;
    assert!(!holds(&disk.path().join("data/wal"), marker.as_bytes()), "nothing was lost");
    cluster.spawn(STRUCK);
    cluster.wait_for("it to be back", PATIENCE, |it| it.status(STRUCK).is_ok());
    // What is waited for is time itself: it has nobody to vote for it.
    std::thread::sleep(RESTORED_AFTER);
    let view = cluster.status(STRUCK).expect("it has answered before");
    assert_ne!(view.leader, Some(view.this_member), "it leads by itself");
    for other in [0, 1] {
        cluster.thaw(other);
    }
    let flows = traffic.wait_for_writes(300, PATIENCE);
    flows.unwrap_or_else(|why| panic!("attempt {attempt}: {why}\n{}", cluster.logs()));
    cluster.wait_in_step();
    let found = format!("FOUND {id} {}\r\n{marker}", marker.len());
    expect(&mut cluster.client(STRUCK), &format!("peek {id}"), &found);
    let history = traffic.finish(&mut cluster.client(STRUCK));
    let history = history.unwrap_or_else(|why| panic!("attempt {attempt}: {why}"));
    let verdict = history.judge(TTR);
    assert!(verdict.is_clean(), "attempt {attempt}: {verdict:#?}");
    Ok(led)
}

/// Whether one of the files of a directory has these bytes in it.
fn holds(directory: &Path, bytes: &[u8]) -> bool {
    let files = fs::read_dir(directory).expect("the directory is there");
    files.filter_map(Result::ok).any(|file| {
        let found = fs::read(file.path()).expect("a file of the log can be read");
        found.windows(bytes.len()).any(|window| window == bytes)
    })
}
