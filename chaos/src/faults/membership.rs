//! Members that come, and members that come in the place of others.

use super::{FaultError, Installed, Scene, UP_WITHIN, hurting, require_work, up};
use crate::testbed::{Cluster, PATIENCE, Random};

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
    let gone = id_of(cluster, member)?;
    cluster.kill(member);
    cluster.try_lose_disk(member).map_err(FaultError::not_taken)?;
    let fault = scene.installed_until_started(format!("member {gone} is gone for good"));
    Ok(fault.mended_by(move |cluster| replace(cluster, gone, member)))
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
    let wait = |cluster: &mut Cluster| up::wait(cluster, &(0..GROWN).collect::<Vec<_>>());
    Ok(hurting(&[], "from one to three", |_| Ok(())).mended_by(wait))
}

/// The id of a member that works.
///
/// # Errors
///
/// [`FaultError::Hindered`] when it does not say.
pub(super) fn id_of(cluster: &mut Cluster, member: usize) -> Result<u64, FaultError> {
    require_work(cluster, &[member])?;
    let mut id = None;
    let said = cluster.wait_until("a member to name its id", PATIENCE, |cluster| {
        id = cluster.status(member).ok().map(|view| view.this_member).filter(|&id| id > 0);
        id.is_some()
    });
    said.map_err(FaultError::hindered)?;
    Ok(id.expect("it was waited for"))
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
