//! One server that holds much: 10,000 idle connections, 100,000 tubes, 1,000,000 delayed jobs.
//!
//! `cargo bench --bench size [-- --only idle,tubes,delays]`. Each part runs on fresh servers and
//! prints a Markdown section with its figures and aims. Speed under load is `side_by_side`.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "other benches need more of it")]
mod common;

mod consumers;
mod delays;
mod idle;
mod limits;
mod tubes;

use std::{
    env,
    error::Error,
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, ValueEnum};
use common::{
    machine,
    server::{self, ServerKind},
};

/// What test drivers take as "left out".
const EXIT_LEFT_OUT: u8 = 77;

/// Shows how one server copes with many connections, tubes and delayed jobs.
#[derive(Debug, Parser)]
#[command(name = "size")]
struct Options {
    /// The server to look at.
    #[arg(long, default_value = "beanpole-b")]
    server: ServerKind,
    /// Only these parts.
    #[arg(long, value_delimiter = ',', default_value = "idle,tubes,delays")]
    only: Vec<Part>,
    /// Idle connections.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=25_000))]
    connections: u32,
    /// Tubes that exist, each with one job in it.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    tubes: u32,
    /// Delayed jobs.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    jobs: u32,
    /// Seconds over which the delayed jobs are put, the first deadline after them.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=100))]
    put_seconds: u32,
    /// Seconds over which their deadlines are spread.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3600))]
    due_seconds: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Idle,
    Tubes,
    Delays,
}

fn main() -> ExitCode {
    let mut arguments: Vec<String> = env::args().collect();
    // `cargo test --all-targets` runs benches too, without this word that `cargo bench` appends.
    let Some(place) = arguments.iter().position(|argument| argument == "--bench") else {
        eprintln!("size: only under `cargo bench`");
        return ExitCode::SUCCESS;
    };
    arguments.remove(place);
    let options = Options::parse_from(&arguments);
    if !server::is_installed(options.server) {
        eprintln!("size: left out, {} is not installed", options.server.program());
        return ExitCode::from(EXIT_LEFT_OUT);
    }
    match run(&options, &arguments[1..]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("size: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options, arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout();
    write!(out, "{}", machine::report_head("size", arguments, &[options.server]))?;
    for part in &options.only {
        let section = match part {
            Part::Idle => idle::run(options.server, options.connections)?,
            Part::Tubes => tubes::run(options.server, options.tubes)?,
            Part::Delays => {
                let spread = delays::Spread {
                    jobs: options.jobs,
                    put_seconds: options.put_seconds,
                    due_seconds: options.due_seconds,
                };
                delays::run(options.server, spread)?
            }
        };
        write!(out, "{section}")?;
        out.flush()?;
    }
    Ok(())
}
