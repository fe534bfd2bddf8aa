//! The command line: how large the backlog, how strong the load, in how much memory.

use std::time::Duration;

use clap::Parser;

use super::{fill::Load, paced::Offered};
use crate::common::{
    confined::{Bounds, bytes},
    support::Random,
};

/// Fills an empty member of three from a large backlog while clients work.
#[derive(Debug, Parser)]
#[command(name = "refill")]
pub(crate) struct Options {
    /// Jobs of the backlog, without those of `--fill-rate`.
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1_000..=1_000_000_000))]
    pub(crate) jobs: u64,
    /// Bytes of each body.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(16..=65_535))]
    pub(crate) size: u32,
    /// The budget of each member; K, M and G are powers of 1024.
    #[arg(long, default_value = "192M", value_parser = bytes)]
    memory: u64,
    /// The limit of each member's control group [default: four thirds of the budget].
    #[arg(long, value_parser = bytes)]
    limit: Option<u64>,
    /// Seconds of the base line, and of the phase with a moderate producer.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Clients of whose puts the latency is measured, over both members.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000))]
    clients: u32,
    /// Cycles of put, reserve and delete that they offer in a second, in total.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Jobs that the moderate producer adds to the backlog in a second.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) fill_rate: u64,
    /// Connections that fill the backlog, to each of the two members.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    producers: u32,
    /// Puts in flight on each of these.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    depth: u64,
    /// Seconds after which the empty member must be in step.
    #[arg(long, default_value_t = 900, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    within: u64,
    /// What the choice of the jobs that are looked at begins with [default: another each time].
    #[arg(long)]
    seed: Option<u64>,
}

impl Options {
    /// The budget of each member and the limit of its group.
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds::new(self.memory, self.limit)
    }

    /// How long a phase is that ends by itself.
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// How long the empty member may take.
    pub(crate) fn refilled_within(&self) -> Duration {
        Duration::from_secs(self.within)
    }

    /// The load whose latency is measured.
    pub(crate) fn offered(&self) -> Offered {
        Offered { clients: self.clients, cycles_a_second: self.rate, size_bytes: self.size }
    }

    /// The load that fills the backlog through one member, as fast as it goes.
    pub(crate) fn flood(&self, address: std::net::SocketAddr) -> Load {
        Load { address, connections: self.producers, depth: self.depth, pace: None }
    }

    /// What random choices begin with.
    pub(crate) fn seed(&self) -> u64 {
        self.seed.unwrap_or_else(Random::fresh_seed)
    }
}
