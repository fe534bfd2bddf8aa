//! A second opinion on outcomes, which knows nothing of how the queue is made: what was promised to
//! clients, kept from the ops and their outcomes alone.
//!
//! - Each op is answered once, at once, and first; a wait ends with one more outcome.
//! - Ids are given in order and without gaps; a deleted job never comes back (P2).
//! - A job has one holder until its time to run is over (P3).
//! - A delayed job is not handed out before its time (P5).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::queue::*;

/// What clients know.
#[derive(Default)]
pub(super) struct Ledger {
    now: LogicalTime,
    /// Ops as they were sent, to know which one is applied.
    sent: BTreeMap<(MemberId, Incarnation, OpNumber), Op>,
    /// The op that is being applied, until it is answered.
    asked: Option<(SessionId, Action)>,
    held_up: BTreeSet<SessionId>,
    /// Sessions that this batch ends, unless they are answered before.
    ended: BTreeSet<SessionId>,
    jobs: BTreeMap<JobId, Known>,
    last_job: u64,
    /// How many ops were applied.
    pub(super) applied: u64,
    /// How many invariant checks the size of the state still excuses.
    unchecked: usize,
    /// All outcomes of the batch, in order.
    outcomes: Vec<(SessionId, Outcome)>,
}

struct Known {
    ttr: Duration,
    not_before: LogicalTime,
    holder: Option<(SessionId, LogicalTime)>,
}

impl Ledger {
    /// Remembers an op that is sent under its right number.
    pub(super) fn send(&mut self, member: MemberId, life: Incarnation, number: u64, op: Op) {
        self.sent.insert((member, life, OpNumber(number)), op);
    }

    /// A life ended, and with it all that its sessions had.
    pub(super) fn end_lives(&mut self, member: MemberId) {
        let ended = self.held_up.extract_if(.., |session| session.member == member);
        self.ended.extend(ended);
        for known in self.jobs.values_mut() {
            known.holder = known.holder.filter(|(holder, _)| holder.member != member);
        }
        self.sent.retain(|(sender, _, _), _| *sender != member);
    }

    fn close(&mut self, session: SessionId) {
        self.held_up.remove(&session);
        for known in self.jobs.values_mut() {
            known.holder = known.holder.filter(|(holder, _)| *holder != session);
        }
    }

    /// A batch is about to be applied.
    pub(super) fn begin(&mut self, queue: &Queue, batch: &Batch) {
        self.now = queue.now().max(batch.now);
        if queue.continuations.iter().any(|(_, kept)| matches!(kept, Continuation::Kick { .. })) {
            self.forget_delays();
        }
    }

    /// A batch was applied; returns its outcomes.
    pub(super) fn end(&mut self) -> Vec<(SessionId, Outcome)> {
        self.finish_op();
        self.ended.clear();
        std::mem::take(&mut self.outcomes)
    }

    /// Every op must have been answered by now.
    fn finish_op(&self) {
        assert!(self.asked.is_none(), "not answered: {:?}", self.asked);
    }

