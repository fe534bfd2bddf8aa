//! Connections that are reset, of clients and of members: each end is told at once.

use std::thread;
use std::time::Duration;

use super::{FaultError, Installed, Scene};
use crate::testbed::{Cluster, Random};

/// Those that were opened anew meanwhile are reset too.
const TIMES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);

pub(super) fn install(
    scene: &Scene,
    cluster: &mut Cluster,
    _: &mut Random,
) -> Result<Installed, FaultError> {
    for time in 0..TIMES {
        if time > 0 {
            thread::sleep(PAUSE);
        }
        for &member in &scene.members {
            cluster.reset(member).map_err(FaultError::not_taken)?;
        }
    }
    Ok(scene.installed_until_started("its clients' connections too"))
}
