//! What comes when all clients are gone: a look at every member, and then one client that takes out
//! all jobs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::clock::{self, Clock};
use crate::history::{Command, Line, Reply};

use super::REPLY_LIMIT;
use super::connection::{Connection, Ended, Place};
use super::tally::Recorder;

/// How long a look at one member may take in all.
const LOOK_LIMIT: Duration = Duration::from_secs(20);
/// Between two tries to connect.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// A reserve of a tube that is not empty yet waits so long, in seconds.
const RESERVE_SECONDS: u32 = 1;
/// The numbers of such clients begin here; those of a workload are less.
const CLIENT_FIRST: u32 = 1 << 20;

/// The number of the next client that is of no workload: each look and each drain is another one.
static NEXT_CLIENT: AtomicU32 = AtomicU32::new(CLIENT_FIRST);

/// The number of a client that is of no workload.
pub(super) fn next_client() -> u32 {
    NEXT_CLIENT.fetch_add(1, Ordering::Relaxed)
}

/// Why the tubes are not known to be empty.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DrainError {
    /// A member does not answer.
    #[error("no answer from the member at {address}, place {place}, within {limit:?}")]
    NoAnswer {
        /// The member's place.
        place: usize,
        /// Where it should be.
        address: SocketAddr,
        /// How long it was tried.
        limit: Duration,
    },
    /// Jobs are left.
    #[error("not empty within {limit:?}: {figures:?}")]
    NotEmpty {
        /// How long it was tried.
        limit: Duration,
        /// What was done, and what is left.
        figures: DrainFigures,
    },
    /// Nobody takes the records.
    #[error("the history takes no records any more")]
    HistoryGone,
}

/// What a drain has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainFigures {
    /// How long it took.
    pub duration: Duration,
    /// Buried jobs that were kicked.
    pub kicked: u64,
    /// Jobs that were handed out.
    pub reserved: u64,
    /// Jobs that were deleted.
    pub deleted: u64,
    /// Connections that were made.
    pub connections: u32,
    /// What was left at the last look; nothing when no member has said.
    pub left: Option<JobCounts>,
}

/// How many jobs there are in all tubes, by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// To be reserved.
    pub ready: u64,
    /// Held by somebody.
    pub reserved: u64,
    /// Waiting for their delay.
    pub delayed: u64,
    /// To be kicked.
    pub buried: u64,
}

impl JobCounts {
    fn is_empty(self) -> bool {
        self == Self::default()
    }

    fn add(&mut self, other: Self) {
        self.ready += other.ready;
        self.reserved += other.reserved;
        self.delayed += other.delayed;
        self.buried += other.buried;
    }
}

/// Asks every member for its figures and those of each tube, all as records.
///
/// # Errors
///
/// When a member does not answer for 20 seconds; the others are asked all the same.
pub fn look(
    addresses: &[SocketAddr],
    tubes: &[String],
    clock: Clock,
    lines: &SyncSender<Line>,
) -> Result<(), DrainError> {
    let mut visitor = Visitor::new(clock, lines);
    let mut silent = None;
    for (place, &address) in addresses.iter().enumerate() {
        let deadline = clock::now() + LOOK_LIMIT;
        while visitor.look_at(place, address, tubes).is_err() {
            visitor.check_history()?;
            if clock::now() >= deadline {
                silent.get_or_insert(DrainError::NoAnswer { place, address, limit: LOOK_LIMIT });
                break;
            }
            thread::sleep(RETRY_AFTER);
        }
    }
    visitor.check_history()?;
    silent.map_or(Ok(()), Err)
}

/// Kicks what is buried, waits for what is delayed or held, reserves and deletes, until all tubes
/// are empty by their own figures; all as records. Goes on with the next member when a connection
/// ends.
///
/// # Errors
///
/// When jobs are left after `limit`.
pub fn drain(
    addresses: &[SocketAddr],
    tubes: &[String],
    clock: Clock,
    lines: &SyncSender<Line>,
    limit: Duration,
) -> Result<DrainFigures, DrainError> {
    let (began, mut figures) = (clock::now(), DrainFigures::default());
    let deadline = began + limit;
    let mut visitor = Visitor::new(clock, lines);
    for (place, &address) in addresses.iter().enumerate().cycle() {
        let ended = visitor
            .visit(place, address, |connection| empty(connection, tubes, deadline, &mut figures));
        figures.duration = clock::now() - began;
        figures.connections = visitor.connections;
        visitor.check_history()?;
        match ended {
            Ok(()) if figures.left.is_some_and(|left| left.is_empty()) => return Ok(figures),
            _ if clock::now() >= deadline => break,
            _ => thread::sleep(RETRY_AFTER),
        }
    }
    Err(DrainError::NotEmpty { limit, figures })
}

/// Why a visit is over before its time.
enum Stopped {
    /// The connection has ended.
    Ended,
    /// The member gives no figures; the connection is there.
    NoFigures,
}

