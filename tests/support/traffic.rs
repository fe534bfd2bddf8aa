//! Steady load on a cluster: connections that put, reserve and delete, and write down what they
//! are told.
//!
//! A connection sends so many puts in one write, takes the replies, then as many reserves, then the
//! deletes of what it got. The tube is shared. Before a connection reserves, it has put as many
//! jobs itself: there is always one for everybody, sooner or later.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::history::{Event, History, What};
use super::{Client, PATIENCE, now};

/// Keys of one client: the place of its number in the key.
const CLIENT_SHIFT: u32 = 32;
/// Before a client whose connection broke tries another member.
const RECONNECT_AFTER: Duration = Duration::from_millis(10);
const KEY_DIGITS: usize = 16;

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Members, taken in turn.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) connections: usize,
    /// Commands of one kind that a connection has under way.
    pub(crate) depth: usize,
    pub(crate) tube: String,
    /// Of all jobs; longer than the run, or a job may be handed out again.
    pub(crate) ttr: Duration,
}

impl Load {
    /// A load on these members: eight connections, one command at a time.
    pub(crate) fn on(addresses: Vec<SocketAddr>) -> Self {
        let tube = "load".to_owned();
        Self { addresses, connections: 8, depth: 1, tube, ttr: Duration::from_secs(1000) }
    }
}

/// Load under way. Stopped when dropped.
#[derive(Debug)]
pub(crate) struct Traffic {
    load: Load,
    began: Instant,
    stop: Arc<AtomicBool>,
    writes: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Vec<Event>>>,
}

impl Traffic {
    /// Starts it.
    pub(crate) fn start(load: &Load) -> Self {
        let began = now();
        let stop = Arc::new(AtomicBool::new(false));
        let writes = Arc::new(AtomicU64::new(0));
        let threads = (0..load.connections)
            .map(|number| {
                let (stop, writes) = (Arc::clone(&stop), Arc::clone(&writes));
                let client = TrafficClient::new(load.clone(), number, began, stop, writes);
                thread::spawn(move || client.run())
            })
            .collect();
        Self { load: load.clone(), began, stop, writes, threads }
    }

    /// The time on the clock of the history.
    pub(crate) fn clock(&self) -> Duration {
        now() - self.began
    }

