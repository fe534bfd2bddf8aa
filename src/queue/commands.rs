//! The commands of producers and workers on single jobs. Each returns its session's outcome; what
//! others get goes to the work's outcomes. Kicks are in `continuation`, tubes in `tube`, what a
//! session uses and watches in `session`.

use std::time::Duration;

use bytes::Bytes;

use super::deadline::SAFETY_MARGIN;
use super::job::{Body, Job, JobState, Tallies, tally};
use super::work::Work;
use super::{JobId, LogicalTime, Outcome, Queue, SessionId, Wait};
use crate::planted::{self, Bug};

/// The arguments of a put.
pub(super) struct NewJob<'a> {
    pub(super) priority: u32,
    pub(super) delay: u32,
    pub(super) ttr: u32,
    pub(super) body: &'a Bytes,
}

impl Queue {
    pub(super) fn put(&mut self, id: SessionId, new: &NewJob<'_>, work: &mut Work) -> Outcome {
        Outcome::Inserted { job: self.put_job(id, new, work) }
    }

    /// Makes a job, and hands it over if somebody waits for it.
    pub(super) fn put_job(&mut self, id: SessionId, new: &NewJob<'_>, work: &mut Work) -> JobId {
        self.mark_producer(id);
        let tube = self.session(id).facts.used;
        while planted::is(Bug::IdsReused) && self.find_job(JobId(self.next.job)).is_some() {
            self.next.job += 1;
        }
        let job = JobId(self.next.job);
        self.next.job += 1;
        self.totals.jobs += 1;
        self.tube_mut(tube).facts.total_jobs += 1;
        // A job without time to run would be lost the moment it is taken.
        let ttr = new.ttr.max(1);
        let is_handed_out = new.delay == 0 && self.has_room();
        let waiter = if is_handed_out { self.next_waiter(tube) } else { None };
        let mut tallies = Tallies::default();
        let state = match waiter {
            Some(by) => {
                self.end_wait(by);
                tallies.reserves = 1;
                work.outcomes
                    .push((by, Outcome::Reserved { job, body: Body::Here(new.body.clone()) }));
                if planted::is(Bug::TwoHolders)
                    && let Some(second) = self.next_waiter(tube)
                {
                    self.end_wait(second);
                    let body = Body::Here(new.body.clone());
                    work.outcomes.push((second, Outcome::Reserved { job, body }));
                }
                JobState::Reserved { by, deadline: self.end_of_hold(ttr) }
            }
            None if new.delay == 0 => JobState::Ready,
            None => JobState::Delayed { until: self.end_of_delay(new.delay) },
        };
        let body = Body::Here(new.body.clone());
        let (priority, delay, created) = (new.priority, new.delay, self.clock);
        self.insert_job(job, Job { tube, priority, delay, ttr, created, state, tallies, body });
        job
    }

    pub(super) fn reserve(&mut self, id: SessionId, wait: Wait, half_closed: bool) -> Outcome {
        self.mark_worker(id);
        let has_room = self.has_room();
        if has_room && let Some(job) = self.best_ready(id) {
            return self.reserve_for(job, id);
        }
        let soon = self.deadline_is_soon(id);
        if soon && !(has_room && self.has_ready(id)) {
            return Outcome::DeadlineSoon;
        }
        if half_closed {
            return Outcome::TimedOut;
        }
        // With a ready job in a paused tube beanstalkd begins to wait, and the warning is what
        // its next tick brings: before a timeout of 0, and, as a timer, to all that wait longer.
        match wait {
            Wait::Seconds(0) if soon => Outcome::DeadlineSoon,
            Wait::Seconds(0) => Outcome::TimedOut,
            Wait::Seconds(seconds) => self.wait(id, Some(self.after_seconds(seconds))),
            Wait::Forever => self.wait(id, None),
        }
    }

