//! Whom a fault is done to.

use std::fmt;
use std::time::Duration;

use super::FaultError;
use crate::testbed::{Cluster, Random};

/// The ways between three members: from, to. A way's place here is its bit in [`Target::Ways`].
pub(super) const WAYS: [(usize, usize); 6] = [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)];

/// How long an election takes at most that nothing stands in the way of.
const LEADER_WITHIN: Duration = Duration::from_secs(2);

/// Whom a fault is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The member that leads; one of all when nobody does.
    Leader,
    /// One that does not lead.
    Follower,
    /// Two of all.
    Two,
    /// All of them.
    All,
    /// The member at this place.
    One(usize),
    /// The ends of these ways between the first three members, a bit each: 0 to 1 is the lowest,
    /// then 0 to 2, 1 to 0, 1 to 2, 2 to 0, 2 to 1.
    Ways(u8),
    /// Any [`Ways`](Self::Ways), but not none.
    SomeWays,
}

impl Target {
    /// The places of the members, in order.
    ///
    /// # Errors
    ///
    /// When the cluster has no such members.
    pub(super) fn choose(
        self,
        cluster: &mut Cluster,
        random: &mut Random,
    ) -> Result<Vec<usize>, FaultError> {
        let all: Vec<usize> = (0..cluster.member_count()).collect();
        let leader = leader_soon(cluster);
        let mut chosen = match self {
            Self::Leader => vec![leader.unwrap_or_else(|| random.pick(&all))],
            Self::Follower => vec![random.pick(&without(&all, leader)?)],
            Self::Two => {
                let one = random.pick(&all);
                vec![one, random.pick(&without(&all, Some(one))?)]
            }
            Self::All => all,
            Self::One(place) => vec![place],
            Self::Ways(ways) => ends(ways),
            // Which, is chosen where the ways are cut.
            Self::SomeWays => all,
        };
        chosen.sort_unstable();
        match chosen.iter().find(|&&place| place >= cluster.member_count()) {
            Some(place) => Err(FaultError::missing(format!("there is no member {place}"))),
            None => Ok(chosen),
        }
    }
}

/// The leader, waited for a little: a fault before may have left none for a moment.
fn leader_soon(cluster: &mut Cluster) -> Option<usize> {
    let mut leader = None;
    let found = cluster.wait_until("a leader", LEADER_WITHIN, |cluster| {
        leader = cluster.leader_now();
        leader.is_some()
    });
    // Another fault may be there that leaves none.
    found.ok().and(leader)
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leader => out.write_str("the leader"),
            Self::Follower => out.write_str("a follower"),
            Self::Two => out.write_str("two"),
            Self::All => out.write_str("all"),
            Self::One(place) => write!(out, "member {place}"),
            Self::Ways(0) => out.write_str("no way"),
            Self::Ways(ways) => {
                let names: Vec<String> =
                    cut(*ways).map(|(from, to)| format!("{from}>{to}")).collect();
                out.write_str(&names.join(" "))
            }
            Self::SomeWays => out.write_str("some ways"),
        }
    }
}

/// The ways of a set.
pub(super) fn cut(ways: u8) -> impl Iterator<Item = (usize, usize)> {
    WAYS.into_iter().enumerate().filter(move |(bit, _)| ways & 1 << bit != 0).map(|(_, way)| way)
}

/// All members that a way of the set begins or ends at.
pub(super) fn ends(ways: u8) -> Vec<usize> {
    (0..3).filter(|&place| cut(ways).any(|(from, to)| from == place || to == place)).collect()
}

fn without(all: &[usize], one: Option<usize>) -> Result<Vec<usize>, FaultError> {
    let others: Vec<usize> = all.iter().copied().filter(|&place| Some(place) != one).collect();
    match others.is_empty() {
        true => Err(FaultError::missing("there is one member only")),
        false => Ok(others),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_ways_has_the_ends_of_its_ways() {
        assert_eq!(ends(0), Vec::<usize>::new());
        assert_eq!(ends(0b1), [0, 1]);
        assert_eq!(ends(0b10_1000), [1, 2]);
        assert_eq!(ends(0b11_1111), [0, 1, 2]);
        assert_eq!(Target::Ways(0b10_0001).to_string(), "0>1 2>1");
    }
}