    fn answer(&mut self, session: SessionId, action: &Action, outcome: &Outcome) {
        match (action, outcome) {
            (_, Outcome::Deferred) => {}
            (_, Outcome::Waiting) => {
                assert!(self.held_up.insert(session), "{session:?} waits twice");
            }
            (Action::Put { delay, ttr, .. }, Outcome::Inserted { job }) => {
                self.last_job += 1;
                assert_eq!(job.0, self.last_job, "ids have a gap");
                let ttr = Duration::from_secs(u64::from(*ttr).max(1));
                let not_before = self.now.after(Duration::from_secs(u64::from(*delay)));
                self.jobs.insert(*job, Known { ttr, not_before, holder: None });
            }
            (Action::Reserve { .. }, Outcome::Reserved { job, .. }) => self.take(session, *job),
            (Action::ReserveJob { job }, Outcome::Reserved { .. }) => {
                self.known(*job).not_before = LogicalTime(0);
                self.take(session, *job);
            }
            (Action::Delete { job }, Outcome::Deleted) => {
                let known = self.jobs.remove(job).expect("what is deleted was there");
                let other =
                    known.holder.filter(|(holder, until)| *holder != session && *until > self.now);
                assert!(other.is_none(), "{session:?} deleted {job:?}, held by {other:?}");
            }
            (Action::Release { job, delay, .. }, Outcome::Released) => {
                let now = self.now;
                let known = self.give_back(session, *job);
                known.not_before = now.after(Duration::from_secs(u64::from(*delay)));
            }
            (Action::Bury { job, .. }, Outcome::Buried) => {
                self.give_back(session, *job);
            }
            (Action::Touch { job }, Outcome::Touched) => {
                self.give_back(session, *job);
                self.hold(session, *job);
            }
            (Action::Kick { .. }, Outcome::Kicked { .. })
            | (Action::KickJob { .. }, Outcome::JobKicked) => {}
            (Action::Reserve { .. }, Outcome::TimedOut | Outcome::DeadlineSoon)
            | (Action::Use { .. }, Outcome::Using { .. })
            | (Action::Watch { .. } | Action::Ignore { .. }, Outcome::Watching { .. })
            | (Action::Ignore { .. }, Outcome::NotIgnored)
            | (Action::PauseTube { .. }, Outcome::Paused | Outcome::NotFound)
            | (
                Action::ReserveJob { .. }
                | Action::Delete { .. }
                | Action::Release { .. }
                | Action::Bury { .. }
                | Action::Touch { .. }
                | Action::KickJob { .. },
                Outcome::NotFound,
            ) => {}
            _ => panic!("{outcome:?} is no answer to {action:?}"),
        }
    }

    fn end_wait(&mut self, session: SessionId, outcome: &Outcome) {
        if self.ended.remove(&session) {
            return;
        }
        assert!(self.held_up.remove(&session), "{session:?} got {outcome:?} and did not wait");
        match outcome {
            Outcome::Reserved { job, .. } => self.take(session, *job),
            Outcome::TimedOut | Outcome::DeadlineSoon | Outcome::Kicked { .. } => {}
            _ => panic!("{outcome:?} does not end a wait"),
        }
    }

    fn take(&mut self, session: SessionId, job: JobId) {
        let now = self.now;
        let known = self.known(job);
        assert!(known.not_before <= now, "{job:?} is handed out too early");
        let other = known.holder.filter(|(_, until)| *until > now);
        assert!(other.is_none(), "{job:?} goes to {session:?} and is held by {other:?}");
        self.hold(session, job);
    }

    fn hold(&mut self, session: SessionId, job: JobId) {
        let now = self.now;
        let known = self.known(job);
        known.holder = Some((session, now.after(known.ttr)));
    }

    fn give_back(&mut self, session: SessionId, job: JobId) -> &mut Known {
        let known = self.known(job);
        let holder = known.holder.take().map(|(holder, _)| holder);
        assert_eq!(holder, Some(session), "{job:?} is given back by another");
        known
    }

    fn known(&mut self, job: JobId) -> &mut Known {
        self.jobs.get_mut(&job).expect("a job that is handed out was put and not deleted")
    }

    /// Kicks make delayed jobs ready before their time; which ones is not told.
    fn forget_delays(&mut self) {
        for known in self.jobs.values_mut() {
            known.not_before = LogicalTime(0);
        }
    }
}

impl Observer for Ledger {
    fn before_op(&mut self, queue: &Queue, session: SessionId) {
        self.finish_op();
        self.applied += 1;
        // Each op is checked while the state is small; else as often as the time allows.
        self.unchecked += 1;
        if self.unchecked * 64 >= queue.jobs.len() + queue.sessions.len() + queue.tubes.len() {
            queue.check_invariants();
            self.unchecked = 0;
        }
        let (life, number) = queue.last_applied(session.member).expect("the member is known");
        let op = self.sent.remove(&(session.member, life, number)).expect("the op was sent");
        assert_eq!(op.connection, session.connection);
        match op.action {
            Action::StopWaiting => {}
            Action::Close => self.close(session),
            action => {
                if matches!(action, Action::Kick { .. } | Action::KickJob { .. }) {
                    self.forget_delays();
                }
                self.asked = Some((session, action));
            }
        }
    }

    fn outcome(&mut self, session: SessionId, outcome: Outcome) {
        match self.asked.take() {
            Some((asker, action)) => {
                assert_eq!(asker, session, "{outcome:?} comes before the answer");
                self.answer(session, &action, &outcome);
            }
            None => self.end_wait(session, &outcome),
        }
        self.outcomes.push((session, outcome));
    }
}
