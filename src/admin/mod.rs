//! Administration: what an operator may ask of a running member, and how it is asked.
//!
//! A message is one line of JSON over the Unix socket `admin.sock` in the member's data directory
//! (mode 0600: whoever may write there may do everything). `socket` is the member's side, `client`
//! the other; `command` is `beanpole cluster`, `table` what it shows. What the requests do is
//! somebody else's: see [`Administrator`].

mod client;
mod command;
mod socket;
mod table;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use client::{AskError, ask, ask_within};
pub use command::{CommandError, run};
pub use socket::AdminSocket;

/// The name of the socket in the data directory.
pub const SOCKET_NAME: &str = "admin.sock";

/// The longest message, bytes, with the end of its line.
const MESSAGE_BYTES_MAX: u64 = 64 << 10;

/// How long a member may take for one request. Taking in a member that has much to fetch takes
/// longer; it goes on after the time is over, and `status` shows how far it is.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(60);

/// What an operator asks.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
    /// Begin a new cluster of one, at a process that waits.
    Init,
    /// Tell how the cluster is.
    Status,
    /// Take in the process that waits behind a member address: as learner first, then as voter.
    Add {
        /// Its member address, HOST:PORT.
        address: String,
    },
    /// Take a member out for good.
    Remove {
        /// Its id.
        member: u64,
    },
    /// Put the process that waits behind a member address in the place of a member, in one step.
    Replace {
        /// The id of the one that goes.
        member: u64,
        /// The member address of the one that comes, HOST:PORT.
        address: String,
    },
    /// Let another member lead.
    Transfer {
        /// Its id; `None`: the one that has come farthest.
        to: Option<u64>,
    },
    /// Can this member be stopped without losing the majority?
    Check,
    /// Tell what this member has in memory.
    Memory,
    /// Change the limits of what is not a job, as far as they are named, and tell them.
    Limits(LimitsRequest),
}

/// Which limits become what; those that are not named stay as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct LimitsRequest {
    /// Tubes, without `default`.
    #[serde(default)]
    pub tubes: Option<u64>,
    /// Pairs of a session and a tube that it watches, without those with `default`.
    #[serde(default)]
    pub watches: Option<u64>,
    /// Reserved jobs.
    #[serde(default)]
    pub held: Option<u64>,
    /// Connections that have sent a command which changes something.
    #[serde(default)]
    pub sessions: Option<u64>,
}

impl LimitsRequest {
    /// Whether no limit is named.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// What a member answers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// It is done.
    Done {
        /// What was done, for people.
        text: String,
    },
    /// How the cluster is.
    Status(ClusterStatus),
    /// Whether this member can be stopped.
    Check {
        /// Without losing the majority.
        can_stop: bool,
        /// Why, for people.
        reason: String,
    },
    /// What the member has in memory.
    Memory(MemoryStatus),
    /// The limits, and how much of them is used.
    Limits(LimitsStatus),
    /// It is not done.
    Refused {
        /// Why, for people.
        reason: String,
    },
}

/// How a cluster is, as one member sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct ClusterStatus {
    /// 32 hexadecimal digits; empty while the process waits.
    pub cluster: String,
    /// Who answers; 0 while the process waits.
    pub this_member: u64,
    /// Who leads, if this member knows of one.
    pub leader: Option<u64>,
    /// Raft's term.
    pub term: u64,
    /// One of the `PHASE_*` words.
    pub phase: String,
    /// Jobs in all states, where they can be told.
    pub jobs: Option<u64>,
    /// How far this member has come itself; `None` while the process waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<AppliedStatus>,
    /// All members, in order of their ids; empty while the process waits.
    pub members: Vec<MemberStatus>,
}

/// How far a member has come. Two members of one cluster with the same index have the same digest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct AppliedStatus {
    /// The last entry it has applied.
    pub index: u64,
    /// The running digest of all outcomes up to that entry, 16 hexadecimal digits. It is what
    /// members compare with each other.
    pub digest: String,
}

/// The phase of a process with a `[cluster]` table and an empty data directory.
pub const PHASE_WAITING: &str = "waiting";
/// The phase of a member that reads its log after a start.
pub const PHASE_REPLAYING: &str = "replaying";
/// The phase of a member that serves clients.
pub const PHASE_SERVING: &str = "serving";
/// The phase of a member that cannot reach a majority.
pub const PHASE_NO_MAJORITY: &str = "no-majority";

/// What one member has in memory.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct MemoryStatus {
    /// What it may have, bytes.
    pub budget: u64,
    /// What its process has, as the kernel counts it, bytes.
    pub resident: u64,
    /// What it counts itself, each with a limit.
    pub shares: Vec<ShareStatus>,
}

/// A share of the budget.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ShareStatus {
    /// What it is for.
    pub name: String,
    /// How much may be in it, bytes.
    pub limit: u64,
    /// How much is, bytes.
    pub used: u64,
}

/// The limits of what is not a job, as one member has applied them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
#[expect(missing_docs, reason = "each field is what `LimitsRequest` says of it")]
pub struct LimitsStatus {
    pub tubes: LimitStatus,
    pub watches: LimitStatus,
    pub held: LimitStatus,
    pub sessions: LimitStatus,
    pub memory: LimitsMemory,
}

/// How the limits fit the memory of the member that answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct LimitsMemory {
    /// What all that they allow takes up, bytes.
    pub bytes_max: u64,
    /// What it may take up and leave jobs enough, bytes.
    pub room: u64,
    /// The memory budget in which it would fit, bytes.
    pub enough: u64,
}

/// One limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct LimitStatus {
    /// How many there may be.
    pub limit: u64,
    /// How many there are; more than the limit if it was lowered.
    pub used: u64,
}

/// One member, as another sees it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct MemberStatus {
    /// Its id.
    pub id: u64,
    /// Where other members dial it, HOST:PORT.
    pub address: String,
    /// Where clients connect to it, if it said so.
    pub client_address: Option<String>,
    /// What it is in the cluster.
    pub role: Role,
    /// Whether it is heard.
    pub contact: Contact,
    /// Up to which index its log is known to be the leader's; only a leader knows.
    pub matched: Option<u64>,
    /// How many entries it is behind the leader; only a leader knows.
    pub lag_entries: Option<u64>,
    /// Which beanpole it runs, if it said so.
    pub version: Option<String>,
}

/// What a member is in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It leads.
    Leader,
    /// It follows and votes.
    Follower,
    /// It follows and does not vote yet.
    Learner,
}

/// Whether a member is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contact {
    /// It is the one that answers.
    Here,
    /// It is heard.
    Heard,
    /// It has not been heard lately: frozen, cut off, or slow.
    Silent,
    /// Its process is known to be gone.
    Dead,
    /// Whoever answers does not know.
    Unknown,
}

/// Does what an operator asks.
pub trait Administrator: Send + Sync {
    /// Answers one request. May be dropped at any point: the work then goes on or is given up, as
    /// whoever implements this decides, and the cluster is whole in both cases.
    fn execute(&self, request: Request) -> Pin<Box<dyn Future<Output = Reply> + Send + '_>>;
}
