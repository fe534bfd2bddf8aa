//! Sessions and the lives of members: how they begin and end.

use std::collections::BTreeSet;

use beanpole_protocol::TubeName;
use serde::{Deserialize, Serialize};

use super::continuation::Continuation;
use super::table::Recorded;
use super::tube::TubeId;
use super::work::Work;
use super::{
    ConnectionNumber, Incarnation, JobId, LogicalTime, MemberId, OpNumber, Outcome, Queue,
    SessionId, Turn,
};

/// What a checkpoint keeps of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberFacts {
    pub(super) incarnation: Incarnation,
    /// The last op of this life that was applied.
    pub(super) last: OpNumber,
}

/// A member and the counts over the sessions of its present life that are not ending.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) facts: MemberFacts,
    pub(super) sessions: u64,
    pub(super) producers: u64,
    pub(super) workers: u64,
    pub(super) waiting: u64,
}

/// What a checkpoint keeps of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionFacts {
    pub(super) used: TubeId,
    /// In the order of watching, disturbed by ignoring. Not empty unless the session is closing.
    pub(super) watched: Vec<TubeId>,
    pub(super) turn: Turn,
    pub(super) held_up: HeldUp,
    pub(super) producer: bool,
    pub(super) worker: bool,
    /// It has ended; what it holds is being released.
    pub(super) closing: bool,
}

/// What a session waits for, if for anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum HeldUp {
    No,
    /// A reserve; the sequence is the order of waiting in the whole state.
    Reserve {
        sequence: u64,
        until: Option<LogicalTime>,
    },
    /// A kick that goes on as a continuation.
    Kick,
}

/// A session and the jobs it holds, in order of their deadlines.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) facts: SessionFacts,
    pub(super) held: BTreeSet<(LogicalTime, JobId)>,
}

impl Recorded for Member {
    type Facts = MemberFacts;

    fn facts(&self) -> MemberFacts {
        self.facts
    }
}

impl Recorded for Session {
    type Facts = SessionFacts;

    fn facts(&self) -> SessionFacts {
        self.facts.clone()
    }
}

impl Member {
    pub(super) fn new(facts: MemberFacts) -> Self {
        Self { facts, sessions: 0, producers: 0, workers: 0, waiting: 0 }
    }

    /// Counts a session in.
    pub(super) fn add(&mut self, session: &SessionFacts) {
        self.sessions += 1;
        self.producers += u64::from(session.producer);
        self.workers += u64::from(session.worker);
        self.waiting += u64::from(matches!(session.held_up, HeldUp::Reserve { .. }));
    }

    /// Counts a session out.
    fn remove(&mut self, session: &SessionFacts) {
        self.sessions -= 1;
        self.producers -= u64::from(session.producer);
        self.workers -= u64::from(session.worker);
        self.waiting -= u64::from(matches!(session.held_up, HeldUp::Reserve { .. }));
    }
}

impl SessionFacts {
    pub(super) fn is_held_up(&self) -> bool {
        self.held_up != HeldUp::No
    }

    /// Whether it is as an ended session is.
    pub(super) fn has_let_go(&self) -> bool {
        self.watched.is_empty() && self.used == TubeId::DEFAULT && !self.is_held_up()
    }
}

impl Session {
    pub(super) fn new(facts: SessionFacts) -> Self {
        Self { facts, held: BTreeSet::new() }
    }

    /// Makes the ops behind the present one wait.
    pub(super) fn hold_up(&mut self, by: HeldUp) {
        self.facts.held_up = by;
        self.facts.turn = Turn(self.facts.turn.0.wrapping_add(1));
    }
}

impl Queue {
    pub(super) fn session(&self, id: SessionId) -> &Session {
        self.sessions.get(&id).expect("a session that is referred to exists")
    }

    pub(super) fn session_mut(&mut self, id: SessionId) -> &mut Session {
        self.sessions.change(&id).expect("a session that is referred to exists")
    }

    fn member_mut(&mut self, id: MemberId) -> &mut Member {
        self.members.change(&id).expect("a session's member is known")
    }

    /// Whether the session belongs to the present life of its member.
    pub(super) fn is_of_current_life(&self, session: SessionId) -> bool {
        let member = self.members.get(&session.member).expect("a session's member is known");
        member.facts.incarnation == session.incarnation
    }

    /// Begins a member's new life, and the end of its earlier ones.
    pub(super) fn open_life(&mut self, id: MemberId, incarnation: Incarnation, work: &mut Work) {
        let facts = MemberFacts { incarnation, last: OpNumber(0) };
        let Some(member) = self.members.change(&id) else {
            self.members.insert(id, Member::new(facts));
            return;
        };
        if member.facts.incarnation >= incarnation {
            return;
        }
        *member = Member::new(facts);
        if !self.end_lives(id, work) && !self.is_ending_lives(id) {
            self.add_continuation(Continuation::EndLives { member: id });
        }
    }

    /// Ends sessions of a member's earlier lives; true when none is left.
    pub(super) fn end_lives(&mut self, id: MemberId, work: &mut Work) -> bool {
        while let Some(session) = self.first_of_earlier_lives(id) {
            if work.is_used_up() {
                return false;
            }
            if !self.session(session).facts.closing {
                let tubes = self.begin_end(session);
                work.spend(1 + tubes);
            }
            if !self.release_held(session, work) {
                return false;
            }
        }
        true
    }

