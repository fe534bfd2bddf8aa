//! Sessions: how they begin and end, and the tubes they use and watch.

use std::collections::BTreeSet;

use beanpole_protocol::TubeName;
use serde::{Deserialize, Serialize};

use super::continuation::Continuation;
use super::leased::Lease;
use super::member::Member;
use super::table::Recorded;
use super::tube::TubeId;
use super::work::Work;
use super::{JobId, LogicalTime, Outcome, Queue, SessionId, Turn};

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
    /// Of a leased session, until it ends.
    pub(super) lease: Option<Box<Lease>>,
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

impl Recorded for Session {
    type Facts = SessionFacts;

    fn facts(&self) -> SessionFacts {
        self.facts.clone()
    }
}

impl SessionFacts {
    pub(super) fn is_held_up(&self) -> bool {
        self.held_up != HeldUp::No
    }

    /// Whether it is as an ended session is.
    pub(super) fn has_let_go(&self) -> bool {
        self.watched.is_empty()
            && self.used == TubeId::DEFAULT
            && !self.is_held_up()
            && self.lease.is_none()
    }

    /// The connection whose session it is; `None` while a leased one has none, or has ended.
    pub(super) fn connection_of(&self, id: SessionId) -> Option<SessionId> {
        if id.is_leased() { self.lease.as_ref()?.connection() } else { Some(id) }
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

    /// Opens the session of a connection whose first op this is, or a leased one.
    pub(super) fn open_session(&mut self, id: SessionId, lease: Option<Box<Lease>>) {
        let facts = SessionFacts {
            used: TubeId::DEFAULT,
            watched: vec![TubeId::DEFAULT],
            turn: Turn(0),
            held_up: HeldUp::No,
            producer: false,
            worker: false,
            closing: false,
            lease,
        };
        let connection = facts.connection_of(id).expect("who opens a session is connected");
        self.member_mut(connection.member).add(&facts);
        let tube = self.tube_mut(TubeId::DEFAULT);
        tube.using += 1;
        tube.watching += 1;
        self.totals.connections += 1;
        assert!(self.sessions.insert(id, Session::new(facts)), "{id:?} is not new");
    }

    /// The member at which the session that sends an op is.
    fn home_mut(&mut self, id: SessionId) -> &mut Member {
        let connection = self.connection_of(id).expect("who sends an op is connected");
        self.member_mut(connection.member)
    }

    pub(super) fn mark_producer(&mut self, id: SessionId) {
        if !self.session(id).facts.producer {
            self.session_mut(id).facts.producer = true;
            self.home_mut(id).producers += 1;
        }
    }

    pub(super) fn mark_worker(&mut self, id: SessionId) {
        if !self.session(id).facts.worker {
            self.session_mut(id).facts.worker = true;
            self.home_mut(id).workers += 1;
        }
    }

    pub(super) fn use_tube(&mut self, id: SessionId, name: &TubeName) -> Outcome {
        let Some(tube) = self.tube_named(name) else {
            return Outcome::OutOfMemory;
        };
        self.tube_mut(tube).using += 1;
        let left = std::mem::replace(&mut self.session_mut(id).facts.used, tube);
        self.tube_mut(left).using -= 1;
        self.drop_if_unused(left);
        Outcome::Using { tube: name.clone() }
    }

    pub(super) fn watch(&mut self, id: SessionId, name: &TubeName) -> Outcome {
        let there = self.tube_ids.get(name).copied();
        let watched = &self.session(id).facts.watched;
        if there.is_some_and(|tube| watched.contains(&tube)) {
            return self.watching(id);
        }
        if !self.has_room_for_watch(there) {
            return Outcome::OutOfMemory;
        }
        let Some(tube) = self.tube_named(name) else {
            return Outcome::OutOfMemory;
        };
        self.session_mut(id).facts.watched.push(tube);
        self.tube_mut(tube).watching += 1;
        self.watches += u64::from(tube != TubeId::DEFAULT);
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
        self.let_watched_go(tube);
        self.watching(id)
    }

    fn let_watched_go(&mut self, tube: TubeId) {
        self.tube_mut(tube).watching -= 1;
        self.watches -= u64::from(tube != TubeId::DEFAULT);
        self.drop_if_unused(tube);
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
    pub(super) fn begin_end(&mut self, id: SessionId) -> u32 {
        self.end_wait(id);
        if let Some(connection) = self.address(id) {
            let session = self.sessions.get(&id).expect("who ends is a session");
            let member = self.members.change(&connection.member).expect("it has a life");
            member.remove(&session.facts);
        }
        self.forget_lease(id);
        let facts = &mut self.session_mut(id).facts;
        facts.closing = true;
        facts.held_up = HeldUp::No;
        let used = std::mem::replace(&mut facts.used, TubeId::DEFAULT);
        let mut watched = std::mem::take(&mut facts.watched);
        let watched_count = u32::try_from(watched.len()).unwrap_or(u32::MAX);
        // The order in which tubes end shows in the list of those that stay: beanstalkd takes the
        // first of the watched ones away, the last one filling its place, until none is left, and
        // lets go of the used one after them.
        while !watched.is_empty() {
            let tube = watched.swap_remove(0);
            self.let_watched_go(tube);
        }
        self.tube_mut(used).using -= 1;
        self.drop_if_unused(used);
        watched_count
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
}
