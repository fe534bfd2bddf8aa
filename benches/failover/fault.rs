//! What is done to a member, and how it is taken back.

use std::fmt;

use clap::ValueEnum;

use super::common::support::Cluster;

/// A way to lose a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Fault {
    /// SIGKILL.
    Kill,
    /// SIGSTOP: its sockets stay open and it says nothing.
    Stop,
    /// Its cables are cut in one direction: in odd rounds it is not heard, in even ones it hears
    /// nothing.
    Cut,
    /// The syncs of its log do not end.
    Hang,
    /// SIGTERM, as an upgrade does.
    Term,
}

/// Which member is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Role {
    Leader,
    Follower,
}

impl Fault {
    /// Lets it happen to `member`, in the round with this number.
    ///
    /// # Errors
    ///
    /// What this machine lacks.
    pub(crate) fn strike(
        self,
        cluster: &mut Cluster,
        member: usize,
        round: u32,
    ) -> Result<(), String> {
        match self {
            Self::Kill => cluster.kill(member),
            Self::Stop => cluster.freeze(member),
            Self::Cut => {
                for other in (0..cluster.member_count()).filter(|&other| other != member) {
                    if round.is_multiple_of(2) {
                        cluster.cut(other, member);
                    } else {
                        cluster.cut(member, other);
                    }
                }
            }
            Self::Hang => cluster.hang(member)?,
            Self::Term => drop(cluster.terminate(member)),
        }
        Ok(())
    }

    /// Takes it back, and waits until the member takes part again.
    pub(crate) fn heal(self, cluster: &mut Cluster, member: usize) {
        match self {
            Self::Kill | Self::Term => cluster.spawn(member),
            Self::Stop => cluster.thaw(member),
            Self::Cut | Self::Hang => {
                cluster.heal();
                // A disk that hangs for long may end the member, which is as good.
                if !cluster.is_running(member) {
                    cluster.spawn(member);
                }
            }
        }
        cluster.wait_in_step();
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Kill => "kill -9",
            Self::Stop => "SIGSTOP",
            Self::Cut => "one-way cut",
            Self::Hang => "hung sync",
            Self::Term => "SIGTERM",
        })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
        })
    }
}
