//! Ways between members on which nothing comes through. Who sends is told nothing.

use super::target::{cut, ends};
use super::{FaultError, Installed, Kind, Plan, Scene, Target, hurting};
use crate::testbed::{Cluster, Random};

/// All sets of ways between three members, the empty one included.
pub fn patterns() -> Vec<Plan> {
    let plan = |ways| Plan { kind: Kind::CutPattern, target: Target::Ways(ways) };
    (0..64).map(plan).collect()
}

/// A member hears nobody, or nobody hears it.
pub(super) fn install_one_way(
    scene: &Scene,
    cluster: &mut Cluster,
    random: &mut Random,
) -> Result<Installed, FaultError> {
    let member = scene.members[0];
    let is_deaf = random.once_in(2);
    let ways: Vec<_> = others(cluster, member)
        .map(|other| if is_deaf { (other, member) } else { (member, other) })
        .collect();
    let note = if is_deaf { "it hears nobody" } else { "nobody hears it" };
    install(&scene.members, note, &ways, cluster)
}

/// A member and one other do not hear each other; both are heard by the rest. Which of the two that
/// hurts depends on who leads.
pub(super) fn install_two_ways(
    scene: &Scene,
    cluster: &mut Cluster,
    random: &mut Random,
) -> Result<Installed, FaultError> {
    let member = scene.members[0];
    let others: Vec<usize> = others(cluster, member).collect();
    if others.is_empty() {
        return Err(FaultError::missing("there is one member only"));
    }
    let other = random.pick(&others);
    let mut hurt = vec![member, other];
    hurt.sort_unstable();
    let note = format!("{member} and {other} do not hear each other");
    install(&hurt, &note, &[(member, other), (other, member)], cluster)
}

/// A member and all others do not hear each other.
pub(super) fn install_isolation(
    scene: &Scene,
    cluster: &mut Cluster,
    _: &mut Random,
) -> Result<Installed, FaultError> {
    let member = scene.members[0];
    let ways: Vec<_> =
        others(cluster, member).flat_map(|other| [(member, other), (other, member)]).collect();
    install(&scene.members, "cut off", &ways, cluster)
}

/// A set of ways.
pub(super) fn install_pattern(
    scene: &Scene,
    cluster: &mut Cluster,
    random: &mut Random,
) -> Result<Installed, FaultError> {
    let ways = match scene.plan.target {
        Target::Ways(ways) => ways,
        _ => u8::try_from(random.within(1..64)).expect("six bits"),
    };
    if cluster.member_count() < 3 {
        return Err(FaultError::missing("there are less than three members"));
    }
    let note = format!("cut: {}", Target::Ways(ways));
    install(&ends(ways), &note, &cut(ways).collect::<Vec<_>>(), cluster)
}

fn others(cluster: &Cluster, member: usize) -> impl Iterator<Item = usize> + use<> {
    (0..cluster.member_count()).filter(move |&other| other != member)
}

fn install(
    hurt: &[usize],
    note: &str,
    ways: &[(usize, usize)],
    cluster: &mut Cluster,
) -> Result<Installed, FaultError> {
    if !cluster.has_cables() {
        return Err(FaultError::missing("members have no cables"));
    }
    let mut cut = Vec::new();
    for &(from, to) in ways {
        // Another fault may have cut it before, and takes it back itself.
        if cluster.try_cut(from, to).map_err(FaultError::not_taken)? {
            cut.push((from, to));
        }
    }
    Ok(hurting(hurt, note, move |cluster| {
        for (from, to) in cut {
            cluster.join(from, to).map_err(FaultError::not_healed)?;
        }
        Ok(())
    }))
}
