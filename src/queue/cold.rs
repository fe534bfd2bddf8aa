//! Cold jobs: not needed soon, and kept by a store outside of the queue's memory (DESIGN D9).
//!
//! Which jobs are cold is each member's own matter: no outcome, no count and no digest depends on
//! it. All that the queue needs of a store is [`ColdJobs`]; what it remembers of one itself is, for
//! each tube and each order of its jobs, how many are cold and which of them comes first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::ops::Bound::{Excluded, Unbounded};
use std::ops::{Index, IndexMut};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::job::{Body, ColdBody, Job, JobState, URGENT_BELOW};
use super::tube::{Tube, TubeId};
use super::{JobId, Queue};

/// The orders in which a tube's jobs are taken. A reserved job is in none, and never cold: only its
/// body may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// By priority.
    Ready,
    /// By the time at which they become ready.
    Delayed,
    /// By the sequence of burying.
    Buried,
}

/// The cold jobs of one order of one tube.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shelf {
    /// The tube.
    pub tube: TubeId,
    /// The order.
    pub order: Order,
}

/// How many jobs are made cold in one go, between two entries: that takes 45 ms in a debug build.
pub(super) const COOLED_JOBS_MAX: usize = 8 << 10;

/// How many held jobs, and sessions, are looked at in one go for bodies to make cold.
const HELD_LOOKED_AT_MAX: u32 = 16 << 10;

/// Where in its order a job is: a priority, a time or a sequence, and among equals the job's id.
pub type Place = (u64, JobId);

/// A store of cold jobs.
///
/// It must hand back what it was given, or end the process: there is nobody who could be told of a
/// damaged file while an entry is applied, and a member that goes on without a job that the others
/// have is worse than none.
pub trait ColdJobs: Debug + Send + Sync {
    /// Takes jobs in; none of them is there already, and none is reserved. They can be found from
    /// now on.
    fn store(&mut self, jobs: Vec<(JobId, Job)>);

    /// The first place of a shelf.
    fn first(&self, shelf: Shelf) -> Option<Place>;

    /// A copy of a job; its body may be cold.
    fn find(&self, id: JobId) -> Option<Job>;

    /// These will be asked for, one after the other: what has to be read can be read at the same time.
    fn expect(&self, _ids: &[JobId]) {}

    /// Hands a job out. Its body may stay here, and can be read for as long as the job exists.
    fn take(&mut self, id: JobId) -> Option<Job>;

    /// Takes in the bodies of jobs that stay hot, because they are held; none of them is empty. Says
    /// where they are, in the same order: each can be read until it is [let go](Self::let_go), or its
    /// job comes here with it.
    fn keep(&mut self, bodies: Vec<(JobId, Bytes)>) -> Vec<ColdBody>;

    /// Reads a body that was not let go.
    fn body(&self, at: ColdBody) -> Bytes;

    /// A job that was handed out without its body has ended.
    fn let_go(&mut self, at: ColdBody);

    /// All jobs, in order of their ids. For tests and checks: it reads everything.
    fn all(&self) -> Vec<(JobId, Job)>;
}

/// What the queue remembers of a tube's cold jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColdShelves {
    shelves: [ColdShelf; 3],
    /// Cold ready jobs that count as urgent.
    pub(super) urgent: u64,
}

/// What the queue remembers of a shelf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColdShelf {
    pub(super) count: u64,
    pub(super) first: Option<Place>,
}

impl Index<Order> for ColdShelves {
    type Output = ColdShelf;

    fn index(&self, order: Order) -> &ColdShelf {
        &self.shelves[order as usize]
    }
}

impl IndexMut<Order> for ColdShelves {
    fn index_mut(&mut self, order: Order) -> &mut ColdShelf {
        &mut self.shelves[order as usize]
    }
}

impl ColdShelves {
    pub(super) fn jobs(&self) -> u64 {
        self.shelves.iter().map(|shelf| shelf.count).sum()
    }

    /// Counts a job in that is on the shelf, where it is at `place`.
    pub(super) fn add(&mut self, job: &Job, (shelf, place): (Shelf, Place)) {
        self.urgent += u64::from(job.is_urgent());
        let shelf = &mut self[shelf.order];
        shelf.count += 1;
        shelf.first = Some(shelf.first.map_or(place, |first| first.min(place)));
    }

    /// Counts the jobs of others in.
    pub(super) fn add_all(&mut self, others: &Self) {
        self.urgent += others.urgent;
        for (shelf, other) in self.shelves.iter_mut().zip(&others.shelves) {
            shelf.count += other.count;
            shelf.first = shelf.first.into_iter().chain(other.first).min();
        }
    }

    /// Whether the numbers can be those of shelves.
    pub(super) fn is_plausible(&self) -> bool {
        let sound = |shelf: &ColdShelf| (shelf.count > 0) == shelf.first.is_some();
        self.shelves.iter().all(sound) && self.urgent <= self[Order::Ready].count
    }
}

