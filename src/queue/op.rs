//! What the log carries: batches of numbered ops.

use std::sync::Arc;
use std::time::Duration;

use beanpole_protocol::TubeName;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::LimitsChange;

/// A member of the cluster. Never used twice, not even after a removal.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct MemberId(pub u64);

impl MemberId {
    /// To whom leased sessions belong: no member has this number.
    pub(super) const NOBODY: Self = Self(u64::MAX);
}

/// One life of a member: a counter that is raised, and synced, before the member speaks.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Incarnation(pub u64);

/// The place of an op in the one sequence of its member's incarnation, from 1.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct OpNumber(pub u64);

/// A connection of one incarnation of a member. Never used twice in that incarnation.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct ConnectionNumber(pub u64);

/// A job, from 1, in order of insertion, without gaps, never used twice.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct JobId(pub u64);

/// A connection as the log knows it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct SessionId {
    /// The member that holds the connection.
    pub member: MemberId,
    /// That member's life.
    pub incarnation: Incarnation,
    /// The connection in that life.
    pub connection: ConnectionNumber,
}

impl SessionId {
    /// The leased session of this number.
    pub(super) fn leased(number: u64) -> Self {
        let connection = ConnectionNumber(number);
        Self { member: MemberId::NOBODY, incarnation: Incarnation(0), connection }
    }

    /// Whether it is a leased session's: then it is no connection's.
    pub(super) fn is_leased(self) -> bool {
        self.member == MemberId::NOBODY
    }
}

/// Nanoseconds of logical time since the cluster began (DESIGN D5). Never goes back.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct LogicalTime(pub u64);

impl LogicalTime {
    /// This time and `duration` more, at most the end of time.
    pub fn after(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// How long after `earlier` this is; zero when it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// How often a session has been held up, as its owner knows it.
///
/// A reserve that waits, or a kick that is too long for one entry, holds its session up: ops that
/// were already under way behind it must not overtake it. The state raises the turn of the session
/// and answers every op of an older turn with [`Outcome::Deferred`](super::Outcome::Deferred); the
/// owner sends those again, in order, when the wait is over.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Turn(pub u32);

/// What one log entry carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The leader's logical clock when it made the batch.
    pub now: LogicalTime,
    /// What to apply, in order. Empty when only time goes on.
    pub parts: Vec<Part>,
}

/// Ops of one member, or what becomes of a member. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// The leader gives a newcomer its number. Nothing happens when the number was given before.
    Enrol {
        /// Who.
        member: MemberId,
    },
    /// A member begins a new life: applied only if `incarnation` is greater than the last one and the
    /// member was not removed. The sessions of earlier lives end `grace_millis` later.
    Open {
        /// Who.
        member: MemberId,
        /// Its new life.
        incarnation: Incarnation,
        /// How long earlier lives keep what they hold, milliseconds of logical time. 0: they end
        /// with this entry.
        grace_millis: u32,
    },
    /// The leader knows that a life is over: its sessions end, and no op of it is applied any more.
    /// Applied only if it is the member's present life.
    EndLife {
        /// Whose.
        member: MemberId,
        /// Which.
        incarnation: Incarnation,
    },
    /// A member is not heard, or is heard again. While it is not, those of its sessions that wait are
    /// passed over and keep their places. Applied only to the present life.
    Hearing {
        /// Who.
        member: MemberId,
        /// In which life.
        incarnation: Incarnation,
        /// Whether it is heard again.
        is_heard: bool,
    },
    /// A member is not part of the cluster any more: its life ends, and it never opens another.
    Remove {
        /// Who.
        member: MemberId,
    },
    /// A run of a member's sequence. An op is applied only if its number is exactly the next one;
    /// repeats and gaps are ignored (DESIGN D2).
    Ops {
        /// Who.
        member: MemberId,
        /// In which life.
        incarnation: Incarnation,
        /// The number of the first of `ops`.
        first: OpNumber,
        /// Consecutive ops, shared with whoever may have to send them again.
        ops: Arc<[Op]>,
    },
    /// An operator changes the limits of what is not a job.
    Limits {
        /// Which of them, to what.
        change: LimitsChange,
    },
    /// The cluster was away: nobody led from the entry before to this one, and how long that was is
    /// an estimate. Nobody could attach to a session meanwhile, so all leases that ran then begin
    /// anew with this entry, also those that would end with it.
    Returned,
}