    /// Writes acknowledged so far.
    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Waits until so many more writes were acknowledged.
    ///
    /// # Errors
    ///
    /// When they were not within `limit`.
    pub(crate) fn wait_for_writes(&self, more: u64, limit: Duration) -> Result<(), String> {
        let (start, deadline) = (self.writes(), now() + limit);
        while self.writes() < start + more {
            if now() >= deadline {
                let done = self.writes() - start;
                return Err(format!("{done} of {more} writes within {limit:?}"));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Lets each connection finish what it has begun, empties the tube through `client`, and
    /// returns all that happened.
    ///
    /// # Errors
    ///
    /// When the tube does not get empty.
    pub(crate) fn finish(mut self, client: &mut Client) -> Result<History, String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut history = History::default();
        for thread in self.threads.drain(..) {
            history.add(thread.join().map_err(|_| "a client has panicked".to_owned())?);
        }
        history.add(drain(client, &self.load.tube, self.began)?);
        Ok(history)
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Reserves and deletes all jobs of a tube, and those that are still to come back from connections
/// that have ended.
///
/// # Errors
///
/// When the tube does not get empty, or a command is refused.
fn drain(client: &mut Client, tube: &str, began: Instant) -> Result<Vec<Event>, String> {
    let asked = |client: &mut Client, command: &str| {
        client.ask(command).map_err(|error| format!("{command}: {error}"))
    };
    let mut events = Vec::new();
    asked(client, &format!("watch {tube}"))?;
    let deadline = now() + PATIENCE;
    loop {
        let begun = now() - began;
        let reply = asked(client, "reserve-with-timeout 0")?;
        if reply.starts_with("RESERVED ") {
            let (id, key) = job_of(reply.as_bytes())?;
            let ended = now() - began;
            events.push(Event { connection: 0, begun, ended, what: What::Handed { key, id } });
            let reply = asked(client, &format!("delete {id}"))?;
            if reply != "DELETED" {
                return Err(format!("delete {id} is answered {reply}"));
            }
            let (begun, ended) = (ended, now() - began);
            events.push(Event { connection: 0, begun, ended, what: What::Deleted { id } });
            continue;
        }
        let stats = asked(client, &format!("stats-tube {tube}"))?;
        let jobs = stats.lines().filter(|line| {
            let counted = ["ready", "reserved", "delayed", "buried"];
            counted.iter().any(|state| {
                let count = line.strip_prefix(&format!("current-jobs-{state}: "));
                count.is_some_and(|count| count != "0")
            })
        });
        if jobs.count() == 0 {
            // Whoever goes on with this connection starts where it was.
            asked(client, &format!("ignore {tube}"))?;
            return Ok(events);
        }
        if now() >= deadline {
            return Err(format!("the tube does not get empty: {stats}"));
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// The bytes of a put of the job with this key.
fn put_command(key: u64, ttr: Duration) -> Vec<u8> {
    let body = format!("{key:0KEY_DIGITS$x}");
    format!("put 0 0 {} {}\r\n{body}\r\n", ttr.as_secs(), body.len()).into_bytes()
}

/// The key in a body.
fn key_of_body(body: &str) -> Option<u64> {
    u64::from_str_radix(body.get(..KEY_DIGITS)?, 16).ok()
}

/// Id and key in a reply of `RESERVED`.
fn job_of(reply: &[u8]) -> Result<(u64, u64), String> {
    let text = String::from_utf8_lossy(reply);
    let job = || {
        let (line, body) = text.strip_prefix("RESERVED ")?.split_once("\r\n")?;
        Some((line.split_once(' ')?.0.parse().ok()?, key_of_body(body)?))
    };
    job().ok_or_else(|| format!("a reserve is answered {text}"))
}

/// One client, which connects again when its connection breaks.
struct TrafficClient {
    load: Load,
    number: usize,
    began: Instant,
    stop: Arc<AtomicBool>,
    writes: Arc<AtomicU64>,
    /// Jobs put so far, which also names the next one.
    puts: u64,
    /// Connections so far.
    epoch: u64,
    events: Vec<Event>,
}

impl TrafficClient {
    fn new(
        load: Load,
        number: usize,
        began: Instant,
        stop: Arc<AtomicBool>,
        writes: Arc<AtomicU64>,
    ) -> Self {
        Self { load, number, began, stop, writes, puts: 0, epoch: 0, events: Vec::new() }
    }

    fn run(mut self) -> Vec<Event> {
        while !self.is_over() {
            self.epoch += 1;
            let worked = self.connect().and_then(|mut client| {
                let worked = self.work(&mut client);
                drop(client);
                // The connection is gone for the server at the earliest now.
                let at = self.clock();
                self.note(at, What::Left);
                worked
            });
            if let Err(error) = worked {
                self.note(self.clock(), What::Trouble(error.to_string()));
                thread::sleep(RECONNECT_AFTER);
            }
        }
        self.events
    }

    fn connect(&self) -> io::Result<Client> {
        let turn = self.number + usize::try_from(self.epoch - 1).unwrap_or_default();
        let mut client = Client::to(self.load.addresses[turn % self.load.addresses.len()])?;
        for command in ["use", "watch"] {
            client.ask(&format!("{command} {}", self.load.tube))?;
        }
        client.ask("ignore default")?;
        Ok(client)
    }

    fn work(&mut self, client: &mut Client) -> io::Result<()> {
        while !self.is_over() {
            self.put(client)?;
            let ids = self.reserve(client)?;
            self.delete(client, &ids)?;
        }
        Ok(())
    }

    fn put(&mut self, client: &mut Client) -> io::Result<()> {
        let depth = self.load.depth as u64;
        let client_key = (self.number as u64 + 1) << CLIENT_SHIFT;
        let keys: Vec<u64> = (self.puts..self.puts + depth).map(|n| client_key | n).collect();
        self.puts += depth;
        let commands: Vec<u8> =
            keys.iter().flat_map(|&key| put_command(key, self.load.ttr)).collect();
        let begun = self.clock();
        let mut answered = 0;
        let result = client.send(&commands).and_then(|()| {
            for &key in &keys {
                let reply = client.reply_line()?;
                let id = reply.strip_prefix("INSERTED ").and_then(|id| id.parse().ok());
                let id = id.ok_or_else(|| wrong("put", &reply))?;
                answered += 1;
                self.note_write(begun, What::Put { key, id });
            }
            Ok(())
        });
        for &key in &keys[answered..] {
            self.note(begun, What::PutUnanswered { key });
        }
        result
    }

    fn reserve(&mut self, client: &mut Client) -> io::Result<Vec<u64>> {
        let begun = self.clock();
        client.send(&b"reserve\r\n".repeat(self.load.depth))?;
        let mut ids = Vec::with_capacity(self.load.depth);
        for _ in 0..self.load.depth {
            let reply = client.reply_line()?;
            let (id, key) = job_of(reply.as_bytes()).map_err(io::Error::other)?;
            self.note(begun, What::Handed { key, id });
            ids.push(id);
        }
        Ok(ids)
    }

    fn delete(&mut self, client: &mut Client, ids: &[u64]) -> io::Result<()> {
        let commands: String = ids.iter().map(|id| format!("delete {id}\r\n")).collect();
        let begun = self.clock();
        let mut answered = 0;
        let result = client.send(commands.as_bytes()).and_then(|()| {
            for &id in ids {
                let reply = client.reply_line()?;
                if reply != "DELETED" {
                    return Err(wrong(&format!("delete {id}"), &reply));
                }
                answered += 1;
                self.note_write(begun, What::Deleted { id });
            }
            Ok(())
        });
        for &id in &ids[answered..] {
            self.note(begun, What::DeleteUnanswered { id });
        }
        result
    }

    fn note_write(&mut self, begun: Duration, what: What) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.note(begun, what);
    }

    fn note(&mut self, begun: Duration, what: What) {
        let connection = (self.number as u64 + 1) << CLIENT_SHIFT | self.epoch;
        let ended = self.clock();
        self.events.push(Event { connection, begun, ended, what });
    }

    fn clock(&self) -> Duration {
        now() - self.began
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

fn wrong(command: &str, reply: &str) -> io::Error {
    io::Error::other(format!("{command} is answered {reply}"))
}
