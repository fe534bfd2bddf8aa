//! Leadership that is handed over because an operator asks for it.

use serde_json::json;

use super::{FaultError, Installed, Scene, hurting, up};
use crate::testbed::{Cluster, PATIENCE, Random};

/// Nobody is hurt.
pub(super) fn install(
    scene: &Scene,
    cluster: &mut Cluster,
    random: &mut Random,
) -> Result<Installed, FaultError> {
    let leader = scene.members[0];
    let others: Vec<usize> = (0..cluster.member_count()).filter(|&it| it != leader).collect();
    if others.is_empty() {
        return Err(FaultError::missing("there is one member only"));
    }
    let next = random.pick(&others);
    let id = cluster.status(next).map_err(FaultError::not_taken)?.this_member;
    let asked = cluster.change(leader, &json!({"do": "transfer", "to": id}));
    asked.map_err(FaultError::not_taken)?;
    let led = cluster.wait_until("another leader", PATIENCE, |it| it.leader_now() == Some(next));
    led.map_err(FaultError::not_taken)?;
    let note = format!("from {leader} to {next}");
    Ok(hurting(&[], note, move |cluster| up::wait(cluster, &[next])))
}
