//! Work that is too long for one entry and goes on in the next ones (DESIGN D9).

use serde::{Deserialize, Serialize};

use super::cold::Order;
use super::job::{JobState, tally};
use super::restore::is_plausible;
use super::session::HeldUp;
use super::table::Recorded;
use super::tube::TubeId;
use super::work::Work;
use super::{Incarnation, JobId, MemberId, Outcome, Queue, SessionId};

/// A continuation, by its place in the order of beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContinuationId(pub(super) u64);

/// What is left to do. All of it is kept in a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Continuation {
    /// A `kick`, answered when it is done if its session still exists.
    Kick { session: SessionId, kick: Kick },
    /// The end of a session that holds many jobs.
    EndSession { session: SessionId },
    /// The end of the sessions of a member's lives up to `last`, all of which are over.
    EndLives { member: MemberId, last: Incarnation },
    /// The same of leased sessions, which lose their connections and nothing else.
    DetachLives { member: MemberId, last: Incarnation },
    /// Jobs for the waiters of a member that is heard again.
    Return { member: MemberId },
    /// Jobs for those who waited for room among the held ones: the limit was raised.
    Serve,
}

/// How far a kick has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kick {
    /// May end before the kick does, which is then done.
    pub(super) tube: TubeId,
    pub(super) from: KickFrom,
    /// How many more jobs it may kick.
    pub(super) left: u64,
    pub(super) kicked: u64,
}

/// What a kick takes. It is chosen once, when it begins: one kick never mixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum KickFrom {
    /// Jobs buried no later than this sequence, the first one buried first.
    Buried { last: u64 },
    /// Delayed jobs, the soonest first.
    Delayed,
}

impl Recorded for Continuation {
    type Facts = Self;

    fn facts(&self) -> Self {
        *self
    }
}

impl Kick {
    /// Whether no counter can overflow.
    pub(super) fn is_plausible(&self) -> bool {
        [self.left, self.kicked].iter().all(is_plausible)
    }
}

impl Queue {
    pub(super) fn add_continuation(&mut self, continuation: Continuation) {
        let id = ContinuationId(self.next.continuation);
        self.next.continuation += 1;
        assert!(self.continuations.insert(id, continuation), "{id:?} is not new");
    }

    /// Goes on with what was left over, the oldest first, as far as the work allows.
    pub(super) fn go_on(&mut self, work: &mut Work) {
        while let Some((id, continuation)) = self.continuations.iter().next() {
            let (id, mut continuation) = (*id, *continuation);
            if work.is_used_up() {
                return;
            }
            let done = match &mut continuation {
                Continuation::Kick { session, kick } => {
                    let done = self.kick_on(kick, work);
                    if done {
                        self.answer_kick(*session, kick.kicked, work);
                    }
                    done
                }
                Continuation::EndSession { session } => {
                    !self.sessions.contains(session) || self.release_held(*session, work)
                }
                Continuation::EndLives { member, last } => self.end_lives(*member, *last, work),
                Continuation::DetachLives { member, last } => {
                    self.detach_lives(*member, *last, work)
                }
                Continuation::Return { member } => self.return_on(*member, work),
                Continuation::Serve => {
                    let done = self.serve_on(work);
                    self.serving = !done;
                    done
                }
            };
            if done {
                self.continuations.remove(&id);
            } else if let Some(kept) = self.continuations.change(&id) {
                *kept = continuation;
            }
        }
    }

    /// `kick`: makes up to `bound` jobs of the used tube ready, buried ones if there are any, else
    /// delayed ones.
    pub(super) fn kick(&mut self, session: SessionId, bound: u32, work: &mut Work) -> Outcome {
        let tube = self.session(session).facts.used;
        let mut kick = self.begin_kick(tube, bound);
        if self.kick_on(&mut kick, work) {
            return Outcome::Kicked { count: kick.kicked };
        }
        self.session_mut(session).hold_up(HeldUp::Kick);
        self.add_continuation(Continuation::Kick { session, kick });
        Outcome::Waiting
    }

    pub(super) fn kick_job(&mut self, id: JobId, work: &mut Work) -> Outcome {
        let kickable = |state| matches!(state, JobState::Buried { .. } | JobState::Delayed { .. });
        if !self.find_job(id).is_some_and(|job| kickable(job.state)) {
            return Outcome::NotFound;
        }
        self.warm(id);
        tally(&mut self.job_mut(id).tallies.kicks);
        self.make_ready(id, work);
        Outcome::JobKicked
    }

    /// Chooses what is kicked. No more than what is there now, so that jobs which come back while
    /// the kick goes on do not keep it up for ever.
    fn begin_kick(&self, tube: TubeId, bound: u32) -> Kick {
        let counts = self.tube(tube);
        let (from, there) = match counts.count(Order::Buried) {
            0 => (KickFrom::Delayed, counts.count(Order::Delayed)),
            buried => (KickFrom::Buried { last: self.next.bury - 1 }, buried),
        };
        Kick { tube, from, left: u64::from(bound).min(there), kicked: 0 }
    }

    /// Kicks as many jobs as it may; true when the kick is done.
    fn kick_on(&mut self, kick: &mut Kick, work: &mut Work) -> bool {
        while kick.left > 0
            && let Some(job) = self.next_to_kick(kick)
        {
            if work.is_used_up() {
                return false;
            }
            work.spend(1);
            self.warm(job);
            tally(&mut self.job_mut(job).tallies.kicks);
            self.make_ready(job, work);
            kick.left -= 1;
            kick.kicked += 1;
        }
        true
    }

    fn next_to_kick(&self, kick: &Kick) -> Option<JobId> {
        if !self.tubes.contains(&kick.tube) {
            return None;
        }
        match kick.from {
            KickFrom::Buried { last } => {
                let (sequence, job) = self.first_buried(kick.tube)?;
                (sequence <= last).then_some(job)
            }
            KickFrom::Delayed => self.first_delayed(kick.tube),
        }
    }

    fn answer_kick(&mut self, id: SessionId, count: u64, work: &mut Work) {
        let Some(session) = self.sessions.change(&id) else {
            return;
        };
        if session.facts.held_up == HeldUp::Kick {
            session.facts.held_up = HeldUp::No;
            if self.is_answered(id) {
                work.outcomes.push((id, Outcome::Kicked { count }));
            }
        }
    }
}
