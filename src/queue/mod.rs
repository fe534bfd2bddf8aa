//! The queue: a pure state machine (DESIGN D1).
//!
//! It does no I/O, reads no clock, draws no random number and iterates no hash map: the same
//! batches give the same outcomes and the same state on every member.
//!
//! Where to read on: `dispatch` (from a batch to one op), `commands` (what ops do to one job),
//! `waiting` (who gets a job), `deadline` (what happens by itself), `continuation` (what is too
//! long for one entry), `member`, `session` and `tube` (how they come and go), `limits` (how many
//! there may be), `leased` (sessions that outlive their connection), `keys` (puts that come again),
//! `hearing` (members that fall silent), `jobs` (where jobs are), `cold` (those that are not in
//! memory), `table` and `checkpoint` (how the state is copied while it changes), `restore` and
//! `loading` (how it comes back), `invariants` (what always holds), `digest` (how copies are
//! compared), `tables` (what all of it takes up in memory).

mod checkpoint;
mod cold;
mod commands;
mod continuation;
mod counters;
mod deadline;
mod digest;
mod dispatch;
mod hearing;
mod invariants;
mod job;
mod jobs;
mod keys;
mod leased;
mod limits;
mod loading;
mod member;
mod op;
mod outcome;
mod reads;
mod recall;
mod restore;
mod session;
mod table;
mod tables;
#[cfg(test)]
mod tests;
mod tube;
mod waiting;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use beanpole_protocol::TubeName;
use serde::{Deserialize, Serialize};

use checkpoint::Checkpoint;
use continuation::{Continuation, ContinuationId};
use counters::{JobCounts, Totals};
use deadline::Deadlines;
use digest::Chain;
use keys::{KeyFacts, KeyHash, KeyOrder};
use leased::Leases;
use member::Member;
use session::Session;
use table::Table;
use tables::TableCounts;
use tube::{Tube, TubeFacts, TubeId};
use waiting::Contended;

pub use checkpoint::Record;
pub use cold::{ColdInMemory, ColdJobs, Order, Place, Shelf};
pub use counters::Counters;
pub use job::{Body, ColdBody, Job};
pub use keys::{KEY_WINDOW, KEYS_BYTES_MAX, KEYS_MAX};
pub use leased::{Attachment, KEPT_OUTCOMES_MAX, KeptOutcome};
pub use limits::{
    HELD_JOBS_MAX_DEFAULT, Limits, LimitsChange, SESSIONS_MAX_DEFAULT, TUBES_MAX_DEFAULT,
    WATCHES_MAX_DEFAULT,
};
pub use loading::HotLimit;
pub use member::Life;
pub use op::{
    Action, Batch, ConnectionNumber, Incarnation, JobId, LogicalTime, MemberId, Numbered, Op,
    OpNumber, Part, PutKey, SessionId, TokenHash, Turn, Wait,
};
pub use outcome::Outcome;
pub use reads::{JobStateName, JobStats, TubeStats};
pub use restore::{Item, RestoreError};
pub use work::{HANDED_OUT_BYTES_MAX, WORK_QUOTA_JOBS};

/// Who wants to know what comes of a batch while it is applied.
pub trait Observer {
    /// An op of a connection is about to be applied, even if it will be deferred: reads that stand
    /// before it in its connection's order are answered from `queue` now.
    fn before_op(&mut self, queue: &Queue, connection: SessionId);

    /// What came of an op of a connection, or of its wait.
    fn outcome(&mut self, connection: SessionId, outcome: Outcome);

    /// Whether somebody here wants the bodies that a connection gets: if not, cold ones are not read.
    fn wants_bodies(&self, _: SessionId) -> bool {
        true
    }
}

