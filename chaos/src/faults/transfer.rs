//! Leadership that is handed over because an operator asks for it.

use serde_json::json;

use super::{FaultError, Installed, Scene, hurting, membership, up};
use crate::testbed::{Cluster, PATIENCE, Random};

/// Nobody is hurt.
pub(super) fn install(
    scene: &Scene,
    cluster: &mut Cluster,
    random: &mut Random,
) -> Result<Installed, FaultError> {
    let leader = scene.members[0];
    if cluster.leader_now() != Some(leader) {
        return Err(FaultError::hindered("nobody leads"));
    }
    let others: Vec<usize> = (0..cluster.member_count()).filter(|&it| it != leader).collect();
    if others.is_empty() {
        return Err(FaultError::missing("there is one member only"));
    }
    let next = random.pick(&others);
    let id = membership::id_of(cluster, next)?;
    let mut refusals = Vec::new();
    // It may say that it did not happen in time, and be asked once more.
    let led = cluster.wait_until("another leader", PATIENCE, |cluster| {
        let Some(leader) = cluster.leader_now().filter(|&leader| leader != next) else {
            return cluster.leader_now() == Some(next);
        };
        refusals.extend(cluster.change(leader, &json!({"do": "transfer", "to": id})).err());
        false
    });
    let refused = |why: String| format!("{why}: {}", refusals.join("; "));
    led.map_err(|why| FaultError::not_taken(refused(why)))?;
    let note = format!("from {leader} to {next}");
    Ok(hurting(&[], note, |_| Ok(())).mended_by(move |cluster| up::wait(cluster, &[next])))
}