    pub(super) fn reserve_job(&mut self, id: SessionId, job: JobId) -> Outcome {
        match self.find_job(job).map(|job| job.state) {
            None | Some(JobState::Reserved { .. }) => Outcome::NotFound,
            Some(_) if !self.has_room_for_held() => Outcome::OutOfMemory,
            Some(JobState::Ready | JobState::Delayed { .. } | JobState::Buried { .. }) => {
                self.mark_worker(id);
                self.reserve_for(job, id)
            }
        }
    }

    /// `delete`: anybody may delete a job that is not reserved; else only its holder.
    pub(super) fn delete(&mut self, id: SessionId, job: JobId, work: &mut Work) -> Outcome {
        let Some(found) = self.find_job(job) else {
            return Outcome::NotFound;
        };
        let (tube, state) = (found.tube, found.state);
        if matches!(state, JobState::Reserved { by, .. } if by != id) {
            return Outcome::NotFound;
        }
        self.warm(job);
        self.tube_mut(tube).facts.deletes += 1;
        self.remove_job(job);
        self.serve_after(state, work);
        Outcome::Deleted
    }

    pub(super) fn release(
        &mut self,
        session: SessionId,
        id: JobId,
        (priority, delay): (u32, u32),
        work: &mut Work,
    ) -> Outcome {
        if !self.holds(session, id) {
            return Outcome::NotFound;
        }
        let job = self.job_mut(id);
        job.priority = priority;
        job.delay = delay;
        tally(&mut job.tallies.releases);
        if delay == 0 {
            self.make_ready(id, work);
        } else {
            let until = self.end_of_delay(delay);
            self.move_job(id, JobState::Delayed { until });
            self.serve_next(work);
        }
        Outcome::Released
    }

    pub(super) fn bury(
        &mut self,
        session: SessionId,
        id: JobId,
        priority: u32,
        work: &mut Work,
    ) -> Outcome {
        if !self.holds(session, id) {
            return Outcome::NotFound;
        }
        if planted::is(Bug::BuryReleases) {
            self.make_ready(id, work);
            return Outcome::Buried;
        }
        if planted::is(Bug::Diverges) {
            self.next.bury += u64::from(std::process::id());
        }
        let sequence = self.next.bury;
        self.next.bury += 1;
        let job = self.move_job(id, JobState::Buried { sequence });
        job.priority = priority;
        tally(&mut job.tallies.buries);
        self.serve_next(work);
        Outcome::Buried
    }

    pub(super) fn touch(&mut self, session: SessionId, id: JobId) -> Outcome {
        if !self.holds(session, id) {
            return Outcome::NotFound;
        }
        let deadline = self.end_of_hold(self.job(id).ttr);
        if !planted::is(Bug::TouchIgnored) {
            self.move_job(id, JobState::Reserved { by: session, deadline });
        }
        Outcome::Touched
    }

    /// When a reservation ends that begins now.
    pub(super) fn end_of_hold(&self, ttr: u32) -> LogicalTime {
        let time = Duration::from_secs(u64::from(ttr));
        self.clock.after(if planted::is(Bug::TtrHalved) { time / 2 } else { time })
    }

    /// When a delay ends that begins now.
    fn end_of_delay(&self, delay: u32) -> LogicalTime {
        let time = Duration::from_secs(u64::from(delay));
        self.clock.after(if planted::is(Bug::DelayHalved) { time / 2 } else { time })
    }

    fn holds(&self, session: SessionId, id: JobId) -> bool {
        let job = self.jobs.get(&id);
        job.is_some_and(|job| matches!(job.state, JobState::Reserved { by, .. } if by == session))
    }

    /// Whether a job that the session holds is about to run out of time.
    fn deadline_is_soon(&self, id: SessionId) -> bool {
        let first = self.session(id).held.first();
        first.is_some_and(|(deadline, _)| self.clock.after(SAFETY_MARGIN) >= *deadline)
    }

    /// Whether a tube that the session watches has a ready job, paused or not.
    fn has_ready(&self, id: SessionId) -> bool {
        self.session(id).facts.watched.iter().any(|tube| self.first_ready(*tube).is_some())
    }
}
