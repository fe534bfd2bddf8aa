//! Disks that fail, hang or are slow when the log is synced.

use std::time::Duration;

use super::{FaultError, Installed, Scene, require_work};
use crate::testbed::{Cluster, PATIENCE, Random, SyncFault};

/// Each sync takes so much longer, in milliseconds: below and above the 300 ms after which a leader
/// hands over.
const DELAYS_MS: [u64; 3] = [20, 100, 500];

/// Within which a member ends after a sync has failed.
const END_WITHIN: Duration = Duration::from_secs(2);

/// A sync that fails ends its member: what it was to keep may be gone, and the kernel tells only
/// once. There is one as soon as something is written to the log. Whoever does not end finds that
/// all fail; what comes of that shows.
pub(super) fn install_failure(
    scene: &Scene,
    cluster: &mut Cluster,
    _: &mut Random,
) -> Result<Installed, FaultError> {
    spoil(scene, cluster, SyncFault::Fails)?;
    let member = scene.members[0];
    let failed = cluster.wait_until("a sync to fail", PATIENCE, |cluster| {
        cluster.has_spoilt_a_sync(member) || !cluster.is_running(member)
    });
    if let Err(why) = failed {
        cluster.release_syncs(member);
        return Err(FaultError::hindered(why));
    }
    if cluster.wait_for_end(member, END_WITHIN).is_none() {
        return Ok(until_released(scene, "syncs fail, and it goes on"));
    }
    // Reaps it.
    cluster.kill(member);
    Ok(scene.installed_until_started("a sync failed, and it ended"))
}

/// Syncs begin and do not end.
pub(super) fn install_hang(
    scene: &Scene,
    cluster: &mut Cluster,
    _: &mut Random,
) -> Result<Installed, FaultError> {
    spoil(scene, cluster, SyncFault::Hangs)?;
    Ok(until_released(scene, "syncs hang"))
}

/// Syncs take longer.
pub(super) fn install_delay(
    scene: &Scene,
    cluster: &mut Cluster,
    random: &mut Random,
) -> Result<Installed, FaultError> {
    let delay = Duration::from_millis(random.pick(&DELAYS_MS));
    spoil(scene, cluster, SyncFault::Late(delay))?;
    Ok(until_released(scene, format!("syncs take {} ms longer", delay.as_millis())))
}

fn spoil(scene: &Scene, cluster: &mut Cluster, fault: SyncFault) -> Result<(), FaultError> {
    require_work(cluster, &scene.members)?;
    for &member in &scene.members {
        cluster.spoil_syncs(member, fault).map_err(FaultError::not_taken)?;
    }
    Ok(())
}

fn until_released(scene: &Scene, note: impl Into<String>) -> Installed {
    let members = scene.members.clone();
    scene.installed(note, move |cluster| {
        for &member in &members {
            cluster.release_syncs(member);
        }
        Ok(())
    })
}
