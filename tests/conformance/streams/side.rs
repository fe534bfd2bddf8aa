//! One of the two servers of a stream, and its connections.

use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::canonical::Reply;
use super::line::Input;
use crate::support::{Client, Contender, Host, PATIENCE, ServerOptions, now};

/// How long to look for a reply before asking whether the connection waits.
const GLANCE: Duration = Duration::from_millis(1);

/// One thing that happens in a stream.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Commands that are answered at once, in packets that end at these places.
    Send { connection: usize, input: Input, splits: Vec<usize> },
    /// A `reserve` that may wait.
    Reserve { connection: usize, timeout: Option<u32> },
    /// The connection ends in this way, and a new one takes its place.
    Leave { connection: usize, way: Leaving },
    /// The server enters drain mode.
    Drain,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Leaving {
    Close,
    HalfClose,
    Quit,
}

/// What a step brought about: replies by connection.
pub(super) type Events = Vec<(usize, Reply)>;

/// A server and its connections.
pub(super) struct Side {
    host: Host,
    /// Asks how things stand, and does nothing else.
    control: Client,
    clients: Vec<Client>,
    /// The connections whose reserve waits, in order of their numbers.
    waiting: Vec<usize>,
    /// The ids of the jobs, in the order in which they were put.
    ids: Vec<u64>,
}

impl Side {
    /// A fresh server with so many connections.
    pub(super) fn start(contender: Contender, flags: &[&str], connection_count: usize) -> Self {
        let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        let mut host = Host::start(contender, ServerOptions { flags, ..Default::default() });
        let control = open(&mut host, 0);
        let clients = (0..connection_count).map(|number| open(&mut host, number)).collect();
        let mut side = Self { host, control, clients, waiting: Vec::new(), ids: Vec::new() };
        side.wait_for_connections();
        side
    }

    /// The number of jobs that were put.
    pub(super) fn job_count(&self) -> usize {
        self.ids.len()
    }

    /// The connections whose reserve waits.
    pub(super) fn waiting(&self) -> &[usize] {
        &self.waiting
    }

    /// Carries out `step` and collects all replies that it brings about.
    pub(super) fn perform(&mut self, step: &Step) -> Events {
        let mut events = Events::new();
        match step {
            Step::Send { connection, input, splits } => {
                self.send(*connection, &input.render(&self.ids), splits);
                for _ in 0..input.reply_count {
                    events.push((*connection, self.reply(*connection)));
                }
            }
            Step::Reserve { connection, timeout } => {
                events.extend(self.reserve(*connection, *timeout));
            }
            Step::Leave { connection, way } => events.extend(self.leave(*connection, *way)),
            Step::Drain => self.drain(),
        }
        self.collect_woken(&mut events);
        events
    }

    fn send(&mut self, connection: usize, bytes: &[u8], splits: &[usize]) {
        let mut start = 0;
        for &split in splits {
            let end = split.clamp(start, bytes.len());
            self.deliver(connection, &bytes[start..end]);
            start = end;
        }
        self.deliver(connection, &bytes[start..]);
    }

    fn deliver(&mut self, connection: usize, bytes: &[u8]) {
        // A server that has closed the connection is found out when the reply is missing.
        drop(self.clients[connection].send(bytes));
    }

    fn reply(&mut self, connection: usize) -> Reply {
        match self.clients[connection].reply(PATIENCE) {
            Some(reply) => Reply::read(&reply, &mut self.ids),
            None => Reply::Nothing,
        }
    }

    /// Sends a reserve and finds out whether it is answered or waits.
    fn reserve(&mut self, connection: usize, timeout: Option<u32>) -> Option<(usize, Reply)> {
        let line = match timeout {
            Some(seconds) => format!("reserve-with-timeout {seconds}\r\n"),
            None => "reserve\r\n".to_owned(),
        };
        self.deliver(connection, line.as_bytes());
        let deadline = now() + PATIENCE;
        while now() < deadline {
            if !self.clients[connection].unread().is_empty()
                || self.clients[connection].receive(GLANCE)
            {
                return Some((connection, self.reply(connection)));
            }
            if self.stat("current-waiting") == self.waiting.len() + 1 {
                self.waiting.push(connection);
                self.waiting.sort_unstable();
                return None;
            }
        }
        Some((connection, Reply::Nothing))
    }

    /// Ends the connection and opens another in its place.
    fn leave(&mut self, connection: usize, way: Leaving) -> Events {
        let mut events = Events::new();
        let was_waiting = self.waiting.contains(&connection);
        self.waiting.retain(|&other| other != connection);
        match way {
            Leaving::Close => {}
            Leaving::Quit => self.deliver(connection, b"quit\r\n"),
            Leaving::HalfClose => drop(self.clients[connection].half_close()),
        }
        if was_waiting && matches!(way, Leaving::HalfClose) {
            events.push((connection, self.reply(connection)));
        }
        if !matches!(way, Leaving::Close) {
            let is_closed = self.clients[connection].is_closed_within(PATIENCE);
            events.push((connection, if is_closed { Reply::Closed } else { Reply::Nothing }));
        }
        let gone = self.clients.remove(connection);
        drop(gone);
        self.wait_for_connections();
        self.clients.insert(connection, open(&mut self.host, connection));
        self.wait_for_connections();
        events
    }

    fn drain(&mut self) {
        self.host.signal(Signal::USR1);
        self.wait_for("draining", "true");
    }

    /// Collects the replies of reserves that no longer wait.
    fn collect_woken(&mut self, events: &mut Events) {
        let deadline = now() + PATIENCE;
        while !self.waiting.is_empty() && self.stat("current-waiting") < self.waiting.len() {
            for connection in self.waiting.clone() {
                if self.clients[connection].receive(GLANCE) {
                    let reply = self.reply(connection);
                    events.push((connection, reply));
                    self.waiting.retain(|&other| other != connection);
                }
            }
            if now() >= deadline {
                events.push((self.waiting[0], Reply::Nothing));
                return;
            }
        }
    }

    /// Waits until the server has seen all connections come and go.
    fn wait_for_connections(&mut self) {
        let count = self.clients.len() + 1;
        self.wait_for("current-connections", &count.to_string());
    }

    fn wait_for(&mut self, name: &str, value: &str) {
        let deadline = now() + PATIENCE;
        while self.stat_text(name) != value {
            assert!(now() < deadline, "{name} does not become {value}; {}", self.host.log());
            thread::sleep(GLANCE);
        }
    }

    fn stat(&mut self, name: &str) -> usize {
        self.stat_text(name).parse().expect("the field is a number")
    }

    fn stat_text(&mut self, name: &str) -> String {
        let stats = self.control.ask("stats").expect("the server answers `stats`");
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.expect("`stats` has the field").to_owned()
    }
}

/// A connection that has sent a change: all members of a cluster count it.
fn open(host: &mut Host, number: usize) -> Client {
    let mut client = host.connect(number);
    client.ask("use default").expect("the server answers");
    client
}
