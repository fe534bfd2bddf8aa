//! Where connections and the replicated queue meet: commands go out as ops, outcomes come back.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use beanpole_protocol::Reply;
use parking_lot::Mutex;

use super::admission::{Admission, Verdict};
use super::client::Client;
use super::connection::{CONNECTION_BYTES, Connection, Line, Served};
use super::counters::LocalCounters;
use super::facts::MemberFacts;
use super::lists::Lists;
use super::reads::ReadContext;
use super::slots::Slots;
use super::stream::Stream;
use super::trunk::{CHANNEL_BYTES, OUTPUT_BYTES_MAX as TRUNK_OUTPUT_BYTES_MAX, Trunk};
use crate::memory::Memory;
use crate::planted::{self, Bug};
use crate::queue::{ConnectionNumber, LogicalTime, Op, Outcome, Queue, SessionId};
use crate::raft::{Ask, Lease, Life, Opened, Outbox, Owner, ReadRequests, Signature, Standing};

/// After so many short lives in a row, the next one is careful.
const SHORT_LIVES_MAX: u32 = 3;

/// Which part of the memory for connections bodies on their way to channels may take up.
const BODIES_PART: u64 = 4;

/// How often a careful one looks whether there is room.
const RECOVERY_LOOK: Duration = Duration::from_millis(100);

/// The connections of this member's present life.
pub(super) struct Hub {
    life: Arc<Life>,
    lease: Arc<Lease>,
    facts: MemberFacts,
    memory: Arc<Memory>,
    admission: Admission,
    outbox: Arc<Outbox>,
    reads: Arc<ReadRequests>,
    local: LocalCounters,
    lists: Arc<Lists>,
    slots: Arc<Slots>,
    /// Connections, and channels of those that are trunks.
    clients: Mutex<HashMap<ConnectionNumber, Client>>,
    /// Those with replies to send after the batch being applied.
    touched: Mutex<Vec<Client>>,
    next: AtomicU64,
    /// Channels of trunks.
    channels: AtomicU64,
    /// Bodies that they may be sent for what is under way.
    bodies: AtomicU64,
    draining: AtomicBool,
    /// No jobs are taken until there is room.
    recovering: AtomicBool,
    /// Who connects is turned away.
    turns_away: AtomicBool,
    stopping: AtomicBool,
    /// It was said that there is no memory for more connections.
    told_crowd: AtomicBool,
    emptied: tokio::sync::Notify,
}

/// What becomes of a put before it is an op.
pub(super) enum PutVerdict {
    /// It goes into the log.
    Admitted,
    /// It is too early for it.
    TooEarly,
    /// There is no memory for it yet.
    Waits,
    /// It is answered at once.
    Refused(Reply),
}

impl Hub {
    /// A hub without connections.
    pub(super) fn new(
        opened: &Opened,
        facts: MemberFacts,
        memory: Arc<Memory>,
        slots: Arc<Slots>,
    ) -> Self {
        Self {
            life: opened.life(),
            lease: opened.lease(),
            facts,
            admission: Admission::new(Arc::clone(&memory)),
            lists: Lists::new(memory.connections.limit),
            slots,
            memory,
            outbox: opened.outbox(),
            reads: opened.reads(),
            local: LocalCounters::new(),
            clients: Mutex::new(HashMap::new()),
            touched: Mutex::new(Vec::new()),
            next: AtomicU64::new(1),
            channels: AtomicU64::new(0),
            bodies: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            recovering: AtomicBool::new(false),
            turns_away: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            told_crowd: AtomicBool::new(false),
            emptied: tokio::sync::Notify::new(),
        }
    }

    /// What this member counts for itself.
    pub(super) fn local(&self) -> &LocalCounters {
        &self.local
    }

    /// The largest body a put may have, bytes.
    pub(super) fn job_size_max(&self) -> u32 {
        self.facts.job_size_max
    }

