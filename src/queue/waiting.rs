//! Who waits for a job, and who gets one.
//!
//! A tube that is not paused never has both a ready job and somebody waiting for it who is not passed
//! over: whatever makes a job ready hands it over in the same apply (DESIGN D4). Waiters are served in
//! the order in which they began to wait. Passed over is who belongs to a life that is over, for
//! ever, and to a member that is not heard, for as long as it is not.
//!
//! But for one thing: as long as there is no room among the held jobs (see `limits`), nothing is
//! handed out, and waiters and ready jobs meet in *contended* tubes. When a held job ends, the one
//! who has waited longest over all of them gets the next.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Unbounded};

use super::cold::Order;
use super::continuation::Continuation;
use super::deadline::{Timer, warning_time};
use super::job::{Job, JobState, tally};
use super::session::HeldUp;
use super::tube::{Tube, TubeId};
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
    pub(super) fn new(connection: SessionId, sequence: u64) -> Self {
        let SessionId { member, incarnation, connection } = connection;
        Self { member, incarnation, sequence, connection }
    }

    pub(super) fn connection(self) -> SessionId {
        let Self { member, incarnation, connection, .. } = self;
        SessionId { member, incarnation, connection }
    }

    /// The least sequence among waiters of one tube.
    fn least_sequence(waiters: &BTreeSet<Self>) -> Option<u64> {
        firsts_of_lives(waiters).map(|first| first.sequence).min()
    }

    /// Behind all of its life.
    fn last_of_life(self) -> Self {
        Self { sequence: u64::MAX, connection: ConnectionNumber(u64::MAX), ..self }
    }

    fn is_of_life_of(self, other: Self) -> bool {
        (self.member, self.incarnation) == (other.member, other.incarnation)
    }
}

/// The first waiter of each life, in order of the lives.
fn firsts_of_lives(waiters: &BTreeSet<Waiter>) -> impl Iterator<Item = &Waiter> {
    std::iter::successors(waiters.first(), |first| {
        waiters.range((Excluded(first.last_of_life()), Unbounded)).next()
    })
}

/// The tubes that are not paused and have both ready jobs and waiters, each by the least sequence
/// of its waiters. Those who are passed over count, so that it does not change when a member falls
/// silent: the longest wait in a tube may be shorter than its place here says, and never longer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Contended(BTreeSet<(u64, TubeId)>);

impl Contended {
    /// The tube, its ready jobs, its waiters or its pause may have changed.
    pub(super) fn look(&mut self, id: TubeId, tube: &mut Tube) {
        let is_contended =
            !tube.waiters.is_empty() && !tube.is_paused() && tube.first(Order::Ready).is_some();
        let since = if is_contended { Waiter::least_sequence(&tube.waiters) } else { None };
        if since == tube.contended {
            return;
        }
        if let Some(earlier) = tube.contended {
            self.0.remove(&(earlier, id));
        }
        self.0.extend(since.map(|since| (since, id)));
        tube.contended = since;
    }
}

impl Queue {
    pub(super) fn look_at_tube(&mut self, id: TubeId) {
        let tube = self.tubes.change(&id).expect("a tube that is referred to exists");
        self.contended.look(id, tube);
    }

    /// Makes a job ready, or hands it to who waits for it.
    pub(super) fn make_ready(&mut self, id: JobId, work: &mut Work) {
        self.warm(id);
        let Job { tube, state, .. } = *self.job(id);
        match self.next_waiter(tube).filter(|_| self.has_room()) {
            Some(waiter) => self.hand_over(id, waiter, work),
            None => {
                self.move_job(id, JobState::Ready);
                self.serve_after(state, work);
            }
        }
    }

    /// Whether a ready job is handed out to who asks for one, or waits in its tube: there is room
    /// among the held ones, and nobody who waited for that is still to be served first.
    pub(super) fn has_room(&self) -> bool {
        self.has_room_for_held() && !self.serving
    }

    /// A job has left `state`: if it was held, there may be room for the next.
    pub(super) fn serve_after(&mut self, state: JobState, work: &mut Work) {
        if matches!(state, JobState::Reserved { .. }) {
            self.serve_next(work);
        }
    }

    /// A held job has ended: serves who has waited longest for room, if there was none until now.
    pub(super) fn serve_next(&mut self, work: &mut Work) {
        if self.job_counts.reserved + 1 == self.limits.held_jobs && self.has_room() {
            self.serve_one(work);
        }
    }

    /// Serves those who waited for room, the longest first; true when nobody is left, or no room.
    pub(super) fn serve_on(&mut self, work: &mut Work) -> bool {
        while self.has_room_for_held()
            && let Some(waiter) = self.longest_contender()
        {
            if work.is_used_up() {
                return false;
            }
            let tubes = self.session(waiter).facts.watched.len();
            work.spend(u32::try_from(tubes).unwrap_or(u32::MAX).saturating_add(1));
            self.serve(waiter, work);
        }
        true
    }

