//! One client: it connects, works, moves on to the next member when its connection ends, and comes
//! home when that has been a while ago.

use std::sync::Arc;
use std::time::Duration;

use crate::history::{Body, Command, Reply};

use super::body::{self, new_key, tube_of};
use super::connection::{Connection, Ended, Place};
use super::keyed::KeyedPut;
use super::kinds::{self, Kind, Work};
use super::shared::{Job, Shared};
use crate::testbed::Random;

/// Before the first new try to connect; doubled up to the greatest.
const BACKOFF_MIN: Duration = Duration::from_millis(10);
/// Before any try to connect.
const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// How long a client stays with another member than its own, in milliseconds.
const AWAY_MILLISECONDS: std::ops::Range<u32> = 3_000..8_000;
/// One step in so many is the last on its connection, without any reason.
const LEAVES_ONCE_IN: u64 = 2_000;

/// Whether a client stays connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Stay,
    /// It closes its connection with whatever it holds.
    Leave,
}

/// A client between two connections.
pub(super) struct Client {
    shared: Arc<Shared>,
    number: u32,
    random: Random,
    kind: Kind,
    connections: u32,
    puts: u32,
    /// A put with a key of which nobody knows whether it was carried out.
    unanswered: Option<KeyedPut>,
    /// Which address to try next.
    member: usize,
}

/// A client on a connection: all that a kind of work needs.
pub(super) struct Hand<'a> {
    pub(super) shared: &'a Shared,
    pub(super) random: &'a mut Random,
    connection: &'a mut Connection,
    client: u32,
    puts: &'a mut u32,
    /// Until it is answered, on whatever connection.
    pub(super) unanswered: &'a mut Option<KeyedPut>,
}

impl Client {
    /// The client of this number, which also says at which member it is at home.
    pub(super) fn new(shared: Arc<Shared>, number: u32, kind: Kind) -> Self {
        let seed = shared.options.seed ^ u64::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let random = Random::new(seed);
        let member = usize::try_from(number).expect("a number fits");
        Self { shared, number, random, kind, connections: 0, puts: 0, unanswered: None, member }
    }

    /// Works until the run is over, then finishes what it has and closes its connection.
    pub(super) fn run(mut self) {
        let mut failures = 0;
        while !self.shared.is_stopping() {
            match self.connect() {
                Ok(connection) => {
                    let is_of_use = self.work(connection);
                    failures = if is_of_use { 0 } else { failures + 1 };
                }
                Err(Ended) => failures += 1,
            }
            if failures > 0 {
                self.member += 1;
                self.back_off(failures);
            }
        }
    }

    fn connect(&mut self) -> Result<Connection, Ended> {
        let (address, members) = self.shared.address(self.member);
        self.member %= members;
        self.connections += 1;
        let place = Place {
            client: self.number,
            connection: self.connections,
            member: self.shared.options.first_place
                + u32::try_from(self.member).expect("few members"),
        };
        Connection::open(place, address, self.shared.options.reply_limit, &self.shared.recorder)
    }

    /// Works on one connection until it ends: false when that was not the client's will.
    fn work(&mut self, mut connection: Connection) -> bool {
        let (_, members) = self.shared.address(0);
        let home = usize::try_from(self.number).expect("a number fits") % members;
        let stays = Duration::from_millis(self.random.within_u32(AWAY_MILLISECONDS).into());
        let began = self.shared.recorder.now();
        let mut work = self.kind.new_work(&mut self.random);
        let mut hand = Hand {
            shared: &self.shared,
            random: &mut self.random,
            connection: &mut connection,
            client: self.number,
            puts: &mut self.puts,
            unanswered: &mut self.unanswered,
        };
        let is_long_away =
            || self.member != home && self.shared.recorder.now().since(began) > stays;
        match spend(&mut hand, work.as_mut(), &is_long_away) {
            Ok(()) => {
                connection.close();
                self.member = home;
                true
            }
            Err(Ended) => false,
        }
    }

    /// Sleeps before the next try, so that clients do not come all at once.
    fn back_off(&mut self, failures: u32) {
        let doubled = BACKOFF_MIN * (1 << failures.min(8));
        let limit = u32::try_from(doubled.min(BACKOFF_MAX).as_micros()).expect("under a minute");
        let pause = self.random.within_u32(limit / 2..limit + 1);
        self.shared.sleep(Duration::from_micros(pause.into()));
    }
}

/// Steps of a kind of work, until the run is over or the client leaves.
fn spend(
    hand: &mut Hand<'_>,
    work: &mut dyn Work,
    is_long_away: &dyn Fn() -> bool,
) -> Result<(), Ended> {
    work.prepare(hand)?;
    while !hand.shared.is_stopping() {
        if work.step(hand)? == Next::Leave || is_long_away() {
            return Ok(());
        }
        if hand.random.once_in(LEAVES_ONCE_IN) {
            break;
        }
    }
    work.finish(hand)
}

