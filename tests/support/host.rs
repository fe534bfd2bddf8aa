//! What a conversation is held with: one server, or a cluster whose members serve its connections
//! in turn.

use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::{Client, Cluster, ClusterOptions, Server, ServerOptions, Target, cluster_options};

/// After which nothing is left of the connections to members that were killed: the time for which
/// it is held, and over which its end is spread.
const HELD_FOR: Duration = Duration::from_secs(3);
/// Members of a cluster that a conversation is held with.
const MEMBERS: u8 = 3;

/// Whom a test compares or holds to an expectation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    /// One server.
    One(Target),
    /// Three members of beanpole.
    Three,
}

/// A contender that runs.
pub(crate) enum Host {
    One(Box<Server>),
    Three(Box<Cluster>),
}

impl Contender {
    /// Whose marked lines are meant for it.
    pub(crate) fn target(self) -> Target {
        match self {
            Self::One(target) => target,
            Self::Three => Target::Beanpole,
        }
    }

    /// For messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::One(target) => target.name(),
            Self::Three => "three members",
        }
    }
}

impl Host {
    /// Starts it. A cluster always has data directories, of its own.
    pub(crate) fn start(contender: Contender, options: ServerOptions) -> Self {
        match contender {
            Contender::One(target) => Self::One(Box::new(Server::start(target, options))),
            Contender::Three => {
                let options =
                    ClusterOptions { members: MEMBERS, flags: options.flags, ..cluster_options() };
                let cluster = Cluster::start_with(options);
                Self::Three(Box::new(cluster.expect("no cables are asked for")))
            }
        }
    }

    /// A new connection, the one with this number: members are taken in turn.
    pub(crate) fn connect(&mut self, number: usize) -> Client {
        match self {
            Self::One(server) => server.connect(),
            Self::Three(cluster) => cluster.client(number % cluster.member_count()),
        }
    }

    /// Sends a signal to all processes.
    pub(crate) fn signal(&self, signal: Signal) {
        match self {
            Self::One(server) => server.signal(signal).expect("the server runs"),
            Self::Three(cluster) => {
                (0..cluster.member_count()).for_each(|member| cluster.signal(member, signal));
            }
        }
    }

    /// Kills all processes and starts them again. What the connections to a member of a cluster
    /// held is given back two seconds later; that is waited for.
    pub(crate) fn restart(&mut self) {
        match self {
            Self::One(server) => server.restart(),
            Self::Three(cluster) => {
                (0..cluster.member_count()).for_each(|member| cluster.kill(member));
                (0..cluster.member_count()).for_each(|member| cluster.spawn(member));
                cluster.wait_in_step();
                thread::sleep(HELD_FOR);
            }
        }
    }

    /// What was written to stderr.
    pub(crate) fn log(&self) -> String {
        match self {
            Self::One(server) => server.log(),
            Self::Three(cluster) => cluster.logs(),
        }
    }
}