impl From<Ended> for Stopped {
    fn from(_: Ended) -> Self {
        Self::Ended
    }
}

/// A client of its own.
struct Visitor {
    recorder: Arc<Recorder>,
    client: u32,
    connections: u32,
}

impl Visitor {
    fn new(clock: Clock, lines: &SyncSender<Line>) -> Self {
        let recorder = Arc::new(Recorder::new(clock, lines.clone()));
        Self { recorder, client: next_client(), connections: 0 }
    }

    fn check_history(&self) -> Result<(), DrainError> {
        if self.recorder.is_gone() { Err(DrainError::HistoryGone) } else { Ok(()) }
    }

    fn connect(&mut self, member: usize, address: SocketAddr) -> Result<Connection, Ended> {
        self.connections += 1;
        let place = Place {
            client: self.client,
            connection: self.connections,
            member: u32::try_from(member).expect("few members"),
        };
        Connection::open(place, address, REPLY_LIMIT, &self.recorder)
    }

    /// All figures of one member.
    fn look_at(
        &mut self,
        place: usize,
        address: SocketAddr,
        tubes: &[String],
    ) -> Result<(), Stopped> {
        self.visit(place, address, |connection| {
            if !matches!(connection.ask(Command::Stats)?, Reply::Stats { .. }) {
                return Err(Stopped::NoFigures);
            }
            jobs_in(connection, tubes).map(drop)
        })
    }

    /// Does something over a connection of its own, and closes it unless it has ended.
    fn visit(
        &mut self,
        place: usize,
        address: SocketAddr,
        work: impl FnOnce(&mut Connection) -> Result<(), Stopped>,
    ) -> Result<(), Stopped> {
        let mut connection = self.connect(place, address)?;
        let result = work(&mut connection);
        if !matches!(result, Err(Stopped::Ended)) {
            connection.close();
        }
        result
    }
}

/// Empties all tubes. What is left when it gives up is in the figures.
fn empty(
    connection: &mut Connection,
    tubes: &[String],
    deadline: Instant,
    figures: &mut DrainFigures,
) -> Result<(), Stopped> {
    for tube in tubes {
        connection.ask(Command::Watch { tube: tube.clone() })?;
    }
    loop {
        let left = jobs_in(connection, tubes)?;
        figures.left = Some(left);
        if left.is_empty() || clock::now() >= deadline {
            return Ok(());
        }
        if left.buried > 0 {
            figures.kicked += kick_buried(connection, tubes)?;
        }
        take_ready(connection, deadline, figures)?;
    }
}

/// How many jobs there are in all tubes.
fn jobs_in(connection: &mut Connection, tubes: &[String]) -> Result<JobCounts, Stopped> {
    let mut jobs = JobCounts::default();
    for tube in tubes {
        jobs.add(jobs_of(connection, tube)?);
    }
    Ok(jobs)
}

/// How many jobs there are in a tube; none in one that does not exist.
fn jobs_of(connection: &mut Connection, tube: &str) -> Result<JobCounts, Stopped> {
    let values = match connection.ask(Command::StatsTube { tube: tube.to_owned() })? {
        Reply::Stats { values } => values,
        Reply::NotFound => return Ok(JobCounts::default()),
        _ => return Err(Stopped::NoFigures),
    };
    let count = |state: &str| {
        let value = values.get(&format!("current-jobs-{state}"));
        value.and_then(|value| value.parse().ok()).unwrap_or_default()
    };
    Ok(JobCounts {
        ready: count("ready"),
        reserved: count("reserved"),
        delayed: count("delayed"),
        buried: count("buried"),
    })
}

/// Kicks as many jobs of each tube as are buried: with a greater bound, and none buried, a kick
/// takes delayed ones.
fn kick_buried(connection: &mut Connection, tubes: &[String]) -> Result<u64, Stopped> {
    let mut kicked = 0;
    for tube in tubes {
        let bound = jobs_of(connection, tube)?.buried;
        if bound == 0 {
            continue;
        }
        connection.ask(Command::Use { tube: tube.clone() })?;
        let reply = connection.ask(Command::Kick { tube: tube.clone(), bound })?;
        if let Reply::Kicked { count: Some(count) } = reply {
            kicked += count;
        }
    }
    Ok(kicked)
}

/// Reserves and deletes until nothing comes for a second.
fn take_ready(
    connection: &mut Connection,
    deadline: Instant,
    figures: &mut DrainFigures,
) -> Result<(), Stopped> {
    while clock::now() < deadline {
        let tubes = connection.watched().to_vec();
        let reserve = Command::Reserve { tubes, timeout: Some(RESERVE_SECONDS) };
        let Reply::Reserved { id, .. } = connection.ask(reserve)? else { break };
        figures.reserved += 1;
        if connection.ask(Command::Delete { id })? == Reply::Deleted {
            figures.deleted += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "drain_tests.rs"]
mod tests;