impl Job {
    /// The shelf that a cold job is on, and where; `None` for one that is reserved.
    pub fn shelf(&self, id: JobId) -> Option<(Shelf, Place)> {
        let (order, key) = match self.state {
            JobState::Ready => (Order::Ready, u64::from(self.priority)),
            JobState::Delayed { until } => (Order::Delayed, until.0),
            JobState::Buried { sequence } => (Order::Buried, sequence),
            JobState::Reserved { .. } => return None,
        };
        Some((Shelf { tube: self.tube, order }, (key, id)))
    }

    fn is_urgent(&self) -> bool {
        self.state == JobState::Ready && self.priority < URGENT_BELOW
    }
}

impl Queue {
    /// Makes jobs cold, the ones that are needed last, until at least `bytes` of memory are free, none
    /// is left to choose, or `COOLED_JOBS_MAX` are chosen. Returns how many bytes became free.
    ///
    /// Bodies of held jobs are taken for what is missing then: mostly they are deleted soon, and to
    /// write them would be in vain. So they go when half of all other hot jobs is less than `bytes`.
    /// Each of the two kinds makes a file: one of which there are fewer than `least` bytes stays.
    pub fn cool(&mut self, bytes: u64, least: u64) -> u64 {
        let (mut chosen, mut freed) = (Vec::new(), 0);
        if self.job_counts.loose_bytes >= least {
            (chosen, freed) = self.choose_loose(bytes);
        }
        let are_more_left = chosen.len() >= COOLED_JOBS_MAX;
        self.cool_jobs(chosen);
        let missing = bytes.saturating_sub(freed);
        if !are_more_left && missing >= least && self.job_counts.spare_bytes >= least {
            freed += self.cool_held(missing);
        }
        freed
    }

    /// What can be made cold, bytes: jobs that nobody holds, and bodies of the others.
    pub fn coolable_bytes(&self) -> u64 {
        self.job_counts.loose_bytes + self.job_counts.spare_bytes
    }

    /// Chooses from the tubes in turn. Each that is looked at gives a job at least.
    fn choose_loose(&mut self, bytes: u64) -> (Vec<JobId>, u64) {
        let (mut chosen, mut freed) = (Vec::new(), 0);
        let from = self.cool_from;
        for id in self.hot_tubes.range(from..).chain(self.hot_tubes.range(..from)) {
            if freed >= bytes || chosen.len() >= COOLED_JOBS_MAX {
                self.cool_from = *id;
                break;
            }
            self.choose_cold(self.tube(*id), bytes, &mut chosen, &mut freed);
        }
        (chosen, freed)
    }

    /// Makes bodies of held jobs cold, until `bytes` are free, or enough jobs were looked at: another
    /// call goes on there. Returns how many bytes became free.
    fn cool_held(&mut self, bytes: u64) -> u64 {
        if bytes == 0 || self.job_counts.spare_bytes == 0 {
            return 0;
        }
        let (chosen, freed) = self.choose_held(bytes);
        self.keep_bodies(chosen);
        self.job_counts.hot_bytes -= freed;
        self.job_counts.spare_bytes -= freed;
        freed
    }

    /// Makes the bodies of held jobs cold; they are counted by the caller.
    pub(super) fn keep_bodies(&mut self, bodies: Vec<(JobId, Bytes)>) {
        if bodies.is_empty() {
            return;
        }
        let ids: Vec<JobId> = bodies.iter().map(|(id, _)| *id).collect();
        let kept = self.cold.keep(bodies);
        assert_eq!(kept.len(), ids.len(), "every body is kept");
        for (id, at) in ids.into_iter().zip(kept) {
            self.job_mut(id).body = Body::Cold(at);
        }
    }

    fn choose_held(&mut self, bytes: u64) -> (Vec<(JobId, Bytes)>, u64) {
        let (mut chosen, mut freed, mut looked_at) = (Vec::new(), 0, 0);
        let (from, behind) = std::mem::take(&mut self.keep_from);
        for (id, session) in self.sessions.range(from..) {
            looked_at += 1;
            let behind = if *id == from { Excluded(behind) } else { Unbounded };
            for place in session.held.range((behind, Unbounded)) {
                let job = self.job(place.1);
                if let Body::Here(body) = &job.body
                    && job.spare_bytes() > 0
                {
                    freed += job.spare_bytes();
                    chosen.push((place.1, body.clone()));
                }
                looked_at += 1;
                let is_enough = freed >= bytes || chosen.len() >= COOLED_JOBS_MAX;
                if is_enough || looked_at >= HELD_LOOKED_AT_MAX {
                    self.keep_from = (*id, *place);
                    return (chosen, freed);
                }
            }
        }
        (chosen, freed)
    }

    /// Chooses of one tube the half that is needed last, of each order, until `bytes` would be free.
    fn choose_cold(&self, tube: &Tube, bytes: u64, chosen: &mut Vec<JobId>, freed: &mut u64) {
        let half = |count: usize| count.div_ceil(2);
        let buried = tube.buried.values().rev().take(half(tube.buried.len())).copied();
        let delayed = tube.delayed.iter().rev().take(half(tube.delayed.len())).map(|it| it.1);
        let ready = tube.ready.iter().rev().take(half(tube.ready.len())).map(|it| it.1);
        for job in buried.chain(delayed).chain(ready) {
            if *freed >= bytes || chosen.len() >= COOLED_JOBS_MAX {
                return;
            }
            *freed += self.job(job).hot_bytes();
            chosen.push(job);
        }
    }

