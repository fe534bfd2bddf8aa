//! SIGSTOP: a process that keeps its sockets and says nothing.

use super::{FaultError, Installed, Scene, hurting};
use crate::testbed::{Cluster, Random};

pub(super) fn install(
    scene: &Scene,
    cluster: &mut Cluster,
    _: &mut Random,
) -> Result<Installed, FaultError> {
    let mut members = scene.members.clone();
    members.retain(|&member| cluster.is_running(member));
    if members.is_empty() {
        return Err(FaultError::hindered("nobody runs"));
    }
    for &member in &members {
        cluster.freeze(member);
    }
    Ok(hurting(&members.clone(), "stopped", move |cluster| {
        for &member in &members {
            cluster.thaw_if_frozen(member);
        }
        Ok(())
    }))
}