    /// Opens the session of a connection whose first op this is.
    pub(super) fn open_session(&mut self, id: SessionId) {
        let facts = SessionFacts {
            used: TubeId::DEFAULT,
            watched: vec![TubeId::DEFAULT],
            turn: Turn(0),
            held_up: HeldUp::No,
            producer: false,
            worker: false,
            closing: false,
        };
        self.member_mut(id.member).add(&facts);
        let tube = self.tube_mut(TubeId::DEFAULT);
        tube.using += 1;
        tube.watching += 1;
        self.totals.connections += 1;
        assert!(self.sessions.insert(id, Session::new(facts)), "{id:?} is not new");
    }

    pub(super) fn mark_producer(&mut self, id: SessionId) {
        if !self.session(id).facts.producer {
            self.session_mut(id).facts.producer = true;
            self.member_mut(id.member).producers += 1;
        }
    }

    pub(super) fn mark_worker(&mut self, id: SessionId) {
        if !self.session(id).facts.worker {
            self.session_mut(id).facts.worker = true;
            self.member_mut(id.member).workers += 1;
        }
    }

    pub(super) fn use_tube(&mut self, id: SessionId, name: &TubeName) -> Outcome {
        let tube = self.tube_named(name);
        self.tube_mut(tube).using += 1;
        let left = std::mem::replace(&mut self.session_mut(id).facts.used, tube);
        self.tube_mut(left).using -= 1;
        self.drop_if_unused(left);
        Outcome::Using { tube: name.clone() }
    }

    pub(super) fn watch(&mut self, id: SessionId, name: &TubeName) -> Outcome {
        let tube = self.tube_named(name);
        if !self.session(id).facts.watched.contains(&tube) {
            self.session_mut(id).facts.watched.push(tube);
            self.tube_mut(tube).watching += 1;
        }
        self.watching(id)
    }

    pub(super) fn ignore(&mut self, id: SessionId, name: &TubeName) -> Outcome {
        let watched = &self.session(id).facts.watched;
        let tube = self.tube_ids.get(name);
        let Some(place) = watched.iter().position(|watched| Some(watched) == tube) else {
            return self.watching(id);
        };
        if watched.len() == 1 {
            return Outcome::NotIgnored;
        }
        let tube = self.session_mut(id).facts.watched.swap_remove(place);
        self.tube_mut(tube).watching -= 1;
        self.drop_if_unused(tube);
        self.watching(id)
    }

    fn watching(&self, id: SessionId) -> Outcome {
        Outcome::Watching { count: self.session(id).facts.watched.len() as u64 }
    }

    pub(super) fn stop_waiting(&mut self, id: SessionId, work: &mut Work) {
        if self.sessions.contains(&id) && self.end_wait(id) {
            work.outcomes.push((id, Outcome::TimedOut));
        }
    }

    /// Ends a session. A kick of it that is still under way goes on, unanswered.
    pub(super) fn close(&mut self, id: SessionId, work: &mut Work) {
        if self.sessions.get(&id).is_none_or(|session| session.facts.closing) {
            return;
        }
        self.begin_end(id);
        if !self.release_held(id, work) {
            self.add_continuation(Continuation::EndSession { session: id });
        }
    }

    /// Lets go of all but the jobs that the session holds. Returns how many tubes it watched.
    fn begin_end(&mut self, id: SessionId) -> u32 {
        self.end_wait(id);
        if self.is_of_current_life(id) {
            let session = self.sessions.get(&id).expect("who ends is a session");
            let member = self.members.change(&id.member).expect("a session's member is known");
            member.remove(&session.facts);
        }
        let facts = &mut self.session_mut(id).facts;
        facts.closing = true;
        facts.held_up = HeldUp::No;
        let used = std::mem::replace(&mut facts.used, TubeId::DEFAULT);
        let watched = std::mem::take(&mut facts.watched);
        self.tube_mut(used).using -= 1;
        for tube in &watched {
            self.tube_mut(*tube).watching -= 1;
        }
        for tube in watched.iter().chain([&used]) {
            if self.tubes.contains(tube) {
                self.drop_if_unused(*tube);
            }
        }
        u32::try_from(watched.len()).unwrap_or(u32::MAX)
    }

    /// Makes what an ending session holds ready; when that is done, the session is gone.
    pub(super) fn release_held(&mut self, id: SessionId, work: &mut Work) -> bool {
        while let Some((_, job)) = self.session(id).held.first().copied() {
            if work.is_used_up() {
                return false;
            }
            work.spend(1);
            self.make_ready(job, work);
        }
        self.sessions.remove(&id);
        true
    }

    fn first_of_earlier_lives(&self, id: MemberId) -> Option<SessionId> {
        let current = self.members.get(&id).expect("a member whose lives end is known");
        let first_of =
            |incarnation| SessionId { member: id, incarnation, connection: ConnectionNumber(0) };
        let earlier = first_of(Incarnation(0))..first_of(current.facts.incarnation);
        self.sessions.range(earlier).next().map(|(session, _)| *session)
    }

    fn is_ending_lives(&self, id: MemberId) -> bool {
        let ending = Continuation::EndLives { member: id };
        self.continuations.iter().any(|(_, continuation)| *continuation == ending)
    }
}
