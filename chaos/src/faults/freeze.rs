//! SIGSTOP: a process that keeps its sockets and says nothing.

use super::{FaultError, Installed, Scene, require_running};
use crate::testbed::{Cluster, Random};

pub(super) fn install(
    scene: &Scene,
    cluster: &mut Cluster,
    _: &mut Random,
) -> Result<Installed, FaultError> {
    for &member in &scene.members {
        require_running(cluster, member)?;
        cluster.freeze(member);
    }
    let members = scene.members.clone();
    Ok(scene.installed("stopped", move |cluster| {
        for &member in &members {
            cluster.thaw_if_frozen(member);
        }
        Ok(())
    }))
}
