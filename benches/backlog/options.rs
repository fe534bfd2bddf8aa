//! The command line: how many jobs, of which kind, in how much memory.

use clap::{Parser, ValueEnum};

use crate::common::confined::{Bounds, bytes};

const JOBS_MAX: u64 = 1_000_000_000;
/// Tubes of the jobs that lie in many, unless there are too few jobs for them.
const TUBES: u64 = 100_000;
const JOBS_IN_A_TUBE_MIN: u64 = 10;

/// Fills one member far beyond its memory, kills it, and takes everything out again.
#[derive(Debug, Parser)]
#[command(name = "backlog")]
pub(crate) struct Options {
    /// Jobs in all.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=JOBS_MAX))]
    pub(crate) jobs: u64,
    /// Bytes of each body.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(16..=65_535))]
    pub(crate) size: u32,
    /// The server's budget; K, M and G are powers of 1024.
    #[arg(long, default_value = "192M", value_parser = bytes)]
    memory: u64,
    /// The limit of its control group [default: four thirds of the budget].
    #[arg(long, value_parser = bytes)]
    limit: Option<u64>,
    /// What to show, one after the other, each on a fresh server.
    #[arg(long, value_delimiter = ',', default_value = "fifo")]
    pub(crate) kind: Vec<Kind>,
    /// Connections that put.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) producers: u32,
    /// Commands in flight on a connection.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) depth: u64,
    /// Tubes of `tubes` [default: 100,000, but at least ten jobs in each].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    tubes: Option<u64>,
    /// Seconds over which the delays of `delays` spread [default: a second for 20,000 jobs, at
    /// least 5].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    delay_seconds: Option<u64>,
    /// Jobs that `deletes` deletes by id, in each of its two ways, at most a quarter of all.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    deletes: u64,
    /// Cycles of put, reserve and delete of `steady`.
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(10_000..))]
    pub(crate) cycles: u64,
    /// How often `recovery` kills the server while it starts.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) kills: u32,
    /// What the random choices of `deletes` and `recovery` begin with [default: another each time].
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// One tube, one priority: out as they came in.
    Fifo,
    /// Priorities at random.
    Priorities,
    /// Delays at random.
    Delays,
    /// All buried, then kicked.
    Buried,
    /// Many tubes.
    Tubes,
    /// Deletes by id, at random.
    Deletes,
    /// No backlog: jobs come and go, beside one that is buried.
    Steady,
    /// Killed again and again while it starts.
    Recovery,
}

impl Options {
    /// The server's budget and the limit of its group.
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds::new(self.memory, self.limit)
    }

    /// Over how many tubes `tubes` spreads its jobs.
    pub(crate) fn tubes(&self) -> u64 {
        self.tubes.unwrap_or(TUBES).min(self.jobs / JOBS_IN_A_TUBE_MIN)
    }

    /// Over how many seconds `delays` spreads its delays.
    pub(crate) fn delay_seconds(&self) -> u64 {
        self.delay_seconds.unwrap_or((self.jobs / 20_000).max(5))
    }

    /// How many jobs `deletes` deletes in each of its ways.
    pub(crate) fn deletes(&self) -> u64 {
        self.deletes.min(self.jobs / 4)
    }
}
