//! The load generator: one thread, one epoll set, closed loop. Each connection has one batch of
//! commands of one kind under way.
//!
//! A run has a warm-up, a measured window, and an end in which each connection finishes its round,
//! so that the jobs can be counted. What arrives outside the window is checked and not measured.

use std::{os::fd::OwnedFd, time::Duration, time::Instant};

use hdrhistogram::Histogram;
use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
};

use super::{
    batch::Step,
    cell::{Cell, Workload},
    connection::{Connection, LoadError, Requests},
    ledger::Ledger,
};
use crate::common::{
    clock,
    server::{Server, ServerError},
};

const SCRATCH_BYTES: usize = 256 * 1024;
const EVENTS_MAX: usize = 1024;
const STALL_SECONDS: u64 = 30;
const LATENCY_NS_MAX: u64 = 120_000_000_000;
/// Rounds that each connection should get on average before the window may end: with many commands
/// under way a slow server would otherwise be measured in only one kind of command.
const ROUNDS_MIN: u64 = 2;
/// The window is never stretched beyond this many times its length.
const STRETCH_MAX: u32 = 6;

/// How long to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) warmup: Duration,
    pub(crate) window: Duration,
}

/// What one run of one cell on one server gave.
#[derive(Clone)]
pub(crate) struct Measure {
    /// Commands answered inside the window.
    pub(crate) commands: u64,
    /// The window's true length.
    pub(crate) elapsed: Duration,
    /// Nanoseconds from the start of a batch to the reply, for every command of the window.
    pub(crate) latency: Histogram<u64>,
    /// The server's processor time inside the window.
    pub(crate) server_cpu: Duration,
    /// The generator's processor time inside the window.
    pub(crate) generator_cpu: Duration,
    /// The server's resident memory at the end of the window.
    pub(crate) server_resident_bytes: u64,
}

/// The cell could not be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Server(#[from] ServerError),
}

impl From<rustix::io::Errno> for RunError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Load(LoadError::Io(errno.into()))
    }
}

/// Runs one cell against `server` and accounts for its jobs in `ledger`.
///
/// # Errors
/// On the first reply that is not as it should be, and when nothing happens for long.
pub(crate) fn run(
    server: &Server,
    cell: Cell,
    times: Times,
    ledger: &mut Ledger,
) -> Result<Measure, RunError> {
    let mut generator = Generator::new(server, cell, ledger)?;
    generator.start()?;
    // A drain has an end, so none of it is given away; the put before it has warmed the server.
    if cell.workload != Workload::Drain {
        generator.run_until(|generator, now| now >= generator.opened + times.warmup)?;
    }
    let before = Reading::take(server)?;
    generator.forget();
    generator.run_until(|generator, now| generator.window_is_over(before.at, now, times.window))?;
    let after = Reading::take(server)?;
    let measure = Measure {
        commands: generator.commands,
        elapsed: after.at - before.at,
        latency: generator.latency.clone(),
        server_cpu: after.server_cpu.saturating_sub(before.server_cpu),
        generator_cpu: after.generator_cpu - before.generator_cpu,
        server_resident_bytes: server.resident_bytes()?,
    };
    generator.stopping = true;
    generator.run_until(|_, _| false)?;
    Ok(measure)
}

/// Clocks at one end of the window.
struct Reading {
    at: Instant,
    server_cpu: Duration,
    generator_cpu: Duration,
}

impl Reading {
    fn take(server: &Server) -> Result<Self, ServerError> {
        Ok(Self { at: clock::now(), server_cpu: server.cpu()?, generator_cpu: clock::own_cpu() })
    }
}

struct Generator<'a> {
    cell: Cell,
    requests: Requests,
    ledger: &'a mut Ledger,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    connections: Vec<Connection>,
    scratch: Vec<u8>,
    opened: Instant,
    /// Connections that have a batch under way.
    busy: usize,
    /// Jobs that a drain has not asked for yet.
    to_drain: u64,
    /// A connection found nothing left to drain, so the load is no longer as it should be.
    exhausted: bool,
    /// No connection starts another round.
    stopping: bool,
    commands: u64,
    rounds: u64,
    latency: Histogram<u64>,
}

