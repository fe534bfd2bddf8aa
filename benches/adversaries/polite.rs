//! Clients that behave well: each puts a job into a tube of its own, reserves it and deletes it, a
//! cycle every few milliseconds. What an adversary does to them is what is measured.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use hdrhistogram::Histogram;

use crate::common::{Fallible, client::Client, clock, section::Section, wire::Reply};

const CLIENTS: usize = 8;
const CYCLE: Duration = Duration::from_millis(10);
const BODY_BYTES: usize = 256;
/// After a put that was refused.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);
const HISTOGRAM_DIGITS: u8 = 3;
const P99_MAX: Duration = Duration::from_millis(50);

/// Eight clients. They end when dropped.
pub(crate) struct Polite {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    has_ended: AtomicBool,
    seen: Mutex<Seen>,
}

struct Seen {
    puts: Histogram<u64>,
    others: Histogram<u64>,
    cycles: u64,
    refused: u64,
    trouble: Option<String>,
}

impl Default for Seen {
    fn default() -> Self {
        let empty = || Histogram::new(HISTOGRAM_DIGITS).expect("so many digits are allowed");
        Self { puts: empty(), others: empty(), cycles: 0, refused: 0, trouble: None }
    }
}

impl Polite {
    /// Connects and begins.
    ///
    /// # Errors
    /// When there is no connection.
    pub(crate) fn start(address: SocketAddr) -> Fallible<Self> {
        let shared = Arc::new(Shared::default());
        let mut polite = Self { shared, threads: Vec::new() };
        for number in 0..CLIENTS {
            let client = connect(address, number)?;
            let shared = Arc::clone(&polite.shared);
            polite.threads.push(thread::spawn(move || shared.run(client)));
        }
        Ok(polite)
    }

    /// Adds the rows of the time since this was last called; judged if `has_aim`.
    ///
    /// # Errors
    /// What went wrong for one of the clients.
    pub(crate) fn report(&self, section: &mut Section, when: &str, has_aim: bool) -> Fallible<()> {
        let seen = std::mem::take(&mut *self.shared.seen.lock().expect("no client panics"));
        if let Some(trouble) = seen.trouble {
            return Err(format!("a polite client, {when}: {trouble}").into());
        }
        for (name, latency) in [("put", &seen.puts), ("reserve, delete", &seen.others)] {
            let name = format!("{when}: {name}, p50 / p99 / most");
            let at = |quantile| Duration::from_nanos(latency.value_at_quantile(quantile));
            let most = Duration::from_nanos(latency.max());
            let value = format!("{:.1?} / {:.1?} / {most:.1?}", at(0.5), at(0.99));
            if has_aim {
                section.judged(&name, value, "p99 below 50 ms", at(0.99) < P99_MAX);
            } else {
                section.figure(&name, value);
            }
        }
        section.figure(&format!("{when}: cycles"), seen.cycles);
        if seen.refused > 0 {
            section.figure(&format!("{when}: puts refused"), seen.refused);
        }
        Ok(())
    }
}

impl Drop for Polite {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic of it has been printed.
            drop(thread.join());
        }
    }
}

impl Shared {
    fn run(&self, mut client: Client) {
        let mut next = clock::now();
        while !self.has_ended.load(Ordering::Relaxed) {
            if let Err(error) = self.cycle(&mut client) {
                self.seen.lock().expect("no client panics").trouble = Some(error.to_string());
                return;
            }
            next = clock::now().max(next + CYCLE);
            thread::sleep(next - clock::now());
        }
    }

    fn cycle(&self, client: &mut Client) -> Fallible<()> {
        let body = "x".repeat(BODY_BYTES);
        let put = format!("put 0 0 1000 {BODY_BYTES}\r\n{body}\r\n");
        let (put, took) = timed(client, put.as_bytes())?;
        let Answer::Job(id) = put else {
            self.seen.lock().expect("no client panics").refused += 1;
            thread::sleep(REFUSED_PAUSE);
            return Ok(());
        };
        self.record(|seen| &mut seen.puts, took);
        let (reserved, took) = timed(client, b"reserve\r\n")?;
        self.record(|seen| &mut seen.others, took);
        let (deleted, took) = timed(client, format!("delete {id}\r\n").as_bytes())?;
        self.record(|seen| &mut seen.others, took);
        if reserved != Answer::Job(id) || deleted != Answer::Deleted {
            return Err(format!("job {id}: {reserved:?}, {deleted:?}").into());
        }
        self.seen.lock().expect("no client panics").cycles += 1;
        Ok(())
    }

    /// A stall counts for each command that would have been sent meanwhile.
    fn record(&self, of: impl Fn(&mut Seen) -> &mut Histogram<u64>, took: Duration) {
        let nanoseconds =
            |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let mut seen = self.seen.lock().expect("no client panics");
        of(&mut seen)
            .record_correct(nanoseconds(took), nanoseconds(CYCLE))
            .expect("it grows with what it records");
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Job(u64),
    Deleted,
    Refused,
}

fn connect(address: SocketAddr, number: usize) -> Fallible<Client> {
    let mut client = Client::connect(address)?;
    let tube = format!("polite{number}");
    client.send(format!("use {tube}\r\nwatch {tube}\r\nignore default\r\n").as_bytes())?;
    for _ in 0..3 {
        client.receive()?;
    }
    Ok(client)
}

fn timed(client: &mut Client, command: &[u8]) -> Fallible<(Answer, Duration)> {
    let sent = clock::now();
    client.send(command)?;
    let answer = match client.receive()? {
        Reply::Inserted(id) | Reply::Reserved { id, .. } => Answer::Job(id),
        Reply::Deleted => Answer::Deleted,
        Reply::Line(b"OUT_OF_MEMORY" | b"DRAINING") => Answer::Refused,
        other => return Err(format!("answered with {other:?}").into()),
    };
    Ok((answer, clock::now() - sent))
}
