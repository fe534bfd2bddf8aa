//! A wall clock that jumps: nothing may end early for it, and nothing late.

use std::thread;
use std::time::Duration;

use super::{FaultError, Installed, Scene};
use crate::testbed::{Cluster, Random};

/// How far, in seconds.
const JUMPS: [i64; 6] = [-3600, -90, -2, 2, 90, 3600];
/// Within which a member looks at its clock anew.
const NOTICED_WITHIN: Duration = Duration::from_millis(1100);

pub(super) fn install(
    scene: &Scene,
    cluster: &mut Cluster,
    random: &mut Random,
) -> Result<Installed, FaultError> {
    let jumps: Vec<_> = scene.members.iter().map(|&member| (member, random.pick(&JUMPS))).collect();
    for &(member, seconds) in &jumps {
        cluster.set_clock(member, seconds).map_err(FaultError::missing)?;
    }
    thread::sleep(NOTICED_WITHIN);
    let said: Vec<String> =
        jumps.iter().map(|(member, seconds)| format!("member {member} by {seconds:+} s")).collect();
    let members = scene.members.clone();
    Ok(scene.installed(said.join(", "), move |cluster| {
        for &member in &members {
            cluster.set_clock(member, 0).map_err(FaultError::not_healed)?;
        }
        thread::sleep(NOTICED_WITHIN);
        Ok(())
    }))
}
