//! Who waits for a job, and who gets one.
//!
//! A tube that is not paused never has both a ready job and somebody waiting for it: whatever makes
//! a job ready hands it over in the same apply (DESIGN D4). Waiters are served in the order in
//! which they began to wait.

use super::deadline::{Timer, warning_time};
use super::job::{JobState, tally};
use super::session::HeldUp;
use super::tube::TubeId;
use super::work::Work;
use super::{JobId, LogicalTime, Outcome, Queue, SessionId};

impl Queue {
    /// Makes a job ready, or hands it to who waits for it.
    pub(super) fn make_ready(&mut self, id: JobId, work: &mut Work) {
        match self.next_waiter(self.job(id).tube) {
            Some(waiter) => self.hand_over(id, waiter, work),
            None => {
                self.move_job(id, JobState::Ready);
            }
        }
    }

    /// Who gets the next job of the tube at once: nobody while it is paused.
    pub(super) fn next_waiter(&mut self, tube: TubeId) -> Option<SessionId> {
        if self.tube(tube).is_paused() { None } else { self.first_waiter(tube) }
    }

    /// Who has waited longest for a job of the tube, paused or not.
    pub(super) fn first_waiter(&mut self, tube: TubeId) -> Option<SessionId> {
        loop {
            let (sequence, session) = self.tube(tube).waiters.first_key_value()?;
            let (sequence, session) = (*sequence, *session);
            if self.is_of_current_life(session) {
                return Some(session);
            }
            // A member's new life may end ten thousand waits at once: they are dropped here, one by
            // one, when somebody asks. That is not counted as work, because a restored state does
            // not have them.
            self.tube_mut(tube).waiters.remove(&sequence);
        }
    }

    /// Ends a wait with a job.
    pub(super) fn hand_over(&mut self, job: JobId, waiter: SessionId, work: &mut Work) {
        self.end_wait(waiter);
        let outcome = self.reserve_for(job, waiter);
        work.outcomes.push((waiter, outcome));
    }

    /// Gives a job that nobody holds to a session.
    pub(super) fn reserve_for(&mut self, id: JobId, session: SessionId) -> Outcome {
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
        tubes.filter_map(|tube| tube.ready.first()).min().map(|(_, job)| *job)
    }

    /// Begins a wait, until a time or for ever.
    pub(super) fn wait(&mut self, id: SessionId, until: Option<LogicalTime>) -> Outcome {
        let sequence = self.next.wait;
        self.next.wait += 1;
        self.members.change(&id.member).expect("an op's member is known").waiting += 1;
        let session = self.sessions.change(&id).expect("an op's session is open");
        session.hold_up(HeldUp::Reserve { sequence, until });
        for tube in &session.facts.watched {
            let tube = self.tubes.change(tube).expect("a watched tube exists");
            tube.waiters.insert(sequence, id);
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
        let of_current_life = self.is_of_current_life(id);
        let session = self.sessions.change(&id).expect("who waits is a session");
        let HeldUp::Reserve { sequence, until } = session.facts.held_up else {
            return false;
        };
        session.facts.held_up = HeldUp::No;
        for tube in &session.facts.watched {
            let tube = self.tubes.change(tube).expect("a watched tube exists");
            tube.waiters.remove(&sequence);
        }
        if let Some(until) = until {
            self.deadlines.remove(until, Timer::WaitOver(id));
        }
        // What a session holds does not change while it waits: the warning comes, and ends the
        // wait, before the first of its jobs runs out of time.
        if let Some((deadline, _)) = session.held.first() {
            self.deadlines.remove(warning_time(*deadline), Timer::DeadlineSoon(id));
        }
        if of_current_life {
            let member = self.members.change(&id.member).expect("a session's member is known");
            member.waiting -= 1;
        }
        true
    }
}
