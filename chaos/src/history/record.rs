//! The lines of a history.
//!
//! A body names itself by a key that no other put of the run has, so that a job that was put twice
//! or that comes from nowhere is told from another, and a put that was never answered is recognised
//! when it appears.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::clock::Moment;

/// What a run was, for whoever repeats or judges it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The version of the format: 2.
    pub format: u32,
    /// The seed that everything random came from.
    pub seed: u64,
    /// The command that repeats the run.
    pub command: String,
    /// What the members are, as their `version` says.
    pub server: String,
    /// How many members there were at the beginning.
    pub members: u32,
    /// Whether clients speak to an agent. Its place is the one behind those of the members.
    pub has_agent: bool,
    /// Whether clients put with keys.
    pub has_keys: bool,
    /// The budget of each member's memory, in bytes; nothing when there is no limit.
    pub memory_budget: Option<u64>,
    /// The limit of each member's control group, in bytes; nothing when there is none.
    pub memory_limit: Option<u64>,
}

impl Head {
    /// The place of the agent, if clients speak to one.
    pub fn agent(&self) -> Option<u32> {
        self.has_agent.then_some(self.members)
    }

    /// The places at which clients work: those of the members, or that of the agent.
    pub fn places(&self) -> Range<u32> {
        self.agent().map_or(0..self.members, |agent| agent..agent + 1)
    }
}

/// A line of a history, as it comes from whoever saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// What is run; the first line.
    Head(Head),
    /// A command.
    Record(Record),
    /// A fault, when it is over.
    Fault(Fault),
    /// A part of the run begins.
    Phase(Phase),
    /// How a member is.
    Sample(MemberSample),
}

/// One command on one connection, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Which client; its numbers are used by no other client of the run.
    pub client: u32,
    /// Which of the client's connections, from 1; one that connects again counts on.
    pub connection: u32,
    /// The place of the member that the client is connected to, from 0, or that of the agent.
    pub member: u32,
    /// Before its first byte was sent.
    pub invoked: Moment,
    /// After the last byte of the reply was read, or when the client gave up.
    pub returned: Moment,
    /// What was asked.
    pub command: Command,
    /// What is known of it.
    pub outcome: Outcome,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// A connection was opened.
    Connect,
    /// The client closed its connection, having read all replies it was to read. What it held may
    /// go to others from `invoked` on.
    Close,
    /// The connection ended without the client's doing, which was noticed at `returned`. The last
    /// moment at which it was surely there is that of the last reply read on it, in `invoked`.
    Broken,
    /// Puts go to this tube from now on.
    Use {
        /// The tube.
        tube: String,
    },
    /// Reserves take from this tube too.
    Watch {
        /// The tube.
        tube: String,
    },
    /// Reserves do not take from this tube any more.
    Ignore {
        /// The tube.
        tube: String,
    },
    /// The next put of this connection has a key.
    Key {
        /// The key.
        key: String,
    },
    /// A job is put.
    Put {
        /// The tube in use.
        tube: String,
        /// Its priority.
        priority: u32,
        /// Its delay, in seconds.
        delay: u32,
        /// Its time to run, in seconds; the server takes 1 for 0.
        ttr: u32,
        /// What it says.
        body: Body,
        /// The key that it has. Others with this key are the same put, sent again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        under: Option<String>,
    },
    /// A job is reserved.
    Reserve {
        /// The tubes watched.
        tubes: Vec<String>,
        /// How long to wait, in seconds; for ever when there is none.
        timeout: Option<u32>,
    },
    /// A certain job is reserved.
    ReserveJob {
        /// Its id.
        id: u64,
    },
    /// A job is deleted.
    Delete {
        /// Its id.
        id: u64,
    },
    /// A reserved job is put back.
    Release {
        /// Its id.
        id: u64,
        /// Its new priority.
        priority: u32,
        /// Its delay, in seconds.
        delay: u32,
    },
    /// A reserved job is buried.
    Bury {
        /// Its id.
        id: u64,
        /// Its new priority.
        priority: u32,
    },
    /// A reserved job's time to run begins anew.
    Touch {
        /// Its id.
        id: u64,
    },
    /// Buried jobs, or else delayed ones, become ready.
    Kick {
        /// The tube in use.
        tube: String,
        /// At most so many.
        bound: u64,
    },
    /// A certain buried or delayed job becomes ready.
    KickJob {
        /// Its id.
        id: u64,
    },
    /// A job is looked at.
    Peek {
        /// Its id.
        id: u64,
    },
    /// The job that would be reserved next is looked at.
    PeekReady {
        /// The tube in use.
        tube: String,
    },
    /// The delayed job that is due next is looked at.
    PeekDelayed {
        /// The tube in use.
        tube: String,
    },
    /// The job that was buried first is looked at.
    PeekBuried {
        /// The tube in use.
        tube: String,
    },
    /// Reserves from a tube stop for a while.
    PauseTube {
        /// The tube.
        tube: String,
        /// For so many seconds.
        seconds: u32,
    },
    /// Figures of a job.
    StatsJob {
        /// Its id.
        id: u64,
    },
    /// Figures of a tube.
    StatsTube {
        /// The tube.
        tube: String,
    },
    /// Figures of the server.
    Stats,
    /// All tubes.
    ListTubes,
}

