//! Clients that do what they like, over a network that loses and delays, in a time of their own.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::server::{Fault, Server, Time};
use crate::clock::Moment;
use crate::history::{
    Body, Command, FORMAT, Head, History, Outcome, Phase, PhaseName, Record, Reply,
};
use crate::invariants::index::Connection;

const CLIENTS: u32 = 16;
const TUBES: [&str; 3] = ["a", "b", "c"];

/// When clients stop, when all that was late has come, and when the drain begins.
const STOP: Time = 20_000;
const QUIET: Time = 30_000;
const DRAIN: Time = 31_000;

/// Of a hundred commands, so many are not answered.
const LOST_PERCENT: u64 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// Time goes on for the server.
    Tick,
    /// A client thinks of something.
    Act { client: u32 },
    /// A command is there.
    Arrive { number: usize },
    /// A reply is there, or the client gives up.
    Return { number: usize },
    /// The server notices that a connection is gone.
    End { by: Connection },
}

/// A command on its way.
struct Call {
    by: Connection,
    invoked: Time,
    command: Command,
    reply: Option<Reply>,
    is_lost: bool,
}

#[derive(Debug, Default)]
struct Client {
    connection: u32,
    /// A job that it believes to hold.
    held: Option<u64>,
}

/// A run from beginning to end.
pub(super) struct Run {
    seed: u64,
    random: u64,
    server: Server,
    events: BinaryHeap<Reverse<(Time, u64, Event)>>,
    order: u64,
    calls: Vec<Call>,
    waiting: BTreeMap<Connection, usize>,
    clients: BTreeMap<u32, Client>,
    known: Vec<u64>,
    last_key: u64,
    /// Puts with keys, in the order in which they were thought of.
    keyed: Vec<Command>,
    records: Vec<Record>,
    /// Where the drain is.
    now: Time,
}

