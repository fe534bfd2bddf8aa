//! The replica: the queue, where its log has brought it, and the openraft trait that drives it.
//!
//! Applying is pure; what a member does about the outcomes (answering the clients whose
//! connections it holds, DESIGN D3) is the business of the [`Owner`] that is handed in.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::life::{Life, Signature};
use super::log_store::LogStore;
use super::outbox::Outbox;
use super::reads::Ask;
use super::types::{
    Command, Entry, LogId, Payload, SnapshotMeta, SnapshotOf, StoredMembership, TypeConfig,
};
use crate::clock::LogicalClock;
use crate::queue::{
    ConnectionNumber, LogicalTime, Observer, Outcome, Queue, SessionId,
};

/// The deadline that says "at once": a continuation waits for its next entry.
const DEADLINE_NOW: u64 = 0;

/// The deadline that says "never": no timer runs.
const DEADLINE_NEVER: u64 = u64::MAX;

/// The holder of a member's client connections.
///
/// It is called while entries are applied, on the thread that applies, and must not block.
pub trait Owner: Send + Sync {
    /// An op of `connection` is about to be applied: what was read before it is answered now.
    fn before_op(&self, queue: &Queue, now: LogicalTime, connection: ConnectionNumber);
    /// What an op of `connection` came to.
    fn outcome(&self, connection: ConnectionNumber, outcome: Outcome);
    /// The leader has confirmed that the queue is up to date: what the connection asked for may be
    /// answered from it.
    fn answer_reads(&self, queue: &Queue, now: LogicalTime, asked: (ConnectionNumber, Ask));
    /// No more outcomes for now: replies may leave.
    fn send_replies(&self);
}

/// A member's copy of the queue.
pub struct Replica {
    life: Arc<Life>,
    clock: Arc<LogicalClock>,
    log: LogStore,
    outbox: Arc<Outbox>,
    owner: Arc<dyn Owner>,
    state: Mutex<ReplicaState>,
    /// When the next timer is due, nanoseconds of logical time.
    deadline: AtomicU64,
    /// Logical time of the last entry.
    entry_at: AtomicU64,
    /// The index of the last entry applied.
    applied_index: AtomicU64,
    applied_more: Notify,
    /// The present life is over and another is wanted.
    is_life_over: AtomicBool,
}

/// What applying changes.
pub struct ReplicaState {
    /// The queue itself.
    pub queue: Queue,
    /// The last entry applied.
    pub applied: Option<LogId>,
    /// The last membership applied.
    pub membership: StoredMembership,
    /// The newest durable checkpoint.
    pub snapshot: Option<SnapshotMeta>,
    /// Ops and entries applied since the process started, to judge how long a replay would take.
    pub applied_ops: u64,
}

impl ReplicaState {
    /// The state before the first entry.
    pub fn empty() -> Self {
        Self {
            queue: Queue::new(),
            applied: None,
            membership: StoredMembership::default(),
            snapshot: None,
            applied_ops: 0,
        }
    }
}

impl Replica {
    /// A replica at the point `state` has reached.
    pub fn new(
        life: Arc<Life>,
        clock: Arc<LogicalClock>,
        log: LogStore,
        outbox: Arc<Outbox>,
        owner: Arc<dyn Owner>,
        state: ReplicaState,
    ) -> Self {
        let deadline = AtomicU64::new(deadline_of(&state.queue));
        let entry_at = AtomicU64::new(state.queue.now().0);
        let applied_index = AtomicU64::new(state.applied.map_or(0, |id| id.index));
        Self {
            life,
            clock,
            log,
            outbox,
            owner,
            state: Mutex::new(state),
            deadline,
            entry_at,
            applied_index,
            applied_more: Notify::new(),
            is_life_over: AtomicBool::new(false),
        }
    }

    /// Runs `look` on the state between two entries. It must be short: applying waits.
    pub fn with_state<R>(&self, look: impl FnOnce(&mut ReplicaState) -> R) -> R {
        look(&mut self.state.lock())
    }

    /// When the next entry is needed for the sake of time alone; `None` when never. For timers no
    /// sooner than `gap` after the last entry, for what one entry could not finish at once.
    pub fn deadline(&self, gap: Duration) -> Option<LogicalTime> {
        match self.deadline.load(Ordering::Acquire) {
            DEADLINE_NEVER => None,
            DEADLINE_NOW => Some(LogicalTime(DEADLINE_NOW)),
            deadline => {
                let last = LogicalTime(self.entry_at.load(Ordering::Acquire));
                Some(LogicalTime(deadline).max(last.after(gap)))
            }
        }
    }

    /// The index of the last entry applied.
    pub fn applied_index(&self) -> u64 {
        self.applied_index.load(Ordering::Acquire)
    }

