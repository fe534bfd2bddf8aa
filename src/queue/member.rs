//! Members and their lives (DESIGN D2).

use serde::{Deserialize, Serialize};

use super::continuation::Continuation;
use super::session::{HeldUp, SessionFacts};
use super::table::Recorded;
use super::work::Work;
use super::{ConnectionNumber, Incarnation, MemberId, OpNumber, Queue, SessionId};

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

impl Recorded for Member {
    type Facts = MemberFacts;

    fn facts(&self) -> MemberFacts {
        self.facts
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
    pub(super) fn remove(&mut self, session: &SessionFacts) {
        self.sessions -= 1;
        self.producers -= u64::from(session.producer);
        self.workers -= u64::from(session.worker);
        self.waiting -= u64::from(matches!(session.held_up, HeldUp::Reserve { .. }));
    }
}

impl Queue {
    pub(super) fn member_mut(&mut self, id: MemberId) -> &mut Member {
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
