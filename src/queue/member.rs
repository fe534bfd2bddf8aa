//! Members and their lives (DESIGN D2, D15).
//!
//! A member is enrolled, opens one life after the other, and may be removed. It stays in the table
//! for ever, so that no number is given twice. When a life ends, its waits get no job from that
//! moment on; what its sessions hold comes back in slices, at once or after a grace. Whether a
//! member is heard is told in `hearing`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::continuation::Continuation;
use super::deadline::Timer;
use super::hearing::Hearing;
use super::session::SessionFacts;
use super::table::Recorded;
use super::work::Work;
use super::{ConnectionNumber, Incarnation, LogicalTime, MemberId, OpNumber, Queue, SessionId};
use crate::planted::{self, Bug};

/// What is known of the present life of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// The greatest one that was opened; 0, and over, when none was yet.
    pub incarnation: Incarnation,
    /// The last op of it that was applied; 0 when none was yet.
    pub last: OpNumber,
    /// No op of it is applied any more: to go on, the member opens a greater one.
    pub is_over: bool,
    /// The member is heard, as far as the log says. A new life is.
    pub is_heard: bool,
    /// The member never opens another one.
    pub is_removed: bool,
}

/// What a checkpoint keeps of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberFacts {
    pub(super) incarnation: Incarnation,
    /// The last op of this life that was applied.
    pub(super) last: OpNumber,
    pub(super) standing: Standing,
    pub(super) hearing: Hearing,
    /// When the sessions of the lives before this one end.
    pub(super) grace_until: Option<LogicalTime>,
}

/// Whether ops of a member's present life are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Standing {
    Living,
    /// The life is over; another one may be opened.
    Over,
    /// The life is over, and there will be no other.
    Removed,
}

/// A member and what is counted over the sessions of its present life that are not ending.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) facts: MemberFacts,
    pub(super) sessions: u64,
    pub(super) producers: u64,
    pub(super) workers: u64,
    /// Who waits for a job, in order of waiting.
    pub(super) waiters: BTreeMap<u64, ConnectionNumber>,
}

impl Recorded for Member {
    type Facts = MemberFacts;

    fn facts(&self) -> MemberFacts {
        self.facts
    }
}

impl MemberFacts {
    fn new(incarnation: Incarnation, standing: Standing) -> Self {
        Self {
            incarnation,
            last: OpNumber(0),
            standing,
            hearing: Hearing::Heard,
            grace_until: None,
        }
    }

    /// Whether this is its present life, and not over.
    pub(super) fn lives(&self, incarnation: Incarnation) -> bool {
        self.incarnation == incarnation && self.standing == Standing::Living
    }
}

impl Member {
    pub(super) fn new(facts: MemberFacts) -> Self {
        Self { facts, sessions: 0, producers: 0, workers: 0, waiters: BTreeMap::new() }
    }

    /// Counts a session in. Whether it waits is not looked at.
    pub(super) fn add(&mut self, session: &SessionFacts) {
        self.sessions += 1;
        self.producers += u64::from(session.producer);
        self.workers += u64::from(session.worker);
    }

    /// Counts out a session that does not wait.
    pub(super) fn remove(&mut self, session: &SessionFacts) {
        self.sessions -= 1;
        self.producers -= u64::from(session.producer);
        self.workers -= u64::from(session.worker);
    }
}

impl Queue {
    /// The number for a newcomer: one more than the greatest that was ever given, from 1.
    pub fn next_member(&self) -> MemberId {
        let greatest = self.members.iter().next_back().map_or(0, |(id, _)| id.0);
        MemberId(greatest.saturating_add(1))
    }

    /// The members that are known and were not removed, in order.
    pub fn members(&self) -> impl Iterator<Item = MemberId> {
        let present = |member: &Member| member.facts.standing != Standing::Removed;
        self.members.iter().filter(move |(_, member)| present(member)).map(|(id, _)| *id)
    }

    /// The present life of a member. `None` when the member is unknown.
    pub fn life(&self, member: MemberId) -> Option<Life> {
        let facts = self.members.get(&member)?.facts;
        Some(Life {
            incarnation: facts.incarnation,
            last: facts.last,
            is_over: facts.standing != Standing::Living,
            is_heard: facts.hearing != Hearing::Silent,
            is_removed: facts.standing == Standing::Removed,
        })
    }

    pub(super) fn member_mut(&mut self, id: MemberId) -> &mut Member {
        self.members.change(&id).expect("a session's member is known")
    }

    /// Whether the connection belongs to a life that is not over.
    pub(super) fn is_of_present_life(&self, connection: SessionId) -> bool {
        let member = self.members.get(&connection.member).expect("a connection's member is known");
        member.facts.lives(connection.incarnation)
    }