impl Run {
    pub(super) fn new(seed: u64, fault: Fault) -> Self {
        Self {
            seed,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678_9abc_def1),
            server: Server::new(fault),
            events: BinaryHeap::new(),
            order: 0,
            calls: Vec::new(),
            waiting: BTreeMap::new(),
            clients: (1..=CLIENTS).map(|client| (client, Client::default())).collect(),
            known: Vec::new(),
            last_key: 0,
            keyed: Vec::new(),
            records: Vec::new(),
            now: 0,
        }
    }

    /// What the clients were told.
    pub(super) fn history(mut self) -> History {
        for at in (0..QUIET).step_by(10) {
            self.schedule(at, Event::Tick);
        }
        for client in 1..=CLIENTS {
            self.schedule(u64::from(client), Event::Act { client });
        }
        while let Some(Reverse((now, _, event))) = self.events.pop() {
            self.now = now;
            self.happen(event);
        }
        self.look_and_drain();
        let phases = [
            (PhaseName::Warm, 0),
            (PhaseName::Quiet, QUIET - 1),
            (PhaseName::Drain, DRAIN - 1),
            (PhaseName::Over, self.now + 1),
        ];
        let mut history = History {
            head: Head {
                format: FORMAT,
                seed: self.seed,
                members: 1,
                has_keys: true,
                ..Head::default()
            },
            records: self.records,
            phases: phases.map(|(name, at)| Phase { name, at: moment(at) }).to_vec(),
            ..History::default()
        };
        history.sort();
        history
    }

    /// At most this, not included.
    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % bound
    }

    fn schedule(&mut self, at: Time, event: Event) {
        self.order += 1;
        self.events.push(Reverse((at, self.order, event)));
    }

    fn happen(&mut self, event: Event) {
        for (by, reply) in self.server.advance(self.now) {
            self.answer(by, reply);
        }
        match event {
            Event::Tick => {}
            Event::Act { client } => self.act(client),
            Event::Arrive { number } => {
                let by = self.calls[number].by;
                self.waiting.insert(by, number);
                if let Some(reply) = self.server.handle(self.now, by, &self.calls[number].command) {
                    self.answer(by, reply);
                }
            }
            Event::Return { number } => self.take_return(number),
            Event::End { by } => self.server.end(by),
        }
    }

    /// The server answers what this connection asked last.
    fn answer(&mut self, by: Connection, reply: Reply) {
        let Some(number) = self.waiting.remove(&by) else { return };
        self.calls[number].reply = Some(reply);
        if !self.calls[number].is_lost {
            let at = self.now + 1 + self.below(30);
            self.schedule(at, Event::Return { number });
        }
    }

    fn act(&mut self, client: u32) {
        let connection = self.clients[&client].connection;
        if self.now >= STOP {
            return self.schedule(self.now + 1, Event::End { by: (client, connection) });
        }
        if self.below(60) == 0 {
            return self.close(client);
        }
        let command = self.think(client);
        let is_lost = self.below(100) < LOST_PERCENT;
        let number = self.calls.len();
        let by = (client, connection);
        self.calls.push(Call { by, invoked: self.now, command, reply: None, is_lost });
        let way = 1 + self.below(20);
        if !is_lost {
            return self.schedule(self.now + way, Event::Arrive { number });
        }
        // Lost on its way there, or on its way back, or late; and the connection with it.
        let gives_up = self.now + 1 + self.below(300);
        self.schedule(gives_up, Event::Return { number });
        let arrives = self.now + self.below(3_000);
        if self.below(3) > 0 {
            self.schedule(arrives, Event::Arrive { number });
        }
        let ends = arrives + self.below(3_000);
        self.schedule(ends, Event::End { by });
    }

    fn close(&mut self, client: u32) {
        let by = (client, self.clients[&client].connection);
        self.record(by, self.now, Command::Close, Outcome::Replied(Reply::Done));
        let at = self.now + self.below(200);
        self.schedule(at, Event::End { by });
        self.reconnect(client);
    }

    fn reconnect(&mut self, client: u32) {
        let state = self.clients.get_mut(&client).expect("all clients are there");
        state.connection += 1;
        state.held = None;
        let at = self.now + 1 + self.below(50);
        self.schedule(at, Event::Act { client });
    }

    fn think(&mut self, client: u32) -> Command {
        let tube = TUBES[self.below(3) as usize].to_owned();
        let id = self.some_job();
        let priority = self.below(3) as u32;
        if let Some(held) = self.clients[&client].held.filter(|_| self.below(4) > 0) {
            let delay = self.below(6).saturating_sub(3) as u32;
            return match self.below(8) {
                0 | 1 => Command::Touch { id: held },
                2 => Command::Release { id: held, priority, delay },
                3 => Command::Bury { id: held, priority },
                4 => Command::StatsJob { id: held },
                _ => Command::Delete { id: held },
            };
        }
        match self.below(40) {
            0..12 => self.think_of_put(tube, priority),
            12..24 => {
                let tubes = TUBES[..1 + self.below(3) as usize].iter().map(|&tube| tube.to_owned());
                Command::Reserve { tubes: tubes.collect(), timeout: Some(self.below(3) as u32) }
            }
            24 => Command::ReserveJob { id },
            25 => Command::Delete { id },
            26 => Command::KickJob { id },
            27 if self.below(3) == 0 => Command::PauseTube { tube, seconds: 1 },
            28 => Command::Kick { tube, bound: self.below(4) },
            29 => Command::PeekReady { tube },
            30 => Command::PeekDelayed { tube },
            31 => Command::PeekBuried { tube },
            32 | 33 => Command::StatsJob { id },
            34 => Command::StatsTube { tube },
            35 => Command::Stats,
            36 => Command::ListTubes,
            37 | 38 => self.think_of_repeat().unwrap_or(Command::Peek { id }),
            _ => Command::Peek { id },
        }
    }

    fn think_of_put(&mut self, tube: String, priority: u32) -> Command {
        self.last_key += 1;
        let body = Body { key: self.last_key, bytes: 64, is_intact: true };
        let (delay, ttr) = (self.below(8).saturating_sub(5) as u32, self.below(4) as u32);
        let under = (self.below(3) == 0).then(|| format!("key {}", self.last_key));
        let put = Command::Put { tube, priority, delay, ttr, body, under };
        if matches!(put, Command::Put { under: Some(_), .. }) {
            self.keyed.push(put.clone());
        }
        put
    }

    /// One of the last puts with keys, answered or not; or another body with its key.
    fn think_of_repeat(&mut self) -> Option<Command> {
        let back = self.below(10) as usize + 1;
        let mut put = self.keyed.get(self.keyed.len().checked_sub(back)?)?.clone();
        if self.below(4) == 0
            && let Command::Put { body, .. } = &mut put
        {
            self.last_key += 1;
            body.key = self.last_key;
        }
        Some(put)
    }

    /// One of the last jobs that anybody knows of.
    fn some_job(&mut self) -> u64 {
        let back = self.below(30) as usize + 1;
        self.known.get(self.known.len().saturating_sub(back)).copied().unwrap_or(1)
    }

    fn take_return(&mut self, number: usize) {
        let Call { by, invoked, ref command, ref reply, is_lost } = self.calls[number];
        let (command, reply) = (command.clone(), reply.clone());
        if is_lost {
            let why = "the connection broke".to_owned();
            self.record(by, invoked, command, Outcome::Unknown { why });
            return self.reconnect(by.0);
        }
        let reply = reply.expect("it was answered");
        let client = self.clients.get_mut(&by.0).expect("all clients are there");
        match (&command, &reply) {
            (_, Reply::Reserved { id, .. }) => client.held = Some(*id),
            (_, Reply::Inserted { id }) => self.known.push(*id),
            (Command::Touch { .. } | Command::StatsJob { .. }, _) => {}
            _ => client.held = None,
        }
        self.record(by, invoked, command, Outcome::Replied(reply));
        // Now and then somebody sleeps, so that what it holds runs out, or has run out long ago.
        let holds = self.clients[&by.0].held.is_some();
        let pause = match self.below(20) {
            0 => self.below(3_000),
            1 if holds => 3_000 + self.below(3_000),
            _ => self.below(40),
        };
        self.schedule(self.now + 1 + pause, Event::Act { client: by.0 });
    }

    fn record(&mut self, by: Connection, invoked: Time, command: Command, outcome: Outcome) {
        self.records.push(Record {
            client: by.0,
            connection: by.1,
            member: 0,
            invoked: moment(invoked),
            returned: moment(self.now),
            command,
            outcome,
        });
    }

    /// One client looks at everything while all rest, and then takes all jobs out.
    fn look_and_drain(&mut self) {
        self.now = QUIET;
        let tubes = TUBES.map(|tube| Command::StatsTube { tube: tube.to_owned() });
        for command in tubes.into_iter().chain([Command::Stats, Command::ListTubes]) {
            self.ask(command);
        }
        self.now = DRAIN;
        let mut empty = 0;
        while empty < 5 {
            for tube in TUBES {
                self.ask(Command::Kick { tube: tube.to_owned(), bound: 1_000 });
            }
            let tubes = TUBES.iter().map(|&tube| tube.to_owned()).collect();
            match self.ask(Command::Reserve { tubes, timeout: Some(1) }) {
                Some(Reply::Reserved { id, .. }) => drop(self.ask(Command::Delete { id })),
                _ => empty += 1,
            }
            assert!(self.now < 100 * DRAIN, "the drain ends");
        }
    }

    /// Asks as the client of the drain, at once.
    fn ask(&mut self, command: Command) -> Option<Reply> {
        let by = (CLIENTS + 1, 1);
        let invoked = self.now;
        self.now += 1;
        self.server.advance(self.now);
        let mut reply = self.server.handle(self.now, by, &command);
        while reply.is_none() {
            self.now += 50;
            reply = self.server.advance(self.now).pop().map(|(_, reply)| reply);
        }
        self.now += 1;
        self.record(by, invoked, command, Outcome::Replied(reply.clone()?));
        self.now += 1;
        reply
    }
}

fn moment(milliseconds: Time) -> Moment {
    Moment(milliseconds * 1_000_000)
}
