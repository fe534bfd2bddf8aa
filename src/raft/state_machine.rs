//! The replica: the queue, where its log has brought it, and the openraft trait that drives it.
//!
//! Applying is pure; what a member does about the outcomes (answering the clients whose
//! connections it holds, DESIGN D3) is the business of the [`Owner`] that is handed in.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::cold::{Cooling, Writing};
use super::life::{Life, Signature};
use super::log_store::LogStore;
use super::outbox::Outbox;
use super::patience::{Patience, has_puts};
use super::reads::Ask;
use super::snapshot::{SnapshotData, SnapshotSource};
use super::types::{Entry, LogId, Payload, SnapshotMeta, SnapshotOf, StoredMembership, TypeConfig};
use crate::clock::LogicalClock;
use crate::memory::Memory;
use crate::planted::{self, Bug};
use crate::queue::{
    Body, ConnectionNumber, Incarnation, LogicalTime, Observer, Outcome, Queue, SessionId,
};

/// How many bytes of bodies replies may have before they leave, while there are more entries to apply.
const REPLIED_BYTES_MAX: u64 = 1 << 20;

/// The deadline that says "at once": a continuation waits for its next entry.
const DEADLINE_NOW: u64 = 0;

/// The deadline that says "never": no timer runs.
const DEADLINE_NEVER: u64 = u64::MAX;

/// The most entries whose digests are kept to be compared with those of other members.
const DIGESTS_MAX: usize = 4096;

/// Of the entries that a member applies while it goes on, it tells the digest of one in so many.
const DIGEST_TOLD_EVERY: u64 = 64;

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
    /// For a moment nothing could be said; now it can.
    fn speak_again(&self);
    /// This member may not speak for the cluster any more, or has skipped what its clients' ops came
    /// to: their connections end, without another word.
    fn close_all(&self);
}

/// A member's copy of the queue.
pub(super) struct Replica {
    life: Arc<Life>,
    clock: Arc<LogicalClock>,
    log: LogStore,
    outbox: Arc<Outbox>,
    owner: Arc<dyn Owner>,
    memory: Arc<Memory>,
    state: Mutex<ReplicaState>,
    /// When the next timer is due, nanoseconds of logical time.
    deadline: AtomicU64,
    /// Logical time of the last entry.
    entry_at: AtomicU64,
    /// The index of the last entry applied.
    applied_index: AtomicU64,
    applied_more: Notify,
    /// (index, running digest) of the last entries, oldest first.
    digests: Mutex<VecDeque<(u64, u64)>>,
}

/// What applying changes.
pub(super) struct ReplicaState {
    /// The queue itself.
    pub queue: Queue,
    /// When jobs become cold, if ever.
    pub cooling: Option<Cooling>,
    /// The last entry applied.
    pub applied: Option<LogId>,
    /// The last membership applied.
    pub membership: StoredMembership,
    /// The newest durable checkpoint.
    pub snapshot: Option<SnapshotMeta>,
    /// The file of it; none without a data directory.
    pub source: Option<Arc<SnapshotSource>>,
    /// How often a snapshot of another member has taken the place of the state.
    pub snapshot_installed: u64,
    /// Ops and entries applied since the process started, to judge how long a replay would take.
    pub applied_ops: u64,
}

impl ReplicaState {
    /// The state before the first entry.
    pub(super) fn empty() -> Self {
        Self {
            queue: Queue::new(),
            cooling: None,
            applied: None,
            membership: StoredMembership::default(),
            snapshot: None,
            source: None,
            snapshot_installed: 0,
            applied_ops: 0,
        }
    }

    /// Takes over a checkpoint that is durable, unless a newer one is known already.
    pub(super) fn publish(&mut self, meta: SnapshotMeta, source: Option<Arc<SnapshotSource>>) {
        let known = self.snapshot.as_ref().and_then(|known| known.last_log_id);
        if meta.last_log_id >= known {
            (self.snapshot, self.source) = (Some(meta), source);
        }
    }

    /// What is counted as hot jobs, bytes.
    fn hot_bytes(&self) -> u64 {
        self.queue.hot_bytes() + self.queue.table_bytes()
    }

