//! SIGTERM: a member that is told to end, hands over and ends, as in a rolling restart.

use super::{FaultError, Installed, Scene, require_work, up};
use crate::testbed::{Cluster, PATIENCE, Random};

/// Each is back before the next one is told to end. All is over when this returns.
pub(super) fn install(
    scene: &Scene,
    cluster: &mut Cluster,
    _: &mut Random,
) -> Result<Installed, FaultError> {
    require_work(cluster, &scene.members)?;
    for &member in &scene.members {
        cluster.signal(member, rustix::process::Signal::TERM);
        let ended = cluster.wait_for_end(member, PATIENCE);
        if !ended.is_some_and(|status| status.success()) {
            return Err(FaultError::not_taken(format!("member {member} ends with {ended:?}")));
        }
        up::start(cluster, &[member]);
        let all = cluster.member_count();
        let in_step = cluster.wait_until("all in step", super::UP_WITHIN, |it| it.in_step(all));
        in_step.map_err(FaultError::not_healed)?;
    }
    Ok(scene.installed_until_started("one after the other"))
}
