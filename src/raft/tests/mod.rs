//! A member of one without sockets: its clients are the tests, its disk and clock are made here.
//!
//! `suite` holds the log against openraft's own tests, `log_store` against what those leave out,
//! `applying` is about entries one by one, `restart` and `damage` are about what a directory gives back, `clock` about the time it was away.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Ask, CheckpointLimits, Durability, FIRST_MEMBER, Node, OpenOptions, Opened, Outbox};
use super::{Owner, ReadRequests, Signature, StartError};
use crate::clock::Clock;
use crate::memory::{BUDGET_FLOOR_BYTES, Memory};
use crate::queue::{
    Action, ConnectionNumber, JobId, JobStats, LogicalTime, Op, Outcome, Queue, Turn,
};
use crate::storage::disk::Disk;
use crate::storage::sim::SimDisk;
use crate::storage::wal::SyncPolicy;

mod applying;
mod clock;
mod cold_snapshot;
mod damage;
mod log_store;
mod restart;
mod sides;
mod snapshot;
mod suite;

/// How long something that must happen may take: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// No checkpoint, whatever happens.
const NO_CHECKPOINTS: CheckpointLimits =
    CheckpointLimits { log_bytes_min: u64::MAX, replay_ops_max: u64::MAX };

/// Whose the directories of these tests are.
const NEWCOMER: crate::storage::Owner =
    crate::storage::Owner { cluster: 0xBEA9, member: FIRST_MEMBER };

/// The one connection that tests use.
const CONNECTION: ConnectionNumber = ConnectionNumber(1);

fn data() -> &'static Path {
    Path::new("/data")
}

/// Clocks that tests set. Boot time also passes by itself while `ticks`.
#[derive(Debug)]
struct TestClock {
    boot: AtomicU64,
    wall: AtomicU64,
    boot_id: u128,
    /// When it began to tick; `None` when it stands still.
    ticks_since: Option<std::time::Instant>,
}

impl TestClock {
    fn standing(boot: Duration, wall: Duration, boot_id: u128) -> Arc<Self> {
        Arc::new(Self { boot: nanos(boot), wall: nanos(wall), boot_id, ticks_since: None })
    }

    #[expect(clippy::disallowed_methods, reason = "the clock of these tests")]
    fn ticking() -> Arc<Self> {
        let (boot, wall) =
            (nanos(Duration::from_secs(1000)), nanos(Duration::from_secs(1_000_000)));
        Arc::new(Self { boot, wall, boot_id: 1, ticks_since: Some(std::time::Instant::now()) })
    }

    fn pass(&self, time: Duration) {
        self.boot.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
        self.wall.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    fn set_wall(&self, wall: Duration) {
        self.wall.store(wall.as_nanos() as u64, Ordering::Relaxed);
    }

    fn ticked(&self) -> u64 {
        self.ticks_since.map_or(0, |since| since.elapsed().as_nanos() as u64)
    }
}

impl Clock for TestClock {
    fn boot_nanos(&self) -> u64 {
        self.boot.load(Ordering::Relaxed) + self.ticked()
    }

    fn wall_nanos(&self) -> u64 {
        self.wall.load(Ordering::Relaxed) + self.ticked()
    }

    fn boot_id(&self) -> u128 {
        self.boot_id
    }
}

fn nanos(time: Duration) -> AtomicU64 {
    AtomicU64::new(time.as_nanos() as u64)
}

/// What a look at the queue gave.
#[derive(Clone, Debug, PartialEq, Eq)]
struct View {
    digest: u64,
    jobs: Vec<JobStats>,
    /// More is to happen at this very moment: one entry could not do it all.
    is_unsettled: bool,
}

/// Takes what the member has for its clients.
#[derive(Default)]
struct Desk {
    outcomes: Mutex<VecDeque<Outcome>>,
    views: Mutex<VecDeque<View>>,
    arrived: Notify,
}

impl Owner for Desk {
    fn before_op(&self, _: &Queue, _: LogicalTime, _: ConnectionNumber) {}

    fn outcome(&self, _: ConnectionNumber, outcome: Outcome) {
        self.outcomes.lock().push_back(outcome);
    }

