//! One fault of a cluster.

use std::thread;
use std::time::Duration;

use beanpole_chaos::faults::{Installed, Kind, Plan, Target, install, probe};

use crate::support::{
    Client, Cluster, ClusterOptions, PATIENCE, Random, cluster_options, left_out, now,
    number_from_environment,
};

/// Room for the log and the reserves of a member.
pub(super) const DISK_BYTES: u64 = 256 << 20;

/// Three members with what a kind of fault takes; `None`, with a line that says why, where that is
/// not to be had.
pub(super) fn cluster_for(kind: Kind, options: ClusterOptions) -> Option<Cluster> {
    let missing = |why: String| left_out(&format!("the fault {kind}: {why}"));
    probe(kind).map_err(missing).ok()?;
    Cluster::start_with(options).map_err(missing).ok()
}

/// Installs a fault, lets `is_there` see that it is, heals it, and asks all members to serve.
pub(super) fn suffer(
    kind: Kind,
    target: Target,
    options: ClusterOptions,
    is_there: impl FnOnce(&mut Cluster, &Installed),
) {
    let Some(mut cluster) = cluster_for(kind, options) else { return };
    suffer_in(&mut cluster, Plan { kind, target }, is_there);
}

/// The same in a cluster that is there.
pub(super) fn suffer_in(
    cluster: &mut Cluster,
    plan: Plan,
    is_there: impl FnOnce(&mut Cluster, &Installed),
) {
    let seed = number_from_environment("BEANPOLE_SEED").unwrap_or_else(Random::fresh_seed);
    let installed = install(&plan, cluster, &mut Random::new(seed));
    let installed = installed.unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    is_there(cluster, &installed);
    let healed = installed.heal(cluster);
    healed.unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    expect_service(cluster);
}

/// The same with nothing special.
pub(super) fn suffer_plainly(
    kind: Kind,
    target: Target,
    is_there: impl FnOnce(&mut Cluster, &Installed),
) {
    suffer(kind, target, cluster_options(), is_there);
}

/// The places that are hurt.
pub(super) fn hurt(installed: &Installed) -> Vec<usize> {
    installed.members.iter().map(|&place| place as usize).collect()
}

/// The one place that is hurt.
pub(super) fn only(installed: &Installed) -> usize {
    let hurt = hurt(installed);
    assert_eq!(hurt.len(), 1, "{installed:?}");
    hurt[0]
}

/// A member whose disk was full refuses puts until it looks at the disk again.
fn put_when_there_is_room(putter: &mut Client) -> String {
    let deadline = now() + PATIENCE;
    loop {
        let put = putter.put("0 0 60", b"served").expect("the member serves");
        if put != "OUT_OF_MEMORY" || now() >= deadline {
            return put;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// What is put at one member is reserved and deleted at the next, all the way round.
pub(super) fn expect_service(cluster: &mut Cluster) {
    cluster.wait_for("all members to serve", PATIENCE, |it| {
        (0..it.member_count()).all(|member| it.serves(member))
    });
    let count = cluster.member_count();
    for member in 0..count {
        let tube = format!("served-{member}");
        let mut putter = cluster.client(member);
        assert_eq!(putter.ask(&format!("use {tube}")).ok(), Some(format!("USING {tube}")));
        let put = put_when_there_is_room(&mut putter);
        let id = put.strip_prefix("INSERTED ").unwrap_or_else(|| panic!("put: {put}"));
        let mut worker = cluster.client((member + 1) % count);
        assert_eq!(worker.ask(&format!("watch {tube}")).ok().as_deref(), Some("WATCHING 2"));
        assert_eq!(worker.ask("ignore default").ok().as_deref(), Some("WATCHING 1"));
        let reserved = worker.ask("reserve-with-timeout 5").expect("the member serves");
        assert_eq!(reserved, format!("RESERVED {id} 6\r\nserved"));
        assert_eq!(worker.ask(&format!("delete {id}")).ok().as_deref(), Some("DELETED"));
    }
}
