//! Leased sessions: sessions that outlive their connection.
//!
//! A client that wants to move from member to member holds one. While a connection is *attached* to
//! it, it is as every other session. When that connection ends, or its member's life, it is
//! *detached*, and its lease runs: it keeps the tubes, the jobs and its place among those who wait,
//! but gets no job. Whoever has the token attaches it to another connection before the lease is over.
//! Else it ends as every session does.
//!
//! Its ops are numbered by the client, and what they came to is kept, without bodies, until the
//! client says that it knows: so a client that lost a reply finds out whether its command was
//! applied. What the former connection still sends is not applied: it is not the session's any
//! more.
//!
//! Sessions are known by the hash of their token, 256 bits that nobody can aim at: looking one up by
//! its first bytes tells nothing about others.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::continuation::Continuation;
use super::deadline::Timer;
use super::job::JobState;
use super::restore::NUMBER_MAX;
use super::session::{HeldUp, SessionFacts};
use super::work::Work;
use super::{
    ConnectionNumber, Incarnation, JobId, LogicalTime, MemberId, Numbered, Outcome, Queue,
    SessionId, TokenHash, Turn,
};
use crate::planted::{self, Bug};

/// The most outcomes that are kept for one session, the latest: a client has no more commands under
/// way.
pub const KEPT_OUTCOMES_MAX: usize = 32;

/// For how many outcomes the room is kept when there are none.
const KEPT_ROOM: usize = 4;

/// What makes a session a leased one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lease {
    pub(super) token: TokenHash,
    pub(super) millis: u32,
    pub(super) standing: Standing,
    /// The greatest number of an op that was applied; 0 when none was yet.
    pub(super) last: u64,
    /// The op that waits, if one does.
    pub(super) waiting: Option<u64>,
    /// What ops came to that the client may not know, by their numbers, in order.
    pub(super) kept: VecDeque<(u64, KeptOutcome)>,
}

/// Whose a leased session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Standing {
    /// A connection's.
    Attached(SessionId),
    /// Nobody's, and it ends at a time.
    Detached { until: LogicalTime },
}

/// What an op of a leased session came to, as far as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each variant is the outcome of that name")]
pub enum KeptOutcome {
    Inserted {
        job: JobId,
    },
    /// Of the tube that the client named.
    Using,
    Watching {
        count: u64,
    },
    NotIgnored,
    Reserved {
        job: JobId,
    },
    /// It reserved a job that the session does not hold any more. Is in no state.
    Gone,
    TimedOut,
    DeadlineSoon,
    Deleted,
    Released,
    Buried,
    Touched,
    Kicked {
        count: u64,
    },
    JobKicked,
    Paused,
    NotFound,
    OutOfMemory,
    KeyInUse,
}

/// How a leased session stands when a connection is attached to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The session was there before.
    pub is_resumed: bool,
    /// Its turn.
    pub turn: Turn,
    /// The greatest number of an op that was applied; 0 when none was yet.
    pub last: u64,
    /// The op that waits, whose outcome is still to come.
    pub waiting: Option<u64>,
    /// What the others came to, by their numbers, in order.
    pub kept: Vec<(u64, KeptOutcome)>,
}

/// Where leased sessions are found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Leases {
    pub(super) by_token: BTreeMap<TokenHash, SessionId>,
    pub(super) by_connection: BTreeMap<SessionId, SessionId>,
}

/// The arguments of an attachment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attach {
    pub(super) token: TokenHash,
    pub(super) lease_millis: u32,
    pub(super) answered: u64,
    pub(super) opens: bool,
}

impl Lease {
    /// The connection, if it is attached to one.
    pub(super) fn connection(&self) -> Option<SessionId> {
        match self.standing {
            Standing::Attached(connection) => Some(connection),
            Standing::Detached { .. } => None,
        }
    }

    /// Keeps what an op came to.
    fn keep(&mut self, number: u64, outcome: KeptOutcome) {
        if self.kept.len() == KEPT_OUTCOMES_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back((number, outcome));
    }