impl<'a> Generator<'a> {
    fn new(server: &Server, cell: Cell, ledger: &'a mut Ledger) -> Result<Self, RunError> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut connections = Vec::with_capacity(cell.shape.connections);
        for index in 0..cell.shape.connections {
            let address = server.address_for(index);
            let connection = Connection::open(address, cell.shape).map_err(LoadError::Io)?;
            epoll::add(&epoll, &connection, epoll::EventData::new_u64(index as u64), READ)?;
            connections.push(connection);
        }
        Ok(Self {
            cell,
            requests: Requests::new(cell.shape),
            to_drain: if cell.workload == Workload::Drain { ledger.left() } else { 0 },
            ledger,
            epoll,
            events: Vec::with_capacity(EVENTS_MAX),
            connections,
            scratch: vec![0; SCRATCH_BYTES],
            opened: clock::now(),
            busy: 0,
            exhausted: false,
            stopping: false,
            commands: 0,
            rounds: 0,
            latency: Histogram::new_with_bounds(1, LATENCY_NS_MAX, 2)
                .expect("the bounds are in order and the digits few"),
        })
    }

    fn start(&mut self) -> Result<(), RunError> {
        for index in 0..self.connections.len() {
            self.begin_round(index)?;
        }
        self.opened = clock::now();
        Ok(())
    }

    /// Lets go of what was measured so far.
    fn forget(&mut self) {
        self.commands = 0;
        self.rounds = 0;
        self.latency.reset();
    }

    fn window_is_over(&self, start: Instant, now: Instant, window: Duration) -> bool {
        let enough_rounds = self.rounds >= ROUNDS_MIN * self.cell.shape.connections as u64;
        let enough_time = self.exhausted || now >= start + window;
        (enough_time && enough_rounds) || now >= start + window * STRETCH_MAX
    }

    /// Serves events until `done` says so, or no connection has anything under way.
    fn run_until(&mut self, done: impl Fn(&Self, Instant) -> bool) -> Result<(), RunError> {
        while self.busy > 0 && !done(self, clock::now()) {
            let mut events = std::mem::take(&mut self.events);
            events.clear();
            let patience = Timespec { tv_sec: STALL_SECONDS as i64, tv_nsec: 0 };
            epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&patience))?;
            if events.is_empty() {
                return Err(LoadError::Stalled(STALL_SECONDS).into());
            }
            for event in &events {
                let index = usize::try_from(event.data.u64()).expect("an index of ours");
                self.serve(index, event.flags)?;
            }
            self.events = events;
        }
        Ok(())
    }

    fn serve(&mut self, index: usize, ready: epoll::EventFlags) -> Result<(), RunError> {
        if ready.contains(epoll::EventFlags::OUT)
            && self.connections[index].go_on_writing(&self.requests)?
        {
            self.watch(index, READ)?;
        }
        if !ready.intersects(!epoll::EventFlags::OUT) {
            return Ok(());
        }
        let connection = &mut self.connections[index];
        let progress = connection.read(&mut self.scratch, &self.requests, self.ledger)?;
        self.commands += progress.replies;
        self.latency.saturating_record_n(progress.latency_ns, progress.replies);
        if !progress.batch_done {
            return Ok(());
        }
        let commands = connection.batch().commands();
        match self.cell.workload.after(connection.batch().step()) {
            Some(next) => self.begin_batch(index, next, commands),
            None => {
                self.rounds += 1;
                self.busy -= 1;
                self.begin_round(index)
            }
        }
    }

    fn begin_round(&mut self, index: usize) -> Result<(), RunError> {
        let mut count = self.cell.shape.depth;
        if self.cell.workload == Workload::Drain {
            count = count.min(usize::try_from(self.to_drain).unwrap_or(usize::MAX));
            self.exhausted |= count == 0;
        }
        if self.stopping || count == 0 {
            return Ok(());
        }
        self.to_drain = self.to_drain.saturating_sub(count as u64);
        self.busy += 1;
        self.begin_batch(index, self.cell.workload.first(), count)
    }

    fn begin_batch(&mut self, index: usize, step: Step, count: usize) -> Result<(), RunError> {
        if !self.connections[index].begin(step, count, &self.requests)? {
            self.watch(index, READ | epoll::EventFlags::OUT)?;
        }
        Ok(())
    }

    fn watch(&self, index: usize, what: epoll::EventFlags) -> Result<(), RunError> {
        let data = epoll::EventData::new_u64(index as u64);
        Ok(epoll::modify(&self.epoll, &self.connections[index], data, what)?)
    }
}

const READ: epoll::EventFlags = epoll::EventFlags::IN;
