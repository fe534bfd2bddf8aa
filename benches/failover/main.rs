//! Losing one member of three under load: how long clients of the others wait, and what they are
//! told.
//!
//! `cargo bench --bench failover [-- --rounds 30 --kinds kill,stop,cut,hang,term --quick]`. Each
//! round begins with three members in step. Eight connections to the two that will live put,
//! reserve and delete, one command at a time; one member is hurt; the longest time without an
//! acknowledged write is the gap. Then the member is healed, still under load, and all three come
//! into step again. In the end every job is accounted for. Status 1 when a count that must be zero
//! is not.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "other benches need more of it")]
mod common;

mod fault;
mod options;
mod report;
mod round;

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use common::{
    machine,
    server::{ServerKind, bench_dir},
    support::{Cluster, ClusterOptions, cluster_options},
};
use fault::{Fault, Role};
use options::Options;
use report::Report;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = env::args().collect();
    // `cargo test --all-targets` runs benches too, without this word that `cargo bench` appends.
    let Some(place) = arguments.iter().position(|argument| argument == "--bench") else {
        eprintln!("failover: only under `cargo bench`");
        return ExitCode::SUCCESS;
    };
    arguments.remove(place);
    let options = Options::parse_from(&arguments);
    let mut report = Report::default();
    for fault in options.faults() {
        for role in options.roles() {
            if let Err(why) = lose_again_and_again(fault, role, &options, &mut report) {
                eprintln!("failover: {fault} of the {role}: {why}");
                report.give_up(fault, role, why);
            }
        }
    }
    let head = machine::report_head("failover", &arguments[1..], &[ServerKind::BeanpoleThree]);
    let text = format!("{head}{}", report.to_markdown());
    if let Err(error) = io::stdout().lock().write_all(text.as_bytes()) {
        eprintln!("failover: {error}");
        return ExitCode::FAILURE;
    }
    if report.all_zeros_are_zero() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// All rounds of one fault and one role, on one cluster.
fn lose_again_and_again(
    fault: Fault,
    role: Role,
    options: &Options,
    report: &mut Report,
) -> Result<(), String> {
    let place = bench_dir().map_err(|error| error.to_string())?;
    let has_cables = fault == Fault::Cut;
    let options_of_cluster =
        ClusterOptions { place: Some(place), segment_size: None, has_cables, ..cluster_options() };
    let mut cluster = Cluster::start_with(options_of_cluster)?;
    for number in 1..=options.rounds() {
        let outcome = round::run(&mut cluster, fault, role, number);
        let outcome = outcome.inspect_err(|_| eprintln!("{}", cluster.logs()))?;
        eprintln!("{}", report::progress(fault, role, number, &outcome));
        if !outcome.verdict.is_clean() {
            eprintln!("{:#?}\n{}", outcome.verdict, cluster.logs());
        }
        report.add(fault, role, outcome);
    }
    Ok(())
}