/// The state of all tubes, jobs and sessions.
#[derive(Debug)]
pub struct Queue {
    clock: LogicalTime,
    /// When the cluster was back after all of it was away; 0 if it never was.
    returned: LogicalTime,
    next: NextNumbers,
    totals: Totals,
    chain: Chain,
    limits: Limits,
    members: Table<MemberId, Member>,
    tubes: Table<TubeId, Tube>,
    sessions: Table<SessionId, Session>,
    /// The hot ones.
    jobs: Table<JobId, Job>,
    cold: Box<dyn ColdJobs>,
    continuations: Table<ContinuationId, Continuation>,
    keys: Table<KeyHash, KeyFacts>,
    // What follows is derived from the above.
    tube_ids: BTreeMap<TubeName, TubeId>,
    tube_order: Vec<TubeId>,
    leases: Leases,
    key_order: KeyOrder,
    deadlines: Deadlines,
    job_counts: JobCounts,
    /// Pairs of a session and a tube that it watches, without those with `default`.
    watches: u64,
    tables: TableCounts,
    contended: Contended,
    /// A continuation serves those who waited for room among the held jobs.
    serving: bool,
    checkpoint: Option<Checkpoint>,
    /// The tubes that have hot jobs which nobody holds.
    hot_tubes: BTreeSet<TubeId>,
    /// Of which tube jobs are made cold next.
    cool_from: TubeId,
    /// Behind which of the held jobs bodies are made cold next.
    keep_from: (SessionId, (LogicalTime, JobId)),
}

/// The next number of each kind. None is given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct NextNumbers {
    job: u64,
    tube: u64,
    wait: u64,
    bury: u64,
    continuation: u64,
    session: u64,
    key: u64,
}

impl NextNumbers {
    fn all(&self) -> [u64; 7] {
        let Self { job, tube, wait, bury, continuation, session, key } = *self;
        [job, tube, wait, bury, continuation, session, key]
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self::new()
    }
}

impl Queue {
    /// An empty queue: the tube `default`, no job, and 1 as the next job's id.
    pub fn new() -> Self {
        let mut queue = Self::without_tubes();
        let default = TubeFacts::new(TubeName::default_tube(), 0);
        queue.tube_ids.insert(default.name.clone(), TubeId::DEFAULT);
        queue.tube_order.push(TubeId::DEFAULT);
        let default = Tube::new(default);
        queue.tables.add_name(&default);
        queue.tubes.insert(TubeId::DEFAULT, default);
        queue
    }

    /// An empty queue with a store for its cold jobs, which has none.
    pub fn with_cold(cold: Box<dyn ColdJobs>) -> Self {
        Self { cold, ..Self::new() }
    }

    fn without_tubes() -> Self {
        Self {
            clock: LogicalTime(0),
            returned: LogicalTime(0),
            next: NextNumbers {
                job: 1,
                tube: 1,
                wait: 1,
                bury: 1,
                continuation: 1,
                session: 1,
                key: 1,
            },
            totals: Totals::default(),
            chain: Chain::default(),
            limits: Limits::default(),
            members: Table::new(),
            tubes: Table::new(),
            sessions: Table::new(),
            jobs: Table::new(),
            cold: Box::new(ColdInMemory::default()),
            continuations: Table::new(),
            keys: Table::new(),
            tube_ids: BTreeMap::new(),
            tube_order: Vec::new(),
            leases: Leases::default(),
            key_order: KeyOrder::new(),
            deadlines: Deadlines::default(),
            job_counts: JobCounts::default(),
            watches: 0,
            tables: TableCounts::default(),
            contended: Contended::default(),
            serving: false,
            checkpoint: None,
            hot_tubes: BTreeSet::new(),
            cool_from: TubeId::DEFAULT,
            keep_from: Default::default(),
        }
    }

    /// The state's clock: the greatest time of the batches applied.
    pub fn now(&self) -> LogicalTime {
        self.clock
    }

    /// The earliest time at which something happens by itself; it may have passed already, when an
    /// entry had too much to do. `None`: nothing will.
    pub fn next_deadline(&self) -> Option<LogicalTime> {
        self.deadlines.first().map(|(at, _)| at)
    }

    /// Whether another batch, which may be empty, is wanted at once: something was too long for one
    /// entry, or is due.
    pub fn work_pending(&self) -> bool {
        !self.continuations.is_empty() || self.next_deadline().is_some_and(|at| at <= self.clock)
    }

    fn after_seconds(&self, seconds: u32) -> LogicalTime {
        self.clock.after(Duration::from_secs(u64::from(seconds)))
    }
}