    /// Completes when the entry at `index` has been applied.
    pub async fn applied_to(&self, index: u64) {
        loop {
            let more = self.applied_more.notified();
            if self.applied_index() >= index {
                return;
            }
            more.await;
        }
    }

    /// Completes when this member's present life has been opened by the log.
    pub async fn opened(&self) {
        loop {
            let more = self.applied_more.notified();
            if self.is_open() {
                return;
            }
            more.await;
        }
    }

    /// Whether this member's present life has been opened by the log.
    pub fn is_open(&self) -> bool {
        let Signature { member, incarnation } = self.life.signature();
        self.with_state(|state| {
            state.queue.last_applied(member).is_some_and(|(open, _)| open == incarnation)
        })
    }

    /// Whether the cluster took this member's present life for over: it must begin another.
    pub fn is_life_over(&self) -> bool {
        self.is_life_over.load(Ordering::Acquire)
    }

    /// Answers what `connections` read, now that the leader has confirmed the state.
    pub fn answer_reads(&self, connections: &[(ConnectionNumber, Ask)]) {
        {
            let state = self.state.lock();
            let now = self.clock.now().max(state.queue.now());
            for (connection, ask) in connections {
                self.owner.answer_reads(&state.queue, now, (*connection, *ask));
            }
        }
        self.owner.send_replies();
    }

    fn apply_entry(&self, entry: &Entry) {
        let mut state = self.state.lock();
        state.applied = Some(entry.log_id);
        match &entry.payload {
            Payload::Blank => {}
            Payload::Membership(membership) => {
                state.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
            }
            Payload::Normal(Command(batch)) => {
                let signature = self.life.signature();
                let now = self.clock.now().max(batch.now);
                let mut observer =
                    OwnSessions { signature, now, owner: self.owner.as_ref(), ops: 0 };
                state.queue.apply(batch, &mut observer);
                state.applied_ops += 1 + observer.ops;
                if let Some((incarnation, last)) = state.queue.last_applied(signature.member) {
                    self.outbox.applied(incarnation, last);
                }
                self.entry_at.store(state.queue.now().0, Ordering::Release);
                self.deadline.store(deadline_of(&state.queue), Ordering::Release);
            }
        }
        self.applied_index.store(entry.log_id.index, Ordering::Release);
        self.log.applied(entry.log_id.index);
    }
}

fn deadline_of(queue: &Queue) -> u64 {
    if queue.work_pending() {
        return DEADLINE_NOW;
    }
    queue.next_deadline().map_or(DEADLINE_NEVER, |deadline| deadline.0)
}

/// Passes on what concerns the connections of this member's present life.
struct OwnSessions<'a> {
    signature: Signature,
    now: LogicalTime,
    owner: &'a dyn Owner,
    ops: u64,
}

impl OwnSessions<'_> {
    fn is_own(&self, session: SessionId) -> bool {
        session.member == self.signature.member && session.incarnation == self.signature.incarnation
    }
}

impl Observer for OwnSessions<'_> {
    fn before_op(&mut self, queue: &Queue, session: SessionId) {
        self.ops += 1;
        if self.is_own(session) {
            self.owner.before_op(queue, self.now, session.connection);
        }
    }

    fn outcome(&mut self, session: SessionId, outcome: Outcome) {
        if self.is_own(session) {
            self.owner.outcome(session.connection, outcome);
        }
    }
}

/// The replica as openraft drives it.
#[derive(Clone)]
pub struct StateMachine(pub Arc<Replica>);

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = ();
    type SnapshotBuilder = ReadySnapshot;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok(self.0.with_state(|state| (state.applied, state.membership.clone())))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + Send,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            self.0.apply_entry(&entry);
            if let Some(responder) = responder {
                responder.send(());
            }
        }
        self.0.applied_more.notify_waiters();
        self.0.owner.send_replies();
        self.0.outbox.wake();
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<ReadySnapshot> {
        self.0.with_state(|state| state.snapshot.clone()).map(ReadySnapshot)
    }

    async fn get_snapshot_builder(&mut self) -> ReadySnapshot {
        ReadySnapshot(self.0.with_state(|state| state.snapshot.clone()).unwrap_or_default())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, _: ()) -> Result<(), io::Error> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("a cluster of one is sent no snapshot, but one came: {meta}"),
        ))
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf>, io::Error> {
        let meta = self.0.with_state(|state| state.snapshot.clone());
        Ok(meta.map(|meta| Snapshot { meta, snapshot: () }))
    }
}

/// Hands openraft the checkpoint that is there already: checkpoints are made by storage, so that a
/// disk that is full for a while does not end the member (storage-review F12).
pub struct ReadySnapshot(SnapshotMeta);

impl RaftSnapshotBuilder<TypeConfig> for ReadySnapshot {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> Result<SnapshotOf, io::Error> {
        Ok(Snapshot { meta: self.0.clone(), snapshot: () })
    }
}