    /// The client knows what all ops up to this number came to.
    fn forget(&mut self, answered: u64) {
        while self.kept.front().is_some_and(|(number, _)| *number <= answered) {
            self.kept.pop_front();
        }
        // Most clients have one command under way, and so many have none.
        if self.kept.is_empty() {
            self.kept.shrink_to(KEPT_ROOM);
        }
    }
}

impl KeptOutcome {
    /// What is kept of an outcome; `None` of one that says nothing yet, or nothing of an op.
    fn of(outcome: &Outcome) -> Option<Self> {
        Some(match *outcome {
            Outcome::Inserted { job } => Self::Inserted { job },
            Outcome::Using { .. } => Self::Using,
            Outcome::Watching { count } => Self::Watching { count },
            Outcome::NotIgnored => Self::NotIgnored,
            Outcome::Reserved { job, .. } => Self::Reserved { job },
            Outcome::TimedOut => Self::TimedOut,
            Outcome::DeadlineSoon => Self::DeadlineSoon,
            Outcome::Deleted => Self::Deleted,
            Outcome::Released => Self::Released,
            Outcome::Buried => Self::Buried,
            Outcome::Touched => Self::Touched,
            Outcome::Kicked { count } => Self::Kicked { count },
            Outcome::JobKicked => Self::JobKicked,
            Outcome::Paused => Self::Paused,
            Outcome::NotFound => Self::NotFound,
            Outcome::OutOfMemory => Self::OutOfMemory,
            Outcome::KeyInUse => Self::KeyInUse,
            Outcome::Waiting
            | Outcome::Deferred
            | Outcome::Attached(_)
            | Outcome::Detached
            | Outcome::Closed => {
                return None;
            }
        })
    }
}

impl SessionFacts {
    /// The lease of a session that is known to have one.
    pub(super) fn lease_mut(&mut self) -> &mut Lease {
        self.lease.as_mut().expect("a leased session has a lease")
    }
}

impl Queue {
    /// The session of a connection: a leased one if it is attached to one, else that of its own.
    pub(super) fn session_of(&self, connection: SessionId) -> SessionId {
        if self.leases.by_connection.is_empty() {
            return connection;
        }
        self.leases.by_connection.get(&connection).copied().unwrap_or(connection)
    }

    /// The connection whose session it is; `None` while a leased one has none.
    pub(super) fn connection_of(&self, id: SessionId) -> Option<SessionId> {
        if id.is_leased() { self.sessions.get(&id)?.facts.connection_of(id) } else { Some(id) }
    }

    /// Where a session's outcomes go: its connection, if that belongs to a life that is not over.
    pub(super) fn address(&self, id: SessionId) -> Option<SessionId> {
        self.connection_of(id).filter(|connection| self.is_of_present_life(*connection))
    }

    /// Attaches a connection to the leased session with a token, which it takes from whoever had it.
    pub(super) fn attach(
        &mut self,
        connection: SessionId,
        attach: &Attach,
        work: &mut Work,
    ) -> Outcome {
        if self.sessions.contains(&connection) {
            return Outcome::NotFound;
        }
        self.detach(connection);
        let Some(id) = self.leases.by_token.get(&attach.token).copied() else {
            return self.open_leased(connection, attach);
        };
        if let Some(former) = self.connection_of(id) {
            self.detach(former);
            work.outcomes.push((former, Outcome::Detached));
        }
        self.stop_lease(id);
        let (turn, last, waiting) = self.change_lease(id, |lease, turn| {
            lease.millis = attach.lease_millis;
            lease.forget(attach.answered);
            (turn, lease.last, lease.waiting)
        });
        let kept = self.resolve_kept(id);
        self.join(id, connection);
        self.serve_attached(id, connection, work);
        Outcome::Attached(Box::new(Attachment { is_resumed: true, turn, last, waiting, kept }))
    }