    /// Makes the jobs cold; all are hot, and none is reserved.
    pub(super) fn cool_jobs(&mut self, ids: Vec<JobId>) {
        let jobs: Vec<(JobId, Job)> = ids.into_iter().map(|id| (id, self.cool_one(id))).collect();
        if !jobs.is_empty() {
            self.cold.store(jobs);
        }
    }

    fn cool_one(&mut self, id: JobId) -> Job {
        let job = self.jobs.remove(&id).expect("a job that cools is hot");
        let (shelf, place) = job.shelf(id).expect("a job that cools is not reserved");
        self.job_counts.remove_bytes(&job);
        let mut places = self.places(job.tube);
        places.unlist(id, job.priority, job.state);
        let cold = &mut places.tube.cold;
        cold.urgent += u64::from(job.is_urgent());
        cold[shelf.order].count += 1;
        let first = cold[shelf.order].first;
        if first.is_none_or(|first| place < first) {
            places.set_cold_first(shelf.order, Some(place));
        }
        job
    }

    /// Brings a job into memory, if it is not there. Its body may stay cold.
    pub(super) fn warm(&mut self, id: JobId) {
        if self.jobs.contains(&id) {
            return;
        }
        let job = self.cold.take(id).expect("a job that an index names exists");
        let (shelf, place) = job.shelf(id).expect("a reserved job is never cold");
        let tube = self.tube(job.tube);
        let was_first = tube.cold[shelf.order].first == Some(place);
        let next = if was_first { self.cold.first(shelf) } else { None };
        let mut places = self.places(job.tube);
        places.tube.cold.urgent -= u64::from(job.is_urgent());
        places.tube.cold[shelf.order].count -= 1;
        if was_first {
            places.set_cold_first(shelf.order, next);
        }
        places.list(id, job.priority, job.state);
        self.job_counts.add_bytes(&job);
        assert!(self.jobs.insert(id, job), "{id:?} was hot and cold");
    }

    /// Another store takes the place of the one for cold jobs, and has the same jobs.
    pub fn set_cold(&mut self, cold: Box<dyn ColdJobs>) {
        self.cold = cold;
    }

    /// What the hot jobs take up in memory, bytes.
    pub fn hot_bytes(&self) -> u64 {
        self.job_counts.hot_bytes
    }

    /// Reads a body, wherever it is.
    pub fn body(&self, body: &Body) -> Bytes {
        match body {
            Body::Here(bytes) => bytes.clone(),
            Body::Cold(at) => self.cold.body(*at),
        }
    }
}

/// Shelves in memory: what a queue has that never cools anything, and the model of a store.
#[derive(Debug, Default)]
pub struct ColdInMemory {
    jobs: BTreeMap<JobId, Job>,
    places: BTreeSet<(Shelf, Place)>,
    /// Of held jobs, each under a number of its own.
    bodies: BTreeMap<u64, Bytes>,
    /// How many there ever were.
    kept: u64,
}

impl ColdJobs for ColdInMemory {
    fn store(&mut self, jobs: Vec<(JobId, Job)>) {
        for (id, job) in jobs {
            let place = job.shelf(id).expect("a reserved job is never cold");
            assert!(self.places.insert(place), "{id:?} is on a shelf already");
            assert!(self.jobs.insert(id, job).is_none(), "{id:?} is cold already");
        }
    }

    fn first(&self, shelf: Shelf) -> Option<Place> {
        let least = (shelf, (0, JobId(0)));
        self.places.range(least..).next().filter(|(of, _)| *of == shelf).map(|(_, place)| *place)
    }

    fn find(&self, id: JobId) -> Option<Job> {
        self.jobs.get(&id).cloned()
    }

    fn take(&mut self, id: JobId) -> Option<Job> {
        let job = self.jobs.remove(&id)?;
        let place = job.shelf(id).expect("a reserved job is never cold");
        assert!(self.places.remove(&place), "{id:?} is on no shelf");
        Some(job)
    }

    fn keep(&mut self, bodies: Vec<(JobId, Bytes)>) -> Vec<ColdBody> {
        let keep = |(_, body): (JobId, Bytes)| {
            self.kept += 1;
            let length = u32::try_from(body.len()).expect("a body is shorter than 4 GiB");
            self.bodies.insert(self.kept, body);
            ColdBody { file: 0, offset: self.kept, length, crc: 0 }
        };
        bodies.into_iter().map(keep).collect()
    }

    fn body(&self, at: ColdBody) -> Bytes {
        self.bodies.get(&at.offset).expect("a body is there until it is let go").clone()
    }

    fn let_go(&mut self, at: ColdBody) {
        assert!(self.bodies.remove(&at.offset).is_some(), "{at:?} is let go twice");
    }

    fn all(&self) -> Vec<(JobId, Job)> {
        self.jobs.iter().map(|(id, job)| (*id, job.clone())).collect()
    }
}