    pub(super) fn begin_serving(&mut self) {
        self.serving = true;
        self.add_continuation(Continuation::Serve);
    }

    fn serve_one(&mut self, work: &mut Work) {
        if let Some(waiter) = self.longest_contender() {
            self.serve(waiter, work);
        }
    }

    fn serve(&mut self, waiter: SessionId, work: &mut Work) {
        let job = self.best_ready(waiter).expect("a contended tube has a ready job");
        self.hand_over(job, waiter, work);
    }

    /// Who has waited longest in the contended tubes, and is not passed over.
    fn longest_contender(&self) -> Option<SessionId> {
        let mut longest: Option<Waiter> = None;
        for (since, tube) in &self.contended.0 {
            if longest.is_some_and(|waiter| waiter.sequence <= *since) {
                break;
            }
            let first = self.first_heard_in(&self.tube(*tube).waiters);
            longest = [longest, first].into_iter().flatten().min_by_key(|waiter| waiter.sequence);
        }
        longest.map(|waiter| self.session_of(waiter.connection()))
    }

    /// Who gets the next job of the tube at once: nobody while it is paused.
    pub(super) fn next_waiter(&self, tube: TubeId) -> Option<SessionId> {
        if self.tube(tube).is_paused() { None } else { self.first_waiter(tube) }
    }

    /// Who has waited longest for a job of the tube, paused or not, and is not passed over.
    pub(super) fn first_waiter(&self, tube: TubeId) -> Option<SessionId> {
        let first = self.first_heard_in(&self.tube(tube).waiters)?;
        Some(self.session_of(first.connection()))
    }

    fn first_heard_in(&self, waiters: &BTreeSet<Waiter>) -> Option<Waiter> {
        let firsts = firsts_of_lives(waiters);
        firsts.filter_map(|first| self.first_heard(waiters, *first)).min_by_key(|it| it.sequence)
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
        work.spend_body(self.job(job).body.length());
        work.outcomes.push((waiter, outcome));
    }

    /// Gives a job that nobody holds to a session.
    pub(super) fn reserve_for(&mut self, id: JobId, session: SessionId) -> Outcome {
        self.warm(id);
        let deadline = self.end_of_hold(self.job(id).ttr);
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
        let session = self.sessions.change(&id).expect("an op's session is open");
        session.hold_up(HeldUp::Reserve { sequence, until });
        self.tables.add_wait();
        self.line_up(id);
        let session = self.sessions.get(&id).expect("an op's session is open");
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
        let HeldUp::Reserve { until, .. } = self.session(id).facts.held_up else {
            return false;
        };
        self.fall_out(id);
        let session = self.sessions.change(&id).expect("who waits is a session");
        session.facts.held_up = HeldUp::No;
        self.tables.remove_wait();
        if let Some(until) = until {
            self.deadlines.remove(until, Timer::WaitOver(id));
        }
        // What a session holds does not change while it waits: the warning comes, and ends the
        // wait, before the first of its jobs runs out of time.
        if let Some((deadline, _)) = session.held.first() {
            self.deadlines.remove(warning_time(*deadline), Timer::DeadlineSoon(id));
        }
        true
    }

    /// The place in line of who waits for a job and has a connection.
    fn place_in_line(&self, id: SessionId) -> Option<(u64, SessionId)> {
        let facts = &self.session(id).facts;
        match facts.held_up {
            HeldUp::Reserve { sequence, .. } => Some((sequence, facts.connection_of(id)?)),
            _ => None,
        }
    }

    /// Who waits, and has a connection, takes its place among those who may get a job.
    pub(super) fn line_up(&mut self, id: SessionId) {
        let Some((sequence, connection)) = self.place_in_line(id) else { return };
        let session = self.sessions.get(&id).expect("who waits is a session");
        for id_of_tube in &session.facts.watched {
            let tube = self.tubes.change(id_of_tube).expect("a watched tube exists");
            self.tables.add_waiter(tube, Waiter::new(connection, sequence));
            self.contended.look(*id_of_tube, tube);
        }
        let member = self.members.change(&connection.member).expect("an op's member is known");
        member.waiters.insert(sequence, connection.connection);
    }

    /// Who waits leaves that place, which is kept for it as long as the wait lasts.
    pub(super) fn fall_out(&mut self, id: SessionId) {
        let Some((sequence, connection)) = self.place_in_line(id) else { return };
        let session = self.sessions.get(&id).expect("who waits is a session");
        for id_of_tube in &session.facts.watched {
            let tube = self.tubes.change(id_of_tube).expect("a watched tube exists");
            self.tables.remove_waiter(tube, Waiter::new(connection, sequence));
            self.contended.look(*id_of_tube, tube);
        }
        if self.is_of_present_life(connection) {
            let member = self.members.change(&connection.member).expect("it has a life");
            member.waiters.remove(&sequence);
        }
    }
}