    fn look_at_memory(&mut self) {
        if let Some(cooling) = &mut self.cooling {
            cooling.look(&mut self.queue);
        }
    }

    fn ready_snapshot(&self) -> Option<ReadySnapshot> {
        let source = self.source.clone();
        self.snapshot.clone().map(|meta| ReadySnapshot { meta, source })
    }
}

impl Replica {
    /// A replica at the point `state` has reached.
    pub(super) fn new(
        life: Arc<Life>,
        clock: Arc<LogicalClock>,
        log: LogStore,
        outbox: Arc<Outbox>,
        owner: Arc<dyn Owner>,
        state: ReplicaState,
    ) -> Self {
        let memory = Arc::clone(outbox.memory());
        memory.hot.set(state.hot_bytes());
        memory.set_tables(state.queue.table_bytes());
        let deadline = AtomicU64::new(deadline_of(&state.queue));
        let entry_at = AtomicU64::new(state.queue.now().0);
        let applied_index = AtomicU64::new(state.applied.map_or(0, |id| id.index));
        Self {
            life,
            clock,
            log,
            outbox,
            owner,
            memory,
            state: Mutex::new(state),
            deadline,
            entry_at,
            applied_index,
            applied_more: Notify::new(),
            digests: Mutex::default(),
        }
    }

    /// Runs `look` on the state between two entries. It must be short: applying waits.
    pub(super) fn with_state<R>(&self, look: impl FnOnce(&mut ReplicaState) -> R) -> R {
        look(&mut self.state.lock())
    }

