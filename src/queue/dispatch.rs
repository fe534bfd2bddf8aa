//! From a batch to the ops in it.

use std::time::Duration;

use super::commands::NewJob;
use super::leased::Attach;
use super::work::{WORK_QUOTA_JOBS, Work};
use super::{
    Action, Batch, Body, Incarnation, JobId, MemberId, Observer, Op, OpNumber, Outcome, Part,
    Queue, SessionId, Turn,
};
use crate::planted::{self, Bug};

/// A run of ops of one member.
struct Run<'a> {
    member: MemberId,
    incarnation: Incarnation,
    first: OpNumber,
    ops: &'a [Op],
}

impl Queue {
    /// Applies one log entry: time goes on, what is due happens and what was left over goes on, as
    /// far as [`WORK_QUOTA_JOBS`] allows; then the parts, in order.
    pub fn apply(&mut self, batch: &Batch, observer: &mut impl Observer) {
        self.apply_within(WORK_QUOTA_JOBS, batch, observer);
    }

    /// As [`Self::apply`], with another quota. It is part of what the state becomes: only a test
    /// that wants many continuations from few jobs may choose it.
    pub(super) fn apply_within(&mut self, quota: u32, batch: &Batch, observer: &mut impl Observer) {
        self.clock = self.clock.max(batch.now);
        if batch.parts.iter().any(|part| matches!(part, Part::Returned)) {
            self.returned = self.clock;
        }
        let mut work = Work { moves_left: quota, outcomes: Vec::new() };
        // Timers have one half before continuations have the other: neither starves.
        self.fire_due(quota / 2, &mut work);
        self.go_on(&mut work);
        self.fire_due(0, &mut work);
        self.tell(&mut work, observer);
        self.expect_cold(batch);
        for part in &batch.parts {
            self.apply_part(part, &mut work, observer);
            self.tell(&mut work, observer);
        }
        self.chain.end_batch(self.clock, &self.next, &self.totals);
    }

    /// Tells of the cold jobs that ops of a batch name, if there are several.
    fn expect_cold(&self, batch: &Batch) {
        if self.job_counts.jobs() == self.jobs.len() as u64 {
            return;
        }
        let ops = batch.parts.iter().flat_map(|part| match part {
            Part::Ops { ops, .. } => &ops[..],
            _ => &[],
        });
        let named = ops.filter_map(|op| match op.action {
            Action::Delete { job } | Action::ReserveJob { job } | Action::KickJob { job } => {
                Some(job)
            }
            _ => None,
        });
        let cold: Vec<JobId> = named.filter(|job| !self.jobs.contains(job)).collect();
        if cold.len() > 1 {
            self.cold.expect(&cold);
        }
    }

    fn apply_part(&mut self, part: &Part, work: &mut Work, observer: &mut impl Observer) {
        match part {
            Part::Enrol { member } => self.enrol(*member),
            Part::Open { member, incarnation, grace_millis } => {
                let grace = Duration::from_millis(u64::from(*grace_millis));
                self.open_life(*member, *incarnation, grace, work);
            }
            Part::EndLife { member, incarnation } => self.end_life(*member, *incarnation, work),
            Part::Hearing { member, incarnation, is_heard } => {
                self.hear(*member, *incarnation, *is_heard, work);
            }
            Part::Remove { member } => self.remove_member(*member, work),
            Part::Limits { change } => self.change_limits(*change, work),
            // It was heeded before anything came to its end.
            Part::Returned => {}
            Part::Ops { member, incarnation, first, ops } => {
                let run = Run { member: *member, incarnation: *incarnation, first: *first, ops };
                self.apply_run(&run, work, observer);
            }
        }
    }

    /// Applies those ops of a run that continue the member's sequence (DESIGN D2).
    fn apply_run(&mut self, run: &Run<'_>, work: &mut Work, observer: &mut impl Observer) {
        let Some(member) = self.members.get(&run.member) else {
            return;
        };
        if !member.facts.lives(run.incarnation) {
            return;
        }
        let expected = member.facts.last.0.checked_add(1);
        let Some(repeated) = expected.and_then(|expected| expected.checked_sub(run.first.0)) else {
            return;
        };
        if planted::is(Bug::ResendApplied) {
            self.apply_repeated(run, repeated, work, observer);
        }
        let new = usize::try_from(repeated).ok().and_then(|repeated| run.ops.get(repeated..));
        for op in new.unwrap_or_default() {
            let member = self.members.change(&run.member).expect("it was just found");
            let Some(number) = member.facts.last.0.checked_add(1) else {
                return;
            };
            member.facts.last = OpNumber(number);
            let id = SessionId {
                member: run.member,
                incarnation: run.incarnation,
                connection: op.connection,
            };
            observer.before_op(self, id);
            self.apply_op(id, op, work);
            self.tell(work, observer);
        }
    }