    fn open_leased(&mut self, connection: SessionId, attach: &Attach) -> Outcome {
        if !attach.opens {
            return Outcome::NotFound;
        }
        if !self.has_room_for_leased() {
            return Outcome::OutOfMemory;
        }
        let id = SessionId::leased(self.next.session);
        self.next.session += 1;
        let lease = Lease {
            token: attach.token,
            millis: attach.lease_millis,
            standing: Standing::Attached(connection),
            last: 0,
            waiting: None,
            kept: VecDeque::new(),
        };
        self.leases.by_token.insert(attach.token, id);
        self.leases.by_connection.insert(connection, id);
        self.open_session(id, Some(Box::new(lease)));
        let turn = Turn(0);
        let opened = Attachment { is_resumed: false, turn, last: 0, waiting: None, kept: vec![] };
        Outcome::Attached(Box::new(opened))
    }

    /// What is kept for a session's client. Jobs that it does not hold any more are gone.
    fn resolve_kept(&self, id: SessionId) -> Vec<(u64, KeptOutcome)> {
        let session = self.session(id);
        let lease = session.facts.lease.as_ref().expect("a leased session has a lease");
        let holds = |job: JobId| {
            let state = self.jobs.get(&job).map(|job| job.state);
            matches!(state, Some(JobState::Reserved { by, .. }) if by == id)
        };
        let resolve = |(number, outcome): &(u64, KeptOutcome)| match outcome {
            KeptOutcome::Reserved { job } if !holds(*job) => (*number, KeptOutcome::Gone),
            other => (*number, *other),
        };
        lease.kept.iter().map(resolve).collect()
    }

    /// From now on the session is that of a connection.
    fn join(&mut self, id: SessionId, connection: SessionId) {
        let session = self.sessions.change(&id).expect("who is attached is a session");
        session.facts.lease_mut().standing = Standing::Attached(connection);
        let member = self.members.change(&connection.member).expect("an op's member is known");
        member.add(&session.facts);
        self.leases.by_connection.insert(connection, id);
        self.line_up(id);
    }

    /// Jobs may have become ready while the session had no connection. If its member is passed
    /// over, they wait for that to end.
    fn serve_attached(&mut self, id: SessionId, connection: SessionId, work: &mut Work) {
        let HeldUp::Reserve { sequence, .. } = self.session(id).facts.held_up else { return };
        let member = self.members.get(&connection.member).expect("an op's member is known");
        if !member.facts.hearing.passed_over().contains(&sequence)
            && self.has_room()
            && let Some(job) = self.best_ready(id)
        {
            self.hand_over(job, id, work);
        }
    }

    /// A connection has ended: the lease of its session begins to run. Nothing happens if it has no
    /// leased session.
    pub(super) fn detach(&mut self, connection: SessionId) {
        let Some(id) = self.leases.by_connection.get(&connection).copied() else { return };
        self.fall_out(id);
        self.leases.by_connection.remove(&connection);
        let is_living = self.is_of_present_life(connection);
        let session = self.sessions.change(&id).expect("who is detached is a session");
        if is_living {
            let member = self.members.change(&connection.member).expect("it has a life");
            member.remove(&session.facts);
        }
        let lease = session.facts.lease_mut();
        let millis = if planted::is(Bug::LeaseForgotten) { 1 } else { lease.millis };
        let until = self.clock.after(Duration::from_millis(u64::from(millis)));
        lease.standing = Standing::Detached { until };
        self.deadlines.add(until, Timer::Lease(id));
    }

    /// The session's lease does not run any more.
    fn stop_lease(&mut self, id: SessionId) {
        let facts = &self.session(id).facts;
        if let Some(Standing::Detached { until }) = facts.lease.as_ref().map(|it| it.standing) {
            self.deadlines.remove(until, Timer::Lease(id));
        }
    }

    /// A lease is over, and the session with it. But when the whole cluster was away meanwhile, nobody
    /// could attach to it: then it has had its lease since the return.
    pub(super) fn fire_lease(&mut self, id: SessionId, at: LogicalTime, work: &mut Work) {
        work.spend(1);
        let lease = self.session(id).facts.lease.as_ref().expect("a leased session has a lease");
        let until = self.returned.after(Duration::from_millis(u64::from(lease.millis)));
        if at >= until {
            return self.close(id, work);
        }
        self.stop_lease(id);
        let lease = self.sessions.change(&id).expect("it was just found").facts.lease_mut();
        lease.standing = Standing::Detached { until };
        self.deadlines.add(until, Timer::Lease(id));
    }

