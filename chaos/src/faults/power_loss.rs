//! The power goes: nothing more is written, and what was not synced is gone. Members that lose it at
//! once are stopped first, so that none of them sees another one's end.

use super::{FaultError, Installed, Scene};
use crate::testbed::{Cluster, Random};

pub(super) fn install(
    scene: &Scene,
    cluster: &mut Cluster,
    _: &mut Random,
) -> Result<Installed, FaultError> {
    scene.require_disks(cluster)?;
    for &member in &scene.members {
        if cluster.is_running(member) {
            cluster.freeze(member);
        }
    }
    let mut down = Ok(());
    for &member in &scene.members {
        down = down.and_then(|()| cluster.disk(member)?.shut_down());
        cluster.kill(member);
    }
    down.map_err(FaultError::not_taken)?;
    for &member in &scene.members {
        let mounted = cluster.disk(member).and_then(|disk| disk.mount_again());
        mounted.map_err(FaultError::not_taken)?;
    }
    Ok(scene.installed_until_started("without power"))
}