impl Hand<'_> {
    /// Asks, as fast as the run allows.
    pub(super) fn ask(&mut self, command: Command) -> Result<Reply, Ended> {
        self.shared.wait_for_slot();
        let reply = self.connection.ask(command.clone())?;
        self.shared.learn(&command, &reply);
        Ok(reply)
    }

    /// Asks, as fast as the run allows, for what tells nothing new.
    pub(super) fn ask_unheard(&mut self, command: Command) -> Result<Reply, Ended> {
        self.shared.wait_for_slot();
        self.connection.ask(command)
    }

    /// Sleeps for any time of `milliseconds`, less when the run is over.
    pub(super) fn pause(&mut self, milliseconds: std::ops::Range<u32>) {
        let pause = self.random.within_u32(milliseconds);
        self.shared.sleep(Duration::from_millis(pause.into()));
    }

    /// Any tube.
    pub(super) fn any_tube(&mut self) -> usize {
        self.random.index(self.shared.options.tubes.len())
    }

    pub(super) fn tube_name(&self, tube: usize) -> String {
        self.shared.options.tubes[tube].clone()
    }

    /// Uses a tube, unless it does. Tells whether it does then: it may be refused for want of room.
    pub(super) fn use_tube(&mut self, tube: usize) -> Result<bool, Ended> {
        if self.connection.used() != self.shared.options.tubes[tube] {
            self.ask(Command::Use { tube: self.tube_name(tube) })?;
        }
        Ok(self.connection.used() == self.shared.options.tubes[tube])
    }

    /// What no put of the run has said yet, in so many bytes or as few as there must be. Its place is
    /// `tube`.
    pub(super) fn new_body(&mut self, tube: usize, bytes: u32) -> Body {
        *self.puts += 1;
        let key = new_key(self.client, tube, *self.puts);
        Body { key, bytes: bytes.max(body::BODY_BYTES_MIN), is_intact: true }
    }

    /// Puts a new job of so many bytes into the tube in use. Its place is `tube`.
    pub(super) fn put(
        &mut self,
        tube: usize,
        (priority, delay, ttr): (u32, u32, u32),
        bytes: u32,
    ) -> Result<Reply, Ended> {
        let body = self.new_body(tube, bytes);
        // What is in use, in truth: a `use` may have been refused for want of room.
        let tube = self.connection.used().to_owned();
        self.ask(Command::Put { tube, priority, delay, ttr, body, under: None })
    }

    /// Reserves a job from the watched tubes. Its tube follows from what it says.
    pub(super) fn reserve(&mut self, timeout: u32) -> Result<(Reply, Option<Job>), Ended> {
        let tubes = self.connection.watched().to_vec();
        let reply = self.ask(Command::Reserve { tubes, timeout: Some(timeout) })?;
        let job = match &reply {
            Reply::Reserved { id, body } => Some(Job { id: *id, tube: self.tube_in(body) }),
            _ => None,
        };
        Ok((reply, job))
    }

    /// The time to run of a job, in seconds, if the member tells.
    pub(super) fn time_to_run(&mut self, job: Job) -> Result<Option<u32>, Ended> {
        let reply = self.ask(Command::StatsJob { id: job.id })?;
        let Reply::Stats { values } = reply else { return Ok(None) };
        Ok(values.get("ttr").and_then(|seconds| seconds.parse().ok()))
    }

    /// Deletes a job.
    pub(super) fn delete(&mut self, job: Job) -> Result<Reply, Ended> {
        let reply = self.ask(Command::Delete { id: job.id })?;
        if reply == Reply::Deleted {
            self.shared.learn_deleted(job);
        }
        Ok(reply)
    }

    /// Releases a job with any priority.
    pub(super) fn release(&mut self, job: Job, delay: u32) -> Result<Reply, Ended> {
        let priority = kinds::any_priority(self.random);
        self.ask(Command::Release { id: job.id, priority, delay })
    }

    /// Buries a job with any priority.
    pub(super) fn bury(&mut self, job: Job) -> Result<Reply, Ended> {
        let priority = kinds::any_priority(self.random);
        let reply = self.ask(Command::Bury { id: job.id, priority })?;
        if matches!(reply, Reply::Buried { .. }) {
            self.shared.learn_buried(job);
        }
        Ok(reply)
    }

    /// Reserves a job of a kind of its own name.
    pub(super) fn reserve_job(&mut self, job: Job) -> Result<Reply, Ended> {
        self.ask(Command::ReserveJob { id: job.id })
    }

    /// A body that nobody put names no tube, or one that is not there.
    fn tube_in(&self, body: &Body) -> usize {
        tube_of(body.key).min(self.shared.options.tubes.len() - 1)
    }
}
