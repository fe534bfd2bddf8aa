//! SIGKILL: a process that is gone from one moment to the next. Its disk keeps all it wrote.

use super::{FaultError, Installed, Scene};
use crate::testbed::{Cluster, Random};

/// Members are down until this is healed.
pub(super) fn install(
    scene: &Scene,
    cluster: &mut Cluster,
    _: &mut Random,
) -> Result<Installed, FaultError> {
    end(scene, cluster);
    Ok(scene.installed_until_started("killed"))
}

/// Members are back as soon as they can be.
pub(super) fn install_restart(
    scene: &Scene,
    cluster: &mut Cluster,
    _: &mut Random,
) -> Result<Installed, FaultError> {
    end(scene, cluster);
    for &member in &scene.members {
        cluster.spawn(member);
    }
    Ok(scene.installed_until_started("killed and started"))
}

fn end(scene: &Scene, cluster: &mut Cluster) {
    for &member in &scene.members {
        cluster.kill(member);
    }
}
