//! What an agent costs, and what its libraries notice when members die behind it.
//!
//! `cargo bench --bench agent [-- --only latency,rest,moving]`. The time that it adds to a command is
//! held against that of a relay that only copies bytes: what is left is the agent's own work. Status 1
//! when a library saw an error or lost a job.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "other benches need more of it")]
mod common;

mod crowd;
mod latency;
mod moving;
mod relay;
mod rest;

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, ValueEnum};
use common::{Fallible, machine, server::ServerKind};

/// Shows what an agent costs.
#[derive(Debug, Parser)]
#[command(name = "agent")]
struct Options {
    /// Only these parts.
    #[arg(long, value_delimiter = ',', default_value = "latency,rest,moving")]
    only: Vec<Part>,
    /// Rounds of the part `latency`.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Connections that rest.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=18_000))]
    idle: u32,
    /// Connections that move.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=18_000))]
    connections: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The time that is added to a command.
    Latency,
    /// The memory of connections that do nothing.
    Rest,
    /// Many connections, and each member killed in turn.
    Moving,
}

fn main() -> ExitCode {
    let mut arguments: Vec<String> = env::args().collect();
    // `cargo test --all-targets` runs benches too, without this word that `cargo bench` appends.
    let Some(place) = arguments.iter().position(|argument| argument == "--bench") else {
        eprintln!("agent: only under `cargo bench`");
        return ExitCode::SUCCESS;
    };
    arguments.remove(place);
    let options = Options::parse_from(&arguments);
    match run(&options, &arguments[1..]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("agent: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options, arguments: &[String]) -> Fallible<()> {
    let mut out = io::stdout();
    let kinds = [ServerKind::Beanpole, ServerKind::BeanpoleThree];
    write!(out, "{}", machine::report_head("agent", arguments, &kinds))?;
    for part in &options.only {
        let section = match part {
            Part::Latency => latency::run(options.rounds)?,
            Part::Rest => rest::run(options.idle)?,
            Part::Moving => moving::run(options.connections)?,
        };
        write!(out, "{section}")?;
        out.flush()?;
    }
    Ok(())
}