    /// When the next entry is needed for the sake of time alone; `None` when never. For timers no
    /// sooner than `gap` after the last entry, for what one entry could not finish at once.
    pub(super) fn deadline(&self, gap: Duration) -> Option<LogicalTime> {
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
    pub(super) fn applied_index(&self) -> u64 {
        self.applied_index.load(Ordering::Acquire)
    }

    /// Completes when the entry at `index` has been applied.
    pub(super) async fn applied_to(&self, index: u64) {
        loop {
            let more = self.applied_more.notified();
            if self.applied_index() >= index {
                return;
            }
            more.await;
        }
    }

    /// Completes when this member's present life has been opened by the log.
    pub(super) async fn opened(&self) {
        loop {
            let more = self.applied_more.notified();
            if self.is_open() {
                return;
            }
            more.await;
        }
    }

    /// Whether this member's present life has been opened by the log.
    pub(super) fn is_open(&self) -> bool {
        self.with_state(|state| self.is_open_in(&state.queue))
    }

    fn is_open_in(&self, queue: &Queue) -> bool {
        let Signature { member, incarnation } = self.life.signature();
        queue.life(member).is_some_and(|life| life.incarnation == incarnation)
    }

    /// Another life begins, of which nothing is known yet.
    pub(super) fn begin_life(&self, incarnation: Incarnation) {
        self.owner.close_all();
        self.life.begin(incarnation);
        self.outbox.begin_life();
    }

    /// An entry and the running digest after it, for others to compare: the last one applied, if it
    /// is `stood_at`. A member that goes on tells of an entry that others tell of too, or under load
    /// no two would ever tell of the same.
    pub(super) fn digest_to_tell(&self, stood_at: u64) -> (u64, u64) {
        let (applied, chain) = self.with_state(|state| (self.applied_index(), state.queue.chain()));
        let shared = applied - applied % DIGEST_TOLD_EVERY;
        match applied == stood_at {
            true => (applied, chain),
            false => self.digest_at(shared).map_or((applied, chain), |chain| (shared, chain)),
        }
    }

    /// The running digest after the entry at `index`, if that was a short while ago.
    pub(super) fn digest_at(&self, index: u64) -> Option<u64> {
        let digests = self.digests.lock();
        let place = digests.binary_search_by_key(&index, |(at, _)| *at).ok()?;
        Some(digests[place].1)
    }

    /// Answers what `connections` read, now that the leader has confirmed the state.
    pub(super) fn answer_reads(&self, connections: &[(ConnectionNumber, Ask)]) {
        {
            let state = self.state.lock();
            let now = self.clock.now().max(state.queue.now());
            for (connection, ask) in connections {
                self.owner.answer_reads(&state.queue, now, (*connection, *ask));
            }
        }
        self.owner.send_replies();
    }

    /// Nobody can refuse an entry, but one with jobs can wait while others are written out: on a member
    /// whose disk is slower than the others', and when the log is read again at a start
    /// (storage-review F17).
    async fn wait_for_memory(&self, entry: &Entry, patience: &mut Patience) {
        if !self.memory.is_overfull() {
            patience.renew();
            return;
        }
        if !has_puts(entry) {
            return;
        }
        loop {
            let writing = self.look_at_memory();
            if !self.memory.is_overfull() {
                return patience.renew();
            }
            let Some(pause) = writing.and_then(|writing| patience.pause(writing)) else { return };
            self.owner.send_replies();
            tokio::time::sleep(pause).await;
        }
    }

    /// The budget, and how it stands.
    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Makes jobs cold if too many are hot. Says how their writing stands, if they ever are.
    pub(super) fn look_at_memory(&self) -> Option<Writing> {
        self.with_state(|state| {
            state.look_at_memory();
            self.memory.hot.set(state.hot_bytes());
            self.memory.set_tables(state.queue.table_bytes());
            state.cooling.as_ref().map(Cooling::writing)
        })
    }

    /// Returns how many bytes of bodies the replies have.
    fn apply_entry(&self, entry: &Entry) -> u64 {
        let mut replied_bytes = 0;
        let mut state = self.state.lock();
        state.applied = Some(entry.log_id);
        match &entry.payload {
            Payload::Blank if planted::is(Bug::HoldsForgotten) => state.queue.forget_holds(),
            Payload::Blank => {}
            Payload::Membership(membership) => {
                state.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
            }
            Payload::Normal(command) => {
                let batch = command.batch();
                let signature = self.life.signature();
                let now = self.clock.now().max(batch.now);
                let owner = self.owner.as_ref();
                let mut observer = OwnSessions { signature, now, owner, ops: 0, body_bytes: 0 };
                state.queue.apply(batch, &mut observer);
                state.applied_ops += 1 + observer.ops;
                replied_bytes = observer.body_bytes;
                state.look_at_memory();
                self.memory.hot.set(state.hot_bytes());
                if let Some(life) = state.queue.life(signature.member) {
                    self.outbox.applied(life.incarnation, life.last);
                    if life.is_over && life.incarnation == signature.incarnation {
                        self.life_ended();
                    }
                }
                self.entry_at.store(state.queue.now().0, Ordering::Release);
                self.deadline.store(deadline_of(&state.queue), Ordering::Release);
            }
        }
        self.remember_digest(entry.log_id.index, state.queue.chain());
        self.applied_index.store(entry.log_id.index, Ordering::Release);
        self.log.applied(entry.log_id.index);
        replied_bytes
    }

    fn remember_digest(&self, index: u64, chain: u64) {
        let mut digests = self.digests.lock();
        if digests.len() >= DIGESTS_MAX {
            digests.pop_front();
        }
        digests.push_back((index, chain));
    }

    /// Puts the state of another member in the place of this one's: a swap, for all else was done
    /// when it was received.
    fn install(&self, meta: &SnapshotMeta, data: SnapshotData) -> io::Result<()> {
        let SnapshotData::Loaded(loaded) = data else {
            return Err(refuse(format!("{meta} was not received")));
        };
        let described = loaded.source.info().head.applied_index;
        let mut state = self.state.lock();
        if meta.last_log_id <= state.applied {
            return Err(refuse(format!("{meta} is older than what is applied")));
        }
        let Some(applied) = meta.last_log_id.filter(|id| id.index == described) else {
            return Err(refuse(format!("{meta} is not of the checkpoint {described}")));
        };
        let was_open = self.is_open_in(&state.queue);
        let replaced = std::mem::replace(&mut state.queue, loaded.queue);
        loaded.cold.take_over();
        state.applied = Some(applied);
        state.membership = meta.last_membership.clone();
        state.publish(meta.clone(), Some(loaded.source));
        state.snapshot_installed += 1;
        self.clock.raise(state.queue.now());
        self.deadline.store(deadline_of(&state.queue), Ordering::Release);
        self.entry_at.store(state.queue.now().0, Ordering::Release);
        self.applied_index.store(applied.index, Ordering::Release);
        self.log.applied(applied.index);
        self.digests.lock().clear();
        if was_open || self.is_open_in(&state.queue) {
            self.life_skipped(&state);
        }
        drop(state);
        self.applied_more.notify_waiters();
        // To take a large state apart takes a while, and nobody need wait for it.
        drop(tokio::task::spawn_blocking(move || drop(replaced)));
        Ok(())
    }

    /// The outcomes of this member's ops up to here will never be seen (DESIGN D2): whoever holds its
    /// connections has to close them, and this life must end and a new one be opened.
    fn life_skipped(&self, state: &ReplicaState) {
        tracing::warn!(
            applied = ?state.applied,
            installed = state.snapshot_installed,
            "a snapshot has taken the place of the state: clients are closed"
        );
        self.end_life();
    }

    /// The log says so: the cluster took this member for dead, or it was removed.
    fn life_ended(&self) {
        if self.end_life() {
            tracing::warn!("the cluster has given this member up: its clients are closed");
        }
    }

    /// Nothing more is said to clients; another life is begun when there is time. Returns false when
    /// the present one was over already.
    fn end_life(&self) -> bool {
        let ends = self.life.end();
        if ends {
            self.owner.close_all();
        }
        ends
    }
}

fn refuse(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("no snapshot to install: {why}"))
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
    /// Of bodies in their replies.
    body_bytes: u64,
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

