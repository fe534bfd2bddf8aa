//! Load: seeded clients that speak the protocol and write down what they are told.
//!
//! One thread and one connection at a time for each client, blocking sockets with deadlines, no
//! pipelines. A client is of one kind (`kinds`); it is spread over the members and moves on to the
//! next when its connection ends (`client`). What a command came to is judged in `connection`,
//! and nowhere else. The seed decides what clients do next; the order in which members hear of it
//! is up to the machine, so that a seed repeats a run in kind and not in every step.
//!
//! [`drain()`] empties the tubes when all clients are gone.

mod body;
mod client;
mod connection;
mod drain;
mod encode;
mod fill;
mod keyed;
mod kinds;
mod reply;
mod shared;
mod tally;

#[cfg(test)]
mod fake;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::clock::Clock;
use crate::history::Line;

use self::client::Client;
use self::kinds::Kind;
use self::shared::Shared;
use self::tally::Recorder;
use crate::testbed::Random;

pub use self::body::{BODY_BYTES_MIN, body_bytes, read_body};
pub use self::drain::{DrainError, DrainFigures, JobCounts, drain, look};
pub use self::fill::{Backlog, fill};
pub use self::tally::{Latency, Progress, Totals};
pub(crate) use self::tally::{latency_of, may_wait};

/// The most tubes: a key has room for so many.
pub const TUBES_MAX: usize = 256;
/// How long a reply may take beyond what the member was asked to wait.
pub const REPLY_LIMIT: Duration = Duration::from_secs(10);
/// Jobs that a tube has at most, about.
pub const BACKLOG_MAX: u32 = 300;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadOptions {
    /// Everything random comes from it.
    pub seed: u64,
    /// How many clients; each is a thread. To have all kinds at each member it takes four times as
    /// many as there are members.
    pub clients: u32,
    /// The tubes, 1 to [`TUBES_MAX`]; see [`tube_names`].
    pub tubes: Vec<String>,
    /// Where the members listen, by place; at least one. Any server of the protocol will do.
    pub addresses: Vec<SocketAddr>,
    /// The place of the first of them in the history.
    pub first_place: u32,
    /// How many members there are behind each of them: so many times the clients that one needs.
    pub members_behind: usize,
    /// Whether some puts have keys, and are sent again. beanstalkd knows none.
    pub has_keys: bool,
    /// The most commands of all clients together.
    pub commands_per_second_max: u32,
    /// Producers stop at about so many jobs in a tube; for most of the time at very few.
    pub backlog_max: u32,
    /// How long a reply may take beyond what the member was asked to wait, until the client gives up.
    pub reply_limit: Duration,
}

impl WorkloadOptions {
    /// 24 clients, four tubes, 2,000 commands a second.
    pub fn on(addresses: Vec<SocketAddr>, seed: u64) -> Self {
        Self {
            seed,
            clients: 24,
            tubes: tube_names(4),
            addresses,
            first_place: 0,
            members_behind: 1,
            has_keys: true,
            commands_per_second_max: 2_000,
            backlog_max: BACKLOG_MAX,
            reply_limit: REPLY_LIMIT,
        }
    }
}

/// Names for so many tubes.
pub fn tube_names(count: usize) -> Vec<String> {
    (0..count).map(|place| format!("tube-{place}")).collect()
}

/// Load under way. Told to stop when dropped.
#[derive(Debug)]
pub struct Workload {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StopFigures {
    /// Of the whole run.
    pub totals: Totals,
    /// Clients that have panicked, which is a mistake of this program.
    pub panicked: u32,
    /// About how many jobs are left.
    pub backlog: u64,
}

impl Workload {
    /// Starts it. Records go to `lines`; a full channel holds back clients, one that nobody reads
    /// any more ends them.
    ///
    /// # Panics
    ///
    /// When there are no addresses, no tubes or more than [`TUBES_MAX`], or no threads left.
    pub fn start(options: WorkloadOptions, clock: Clock, lines: SyncSender<Line>) -> Self {
        assert!(!options.addresses.is_empty(), "a workload needs a member");
        let tubes = options.tubes.len();
        assert!((1..=TUBES_MAX).contains(&tubes), "{tubes} tubes are none or too many");
        let mut random = Random::new(options.seed);
        let members = options.addresses.len() * options.members_behind;
        let kinds = Kind::of_all(options.clients, members, &mut random);
        let recorder = Arc::new(Recorder::new(clock, lines));
        let shared = Arc::new(Shared::new(options, recorder));
        let clients = (0..).zip(kinds);
        let clients = clients.map(|(number, kind)| Client::new(Arc::clone(&shared), number, kind));
        let threads = clients.map(|client| thread::spawn(|| client.run())).collect();
        Self { shared, threads }
    }

    /// What happened since the last look, or since the start.
    pub fn progress(&self) -> Progress {
        self.shared.recorder.look()
    }

    /// What happened since the start.
    pub fn totals(&self) -> Totals {
        self.shared.recorder.totals()
    }

    /// Where the members listen from now on, by place, as one was replaced. Clients that are
    /// connected stay so.
    ///
    /// # Panics
    ///
    /// When there are none.
    pub fn set_addresses(&self, addresses: Vec<SocketAddr>) {
        assert!(!addresses.is_empty(), "a workload needs a member");
        self.shared.set_addresses(addresses);
    }

    /// Waits until all clients have finished what they have and closed their connections. Takes a
    /// few seconds, at most the time a reply may take.
    pub fn stop(mut self) -> StopFigures {
        self.shared.stop();
        let ended = self.threads.drain(..).map(JoinHandle::join);
        let panicked = ended.filter(Result::is_err).count();
        StopFigures {
            totals: self.shared.recorder.totals(),
            panicked: u32::try_from(panicked).unwrap_or(u32::MAX),
            backlog: self.shared.backlog(),
        }
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.shared.stop();
    }
}
