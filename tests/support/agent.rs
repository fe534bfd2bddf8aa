//! Agents of the server that was built with the tests.

use std::net::SocketAddr;

use super::{Agent, Cluster, Target};

/// An agent in front of all members of a cluster.
///
/// # Panics
///
/// When it does not start.
pub(crate) fn agent_before(cluster: &Cluster) -> Agent {
    let members: Vec<_> = (0..cluster.member_count()).map(|at| cluster.address(at)).collect();
    agent_of(&members)
}

/// An agent that knows one member only, whose own figures it shows therefore.
///
/// # Panics
///
/// When it does not start.
pub(crate) fn agent_before_one(cluster: &Cluster, member: usize) -> Agent {
    agent_of(&[cluster.address(member)])
}

fn agent_of(members: &[SocketAddr]) -> Agent {
    let program = Target::Beanpole.program().expect("the tests have built it");
    Agent::before(&program, members).expect("it starts")
}