    fn wants_bodies(&self, session: SessionId) -> bool {
        self.is_own(session)
    }

    fn outcome(&mut self, session: SessionId, outcome: Outcome) {
        if self.is_own(session) {
            if let Outcome::Reserved { body: Body::Here(bytes), .. } = &outcome {
                self.body_bytes += bytes.len() as u64;
            }
            self.owner.outcome(session.connection, outcome);
        }
    }
}

/// The replica as openraft drives it.
#[derive(Clone)]
pub(super) struct StateMachine {
    pub(super) replica: Arc<Replica>,
    patience: Patience,
}

impl StateMachine {
    pub(super) fn new(replica: Arc<Replica>) -> Self {
        Self { replica, patience: Patience::default() }
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = ReadySnapshot;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok(self.replica.with_state(|state| (state.applied, state.membership.clone())))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + Send,
    {
        let mut replied_bytes = 0;
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            self.replica.wait_for_memory(&entry, &mut self.patience).await;
            replied_bytes += self.replica.apply_entry(&entry);
            if let Some(responder) = responder {
                responder.send(());
            }
            if replied_bytes > REPLIED_BYTES_MAX {
                replied_bytes = 0;
                self.replica.owner.send_replies();
            }
        }
        self.replica.applied_more.notify_waiters();
        self.replica.owner.send_replies();
        self.replica.outbox.wake();
        self.replica.memory.tell_freed();
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<ReadySnapshot> {
        self.replica.with_state(|state| state.ready_snapshot())
    }

    async fn get_snapshot_builder(&mut self) -> ReadySnapshot {
        self.replica.with_state(|state| state.ready_snapshot()).unwrap_or_default()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        data: SnapshotData,
    ) -> Result<(), io::Error> {
        self.replica.install(meta, data)
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf>, io::Error> {
        Ok(self
            .replica
            .with_state(|state| state.ready_snapshot())
            .map(ReadySnapshot::into_snapshot))
    }
}

/// Hands openraft the checkpoint that is there already: checkpoints are made by storage, so that a
/// disk that is full for a while does not end the member (storage-review F12).
#[derive(Clone, Default)]
pub(super) struct ReadySnapshot {
    meta: SnapshotMeta,
    source: Option<Arc<SnapshotSource>>,
}

impl ReadySnapshot {
    fn into_snapshot(self) -> SnapshotOf {
        let snapshot = self.source.map_or(SnapshotData::Nothing, SnapshotData::Own);
        Snapshot { meta: self.meta, snapshot }
    }
}

impl RaftSnapshotBuilder<TypeConfig> for ReadySnapshot {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf, io::Error> {
        Ok(self.clone().into_snapshot())
    }
}