/// One change asked for by one connection. The first op of a connection opens its session, or attaches
/// it to a leased one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Op {
    /// Whose.
    pub connection: ConnectionNumber,
    /// See [`Turn`].
    pub turn: Turn,
    /// Its place among the commands of a leased session; `None` for that of a connection of its own.
    pub numbered: Option<Numbered>,
    /// What.
    pub action: Action,
}

/// The place of a command in its leased session, as the client counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbered {
    /// Of the command, from 1, rising; there may be gaps.
    pub number: u64,
    /// The client knows what all commands up to this number came to.
    pub answered: u64,
}

/// SHA-256 of the token by which a leased session is known: the token itself is in no state and no log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TokenHash(pub [u8; 32]);

impl std::fmt::Debug for TokenHash {
    /// The first bytes, which tell sessions apart and help nobody to find the token.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [first, second, ..] = self.0;
        write!(formatter, "TokenHash({first:02x}{second:02x}..)")
    }
}

/// By what a put is recognised when it comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutKey {
    /// SHA-256 of the client's key.
    pub key: [u8; 32],
    /// The first bytes of the SHA-256 of the body.
    pub body: [u8; 16],
}

impl Action {
    /// The length of the body that it brings, bytes.
    pub(crate) fn body_bytes(&self) -> usize {
        match self {
            Self::Put { body, .. } => body.len(),
            _ => 0,
        }
    }
}

impl Op {
    /// An op of a connection that has no leased session.
    pub fn plain(connection: ConnectionNumber, turn: Turn, action: Action) -> Self {
        Self { connection, turn, numbered: None, action }
    }
}

/// How long a reserve waits when nothing is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wait {
    /// `reserve`.
    Forever,
    /// `reserve-with-timeout`, seconds.
    Seconds(u32),
}

/// What an op does. Durations are whole seconds, as in the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are the arguments of the command of that name")]
pub enum Action {
    Put {
        priority: u32,
        delay: u32,
        ttr: u32,
        body: Bytes,
        /// A second put with it makes no second job.
        key: Option<Box<PutKey>>,
    },
    Use {
        tube: TubeName,
    },
    Watch {
        tube: TubeName,
    },
    Ignore {
        tube: TubeName,
    },
    /// `half_closed`: the client has shut down its sending side, so a reserve that finds nothing
    /// answers at once (reference 1.1).
    Reserve {
        wait: Wait,
        half_closed: bool,
    },
    ReserveJob {
        job: JobId,
    },
    Delete {
        job: JobId,
    },
    Release {
        job: JobId,
        priority: u32,
        delay: u32,
    },
    Bury {
        job: JobId,
        priority: u32,
    },
    Touch {
        job: JobId,
    },
    Kick {
        bound: u32,
    },
    KickJob {
        job: JobId,
    },
    PauseTube {
        tube: TubeName,
        delay: u32,
    },
    /// The client shut down its sending side while a reserve waits: the wait ends with `TimedOut`.
    /// Without a waiting reserve it does nothing. Has no outcome of its own, whatever its turn.
    StopWaiting,
    /// The session has ended: everything it held is ready again, what it used and watched is
    /// let go. Has no outcome, whatever its turn.
    Close,
    /// The connection is from now on that of the leased session with this token.
    Attach {
        token: TokenHash,
        /// How long the session lasts when no connection is attached to it, milliseconds.
        lease_millis: u32,
        /// The client knows what all commands up to this number came to.
        answered: u64,
        /// If there is no such session, one begins.
        opens: bool,
    },
    /// The connection has ended: its leased session has none any more, and lasts as long as its lease.
    /// Has no outcome, whatever its turn.
    Detach,
}
