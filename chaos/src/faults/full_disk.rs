//! A disk without room: somebody else has taken all of it, and takes whatever becomes free.

use super::{FaultError, Installed, Scene};
use crate::testbed::{Cluster, Random};

pub(super) fn install(
    scene: &Scene,
    cluster: &mut Cluster,
    _: &mut Random,
) -> Result<Installed, FaultError> {
    scene.require_disks(cluster)?;
    for &member in &scene.members {
        let filled = cluster.disk(member).and_then(|disk| disk.keep_full());
        filled.map_err(FaultError::not_taken)?;
    }
    let members = scene.members.clone();
    Ok(scene.installed("puts may be refused", move |cluster| {
        for &member in &members {
            let drained = cluster.disk(member).and_then(|disk| disk.drain());
            drained.map_err(FaultError::not_healed)?;
        }
        Ok(())
    }))
}