    /// Of a planted bug: the puts among the first ops of a run, once more. Their member knows what came
    /// of them.
    fn apply_repeated(
        &mut self,
        run: &Run<'_>,
        count: u64,
        work: &mut Work,
        observer: &mut impl Observer,
    ) {
        let Run { member, incarnation, ops, .. } = *run;
        let repeated = ops.iter().take(usize::try_from(count).unwrap_or(usize::MAX));
        for op in repeated.filter(|op| matches!(op.action, Action::Put { .. })) {
            let id = SessionId { member, incarnation, connection: op.connection };
            self.apply_op(id, op, work);
            work.outcomes.retain(|(session, _)| *session != id);
            self.tell(work, observer);
        }
    }

    fn tell(&mut self, work: &mut Work, observer: &mut impl Observer) {
        for (session, outcome) in work.outcomes.drain(..) {
            self.chain.add_outcome(session, &outcome);
            if session.is_leased() {
                self.keep_end_of_wait(session, &outcome);
            }
            let Some(connection) = self.address(session) else { continue };
            let outcome = match outcome {
                Outcome::Reserved { job, body } if observer.wants_bodies(connection) => {
                    Outcome::Reserved { job, body: Body::Here(self.body(&body)) }
                }
                other => other,
            };
            observer.outcome(connection, outcome);
        }
    }

    fn apply_op(&mut self, connection: SessionId, op: &Op, work: &mut Work) {
        let id = self.session_of(connection);
        match op.action {
            Action::StopWaiting => return self.stop_waiting(id, work),
            Action::Close => {
                self.close(id, work);
                if id != connection {
                    work.outcomes.insert(0, (connection, Outcome::Closed));
                }
                return;
            }
            Action::Detach => return self.detach(connection),
            Action::Attach { token, lease_millis, answered, opens } => {
                let attach = Attach { token, lease_millis, answered, opens };
                let outcome = self.attach(connection, &attach, work);
                return work.outcomes.insert(0, (connection, outcome));
            }
            _ => {}
        }
        if !self.is_in_place(id, op.numbered) {
            return;
        }
        let outcome = match self.admit(id, op.turn) {
            Admission::Ignored => return,
            Admission::Deferred => Outcome::Deferred,
            Admission::Refused => {
                self.totals.count(&op.action);
                Outcome::OutOfMemory
            }
            Admission::Admitted => {
                self.totals.count(&op.action);
                self.carry_out(id, &op.action, work)
            }
        };
        if let Some(numbered) = op.numbered {
            self.keep_outcome(id, numbered, &outcome);
        }
        // The op is answered before those who got a job by it.
        work.outcomes.insert(0, (id, outcome));
    }

    /// Looks whether an op is in turn; the first one of a connection opens its session, if there is
    /// room for it.
    fn admit(&mut self, id: SessionId, turn: Turn) -> Admission {
        match self.sessions.get(&id).map(|session| &session.facts) {
            Some(facts) if facts.closing => Admission::Ignored,
            Some(facts) if facts.turn != turn || facts.is_held_up() => Admission::Deferred,
            Some(_) => Admission::Admitted,
            None if turn != Turn(0) => Admission::Deferred,
            None if !self.admits(id) => Admission::Refused,
            None => {
                self.open_session(id, None);
                Admission::Admitted
            }
        }
    }

    fn carry_out(&mut self, id: SessionId, action: &Action, work: &mut Work) -> Outcome {
        match action {
            Action::Put { priority, delay, ttr, body, key } => {
                let new = NewJob { priority: *priority, delay: *delay, ttr: *ttr, body };
                match key {
                    Some(key) => self.put_once(id, &new, key, work),
                    None => self.put(id, &new, work),
                }
            }
            Action::Use { tube } => self.use_tube(id, tube),
            Action::Watch { tube } => self.watch(id, tube),
            Action::Ignore { tube } => self.ignore(id, tube),
            Action::Reserve { wait, half_closed } => self.reserve(id, *wait, *half_closed),
            Action::ReserveJob { job } => self.reserve_job(id, *job),
            Action::Delete { job } => self.delete(id, *job, work),
            Action::Release { job, priority, delay } => {
                self.release(id, *job, (*priority, *delay), work)
            }
            Action::Bury { job, priority } => self.bury(id, *job, *priority, work),
            Action::Touch { job } => self.touch(id, *job),
            Action::Kick { bound } => self.kick(id, *bound, work),
            Action::KickJob { job } => self.kick_job(*job, work),
            Action::PauseTube { tube, delay } => self.pause_tube(tube, *delay, work),
            Action::StopWaiting | Action::Close | Action::Attach { .. } | Action::Detach => {
                unreachable!("these are applied in any turn")
            }
        }
    }
}

enum Admission {
    Admitted,
    Deferred,
    /// There are too many sessions to open one more.
    Refused,
    /// The session has ended; nobody is there to be answered.
    Ignored,
}
