//! Cold jobs in run files: what the queue asks of a store, over what storage has.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::encoding;
use crate::chain::Chain;
use crate::memory::Memory;
use crate::planted::{self, Bug};
use crate::queue::{Body, ColdBody, ColdJobs, Job, JobId, Order, Place, Queue, Shelf};
use crate::storage::runs::{self, BodyPointer, Found, Group, RunError, RunSet, RunUid};

/// What becomes cold at a time, as a share of what may be hot: a run of it is one file.
const COOLED_SHARE: u64 = 8;

/// The most that becomes cold between two entries, bytes: no entry is applied meanwhile. More goes
/// after the next one.
const COOLED_BYTES_MAX: u64 = 8 << 20;

/// What is less than this part of what becomes cold at a time is not worth a file, even if no other
/// job has room.
const LEAST_SHARE: u64 = 8;

/// As many runs may always wait to be written: one is written, one is ready, one is being filled.
const SEALED_RUNS_MIN: usize = 3;

/// No more runs wait than this, however small they are: an id is looked for in all of them.
const SEALED_RUNS_MAX: usize = 16;

/// The run files as the queue sees them. Clones share them.
#[derive(Clone)]
pub(super) struct ColdRuns(Arc<Mutex<Runs>>);

struct Runs {
    set: RunSet,
    /// What was found last, and not taken since: mostly it is what is taken next.
    found: Option<Found>,
}

/// When jobs become cold.
pub(super) struct Cooling {
    pub(super) runs: ColdRuns,
    /// What hot jobs may take up in memory before some become cold, bytes.
    hot_bytes_max: u64,
    memory: Arc<Memory>,
    /// Runs that waited to be written at the last look, and how many have ceased to since the start.
    waiting: usize,
    written: u64,
}

impl Cooling {
    pub(super) fn new(runs: ColdRuns, hot_bytes_max: u64, memory: Arc<Memory>) -> Self {
        Self { runs, hot_bytes_max, memory, waiting: 0, written: 0 }
    }

    /// What is made cold at a time while a state comes back of which `hot_bytes_max` may be hot, bytes.
    pub(super) fn share(hot_bytes_max: u64) -> u64 {
        (hot_bytes_max / COOLED_SHARE).max(1)
    }

    /// How the writing of run files stands.
    pub(super) fn writing(&self) -> Writing {
        Writing { waiting: self.waiting, written: self.written }
    }

    /// Looks after an entry whether too much is hot. While many runs wait to be written, jobs stay hot:
    /// their memory would not be free.
    pub(super) fn look(&mut self, queue: &mut Queue) {
        let waiting = self.runs.with(|set| set.sealed_runs());
        self.written += self.waiting.saturating_sub(waiting) as u64;
        self.waiting = waiting;
        let cooled_bytes = Self::share(self.hot_bytes_max).min(COOLED_BYTES_MAX);
        let hot_bytes_max = self.hot_bytes_max.saturating_sub(self.memory.squeeze());
        let is_much = queue.hot_bytes() + queue.table_bytes() > hot_bytes_max;
        // Where held jobs and tables take up most of the share, few jobs at a time would make many
        // small runs: what comes would be written as it comes.
        let least = cooled_bytes / LEAST_SHARE;
        let worth_it = if self.memory.jobs_room() > 0 { cooled_bytes } else { least };
        let is_worth_it = queue.coolable_bytes() >= worth_it;
        if is_much && is_worth_it && self.may_seal(cooled_bytes) {
            self.memory.sealed.add(queue.cool(cooled_bytes, least));
            self.waiting = self.runs.with(|set| set.sealed_runs());
        }
    }

    /// Whether so many bytes more may wait to be written.
    fn may_seal(&self, bytes: u64) -> bool {
        if self.runs.with(|set| set.is_out_of_room()) {
            return false;
        }
        let has_room = self.memory.sealed.used() + bytes <= self.memory.sealed.limit;
        self.waiting < if has_room { SEALED_RUNS_MAX } else { SEALED_RUNS_MIN }
    }
}

/// How the writing of run files stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Writing {
    /// How many runs wait, or are under way.
    pub(super) waiting: usize,
    /// How many have become files; it only grows.
    pub(super) written: u64,
}

/// The cold jobs of another state, which may take the place of a member's own. The files of the set
/// that is given up, one or the other, are left to the one that stays.
pub(super) struct Successor {
    ours: ColdRuns,
    /// Of the other state; the member's old ones after the change.
    other: ColdRuns,
}

impl Successor {
    /// `set` may take the place of what is in `ours`.
    pub(super) fn new(ours: ColdRuns, set: RunSet) -> Self {
        Self { ours, other: ColdRuns::new(set) }
    }

    /// The cold jobs of the other state, for as long as it is not in its place.
    pub(super) fn cold(&self) -> &ColdRuns {
        &self.other
    }

