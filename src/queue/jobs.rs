//! Where jobs are: the only file that reads or changes the place of a job.
//!
//! A job is hot, which is in memory, or cold (see `cold`). What is asked here finds both; what
//! changes a job wants it hot.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::cold::{Order, Place};
use super::counters::JobCounts;
use super::deadline::{Deadlines, Timer};
use super::job::{Body, Job, JobState, URGENT_BELOW};
use super::session::Session;
use super::table::Table;
use super::tube::{Tube, TubeId};
use super::{JobId, LogicalTime, Queue, SessionId};
use crate::planted::{self, Bug};

/// The indexes that know where a job is.
pub(super) struct Places<'a> {
    pub(super) id: TubeId,
    pub(super) tube: &'a mut Tube,
    pub(super) hot_tubes: &'a mut BTreeSet<TubeId>,
    pub(super) sessions: &'a mut Table<SessionId, Session>,
    pub(super) deadlines: &'a mut Deadlines,
    pub(super) counts: &'a mut JobCounts,
}

impl Queue {
    pub(super) fn job(&self, id: JobId) -> &Job {
        self.jobs.get(&id).expect("a job that is looked at is hot")
    }

    pub(super) fn job_mut(&mut self, id: JobId) -> &mut Job {
        self.jobs.change(&id).expect("a job that changes is hot")
    }

    /// A job, hot or cold; of a cold one a copy.
    pub(super) fn find_job(&self, id: JobId) -> Option<Cow<'_, Job>> {
        match self.jobs.get(&id) {
            Some(job) => Some(Cow::Borrowed(job)),
            None => self.cold.find(id).map(Cow::Owned),
        }
    }

    /// The least of the tube's ready jobs by priority and id.
    pub(super) fn first_ready(&self, tube: TubeId) -> Option<JobId> {
        self.tube(tube).first(Order::Ready).map(|(_, job)| job)
    }

    /// The tube's delayed job that is ready soonest.
    pub(super) fn first_delayed(&self, tube: TubeId) -> Option<JobId> {
        self.tube(tube).first(Order::Delayed).map(|(_, job)| job)
    }

    /// The tube's job that was buried first, with its sequence.
    pub(super) fn first_buried(&self, tube: TubeId) -> Option<(u64, JobId)> {
        self.tube(tube).first(Order::Buried)
    }

    /// Adds a job in the state it says it is in.
    pub(super) fn insert_job(&mut self, id: JobId, job: Job) {
        let (tube, priority, state) = (job.tube, job.priority, job.state);
        self.job_counts.add_bytes(&job);
        self.places(tube).enter(id, priority, state);
        self.look_at_tube(tube);
        assert!(self.jobs.insert(id, job), "{id:?} is not new");
    }

    /// Brings a job from its state into another.
    pub(super) fn move_job(&mut self, id: JobId, to: JobState) -> &mut Job {
        let job = self.jobs.change(&id).expect("a job that is moved exists");
        self.job_counts.remove_bytes(job);
        let from = std::mem::replace(&mut job.state, to);
        self.job_counts.add_bytes(job);
        let mut places = Places {
            id: job.tube,
            tube: self.tubes.change(&job.tube).expect("a job's tube exists"),
            hot_tubes: &mut self.hot_tubes,
            sessions: &mut self.sessions,
            deadlines: &mut self.deadlines,
            counts: &mut self.job_counts,
        };
        places.leave(id, job.priority, from);
        places.enter(id, job.priority, to);
        self.contended.look(job.tube, places.tube);
        job
    }

    /// Takes a job out of the state, and its tube too if that was the last of it.
    pub(super) fn remove_job(&mut self, id: JobId) {
        let job = self.jobs.remove(&id).expect("a job that is removed exists");
        self.places(job.tube).leave(id, job.priority, job.state);
        self.look_at_tube(job.tube);
        self.job_counts.remove_bytes(&job);
        if let Body::Cold(at) = job.body {
            self.cold.let_go(at);
        }
        self.drop_if_unused(job.tube);
    }

    pub(super) fn places(&mut self, tube: TubeId) -> Places<'_> {
        Places {
            id: tube,
            tube: self.tubes.change(&tube).expect("a job's tube exists"),
            hot_tubes: &mut self.hot_tubes,
            sessions: &mut self.sessions,
            deadlines: &mut self.deadlines,
            counts: &mut self.job_counts,
        }
    }
}