    /// Whether anybody may still ask what the session's wait came to: that of a life that is over has
    /// nobody left to be answered.
    pub(super) fn is_answered(&self, session: SessionId) -> bool {
        session.is_leased() || self.is_of_present_life(session)
    }

    pub(super) fn enrol(&mut self, id: MemberId) {
        if !self.members.contains(&id) {
            let facts = MemberFacts::new(Incarnation(0), Standing::Over);
            self.members.insert(id, Member::new(facts));
        }
    }

    /// Begins a member's new life. Its earlier ones are over; without a grace their sessions end
    /// now. With one they all end together, that long after this moment, or later if an earlier
    /// grace says so: nobody loses what it holds before its own grace has gone by.
    pub(super) fn open_life(
        &mut self,
        id: MemberId,
        incarnation: Incarnation,
        grace: Duration,
        work: &mut Work,
    ) {
        let mut facts = MemberFacts::new(incarnation, Standing::Living);
        let Some(member) = self.members.get(&id) else {
            self.members.insert(id, Member::new(facts));
            return;
        };
        let before = member.facts;
        if before.standing == Standing::Removed || before.incarnation >= incarnation {
            return;
        }
        if planted::is(Bug::IdsReused) {
            self.next.job = self.next.job.saturating_sub(64).max(1);
        }
        self.stop_grace(id);
        let graced = !grace.is_zero() && self.first_session(id, before.incarnation).is_some();
        if graced {
            let until = self.clock.after(grace).max(before.grace_until.unwrap_or_default());
            facts.grace_until = Some(until);
            self.deadlines.add(until, Timer::Grace(id));
        }
        *self.member_mut(id) = Member::new(facts);
        self.begin_detaching(id, before.incarnation, work);
        if !graced {
            self.begin_ending_lives(id, before.incarnation, work);
        }
    }

    /// Ends a member's present life, if it is this one.
    pub(super) fn end_life(&mut self, id: MemberId, incarnation: Incarnation, work: &mut Work) {
        if self.members.get(&id).is_some_and(|member| member.facts.lives(incarnation)) {
            self.leave(id, Standing::Over, work);
        }
    }

    /// Ends a member's last life. A member that was unknown is known from now on, as removed.
    pub(super) fn remove_member(&mut self, id: MemberId, work: &mut Work) {
        self.enrol(id);
        self.leave(id, Standing::Removed, work);
    }

    /// Ends the present life. The earlier ones that have a grace end with it: when a life that came
    /// after them is known to be over, nobody is left to hold anything for.
    fn leave(&mut self, id: MemberId, standing: Standing, work: &mut Work) {
        self.stop_grace(id);
        let member = self.member_mut(id);
        let facts = MemberFacts { standing, ..member.facts };
        *member = Member::new(facts);
        self.begin_detaching(id, facts.incarnation, work);
        self.begin_ending_lives(id, facts.incarnation, work);
    }

    /// The grace of a member's earlier lives is over.
    pub(super) fn fire_grace(&mut self, id: MemberId, work: &mut Work) {
        work.spend(1);
        self.stop_grace(id);
        let present = self.member_mut(id).facts.incarnation;
        // Left to the continuations, which have their turn right after the timers: a timer may only
        // use what it finds within its half of the work.
        if let Some(last) = present.0.checked_sub(1).map(Incarnation)
            && self.first_session(id, last).is_some()
        {
            self.add_continuation(Continuation::EndLives { member: id, last });
        }
    }

    fn stop_grace(&mut self, id: MemberId) {
        if let Some(until) = self.member_mut(id).facts.grace_until.take() {
            self.deadlines.remove(until, Timer::Grace(id));
        }
    }

    fn begin_ending_lives(&mut self, id: MemberId, last: Incarnation, work: &mut Work) {
        if !self.end_lives(id, last, work) {
            self.add_continuation(Continuation::EndLives { member: id, last });
        }
    }

    /// Ends sessions of a member's lives up to `last`; true when none is left.
    pub(super) fn end_lives(&mut self, id: MemberId, last: Incarnation, work: &mut Work) -> bool {
        while let Some(session) = self.first_session(id, last) {
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

    /// The first session of a member's lives up to `last`.
    fn first_session(&self, id: MemberId, last: Incarnation) -> Option<SessionId> {
        let session = |incarnation, connection| SessionId { member: id, incarnation, connection };
        let first = session(Incarnation(0), ConnectionNumber(0));
        let last = session(last, ConnectionNumber(u64::MAX));
        self.sessions.range(first..=last).next().map(|(session, _)| *session)
    }
}
