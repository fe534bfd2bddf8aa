//! Cold jobs in run files: what the queue asks of a store, over what storage has.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::encoding;
use crate::chain::Chain;
use crate::memory::Memory;
use crate::queue::{Body, ColdBody, ColdJobs, Job, JobId, Order, Place, Queue, Shelf};
use crate::storage::runs::{self, BodyPointer, Found, Group, RunError, RunSet, RunUid};

/// What becomes cold at a time, as a share of what may be hot: a run of it is one file.
const COOLED_SHARE: u64 = 8;

/// The run files as the queue sees them. Clones share them.
#[derive(Clone)]
pub(super) struct ColdRuns(Arc<Mutex<RunSet>>);

/// When jobs become cold.
pub(super) struct Cooling {
    pub(super) runs: ColdRuns,
    /// What hot jobs may take up in memory before some become cold, bytes.
    pub(super) hot_bytes_max: u64,
    pub(super) memory: Arc<Memory>,
}

impl Cooling {
    /// How many runs may wait to be written before jobs stay hot.
    pub(super) const SEALED_RUNS_MAX: usize = 3;

    /// What is made cold at a time when `hot_bytes_max` may be hot, bytes.
    pub(super) fn share(hot_bytes_max: u64) -> u64 {
        (hot_bytes_max / COOLED_SHARE).max(1)
    }

    /// Whether jobs are being written to run files.
    pub(super) fn is_under_way(&self) -> bool {
        self.runs.with(|set| set.sealed_runs() > 0 && !set.is_out_of_room())
    }

    /// Looks after an entry whether too much is hot. While runs wait to be written, jobs stay hot:
    /// their memory would not be free.
    pub(super) fn look(&self, queue: &mut Queue) {
        let cooled_bytes = Self::share(self.hot_bytes_max);
        let hot_bytes_max = self.hot_bytes_max.saturating_sub(self.memory.squeeze());
        let is_much = queue.hot_bytes() + queue.table_bytes() > hot_bytes_max;
        // Where tables take up most of the share, few jobs at a time would make many small runs.
        let is_worth_it = queue.hot_bytes() >= cooled_bytes;
        let has_room = || {
            self.runs.with(|set| set.sealed_runs() < Self::SEALED_RUNS_MAX && !set.is_out_of_room())
        };
        if is_much && is_worth_it && has_room() {
            self.memory.sealed.add(queue.cool(cooled_bytes));
        }
    }
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
        self.ours.0.lock().inherit(&mut self.other.0.lock());
    }
}

impl std::fmt::Debug for ColdRuns {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ColdRuns")
    }
}

impl ColdRuns {
    pub(super) fn new(set: RunSet) -> Self {
        Self(Arc::new(Mutex::new(set)))
    }

    /// Runs `work` on the files, between two entries or beside them. It must be short.
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut RunSet) -> R) -> R {
        work(&mut self.0.lock())
    }

    fn find_there(&self, id: JobId) -> Option<Found> {
        or_end(self.0.lock().find(id.0))
    }
}

impl ColdJobs for ColdRuns {
    fn store(&mut self, jobs: Vec<(JobId, Job)>) {
        let records = jobs.into_iter().map(|(id, job)| record(id, job)).collect();
        self.0.lock().seal(records);
    }

    fn first(&self, shelf: Shelf) -> Option<Place> {
        let first = or_end(self.0.lock().first(group(shelf)));
        first.map(|place| (place.order, JobId(place.id)))
    }

    fn find(&self, id: JobId) -> Option<Job> {
        self.find_there(id).map(|found| job(&found, found.body))
    }

    fn take(&mut self, id: JobId) -> Option<Job> {
        let found = self.find_there(id)?;
        let body = or_end(self.0.lock().take(&found));
        Some(job(&found, body))
    }

    fn keep(&mut self, bodies: Vec<(JobId, Bytes)>) -> Vec<ColdBody> {
        let bodies = bodies.into_iter().map(|(id, body)| (id.0, body)).collect();
        self.0.lock().seal_bodies(bodies).into_iter().map(cold_body).collect()
    }

    fn body(&self, at: ColdBody) -> Bytes {
        or_end(self.0.lock().body(&pointer(at)))
    }

    fn let_go(&mut self, at: ColdBody) {
        self.0.lock().let_go(&pointer(at));
    }

    fn all(&self) -> Vec<(JobId, Job)> {
        let set = self.0.lock();
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