impl Places<'_> {
    pub(super) fn enter(&mut self, id: JobId, priority: u32, state: JobState) {
        self.list(id, priority, state);
        match state {
            JobState::Ready => {
                self.counts.ready += 1;
                if priority < URGENT_BELOW {
                    self.tube.urgent += 1;
                    self.counts.urgent += 1;
                }
            }
            JobState::Reserved { .. } => {
                self.tube.reserved += 1;
                self.counts.reserved += 1;
            }
            JobState::Delayed { .. } => self.counts.delayed += 1,
            JobState::Buried { .. } => self.counts.buried += 1,
        }
    }

    fn leave(&mut self, id: JobId, priority: u32, state: JobState) {
        self.unlist(id, priority, state);
        match state {
            JobState::Ready => {
                self.counts.ready -= 1;
                if priority < URGENT_BELOW {
                    self.tube.urgent -= 1;
                    self.counts.urgent -= 1;
                }
            }
            JobState::Reserved { .. } => {
                self.tube.reserved -= u64::from(!planted::is(Bug::StatsDrift));
                self.counts.reserved -= 1;
            }
            JobState::Delayed { .. } => self.counts.delayed -= 1,
            JobState::Buried { .. } => self.counts.buried -= 1,
        }
    }

    /// Puts a hot job where it is looked for; what is counted of its state stays as it is.
    pub(super) fn list(&mut self, id: JobId, priority: u32, state: JobState) {
        let now = match state {
            JobState::Ready => {
                self.tube.ready.insert((priority, id));
                self.tube.ready.len()
            }
            JobState::Reserved { by, deadline } => {
                let holder = self.sessions.change(&by).expect("a holder is a session");
                holder.held.insert((deadline, id));
                self.deadlines.add(deadline, Timer::Expiry(id));
                holder.held.len()
            }
            JobState::Delayed { until } => {
                self.tube.delayed.insert((until, id));
                self.deadlines.add(until, Timer::Delay(id));
                self.tube.delayed.len()
            }
            JobState::Buried { sequence } => {
                self.tube.buried.insert(sequence, id);
                self.tube.buried.len()
            }
        };
        self.counts.orders += u64::from(now == 1);
        if now == 1 && self.tube.has_hot() {
            self.hot_tubes.insert(self.id);
        }
    }

    pub(super) fn unlist(&mut self, id: JobId, priority: u32, state: JobState) {
        let left = match state {
            JobState::Ready => {
                self.tube.ready.remove(&(priority, id));
                self.tube.ready.len()
            }
            JobState::Reserved { by, deadline } => {
                let holder = self.sessions.change(&by).expect("a holder is a session");
                holder.held.remove(&(deadline, id));
                self.deadlines.remove(deadline, Timer::Expiry(id));
                holder.held.len()
            }
            JobState::Delayed { until } => {
                self.tube.delayed.remove(&(until, id));
                self.deadlines.remove(until, Timer::Delay(id));
                self.tube.delayed.len()
            }
            JobState::Buried { sequence } => {
                self.tube.buried.remove(&sequence);
                self.tube.buried.len()
            }
        };
        self.counts.orders -= u64::from(left == 0);
        if left == 0 && !self.tube.has_hot() {
            self.hot_tubes.remove(&self.id);
        }
    }

    /// Remembers which cold job of an order comes first. Of the delayed ones that one alone has a
    /// timer: the others are not due before it.
    pub(super) fn set_cold_first(&mut self, order: Order, first: Option<Place>) {
        let earlier = std::mem::replace(&mut self.tube.cold[order].first, first);
        if order == Order::Delayed {
            if let Some((until, id)) = earlier {
                self.deadlines.remove(LogicalTime(until), Timer::Delay(id));
            }
            if let Some((until, id)) = first {
                self.deadlines.add(LogicalTime(until), Timer::Delay(id));
            }
        }
    }
}