    /// Serves a client until it leaves.
    pub(super) async fn serve(self: Arc<Self>, stream: Stream) {
        if self.life.is_over() || self.turns_away.load(Ordering::Relaxed) {
            // Nobody could answer it: it finds another member, or this one again in a moment.
            tracing::debug!("turned away");
            return;
        }
        if self.is_crowded() {
            return;
        }
        let number = self.next_number();
        let reply_bytes = u64::from(self.facts.job_size_max);
        let memory = Arc::clone(&self.memory);
        let connection = Arc::new(Connection::new(number, stream, memory, reply_bytes));
        self.clients.lock().insert(number, Client::Connection(Arc::clone(&connection)));
        self.local.unopened.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(connection = number.0, "connected");
        let end = match Arc::clone(&connection).serve(Arc::clone(&self)).await {
            Served::Ended(end) => end,
            Served::BecomesTrunk(rest) => {
                // What it carries is counted, and not what carries it.
                self.local.unopened.fetch_sub(1, Ordering::Relaxed);
                connection.with_line(|line| line.is_trunk = true);
                let trunk = Arc::new(Trunk::new(Arc::clone(&connection), &self));
                trunk.serve(&self, rest).await
            }
        };
        self.leave(&connection);
        tracing::debug!(connection = number.0, ?end, "gone");
    }

