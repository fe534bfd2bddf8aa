//! A state that comes back and has more jobs than may be hot: some are made cold as they come.
//!
//! The memory that a member was given may have become less since its checkpoint, or the checkpoint
//! may be of a member that has more. So the jobs in it must never be in memory all at once.

use std::collections::BTreeMap;

use super::checkpoint::Record;
use super::cold::ColdShelves;
use super::job::{Body, Job};
use super::restore::{Item, RestoreError, check_job, contradiction, require};
use super::tube::TubeId;
use super::{JobId, Queue};

/// What may be hot while a state comes back.
pub struct HotLimit<'a> {
    /// What hot jobs may take up in memory, bytes.
    pub bytes_max: u64,
    /// What is made cold at a time when that is passed, bytes.
    pub cooled_bytes: u64,
    /// Called before that: it may wait until the store can take more, and says whether it can. If not,
    /// what is there stays hot, and it is asked again when so much more has come.
    pub before_cooling: &'a mut dyn FnMut() -> bool,
}

/// How far a state has come back.
pub(super) struct Loading<'a> {
    limit: HotLimit<'a>,
    hot_bytes: u64,
    /// Above this something is made cold, bytes.
    cool_above: u64,
    /// What was made cold so far: the greatest id, and what its tubes have to count.
    greatest: Option<JobId>,
    cooled: BTreeMap<TubeId, ColdShelves>,
}

impl<'a> Loading<'a> {
    pub(super) fn new(limit: HotLimit<'a>) -> Self {
        let cool_above = limit.bytes_max;
        Self { limit, hot_bytes: 0, cool_above, greatest: None, cooled: BTreeMap::new() }
    }

    /// Looks at a record that is about to be added.
    pub(super) fn look_at(&mut self, queue: &Queue, record: &Record) -> Result<(), RestoreError> {
        let Record::Job(id, job) = record else { return Ok(()) };
        self.hot_bytes += job.hot_bytes();
        // Jobs come about in order of their ids: few are asked for.
        let is_twice = Some(*id) <= self.greatest && queue.cold.find(*id).is_some();
        require(!is_twice, Item::Job(*id), "is recorded twice")
    }

    /// Makes jobs cold if too many are hot, those that are needed last of all, and then bodies of those
    /// that are held.
    pub(super) fn cool(&mut self, queue: &mut Queue) -> Result<(), RestoreError> {
        if self.hot_bytes <= self.cool_above {
            return Ok(());
        }
        let mut freed = 0;
        if (self.limit.before_cooling)() {
            freed = self.cool_loose(queue)?;
            freed += cool_held(queue, self.limit.cooled_bytes.saturating_sub(freed));
        }
        self.hot_bytes -= freed;
        // Where little can go, not at every further job, each time with a file for it.
        let is_little = freed < self.limit.cooled_bytes;
        let next = self.hot_bytes + if is_little { self.limit.cooled_bytes } else { 0 };
        self.cool_above = self.limit.bytes_max.max(next);
        Ok(())
    }

    /// Makes jobs cold that nobody holds. Returns how many bytes became free.
    fn cool_loose(&mut self, queue: &mut Queue) -> Result<u64, RestoreError> {
        let (mut jobs, mut freed) = (Vec::new(), 0);
        for id in needed_last_first(queue) {
            if freed >= self.limit.cooled_bytes {
                break;
            }
            let job = queue.jobs.remove(&id).expect("it was just seen");
            freed += job.hot_bytes();
            self.note(queue, id, &job)?;
            jobs.push((id, job));
        }
        if !jobs.is_empty() {
            queue.cold.store(jobs);
        }
        Ok(freed)
    }

    fn note(&mut self, queue: &Queue, id: JobId, job: &Job) -> Result<(), RestoreError> {
        check_job(&queue.next, id, job)?;
        let at = job.shelf(id).expect("a reserved job is not chosen");
        self.cooled.entry(job.tube).or_default().add(job, at);
        self.greatest = self.greatest.max(Some(id));
        Ok(())
    }

    pub(super) fn cooled_jobs(&self) -> u64 {
        self.cooled.values().map(ColdShelves::jobs).sum()
    }

    /// Has the tubes count what was made cold.
    pub(super) fn end(self, queue: &mut Queue) -> Result<(), RestoreError> {
        for (id, shelves) in self.cooled {
            let tube = queue.tubes.change(&id);
            let missing = contradiction(Item::Tube(id), "has jobs and is not there");
            tube.ok_or(missing)?.cold.add_all(&shelves);
        }
        Ok(())
    }
}

/// Makes bodies of held jobs cold until `bytes` are free, or none is left. Returns how many bytes became
/// free.
fn cool_held(queue: &mut Queue, bytes: u64) -> u64 {
    let (mut bodies, mut freed) = (Vec::new(), 0);
    for (id, job) in queue.jobs.iter().filter(|(_, job)| job.spare_bytes() > 0) {
        if freed >= bytes {
            break;
        }
        if let Body::Here(body) = job.body() {
            freed += job.spare_bytes();
            bodies.push((*id, body.clone()));
        }
    }
    queue.keep_bodies(bodies);
    freed
}

/// The jobs that can be made cold. Nothing is derived yet, so that they are looked through.
fn needed_last_first(queue: &Queue) -> impl Iterator<Item = JobId> + use<> {
    let mut places: Vec<_> = queue
        .jobs
        .iter()
        .filter_map(|(id, job)| job.shelf(*id).map(|(shelf, place)| (shelf.order, place)))
        .collect();
    places.sort_unstable();
    places.into_iter().rev().map(|(_, (_, id))| id)
}
