//! The command line: which adversaries, how strong, against how much memory.

use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::common::confined::{Bounds, bytes};

/// Sets one adversary after the other on a member, beside clients that behave well.
#[derive(Debug, Parser)]
#[command(name = "adversaries")]
pub(crate) struct Options {
    /// The server's budget; K, M and G are powers of 1024.
    #[arg(long, default_value = "192M", value_parser = bytes)]
    memory: u64,
    /// The limit of its control group [default: four thirds of the budget].
    #[arg(long, value_parser = bytes)]
    limit: Option<u64>,
    /// Only these, each against a fresh server.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "tubes,watchers,idle,slow-readers,pipelines,reserves,kick,delayed,holder"
    )]
    pub(crate) only: Vec<Adversary>,
    /// All numbers of jobs, tubes and connections are divided by this, for trying out.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    divide: u64,
    /// Seconds for which an adversary goes on, or is looked at after its deed.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
}

/// Who is set on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Adversary {
    /// A million tubes, with a job in each.
    Tubes,
    /// 10,000 connections that watch 1,000 tubes each.
    Watchers,
    /// 10,000 connections that do nothing.
    Idle,
    /// 1,000 connections that reserve bodies of 64 KiB and do not read them.
    SlowReaders,
    /// 16 pipelines of 100,000 commands, whose replies are read late.
    Pipelines,
    /// A million reserves over 10,000 connections, on an empty tube.
    Reserves,
    /// One kick of a million buried jobs.
    Kick,
    /// A million delayed jobs that are due in one second.
    Delayed,
    /// The end of a connection that holds 500,000 jobs, or as many as it gets.
    Holder,
}

impl Options {
    /// The server's budget and the limit of its group.
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds::new(self.memory, self.limit)
    }

    /// A number of jobs, tubes, connections or commands, as it was asked for.
    pub(crate) fn scaled(&self, number: u64) -> u64 {
        (number / self.divide).max(1)
    }

    /// How long an adversary is looked at.
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}
