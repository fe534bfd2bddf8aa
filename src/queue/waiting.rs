//! Who waits for a job, and who gets one.
//!
//! A tube that is not paused never has both a ready job and somebody waiting for it who is not passed
//! over: whatever makes a job ready hands it over in the same apply (DESIGN D4). Waiters are served in
//! the order in which they began to wait. Passed over is who belongs to a life that is over, for
//! ever, and to a member that is not heard, for as long as it is not.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Unbounded};

use super::cold::Order;
use super::deadline::{Timer, warning_time};
use super::job::{JobState, tally};
use super::session::HeldUp;
use super::tube::TubeId;
use super::work::Work;
use super::{
    ConnectionNumber, Incarnation, JobId, LogicalTime, MemberId, Outcome, Queue, SessionId,
};

/// Somebody who waits for a job of a tube. The order keeps the waiters of one life together, so that
/// all of them are passed over in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Waiter {
    member: MemberId,
    incarnation: Incarnation,
    /// The order of waiting in the whole state.
    sequence: u64,
    connection: ConnectionNumber,
}

impl Waiter {
    pub(super) fn new(session: SessionId, sequence: u64) -> Self {
        let SessionId { member, incarnation, connection } = session;
        Self { member, incarnation, sequence, connection }
    }

    pub(super) fn session(self) -> SessionId {
        let Self { member, incarnation, connection, .. } = self;
        SessionId { member, incarnation, connection }
    }

    /// Behind all of its life.
    fn last_of_life(self) -> Self {
        Self { sequence: u64::MAX, connection: ConnectionNumber(u64::MAX), ..self }
    }

    fn is_of_life_of(self, other: Self) -> bool {
        (self.member, self.incarnation) == (other.member, other.incarnation)
    }
}

impl Queue {
    /// Makes a job ready, or hands it to who waits for it.
    pub(super) fn make_ready(&mut self, id: JobId, work: &mut Work) {
        self.warm(id);
        match self.next_waiter(self.job(id).tube) {
            Some(waiter) => self.hand_over(id, waiter, work),
            None => {
                self.move_job(id, JobState::Ready);
            }
        }
    }

    /// Who gets the next job of the tube at once: nobody while it is paused.
    pub(super) fn next_waiter(&self, tube: TubeId) -> Option<SessionId> {
        if self.tube(tube).is_paused() { None } else { self.first_waiter(tube) }
    }

    /// Who has waited longest for a job of the tube, paused or not, and is not passed over.
    pub(super) fn first_waiter(&self, tube: TubeId) -> Option<SessionId> {
        let waiters = &self.tube(tube).waiters;
        let mut longest: Option<Waiter> = None;
        let mut next = waiters.first();
        while let Some(first) = next {
            let heard = self.first_heard(waiters, *first);
            longest = [longest, heard].into_iter().flatten().min_by_key(|waiter| waiter.sequence);
            next = waiters.range((Excluded(first.last_of_life()), Unbounded)).next();
        }
        longest.map(Waiter::session)
    }

    /// The first in the life of `first`, which is the first of them all, who is not passed over.
    fn first_heard(&self, waiters: &BTreeSet<Waiter>, first: Waiter) -> Option<Waiter> {
        let facts = self.members.get(&first.member).expect("a waiter's member is known").facts;
        if !facts.lives(first.incarnation) {
            return None;
        }
        let passed_over = facts.hearing.passed_over();
        if !passed_over.contains(&first.sequence) {
            return Some(first);
        }
        let connection = ConnectionNumber(0);
        let behind = Waiter { sequence: passed_over.end, connection, ..first };
        waiters.range(behind..).next().copied().filter(|waiter| waiter.is_of_life_of(first))
    }

    /// Ends a wait with a job.
    pub(super) fn hand_over(&mut self, job: JobId, waiter: SessionId, work: &mut Work) {
        self.end_wait(waiter);
        let outcome = self.reserve_for(job, waiter);
        work.outcomes.push((waiter, outcome));
    }

    /// Gives a job that nobody holds to a session.
    pub(super) fn reserve_for(&mut self, id: JobId, session: SessionId) -> Outcome {
        self.warm(id);
        let deadline = self.after_seconds(self.job(id).ttr);
        let job = self.move_job(id, JobState::Reserved { by: session, deadline });
        tally(&mut job.tallies.reserves);
        Outcome::Reserved { job: id, body: job.body.clone() }
    }

    /// The job that a reserve of the session gets now: the least by priority and id in all tubes
    /// that it watches and that are not paused.
    pub(super) fn best_ready(&self, session: SessionId) -> Option<JobId> {
        let watched = &self.session(session).facts.watched;
        let tubes = watched.iter().map(|id| self.tube(*id)).filter(|tube| !tube.is_paused());
        tubes.filter_map(|tube| tube.first(Order::Ready)).min().map(|(_, job)| job)
    }

    /// Begins a wait, until a time or for ever.
    pub(super) fn wait(&mut self, id: SessionId, until: Option<LogicalTime>) -> Outcome {
        let sequence = self.next.wait;
        self.next.wait += 1;
        let member = self.members.change(&id.member).expect("an op's member is known");
        member.waiters.insert(sequence, id.connection);
        let session = self.sessions.change(&id).expect("an op's session is open");
        session.hold_up(HeldUp::Reserve { sequence, until });
        for tube in &session.facts.watched {
            let tube = self.tubes.change(tube).expect("a watched tube exists");
            tube.waiters.insert(Waiter::new(id, sequence));
        }
        if let Some(until) = until {
            self.deadlines.add(until, Timer::WaitOver(id));
        }
        if let Some((deadline, _)) = session.held.first() {
            self.deadlines.add(warning_time(*deadline), Timer::DeadlineSoon(id));
        }
        Outcome::Waiting
    }

    /// Ends the session's wait for a job; false if it does not wait for one.
    pub(super) fn end_wait(&mut self, id: SessionId) -> bool {
        let of_present_life = self.is_of_present_life(id);
        let session = self.sessions.change(&id).expect("who waits is a session");
        let HeldUp::Reserve { sequence, until } = session.facts.held_up else {
            return false;
        };
        session.facts.held_up = HeldUp::No;
        for tube in &session.facts.watched {
            let tube = self.tubes.change(tube).expect("a watched tube exists");
            tube.waiters.remove(&Waiter::new(id, sequence));
        }
        if let Some(until) = until {
            self.deadlines.remove(until, Timer::WaitOver(id));
        }
        // What a session holds does not change while it waits: the warning comes, and ends the
        // wait, before the first of its jobs runs out of time.
        if let Some((deadline, _)) = session.held.first() {
            self.deadlines.remove(warning_time(*deadline), Timer::DeadlineSoon(id));
        }
        if of_present_life {
            let member = self.members.change(&id.member).expect("a session's member is known");
            member.waiters.remove(&sequence);
        }
        true
    }
}
