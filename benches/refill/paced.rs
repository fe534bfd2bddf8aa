//! Clients at a rate of their own: each puts a job into a tube of its own, reserves it and deletes
//! it, one command at a time, and its next put is due a fixed time after the last one was due,
//! whatever the server does. The latency of a put counts from when it was due: a server that stalls
//! cannot hide the puts that would have come meanwhile.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::phase::{Phase, Phases, Seen};
use crate::common::{Fallible, client::Client, clock, wire::Reply};

/// Far longer than any cycle.
const TTR_SECONDS: u32 = 1000;
/// After a connection that broke.
const CONNECT_AGAIN_AFTER: Duration = Duration::from_millis(50);
const SETTLED_POLL: Duration = Duration::from_millis(5);
/// Puts that became due while the server was flooded are all made up for.
const SETTLED_WITHIN: Duration = Duration::from_secs(300);

/// The load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offered {
    pub(crate) clients: u32,
    /// Of all clients together.
    pub(crate) cycles_a_second: u32,
    /// Of each body.
    pub(crate) size_bytes: u32,
}

/// The clients. They end when dropped.
pub(crate) struct Paced {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Phases>>,
}

struct Shared {
    addresses: Vec<SocketAddr>,
    offered: Offered,
    begin: Instant,
    phase: Mutex<Phase>,
    /// When the put of each client is or was due that is not done yet, in nanoseconds after `begin`.
    due: Vec<AtomicU64>,
    has_ended: AtomicBool,
}

impl Offered {
    /// From one put of a client to its next.
    fn interval(&self) -> Duration {
        Duration::from_secs(self.clients.into()) / self.cycles_a_second
    }
}

impl Paced {
    /// Begins; the clients take the addresses in turn.
    pub(crate) fn start(addresses: Vec<SocketAddr>, offered: Offered, phase: Phase) -> Self {
        let shared = Arc::new(Shared {
            addresses,
            offered,
            begin: clock::now(),
            phase: Mutex::new(phase),
            due: (0..offered.clients).map(|_| AtomicU64::default()).collect(),
            has_ended: AtomicBool::new(false),
        });
        let start = |number| {
            let client = PacedClient::new(Arc::clone(&shared), number);
            thread::spawn(move || client.run())
        };
        let threads = (0..shared.due.len()).map(start).collect();
        Self { shared, threads }
    }

    /// From now on puts count for `phase`. Waits first until those of the phase before are done, so
    /// that its stalls do not count for the next.
    ///
    /// # Errors
    /// When they do not get done.
    pub(crate) fn enter(&self, phase: Phase) -> Fallible<()> {
        self.settle()?;
        *self.shared.phase.lock().expect("no client panics") = phase;
        Ok(())
    }

    /// Ends the clients; what they saw.
    pub(crate) fn finish(mut self) -> Phases {
        self.shared.has_ended.store(true, Ordering::Relaxed);
        let mut all = Phases::new();
        for thread in self.threads.drain(..) {
            let seen = thread.join().expect("a client's panic is a bug of the bench");
            for (phase, seen) in seen {
                all.entry(phase).or_default().add(seen);
            }
        }
        all
    }

    /// Waits until no client is behind by more than one put.
    ///
    /// # Errors
    /// When one stays behind.
    pub(crate) fn settle(&self) -> Fallible<()> {
        let began = clock::now();
        let oldest = || self.shared.due.iter().map(|due| due.load(Ordering::Relaxed)).min();
        loop {
            let oldest = Duration::from_nanos(oldest().unwrap_or_default());
            let behind = (clock::now() - self.shared.begin).saturating_sub(oldest);
            if behind <= self.shared.offered.interval() {
                return Ok(());
            }
            if clock::now() - began > SETTLED_WITHIN {
                return Err(format!("the rate is not held: a client is {behind:.1?} behind").into());
            }
            thread::sleep(SETTLED_POLL);
        }
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic of it has been printed.
            drop(thread.join());
        }
    }
}

