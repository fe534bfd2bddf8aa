//! What a conversation is held with: one server, a cluster whose members serve its connections
//! in turn, or an agent in front of one.

use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::{
    Agent, Client, Cluster, ClusterOptions, Server, ServerOptions, Target, agent_before,
    agent_before_one, cluster_options,
};

/// After which nothing is left of the connections to members that were killed: the time for which
/// it is held, and over which its end is spread.
const HELD_FOR: Duration = Duration::from_secs(3);
/// Time for the end of a session to come into the log.
const CLOSED_WITHIN: Duration = Duration::from_millis(500);
/// Members of a cluster that a conversation is held with.
const MEMBERS: u8 = 3;

/// Whom a test compares or holds to an expectation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    /// One server.
    One(Target),
    /// Three members of beanpole.
    Three,
    /// An agent of beanpole in front of three members.
    Agent,
}

/// A contender that runs.
pub(crate) enum Host {
    One(Box<Server>),
    Three(Box<Cluster>),
    Agent(Box<Behind>),
}

/// An agent, and what is behind it.
pub(crate) struct Behind {
    // Before the members: it ends first.
    agent: Agent,
    /// One that knows the first member only, if it was asked for.
    narrow: Option<Agent>,
    cluster: Cluster,
}

impl Contender {
    /// Whose marked lines are meant for it.
    pub(crate) fn target(self) -> Target {
        match self {
            Self::One(target) => target,
            Self::Three | Self::Agent => Target::Beanpole,
        }
    }

    /// Whether it has several members, each of which counts some things for itself.
    pub(crate) fn is_cluster(self) -> bool {
        matches!(self, Self::Three | Self::Agent)
    }

    /// For messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::One(target) => target.name(),
            Self::Three => "three members",
            Self::Agent => "an agent",
        }
    }
}

impl Host {
    /// Starts it. A cluster always has data directories, of its own.
    pub(crate) fn start(contender: Contender, options: ServerOptions) -> Self {
        match contender {
            Contender::One(target) => Self::One(Box::new(Server::start(target, options))),
            Contender::Three => Self::Three(Box::new(three_members(options.flags))),
            Contender::Agent => {
                let cluster = three_members(options.flags);
                let agent = agent_before(&cluster);
                Self::Agent(Box::new(Behind { agent, narrow: None, cluster }))
            }
        }
    }

    /// A new connection, the one with this number: members are taken in turn, by the agent if there
    /// is one.
    pub(crate) fn connect(&mut self, number: usize) -> Client {
        match self {
            Self::One(server) => server.connect(),
            Self::Three(cluster) => cluster.client(number % cluster.member_count()),
            Self::Agent(behind) => behind.agent.client(),
        }
    }

    /// A new connection that the first member serves.
    pub(crate) fn connect_to_first(&mut self) -> Client {
        let Self::Agent(behind) = self else { return self.connect(0) };
        let Behind { narrow, cluster, .. } = &mut **behind;
        narrow.get_or_insert_with(|| agent_before_one(cluster, 0)).client()
    }

    /// Sends a signal to all processes of servers.
    pub(crate) fn signal(&self, signal: Signal) {
        let cluster = match self {
            Self::One(server) => return server.signal(signal).expect("the server runs"),
            Self::Three(cluster) => cluster,
            Self::Agent(behind) => &behind.cluster,
        };
        (0..cluster.member_count()).for_each(|member| cluster.signal(member, signal));
    }

    /// Kills all processes of servers and starts them again. What the connections to a member of a
    /// cluster held is given back two seconds later; that is waited for.
    pub(crate) fn restart(&mut self) {
        let cluster = match self {
            Self::One(server) => return server.restart(),
            Self::Three(cluster) => cluster,
            Self::Agent(behind) => {
                // A member that dies may have said that a session is closed before the log had it: that
                // ends with its lease.
                thread::sleep(CLOSED_WITHIN);
                &mut behind.cluster
            }
        };
        (0..cluster.member_count()).for_each(|member| cluster.kill(member));
        (0..cluster.member_count()).for_each(|member| cluster.spawn(member));
        cluster.wait_in_step();
        thread::sleep(HELD_FOR);
    }

    /// What was written to stderr.
    pub(crate) fn log(&self) -> String {
        match self {
            Self::One(server) => server.log(),
            Self::Three(cluster) => cluster.logs(),
            Self::Agent(behind) => behind.cluster.logs(),
        }
    }
}

fn three_members(flags: Vec<String>) -> Cluster {
    let options = ClusterOptions { members: MEMBERS, flags, ..cluster_options() };
    Cluster::start_with(options).expect("no cables are asked for")
}
