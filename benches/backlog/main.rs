//! One member with a backlog a hundred times its memory, inside a memory control group: put, kill,
//! restart inside the same limit, and take everything out again.
//!
//! `cargo bench --bench backlog -- --jobs 10000000 --size 1024 --memory 192M [--kind fifo,..]`.
//! Each kind runs on a fresh server and prints a Markdown section. Aims that are missed are named;
//! status 1 when a promise is broken: a job lost, doubled, early or out of order, the limit passed,
//! or the server killed for its memory. The jobs are known again by their numbers, so that the
//! bench itself needs little memory.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "other benches need more of it")]
mod common;

mod base;
mod buried;
mod deletes;
mod fill;
#[expect(dead_code, reason = "`adversaries` needs more of it")]
mod jobs;
mod judge;
mod options;
mod progress;
mod report;
mod steady;
mod take;
mod tubes;
mod whole;

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, ValueEnum};
use common::{
    Fallible,
    confined::Member,
    machine,
    section::{Section, mebibytes},
    server::ServerKind,
};
use jobs::Variety;
use options::{Kind, Options};

fn main() -> ExitCode {
    let mut arguments: Vec<String> = env::args().collect();
    // `cargo test --all-targets` runs benches too, without this word that `cargo bench` appends.
    let Some(place) = arguments.iter().position(|argument| argument == "--bench") else {
        eprintln!("backlog: only under `cargo bench`");
        return ExitCode::SUCCESS;
    };
    arguments.remove(place);
    let options = Options::parse_from(&arguments);
    match show_all(&options, &arguments[1..]) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("backlog: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all promises were held.
fn show_all(options: &Options, arguments: &[String]) -> Fallible<bool> {
    let mut out = io::stdout();
    write!(out, "{}", machine::report_head("backlog", arguments, &[ServerKind::BeanpoleB]))?;
    let bounds = options.bounds();
    let (memory, limit) = (mebibytes(bounds.memory_bytes), mebibytes(bounds.limit_bytes));
    writeln!(out, "- budget {memory}, control group {limit}")?;
    let mut all_held = true;
    for &kind in &options.kind {
        let (section, broken) = show(options, kind)?;
        write!(out, "{section}")?;
        if !broken.is_empty() {
            all_held = false;
            writeln!(out, "\n**Broken**: {}", broken.join("; "))?;
        }
        out.flush()?;
    }
    Ok(all_held)
}

/// The figures of one kind, and the promises that were broken.
fn show(options: &Options, kind: Kind) -> Fallible<(Section, Vec<String>)> {
    let name = kind.to_possible_value().map_or_else(String::new, |name| name.get_name().to_owned());
    eprintln!("{name}");
    let heading = match kind {
        Kind::Steady => format!("{name}: {} cycles of {} bytes", options.cycles, options.size),
        _ => format!("{name}: {} jobs of {} bytes", options.jobs, options.size),
    };
    let (mut section, mut broken) = (Section::new(heading), Vec::new());
    let mut member = Member::start(options.bounds())?;
    let shown = match kind {
        Kind::Fifo => whole::run(options, Variety::Plain, &mut member, &mut section),
        Kind::Priorities => whole::run(options, Variety::Priorities, &mut member, &mut section),
        Kind::Delays => {
            let variety = Variety::Delays(options.delay_seconds());
            whole::run(options, variety, &mut member, &mut section)
        }
        Kind::Recovery => whole::run_recovery(options, &mut member, &mut section),
        Kind::Buried => buried::run(options, &mut member, &mut section),
        Kind::Tubes => tubes::run(options, &mut member, &mut section),
        Kind::Deletes => deletes::run(options, &mut member, &mut section),
        Kind::Steady => steady::run(options, &mut member, &mut section, &mut broken),
    };
    if let Err(error) = shown {
        eprintln!("{name}: {error}; {}", member.post_mortem());
        broken.push(error.to_string());
    }
    member.report_memory(&mut section, &mut broken);
    Ok((section, broken))
}
