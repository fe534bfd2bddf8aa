//! Members that are to work again.

use std::thread;
use std::time::Duration;

use super::{FaultError, UP_WITHIN};
use crate::testbed::Cluster;

/// What a process takes that ends by itself.
const ENDS_WITHIN: Duration = Duration::from_secs(1);

/// Starts those of these members that do not run. Waits for nothing.
pub(super) fn start(cluster: &mut Cluster, members: &[usize]) {
    for &member in members {
        if !cluster.is_running(member) {
            cluster.spawn(member);
        }
    }
}

/// Waits until these members serve.
///
/// # Errors
///
/// [`FaultError::NotHealed`] with the ends of the logs.
pub(super) fn wait(cluster: &mut Cluster, members: &[usize]) -> Result<(), FaultError> {
    let mut waited_for = members.to_vec();
    let serve = |cluster: &mut Cluster| {
        waited_for.retain(|&member| !cluster.serves(member));
        waited_for.is_empty()
    };
    let up = cluster.wait_until("members to serve", UP_WITHIN, serve);
    up.map_err(|why| FaultError::not_healed(format!("{why}\n{}", cluster.logs())))
}

/// Takes back all that can be taken back, whatever is there, and starts what is down.
pub(super) fn recover(cluster: &mut Cluster) -> Result<(), FaultError> {
    let all: Vec<usize> = (0..cluster.member_count()).collect();
    cluster.mend().map_err(FaultError::not_healed)?;
    for &member in &all {
        cluster.release_syncs(member);
        cluster.thaw_if_frozen(member);
        if cluster.has_clocks() {
            cluster.set_clock(member, 0).map_err(FaultError::not_healed)?;
        }
        if let Ok(disk) = cluster.disk(member) {
            disk.drain().map_err(FaultError::not_healed)?;
        }
    }
    start(cluster, &all);
    // Whoever was about to end was still there; it is started now.
    thread::sleep(ENDS_WITHIN);
    start(cluster, &all);
    wait(cluster, &all)
}
