//! Ways between members that are slow, or lose a part of what goes over them.

use std::time::Duration;

use super::{FaultError, Installed, Scene};
use crate::testbed::{Cluster, Random, Way};

/// What goes over a slow way takes so much longer, in milliseconds: from well below the time after
/// which an election begins to well above it.
const DELAYS_MS: [u64; 3] = [20, 100, 400];
/// So many in a hundred packets are lost.
const LOSSES: [u8; 3] = [2, 10, 30];

pub(super) fn install_delay(
    scene: &Scene,
    cluster: &mut Cluster,
    random: &mut Random,
) -> Result<Installed, FaultError> {
    let delay = Duration::from_millis(random.pick(&DELAYS_MS));
    let way = Way { delay, jitter: delay / 2, lost_percent: 0 };
    install(scene, cluster, way, format!("{} ms, and up to half as much more", delay.as_millis()))
}

pub(super) fn install_loss(
    scene: &Scene,
    cluster: &mut Cluster,
    random: &mut Random,
) -> Result<Installed, FaultError> {
    let lost_percent = random.pick(&LOSSES);
    let way = Way { delay: Duration::ZERO, jitter: Duration::ZERO, lost_percent };
    install(scene, cluster, way, format!("{lost_percent} %"))
}

fn install(
    scene: &Scene,
    cluster: &mut Cluster,
    way: Way,
    note: String,
) -> Result<Installed, FaultError> {
    if !cluster.has_cables() {
        return Err(FaultError::missing("members have no cables"));
    }
    let all = 0..cluster.member_count();
    let pairs = all.clone().flat_map(|from| all.clone().map(move |to| (from, to)));
    let is_hurt = |place: &usize| scene.members.contains(place);
    let ways: Vec<_> =
        pairs.filter(|(from, to)| from != to && (is_hurt(from) || is_hurt(to))).collect();
    if cluster.is_worsened() {
        return Err(FaultError::missing("ways are slow or lossy already"));
    }
    if let Err(why) = cluster.worsen(&ways, way) {
        cluster.better().map_err(FaultError::not_healed)?;
        return Err(FaultError::not_taken(why));
    }
    Ok(scene.installed(note, |cluster| cluster.better().map_err(FaultError::not_healed)))
}