struct PacedClient {
    shared: Arc<Shared>,
    number: usize,
    /// After `begin`.
    due: Duration,
    /// Connections so far, of which each has a tube of its own: what a broken one left stays there.
    epoch: u64,
    seen: Phases,
}

impl PacedClient {
    fn new(shared: Arc<Shared>, number: usize) -> Self {
        // Evenly over the interval, or all would come at once.
        let place = u32::try_from(number).expect("it is one of u32 clients");
        let due = shared.offered.interval() * place / shared.offered.clients;
        Self { shared, number, due, epoch: 0, seen: Phases::new() }
    }

    fn run(mut self) -> Phases {
        while !self.has_ended() {
            self.epoch += 1;
            if let Err(error) = self.work() {
                let place = self.number % self.shared.addresses.len();
                let what = format!("at {}: {error}", self.shared.addresses[place]);
                self.seen().error(what);
                thread::sleep(CONNECT_AGAIN_AFTER);
            }
        }
        self.seen
    }

    /// Goes on until the end, or until something is wrong.
    fn work(&mut self) -> Fallible<()> {
        let address = self.shared.addresses[self.number % self.shared.addresses.len()];
        let mut client = Client::connect(address)?;
        let tube = format!("paced{}-{}", self.number, self.epoch);
        client.send(format!("use {tube}\r\nwatch {tube}\r\nignore default\r\n").as_bytes())?;
        for awaited in ["USING ", "WATCHING 2", "WATCHING 1"] {
            match client.receive()? {
                Reply::Line(line) if line.starts_with(awaited.as_bytes()) => {}
                other => return Err(format!("not {awaited}, but {}", told(other)).into()),
            }
        }
        while !self.has_ended() {
            thread::sleep(self.due.saturating_sub(clock::now() - self.shared.begin));
            let worked = self.cycle(&mut client);
            self.due += self.shared.offered.interval();
            let nanoseconds = u64::try_from(self.due.as_nanos()).unwrap_or(u64::MAX);
            self.shared.due[self.number].store(nanoseconds, Ordering::Relaxed);
            worked?;
        }
        Ok(())
    }

    fn cycle(&mut self, client: &mut Client) -> Fallible<()> {
        let size = usize::try_from(self.shared.offered.size_bytes)?;
        let body = "x".repeat(size);
        let put = format!("put 0 0 {TTR_SECONDS} {size}\r\n{body}\r\n");
        let sent = clock::now();
        client.send(put.as_bytes())?;
        let id = match client.receive()? {
            Reply::Inserted(id) => id,
            Reply::Line(b"OUT_OF_MEMORY" | b"DRAINING") => {
                self.seen().refused += 1;
                return Ok(());
            }
            other => return Err(format!("a put was answered {}", told(other)).into()),
        };
        let answered = clock::now();
        let from_due = (answered - self.shared.begin).saturating_sub(self.due);
        self.seen().put(from_due, answered - sent);
        client.send(b"reserve\r\n")?;
        match client.receive()? {
            Reply::Reserved { id: reserved, body: same }
                if reserved == id && same == body.as_bytes() => {}
            other => {
                return Err(
                    format!("job {id} was put, and a reserve answered {}", told(other)).into()
                );
            }
        }
        client.send(format!("delete {id}\r\n").as_bytes())?;
        match client.receive()? {
            Reply::Deleted => Ok(()),
            other => Err(format!("delete {id} was answered {}", told(other)).into()),
        }
    }

    fn seen(&mut self) -> &mut Seen {
        let phase = *self.shared.phase.lock().expect("no client panics");
        self.seen.entry(phase).or_default()
    }

    fn has_ended(&self) -> bool {
        self.shared.has_ended.load(Ordering::Relaxed)
    }
}

/// A reply, without the bytes of its body.
fn told(reply: Reply<'_>) -> String {
    match reply {
        Reply::Line(line) => String::from_utf8_lossy(line).into_owned(),
        Reply::Reserved { id, body } => format!("RESERVED {id} {}", body.len()),
        Reply::Inserted(_) | Reply::Deleted => format!("{reply:?}"),
        Reply::Ok(data) => format!("OK {}", data.len()),
    }
}