    /// Puts them in their place: who has the member's own cold jobs has these from now on.
    pub(super) fn take_over(self) {
        std::mem::swap(&mut *self.ours.0.lock(), &mut *self.other.0.lock());
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        self.ours.with(|ours| self.other.with(|other| ours.inherit(other)));
    }
}

impl std::fmt::Debug for ColdRuns {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ColdRuns")
    }
}

impl ColdRuns {
    pub(super) fn new(set: RunSet) -> Self {
        Self(Arc::new(Mutex::new(Runs { set, found: None })))
    }

    /// How many runs may wait to be written while a state comes back.
    pub(super) const RESTORED_RUNS_MAX: usize = SEALED_RUNS_MIN;

    /// Runs `work` on the files, between two entries or beside them. It must be short.
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut RunSet) -> R) -> R {
        let mut runs = self.0.lock();
        // It may be taken.
        runs.found = None;
        work(&mut runs.set)
    }
}

impl ColdJobs for ColdRuns {
    fn store(&mut self, jobs: Vec<(JobId, Job)>) {
        let records = jobs.into_iter().map(|(id, job)| record(id, job)).collect();
        self.with(|set| set.seal(records));
    }

    fn first(&self, shelf: Shelf) -> Option<Place> {
        let first = or_end(self.0.lock().set.first(group(shelf)));
        first.map(|place| (place.order, JobId(place.id)))
    }

    fn find(&self, id: JobId) -> Option<Job> {
        let mut runs = self.0.lock();
        runs.found = or_end(runs.set.find(id.0));
        runs.found.as_ref().map(|found| job(found, found.body))
    }

    fn expect(&self, ids: &[JobId]) {
        let ids: Vec<u64> = ids.iter().map(|id| id.0).collect();
        self.0.lock().set.expect(&ids);
    }

    fn take(&mut self, id: JobId) -> Option<Job> {
        let mut runs = self.0.lock();
        let found = match runs.found.take() {
            Some(found) if found.place.id == id.0 => found,
            _ => or_end(runs.set.find(id.0))?,
        };
        let body = or_end(runs.set.take(&found));
        Some(job(&found, body))
    }

    fn keep(&mut self, bodies: Vec<(JobId, Bytes)>) -> Vec<ColdBody> {
        let bodies = bodies.into_iter().map(|(id, body)| (id.0, body)).collect();
        self.with(|set| set.seal_bodies(bodies)).into_iter().map(cold_body).collect()
    }

    fn body(&self, at: ColdBody) -> Bytes {
        let body = or_end(self.0.lock().set.body(&pointer(at)));
        match planted::is(Bug::ColdBodyCut) {
            true => body.slice(..body.len().saturating_sub(1)),
            false => body,
        }
    }

    fn let_go(&mut self, at: ColdBody) {
        self.0.lock().set.let_go(&pointer(at));
    }

    fn all(&self) -> Vec<(JobId, Job)> {
        let set = &self.0.lock().set;
        let mut jobs = Vec::new();
        for (group, count) in or_end(set.groups()) {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            let found = or_end(set.after(group, None, count));
            jobs.extend(found.iter().map(|it| (JobId(it.place.id), job(it, it.body))));
        }
        jobs.sort_by_key(|(id, _)| *id);
        jobs
    }
}

fn group(Shelf { tube, order }: Shelf) -> Group {
    let kind = match order {
        Order::Ready => 0,
        Order::Delayed => 1,
        Order::Buried => 2,
    };
    Group { tube: tube.number(), kind }
}

fn record(id: JobId, mut job: Job) -> runs::Record {
    let (shelf, (order, _)) = job.shelf(id).expect("a reserved job is never cold");
    let body = match job.replace_body(Body::Here(Bytes::new())) {
        Body::Here(bytes) => runs::RecordBody::Given(bytes),
        Body::Cold(at) => runs::RecordBody::At(pointer(at)),
    };
    let mut facts = Vec::new();
    encoding::append(&job, &mut facts);
    let place = runs::Place { group: group(shelf), order, id: id.0 };
    runs::Record { place, facts: facts.into(), body }
}

fn job(found: &Found, body: BodyPointer) -> Job {
    let mut job: Job = encoding::decode("cold job", &found.facts)
        .expect("what passed its checksum is what was written");
    job.replace_body(Body::Cold(cold_body(body)));
    job
}

fn cold_body(at: BodyPointer) -> ColdBody {
    let BodyPointer { file, offset, length, crc } = at;
    ColdBody { file: file.0, offset, length, crc }
}

fn pointer(at: ColdBody) -> BodyPointer {
    let ColdBody { file, offset, length, crc } = at;
    BodyPointer { file: RunUid(file), offset, length, crc }
}

/// An entry cannot be applied without the job that it is about: a member that went on would differ
/// from the others.
pub(super) fn or_end<T>(result: Result<T, RunError>) -> T {
    result.unwrap_or_else(|error| {
        tracing::error!("a cold job cannot be read, ending at once: {}", Chain(&error));
        std::process::abort();
    })
}