    fn next_number(&self) -> ConnectionNumber {
        ConnectionNumber(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// A trunk has one channel more. Returns its number in this life.
    pub(super) fn add_channel(&self, trunk: &Arc<Trunk>) -> ConnectionNumber {
        let number = self.next_number();
        self.channels.fetch_add(1, Ordering::Relaxed);
        self.clients.lock().insert(number, Client::Channel(Arc::clone(trunk)));
        number
    }

    /// A trunk has one channel less.
    pub(super) fn remove_channel(&self, number: ConnectionNumber) {
        if self.clients.lock().remove(&number).is_some() {
            self.channels.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether there is memory for a channel more: all together have half of what connections have, so
    /// that a client that needs one connection for thousands leaves room for others.
    pub(super) fn has_room_for_channel(&self) -> bool {
        let bytes = (self.channels.load(Ordering::Relaxed) + 1) * CHANNEL_BYTES;
        bytes <= self.memory.connections.limit / 2 && !self.is_short_of_memory()
    }

    /// A channel awaits so many bodies now, and not as many as before.
    pub(super) fn await_bodies(&self, before: usize, bodies: usize) {
        match bodies > before {
            true => self.bodies.fetch_add((bodies - before) as u64, Ordering::Relaxed),
            false => self.bodies.fetch_sub((before - bodies) as u64, Ordering::Relaxed),
        };
    }

    /// Whether there is memory for a body more on its way to channels: all together have a part of what
    /// connections have, as if each body were as long as one can be.
    pub(super) fn has_room_for_body(&self) -> bool {
        let bodies = self.bodies.load(Ordering::Relaxed) + 1;
        let bytes = bodies * u64::from(self.facts.job_size_max);
        bytes <= self.memory.connections.limit / BODIES_PART && !self.is_short_of_memory()
    }

    /// With more unsent output than this, bytes, a trunk is closed. What is asked for under
    /// [`Self::has_room_for_body`] fits: jobs that were waited for are what brings it there. A buffer
    /// grows to twice its size, and two of these must not use up the memory for connections.
    pub(super) fn trunk_output_bytes_max(&self) -> usize {
        let part = self.memory.connections.limit / BODIES_PART;
        usize::try_from(part)
            .unwrap_or(usize::MAX)
            .saturating_add(TRUNK_OUTPUT_BYTES_MAX + TRUNK_OUTPUT_BYTES_MAX / 4)
    }

    /// This member's number.
    pub(super) fn member(&self) -> u64 {
        self.life.member().0
    }

    /// Counts `bytes` among what connections have in memory, in the place of `counted`.
    pub(super) fn count(&self, counted: &mut u64, bytes: u64) {
        let before = std::mem::replace(counted, bytes);
        match bytes > before {
            true => self.memory.connections.add(bytes - before),
            false => self.memory.connections.remove(before - bytes),
        }
    }

    /// Whether connections have too much in memory.
    pub(super) fn is_short_of_memory(&self) -> bool {
        self.memory.connections.is_over()
    }

    /// Sends an op on its way into the log.
    pub(super) fn submit(&self, op: Op) {
        self.outbox.push(op);
    }

    /// Asks for the leader's word that the queue is up to date, for `connection` to read it.
    pub(super) fn want_read(&self, connection: ConnectionNumber, ask: Ask) {
        self.reads.push(connection, ask);
    }

    /// Whether clients may be answered at this moment.
    pub(super) fn may_speak(&self) -> bool {
        self.lease.standing() == Standing::Sound
    }

    /// Whether what clients ask for is done at this moment, or would wait.
    pub(super) fn keeps_up(&self) -> bool {
        self.lease.keeps_up()
    }

    /// Whether the server is on its way out.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Takes on no more commands; completes when what was taken on has been answered and every
    /// connection is closed.
    pub(super) async fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        loop {
            let emptied = self.emptied.notified();
            {
                let clients = self.clients.lock();
                if clients.is_empty() {
                    return;
                }
                clients.values().for_each(Client::wake);
            }
            emptied.await;
        }
    }

    /// What becomes of a put with a body of so many bytes that has waited for so long. Room on the disk is taken if it is admitted.
    pub(super) fn judge_put(&self, body_bytes: usize, waited: Duration) -> PutVerdict {
        if self.is_draining() {
            return PutVerdict::Refused(Reply::Draining);
        }
        match self.admission.judge(body_bytes, waited) {
            Verdict::TooEarly => PutVerdict::TooEarly,
            Verdict::Waits => PutVerdict::Waits,
            Verdict::Admitted if self.has_disk_for(body_bytes) => PutVerdict::Admitted,
            Verdict::Admitted | Verdict::Refused => PutVerdict::Refused(Reply::OutOfMemory),
        }
    }

    fn has_disk_for(&self, body_bytes: usize) -> bool {
        self.facts.storage.admits(body_bytes) || planted::is(Bug::FullDiskIgnored)
    }

    /// Room for clients.
    pub(super) fn slots(&self) -> &Arc<Slots> {
        &self.slots
    }

    /// The gate for puts.
    pub(super) fn admission(&self) -> &Admission {
        &self.admission
    }

    /// How long the process has been running.
    pub(super) fn uptime(&self) -> Duration {
        self.facts.uptime()
    }

    /// Whether there is no memory for another connection.
    fn is_crowded(&self) -> bool {
        let clients = self.clients.lock().len() as u64;
        let count = clients.saturating_sub(self.channels.load(Ordering::Relaxed));
        let is_crowded = (count + 1) * CONNECTION_BYTES > self.memory.connections.limit;
        if is_crowded && !self.told_crowd.swap(true, Ordering::Relaxed) {
            tracing::warn!(count, "there is no memory for more connections: they are closed");
        }
        if !is_crowded {
            self.told_crowd.store(false, Ordering::Relaxed);
        }
        is_crowded
    }

    /// Turns away who connects, or no more.
    pub(super) fn turn_away(&self, turns_away: bool) {
        self.turns_away.store(turns_away, Ordering::Relaxed);
    }

    /// Takes no more jobs, for good.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed) || self.recovering.load(Ordering::Relaxed)
    }

    /// After so many lives that ended soon after they began, begins to be careful: takes no jobs until
    /// there is room for them. Says whether.
    pub(super) fn recovers(&self, short_lives: u32) -> bool {
        let recovers = short_lives >= SHORT_LIVES_MAX && !self.memory.is_roomy();
        if recovers {
            tracing::warn!(
                target: "beanpole",
                short_lives,
                "the last lives of this server were all shorter than a minute, and jobs take up much \
                 memory: it takes no more of them until half of that is free"
            );
            self.recovering.store(true, Ordering::Relaxed);
            self.memory.set_careful(true);
        }
        recovers
    }

    /// Completes when there is room for jobs again, and they are taken.
    pub(super) async fn recover(&self) {
        while !self.memory.is_roomy() {
            tokio::time::sleep(RECOVERY_LOOK).await;
        }
        self.memory.set_careful(false);
        self.recovering.store(false, Ordering::Relaxed);
        tracing::info!(target: "beanpole", "there is room in memory: jobs are taken again");
    }

    fn leave(&self, connection: &Connection) {
        let number = connection.number();
        connection.with_line(|line| {
            if line.pipeline.is_numbered() && !planted::is(Bug::CloseForgotten) {
                let turn = crate::queue::Turn(0);
                let action = crate::queue::Action::Close;
                self.submit(Op::plain(number, turn, action));
            }
            if !line.opened && !line.is_trunk {
                self.local.unopened.fetch_sub(1, Ordering::Relaxed);
            }
            if (!line.pipeline.is_numbered() || line.turned_down) && !line.is_trunk {
                self.local.never_opened.fetch_add(1, Ordering::Relaxed);
            }
            line.pipeline.forget_refused(&self.local);
            connection.uncount(line);
        });
        let mut clients = self.clients.lock();
        clients.remove(&number);
        if clients.is_empty() {
            self.emptied.notify_waiters();
        }
    }

    fn find(&self, number: ConnectionNumber) -> Option<Client> {
        self.clients.lock().get(&number).cloned()
    }

    fn touch(&self, connection: Arc<Connection>, line: &mut Line) {
        if !line.touched {
            line.touched = true;
            self.touched.lock().push(Client::Connection(connection));
        }
    }

    fn touch_trunk(&self, trunk: Arc<Trunk>) {
        self.touched.lock().push(Client::Channel(trunk));
    }

    fn context(&self, number: ConnectionNumber, now: LogicalTime) -> ReadContext<'_> {
        let Signature { member, incarnation } = self.life.signature();
        let session = SessionId { member, incarnation, connection: number };
        let draining = self.is_draining();
        let Self { local, facts, lists, .. } = self;
        ReadContext { session, now, local, facts, draining, lists }
    }
}

impl Owner for Hub {
    fn before_op(&self, queue: &Queue, now: LogicalTime, number: ConnectionNumber) {
        let context = self.context(number, now);
        let connection = match self.find(number) {
            Some(Client::Connection(connection)) => connection,
            Some(Client::Channel(trunk)) => return trunk.before_op(self, queue, &context),
            None => return,
        };
        connection.with_line(|line| {
            line.pipeline.settle(queue, &context);
            line.turned_down = !queue.admits(context.session);
            if !line.opened && !line.turned_down {
                line.opened = true;
                self.local.unopened.fetch_sub(1, Ordering::Relaxed);
            }
        });
    }

