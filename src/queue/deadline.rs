//! Everything that happens by itself at some time, in one ordered index, and its happening.

use std::collections::BTreeSet;
use std::time::Duration;

use super::job::{JobState, tally};
use super::tube::TubeId;
use super::work::Work;
use super::{JobId, LogicalTime, MemberId, Outcome, Queue, SessionId};
use crate::planted::{self, Bug};

/// A holder that waits for more is warned this long before the first of its jobs runs out of time
/// (protocol.txt, `DEADLINE_SOON`).
pub(super) const SAFETY_MARGIN: Duration = Duration::from_secs(1);

/// What happens at a deadline. The order is the order of happening at one time: jobs become ready
/// before waits end, so that a job that is due together with a timeout still finds its waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A delayed job becomes ready.
    Delay(JobId),
    /// A tube's pause ends.
    Pause(TubeId),
    /// A waiting session is told that a job it holds is about to run out of time.
    DeadlineSoon(SessionId),
    /// A reserved job's time to run is over.
    Expiry(JobId),
    /// What the earlier lives of a member held comes back.
    Grace(MemberId),
    /// A leased session that has no connection ends.
    Lease(SessionId),
    /// A reserve has waited long enough.
    WaitOver(SessionId),
}

/// The index of deadlines.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Deadlines(BTreeSet<(LogicalTime, Timer)>);

impl Deadlines {
    pub(super) fn add(&mut self, at: LogicalTime, timer: Timer) {
        let added = self.0.insert((at, timer));
        assert!(added, "{timer:?} is set twice at {at:?}");
    }

    pub(super) fn remove(&mut self, at: LogicalTime, timer: Timer) {
        let removed = self.0.remove(&(at, timer));
        assert!(removed, "{timer:?} is not set at {at:?}");
    }

    pub(super) fn first(&self) -> Option<(LogicalTime, Timer)> {
        self.0.first().copied()
    }
}

impl Queue {
    /// Lets what is due happen, in order of time, until `moves_kept` of the work's moves are left.
    pub(super) fn fire_due(&mut self, moves_kept: u32, work: &mut Work) {
        while let Some((at, timer)) = self.deadlines.first() {
            if at > self.clock || work.moves_left <= moves_kept {
                return;
            }
            match timer {
                Timer::Delay(job) => {
                    work.spend(1);
                    self.make_ready(job, work);
                }
                Timer::Pause(tube) => self.end_pause(tube, moves_kept, work),
                Timer::DeadlineSoon(session) => {
                    self.fire_wait_end(session, Outcome::DeadlineSoon, work);
                }
                Timer::Expiry(job) => self.fire_expiry(job, work),
                Timer::Grace(member) => self.fire_grace(member, work),
                Timer::Lease(session) => self.fire_lease(session, at, work),
                Timer::WaitOver(session) => self.fire_wait_end(session, Outcome::TimedOut, work),
            }
        }
    }

    fn fire_expiry(&mut self, id: JobId, work: &mut Work) {
        work.spend(1);
        if planted::is(Bug::ExpiryForgotten) {
            return self.end_holds_at(self.clock.after(Duration::from_hours(24)), [id]);
        }
        self.totals.job_timeouts += 1;
        tally(&mut self.job_mut(id).tallies.timeouts);
        self.make_ready(id, work);
    }

    /// Of a planted bug: ends all reservations, as if their time to run were over, but for those of who
    /// waits, which are under a warning.
    pub(crate) fn forget_holds(&mut self) {
        let idle = self.sessions.iter().filter(|(_, session)| !session.facts.is_held_up());
        let held: Vec<_> = idle.flat_map(|(_, it)| it.held.iter().map(|(_, job)| *job)).collect();
        self.end_holds_at(self.clock, held);
    }

    fn end_holds_at(&mut self, deadline: LogicalTime, held: impl IntoIterator<Item = JobId>) {
        for id in held {
            if let JobState::Reserved { by, .. } = self.job(id).state {
                self.move_job(id, JobState::Reserved { by, deadline });
            }
        }
    }

    fn fire_wait_end(&mut self, session: SessionId, outcome: Outcome, work: &mut Work) {
        work.spend(1);
        self.end_wait(session);
        // The session of a life that is over has nobody left to be answered.
        if self.is_answered(session) {
            work.outcomes.push((session, outcome));
        }
    }
}

/// When the holder of jobs, the first of which runs out of time at `deadline`, is warned.
pub(super) fn warning_time(deadline: LogicalTime) -> LogicalTime {
    let margin = u64::try_from(SAFETY_MARGIN.as_nanos()).expect("a second fits");
    LogicalTime(deadline.0.saturating_sub(margin))
}