/// What is known of a command's fate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// It was answered. Whether it had an effect, the reply says.
    Replied(Reply),
    /// It surely had no effect: none of its bytes left, or the connection was refused.
    NoEffect {
        /// Why.
        why: String,
    },
    /// Nobody knows: it may have happened, and may still happen later.
    Unknown {
        /// Why.
        why: String,
    },
}

/// What a member answered. Each is the reply of that name in the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Reply {
    /// Of [`Command::Connect`], [`Command::Close`] and [`Command::Broken`].
    Done,
    /// `INSERTED`.
    Inserted {
        /// The job's id.
        id: u64,
    },
    /// `BURIED`, with an id when a put is answered so.
    Buried {
        /// The job's id.
        id: Option<u64>,
    },
    /// `RESERVED`.
    Reserved {
        /// The job's id.
        id: u64,
        /// What it says.
        body: Body,
    },
    /// `FOUND`.
    Found {
        /// The job's id.
        id: u64,
        /// What it says.
        body: Body,
    },
    /// `DELETED`.
    Deleted,
    /// `RELEASED`.
    Released,
    /// `TOUCHED`.
    Touched,
    /// `KICKED`, with a count for [`Command::Kick`].
    Kicked {
        /// How many.
        count: Option<u64>,
    },
    /// `PAUSED`.
    Paused,
    /// `USING`.
    Using,
    /// `WATCHING`.
    Watching,
    /// `OK` with figures, all that are numbers or a job's state.
    Stats {
        /// Names and values as they were sent.
        values: BTreeMap<String, String>,
    },
    /// `OK` with a list.
    Names {
        /// The names, in the order of the reply.
        names: Vec<String>,
    },
    /// `TIMED_OUT`.
    TimedOut,
    /// `DEADLINE_SOON`.
    DeadlineSoon,
    /// `NOT_FOUND`.
    NotFound,
    /// `NOT_IGNORED`.
    NotIgnored,
    /// `OUT_OF_MEMORY`.
    OutOfMemory,
    /// `KEYED`.
    Keyed,
    /// `KEY_IN_USE`.
    KeyInUse,
    /// `DRAINING`.
    Draining,
    /// `JOB_TOO_BIG`.
    JobTooBig,
    /// `INTERNAL_ERROR`: nobody knows what it did.
    InternalError,
    /// Anything that is no reply to this command.
    Illegal {
        /// Its first bytes, as text.
        text: String,
    },
}

/// What a job says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body {
    /// What names it: no other put of the run has it. 0 when the bytes cannot be read as a body of
    /// this run.
    pub key: u64,
    /// Its length in bytes.
    pub bytes: u32,
    /// All bytes are those that belong to the key and the length.
    pub is_intact: bool,
}

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseName {
    /// Clients work, nothing is broken yet.
    Warm,
    /// Clients work, faults come and go.
    Faults,
    /// Clients work, and everything is healed.
    Healed,
    /// Clients have stopped and closed their connections; nothing changes but by time.
    Quiet,
    /// One client takes out all jobs.
    Drain,
    /// Nothing is there any more.
    Over,
}

/// A part of a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Which.
    pub name: PhaseName,
    /// When.
    pub at: Moment,
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What it is called in the list of faults.
    pub name: String,
    /// What it hits, in words: members by their places.
    pub target: String,
    /// The places of the members that are hurt.
    pub members: Vec<u32>,
    /// When it was to be installed.
    pub began: Moment,
    /// When it was taken back, and what it had hurt was asked to work again.
    pub healed: Option<Moment>,
    /// What came of it.
    pub state: FaultState,
    /// What was done, in words, or why it was not.
    pub note: String,
}

/// Whether a fault was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultState {
    /// It was seen to be there.
    Installed,
    /// The machine does not have what it takes.
    Skipped,
    /// Nobody knows.
    Indeterminate,
}

/// How a member was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberSample {
    /// Its place.
    pub member: u32,
    /// When.
    pub at: Moment,
    /// Whether its process ran, stopped or not.
    pub is_running: bool,
    /// Its resident size, in bytes.
    pub resident_bytes: Option<u64>,
    /// The most its control group has used, in bytes.
    pub group_bytes_max: Option<u64>,
    /// How many processes the kernel has killed in its control group.
    pub oom_kills: Option<u64>,
    /// Its id among the members, 0 while it has none.
    pub id: Option<u64>,
    /// Who leads, as it sees it.
    pub leader: Option<u64>,
    /// The term it is in.
    pub term: Option<u64>,
    /// The last entry it has applied.
    pub applied_index: Option<u64>,
    /// What sums up its state at that entry.
    pub digest: Option<String>,
}
