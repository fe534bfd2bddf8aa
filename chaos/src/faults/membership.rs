//! Members that come, and members that come in the place of others.

use super::{FaultError, Installed, Scene, UP_WITHIN, hurting, up};
use crate::testbed::{Cluster, Random};

/// How many members a cluster grows to.
const GROWN: usize = 3;

/// A member is gone with all it had; healing it puts a new one in its place.
pub(super) fn install_replacement(
    scene: &Scene,
    cluster: &mut Cluster,
    _: &mut Random,
) -> Result<Installed, FaultError> {
    if cluster.member_count() < 2 {
        return Err(FaultError::missing("there is one member only"));
    }
    let member = scene.members[0];
    let gone = cluster.status(member).map_err(FaultError::not_taken)?.this_member;
    cluster.kill(member);
    cluster.lose_disk(member);
    Ok(scene.installed(format!("member {gone} is gone for good"), move |cluster| {
        replace(cluster, gone, member)
    }))
}

/// A cluster of one takes in two more. All is over when this returns, and cannot be taken back.
pub(super) fn install_growth(
    _: &Scene,
    cluster: &mut Cluster,
    _: &mut Random,
) -> Result<Installed, FaultError> {
    if cluster.member_count() != 1 {
        return Err(FaultError::missing("there is more than one member"));
    }
    while cluster.member_count() < GROWN {
        let newcomer = cluster.try_newcomer().map_err(FaultError::not_taken)?;
        cluster.add(0, newcomer).map_err(FaultError::not_taken)?;
    }
    Ok(hurting(&[], "from one to three", |cluster| {
        up::wait(cluster, &(0..GROWN).collect::<Vec<_>>())
    }))
}

/// Puts a new member in the place of the one that had the id `gone`, and waits until it serves.
///
/// # Errors
///
/// [`FaultError::NotHealed`].
pub(super) fn replace(cluster: &mut Cluster, gone: u64, member: usize) -> Result<(), FaultError> {
    cluster.begin_anew(member).map_err(FaultError::not_healed)?;
    let mut refusals = Vec::new();
    // A leader that has only just been elected may say that it did not happen in time.
    let replaced = cluster.wait_until("a replacement", UP_WITHIN, |cluster| {
        let leader = cluster.leader_now().filter(|&leader| leader != member);
        let Some(via) = leader else { return false };
        cluster.replace(via, gone, member).map_err(|why| refusals.push(why)).is_ok()
    });
    let refused = |why: String| format!("{why}: {}", refusals.join("; "));
    replaced.map_err(|why| FaultError::not_healed(refused(why)))?;
    let all = cluster.member_count();
    let in_step = cluster.wait_until("all in step", UP_WITHIN, |it| it.in_step(all));
    in_step.map_err(FaultError::not_healed)
}
