//! The kernel kills a member for the limit of its memory group. Another process of the group takes
//! up what room there is, and the member is made the first to be killed.

use super::{FaultError, Installed, Scene, require_work};
use crate::testbed::{Cluster, PATIENCE, Random};

pub(super) fn install(
    scene: &Scene,
    cluster: &mut Cluster,
    _: &mut Random,
) -> Result<Installed, FaultError> {
    let member = scene.members[0];
    let group = cluster.memory_group(member).map_err(FaultError::missing)?;
    let before = group.oom_kills();
    require_work(cluster, &[member])?;
    let glutton = cluster.exhaust_memory(member).map_err(FaultError::not_taken)?;
    let ended = cluster.wait_for_end(member, PATIENCE);
    drop(glutton);
    let kills = cluster.memory_group(member).map_err(FaultError::not_taken)?.oom_kills() - before;
    if ended.is_none() || kills == 0 {
        return Err(FaultError::not_taken(format!("{kills} processes were killed: {ended:?}")));
    }
    // Reaps it.
    cluster.kill(member);
    let note = format!("oom: the kernel killed it ({kills} processes of its group)");
    Ok(scene.installed_until_started(note))
}