    fn answer_reads(&self, queue: &Queue, now: LogicalTime, _: (ConnectionNumber, Ask)) {
        queue.check_invariants();
        let jobs = (1..=queue.counters().total_jobs)
            .filter_map(|job| queue.job_stats(JobId(job), now))
            .collect();
        let is_unsettled = queue.work_pending();
        self.views.lock().push_back(View { digest: queue.digest(), jobs, is_unsettled });
    }

    fn send_replies(&self) {
        self.arrived.notify_one();
    }

    fn speak_again(&self) {}

    fn close_all(&self) {}
}

impl Desk {
    async fn next<T>(&self, line: &Mutex<VecDeque<T>>) -> T {
        let next = async {
            loop {
                if let Some(next) = line.lock().pop_front() {
                    return next;
                }
                self.arrived.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("the member answers")
    }
}

/// A member that takes part.
struct Member {
    node: Node,
    desk: Arc<Desk>,
    outbox: Arc<Outbox>,
    reads: Arc<ReadRequests>,
    signature: Signature,
}

fn options(disk: &SimDisk, clock: Arc<dyn Clock>, checkpoints: CheckpointLimits) -> OpenOptions {
    let durability = Durability::Disk {
        disk: Arc::new(disk.clone()),
        dir: data().to_owned(),
        must_exist: false,
        sync: SyncPolicy::Always,
        segment_size_max: 64 << 10,
        free_min: 8 << 20,
    };
    let memory = memory();
    OpenOptions { durability, clock, newcomer: NEWCOMER, checkpoints, hot_bytes_max: None, memory }
}

/// What the log may take up in memory, bytes.
const LOG_MEMORY: u64 = 16 << 20;

fn memory() -> Arc<Memory> {
    Arc::new(Memory::new(BUDGET_FLOOR_BYTES, true))
}

impl Member {
    async fn start(options: OpenOptions) -> Result<Self, StartError> {
        let opened = Opened::open(options, None)?;
        let (outbox, reads, signature) =
            (opened.outbox(), opened.reads(), opened.life().signature());
        let desk = Arc::new(Desk::default());
        let node = opened.start(Arc::clone(&desk) as _).await?;
        node.ready().await;
        Ok(Self { node, desk, outbox, reads, signature })
    }

    async fn start_on(disk: &SimDisk, clock: Arc<dyn Clock>, limits: CheckpointLimits) -> Self {
        Self::start(options(disk, clock, limits)).await.expect("the member starts")
    }

    /// Asks for `action`; its outcome is the next one.
    fn ask(&self, action: Action) {
        self.outbox.push(Op::plain(CONNECTION, Turn(0), action));
    }

    async fn outcome(&self) -> Outcome {
        self.desk.next(&self.desk.outcomes).await
    }

    async fn act(&self, action: Action) -> Outcome {
        self.ask(action);
        self.outcome().await
    }

    /// The queue as a client sees it now.
    async fn view(&self) -> View {
        self.reads.push(CONNECTION, Ask(0));
        self.desk.next(&self.desk.views).await
    }

    /// The queue once everything has happened that is due.
    async fn settled_view(&self) -> View {
        loop {
            let view = self.view().await;
            if !view.is_unsettled {
                return view;
            }
        }
    }

    async fn job(&self, job: JobId) -> JobStats {
        let view = self.view().await;
        view.jobs.into_iter().find(|stats| stats.id == job).expect("the job is there")
    }

    async fn stop(self) {
        self.node.stop().await;
    }
}

fn put(delay: u32, body: Vec<u8>) -> Action {
    Action::Put { priority: 7, delay, ttr: 60, body: body.into(), key: None }
}

/// The number of a job that was put.
fn inserted(outcome: &Outcome) -> JobId {
    match outcome {
        Outcome::Inserted { job } => *job,
        other => panic!("a put came to {other:?}"),
    }
}

/// Waits until `is_so`.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// The checkpoints there are, oldest first.
fn checkpoints(disk: &SimDisk) -> Vec<PathBuf> {
    let dir = data().join("checkpoints");
    let index = |name: &String| name.strip_prefix("checkpoint-")?.parse::<u64>().ok();
    let names = disk.list(&dir).unwrap_or_default();
    let found: BTreeMap<u64, PathBuf> =
        names.iter().filter_map(|name| Some((index(name)?, dir.join(name)))).collect();
    found.into_values().collect()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (bits ^ (bits >> 31)) % limit
    }
}