    fn outcome(&self, number: ConnectionNumber, outcome: Outcome) {
        let connection = match self.find(number) {
            Some(Client::Connection(connection)) => connection,
            Some(Client::Channel(trunk)) => {
                if trunk.outcome(self, number, outcome) {
                    self.touch_trunk(trunk);
                }
                return;
            }
            None => return,
        };
        connection.with_line(|line| {
            if connection.is_broken() {
                return;
            }
            let ops = line.pipeline.outcome(outcome, &self.local);
            ops.into_iter().for_each(|op| self.submit(op));
            self.touch(Arc::clone(&connection), line);
        });
    }

    fn answer_reads(&self, queue: &Queue, now: LogicalTime, asked: (ConnectionNumber, Ask)) {
        let (number, ask) = asked;
        let connection = match self.find(number) {
            Some(Client::Connection(connection)) => connection,
            Some(Client::Channel(trunk)) => {
                if trunk.answer_reads(self, queue, &self.context(number, now), ask) {
                    self.touch_trunk(trunk);
                }
                return;
            }
            None => return,
        };
        connection.with_line(|line| {
            if !line.pipeline.settle_asked(queue, &self.context(number, now), ask) {
                self.lists.park(&connection);
            }
            // The next one may find that there is too much already.
            connection.count(line);
            self.touch(Arc::clone(&connection), line);
        });
    }

    fn send_replies(&self) {
        if !self.may_speak() {
            return;
        }
        let touched = std::mem::take(&mut *self.touched.lock());
        for client in touched {
            match client {
                Client::Channel(trunk) => trunk.flush(self),
                Client::Connection(connection) => {
                    if let Some(ask) = connection.flush() {
                        self.want_read(connection.number(), ask);
                    }
                }
            }
        }
    }

    fn speak_again(&self) {
        self.send_replies();
        self.clients.lock().values().for_each(Client::wake);
    }

    fn close_all(&self) {
        {
            let clients = self.clients.lock();
            tracing::debug!(clients = clients.len(), "all clients are closed");
            clients.values().for_each(Client::cut);
        }
        self.touched.lock().clear();
    }
}