    /// A session that ends is not to be found any more.
    pub(super) fn forget_lease(&mut self, id: SessionId) {
        self.stop_lease(id);
        let Some(lease) = self.session_mut(id).facts.lease.take() else { return };
        self.tables.remove_kept(lease.kept.len());
        self.leases.by_token.remove(&lease.token);
        if let Some(connection) = lease.connection() {
            self.leases.by_connection.remove(&connection);
        }
    }

    /// Detaches the leased sessions of a member's lives up to `last`; the rest is left to a
    /// continuation.
    pub(super) fn begin_detaching(&mut self, member: MemberId, last: Incarnation, work: &mut Work) {
        if !self.detach_lives(member, last, work) {
            self.add_continuation(Continuation::DetachLives { member, last });
        }
    }

    /// Detaches leased sessions of a member's lives up to `last`; true when none is left.
    pub(super) fn detach_lives(
        &mut self,
        member: MemberId,
        last: Incarnation,
        work: &mut Work,
    ) -> bool {
        let connection = |incarnation, connection| SessionId { member, incarnation, connection };
        let first = connection(Incarnation(0), ConnectionNumber(0));
        let last = connection(last, ConnectionNumber(u64::MAX));
        while let Some((found, id)) = self.leases.by_connection.range(first..=last).next() {
            if work.is_used_up() {
                return false;
            }
            let (found, tubes) = (*found, self.session(*id).facts.watched.len());
            work.spend(u32::try_from(tubes).unwrap_or(u32::MAX).saturating_add(1));
            self.detach(found);
        }
        true
    }

    /// Whether an op may be applied: a numbered one is of the connection's leased session and was
    /// not applied before, any other is of a connection that has none. No number is so great that a
    /// state with it could not be restored.
    pub(super) fn is_in_place(&self, id: SessionId, numbered: Option<Numbered>) -> bool {
        let Some(numbered) = numbered else { return !id.is_leased() };
        let lease = self.sessions.get(&id).and_then(|session| session.facts.lease.as_ref());
        lease.is_some_and(|lease| (lease.last + 1..=NUMBER_MAX).contains(&numbered.number))
    }

    /// Keeps what a numbered op came to.
    pub(super) fn keep_outcome(&mut self, id: SessionId, numbered: Numbered, outcome: &Outcome) {
        self.change_lease(id, |lease, _| {
            lease.forget(numbered.answered);
            match (outcome, KeptOutcome::of(outcome)) {
                (Outcome::Waiting, _) => lease.waiting = Some(numbered.number),
                (_, Some(kept)) => lease.keep(numbered.number, kept),
                _ => return,
            }
            lease.last = numbered.number;
        });
    }

    /// Keeps what the wait of a leased session came to, if this is that.
    pub(super) fn keep_end_of_wait(&mut self, id: SessionId, outcome: &Outcome) {
        let waiting = self.sessions.get(&id).and_then(|it| it.facts.lease.as_ref()?.waiting);
        let (Some(number), Some(kept)) = (waiting, KeptOutcome::of(outcome)) else { return };
        self.change_lease(id, |lease, _| {
            lease.waiting = None;
            lease.keep(number, kept);
        });
    }

    /// Changes a lease, and counts what is kept with it.
    fn change_lease<R>(&mut self, id: SessionId, change: impl FnOnce(&mut Lease, Turn) -> R) -> R {
        let session = self.sessions.change(&id).expect("a leased session is a session");
        let turn = session.facts.turn;
        let lease = session.facts.lease_mut();
        self.tables.remove_kept(lease.kept.len());
        let changed = change(lease, turn);
        self.tables.add_kept(lease.kept.len());
        changed
    }

    /// How many sessions are leased.
    pub(super) fn leased_sessions(&self) -> u64 {
        self.leases.by_token.len() as u64
    }
}
