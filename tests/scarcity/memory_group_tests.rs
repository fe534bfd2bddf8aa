//! The control group that holds servers to their memory is a judge: here it must find guilty.

use std::process::Stdio;

use crate::support::{Cluster, ClusterOptions, MemoryGroup, alone, cluster_options, left_out};

const LIMIT_BYTES: u64 = 32 << 20;
/// `tail` keeps what has no end of line.
const TAKES_TOO_MUCH: &str = "head -c 128m /dev/zero | tail -n 1";
const TAKES_LITTLE: &str = "head -c 1m /dev/zero | tail -n 1";

/// Room for a member without jobs, whose budget is a part of it.
const MEMBER_LIMIT_BYTES: u64 = 256 << 20;

fn group() -> Option<MemoryGroup> {
    let group = MemoryGroup::create(LIMIT_BYTES);
    group.inspect_err(|why| left_out(&format!("a memory control group: {why}"))).ok()
}

fn run(group: &MemoryGroup, script: &str) -> bool {
    let mut command = group.command("sh");
    command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().expect("a shell can be started").success()
}

#[test]
fn a_process_over_the_limit_of_its_group_is_killed_and_counted() {
    let Some(group) = group() else { return };
    assert!(run(&group, TAKES_LITTLE));
    assert_eq!(group.oom_kills(), 0);
    assert!(!run(&group, TAKES_TOO_MUCH));
    // The shell may be taken too.
    assert!(group.oom_kills() > 0);
    assert!(group.limit_hits() > 0);
    assert!(group.peak_bytes().is_none_or(|peak| peak <= LIMIT_BYTES));
}

#[test]
fn a_group_is_gone_with_its_handle() {
    let Some(group) = group() else { return };
    assert!(run(&group, "exit 0"));
    let path = group.path().to_owned();
    assert!(path.exists());
    drop(group);
    assert!(!path.exists());
}

#[test]
fn each_member_of_a_cluster_has_a_group_of_its_own() {
    let _alone = alone();
    if group().is_none() {
        return;
    }
    let memory_limit = Some(MEMBER_LIMIT_BYTES);
    let options = ClusterOptions { members: 2, memory_limit, ..cluster_options() };
    let cluster = Cluster::start_with(options).expect("nothing special is asked for");
    for member in 0..2 {
        let group = cluster.memory_group(member).expect("there could be one just now");
        let inside = std::fs::read_to_string(group.path().join("cgroup.procs"));
        assert_eq!(inside.expect("it is there").trim(), cluster.pid(member).to_string());
    }
}
