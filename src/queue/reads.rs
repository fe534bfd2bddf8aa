//! Reads: what a client may ask without changing anything (DESIGN D6).

use beanpole_protocol::TubeName;
use bytes::Bytes;

use super::cold::Order;
use super::job::JobState;
use super::tube::{Tube, TubeId};
use super::waiting::Waiter;
use super::{JobId, LogicalTime, Queue, SessionId};

/// The state of a job, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the state of that name")]
pub enum JobStateName {
    Ready,
    Reserved,
    Delayed,
    Buried,
}

impl JobStateName {
    /// The word that `stats-job` has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Reserved => "reserved",
            Self::Delayed => "delayed",
            Self::Buried => "buried",
        }
    }
}

/// What the state knows of the reply to `stats-job`. Times in whole seconds, cut down.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the statistic of that name")]
pub struct JobStats {
    pub id: JobId,
    pub tube: TubeName,
    pub state: JobStateName,
    pub pri: u32,
    pub age: u64,
    pub delay: u32,
    pub ttr: u32,
    /// Until a reserved job's deadline, or until a delayed job is ready; else 0.
    pub time_left: u64,
    pub reserves: u32,
    pub timeouts: u32,
    pub releases: u32,
    pub buries: u32,
    pub kicks: u32,
}

/// What the state knows of the reply to `stats-tube`. Times in whole seconds, cut down.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the statistic of that name")]
pub struct TubeStats {
    pub name: TubeName,
    pub current_jobs_urgent: u64,
    pub current_jobs_ready: u64,
    pub current_jobs_reserved: u64,
    pub current_jobs_delayed: u64,
    pub current_jobs_buried: u64,
    pub total_jobs: u64,
    pub current_using: u64,
    pub current_watching: u64,
    pub current_waiting: u64,
    pub cmd_delete: u64,
    pub cmd_pause_tube: u64,
    /// The whole length of the pause, 0 without one.
    pub pause: u64,
    pub pause_time_left: u64,
}

impl Queue {
    /// `peek`: a job in whatever state.
    pub fn peek(&self, job: JobId) -> Option<(JobId, Bytes)> {
        self.find_job(job).map(|found| (job, self.body(&found.body)))
    }

    /// `peek-ready`: the job of the used tube that a reserve would take. Pauses do not matter.
    pub fn peek_ready(&self, session: SessionId) -> Option<(JobId, Bytes)> {
        self.peek(self.first_ready(self.used(session))?)
    }

    /// `peek-delayed`: the job of the used tube that is ready soonest.
    pub fn peek_delayed(&self, session: SessionId) -> Option<(JobId, Bytes)> {
        self.peek(self.first_delayed(self.used(session))?)
    }

    /// `peek-buried`: the job of the used tube that was buried first.
    pub fn peek_buried(&self, session: SessionId) -> Option<(JobId, Bytes)> {
        self.peek(self.first_buried(self.used(session))?.1)
    }

    /// `stats-job`, for the time `now`, which is not before the state's clock.
    pub fn job_stats(&self, id: JobId, now: LogicalTime) -> Option<JobStats> {
        let job = self.find_job(id)?;
        let (state, end) = match job.state {
            JobState::Ready => (JobStateName::Ready, None),
            JobState::Reserved { deadline, .. } => (JobStateName::Reserved, Some(deadline)),
            JobState::Delayed { until } => (JobStateName::Delayed, Some(until)),
            JobState::Buried { .. } => (JobStateName::Buried, None),
        };
        Some(JobStats {
            id,
            tube: self.tube(job.tube).facts.name.clone(),
            state,
            pri: job.priority,
            age: now.since(job.created).as_secs(),
            delay: job.delay,
            ttr: job.ttr,
            time_left: end.map_or(0, |end| end.since(now).as_secs()),
            reserves: job.tallies.reserves,
            timeouts: job.tallies.timeouts,
            releases: job.tallies.releases,
            buries: job.tallies.buries,
            kicks: job.tallies.kicks,
        })
    }

    /// `stats-tube`, for the time `now`, which is not before the state's clock. A pause that is over
    /// at `now` counts as ended.
    pub fn tube_stats(&self, name: &TubeName, now: LogicalTime) -> Option<TubeStats> {
        let tube = self.tube(*self.tube_ids.get(name)?);
        let pause = tube.facts.pause.filter(|pause| pause.until > now);
        Some(TubeStats {
            name: name.clone(),
            current_jobs_urgent: tube.urgent,
            current_jobs_ready: tube.count(Order::Ready),
            current_jobs_reserved: tube.reserved,
            current_jobs_delayed: tube.count(Order::Delayed),
            current_jobs_buried: tube.count(Order::Buried),
            total_jobs: tube.facts.total_jobs,
            current_using: tube.using,
            current_watching: tube.watching,
            current_waiting: self.count_waiters(tube),
            cmd_delete: tube.facts.deletes,
            cmd_pause_tube: tube.facts.pauses,
            pause: pause.map_or(0, |pause| u64::from(pause.length)),
            pause_time_left: pause.map_or(0, |pause| pause.until.since(now).as_secs()),
        })
    }

    /// `list-tubes`: in order of creation, disturbed by removals, whose place the last one takes.
    pub fn tube_names(&self) -> impl Iterator<Item = &TubeName> + Clone {
        self.tube_order.iter().map(|id| &self.tube(*id).facts.name)
    }

    /// `list-tubes-watched`: in order of watching, disturbed in the same way.
    pub fn tubes_watched(&self, session: SessionId) -> Vec<TubeName> {
        let name = |id: &TubeId| self.tube(*id).facts.name.clone();
        match self.sessions.get(&self.session_of(session)) {
            Some(session) => session.facts.watched.iter().map(name).collect(),
            None => vec![TubeName::default_tube()],
        }
    }

    /// `list-tube-used`.
    pub fn tube_used(&self, session: SessionId) -> TubeName {
        self.tube(self.used(session)).facts.name.clone()
    }

    /// The tube that a session uses; one that has not been opened yet uses `default`.
    fn used(&self, session: SessionId) -> TubeId {
        let session = self.sessions.get(&self.session_of(session));
        session.map_or(TubeId::DEFAULT, |session| session.facts.used)
    }

    /// Counted, not kept: a new life of a member ends thousands of waits at once.
    fn count_waiters(&self, tube: &Tube) -> u64 {
        let living = |waiter: &&Waiter| self.is_of_present_life(waiter.connection());
        tube.waiters.iter().filter(living).count() as u64
    }
}
