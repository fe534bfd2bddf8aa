//! Drives real members through faults and proves that nothing was lost.

use std::process::ExitCode;

use clap::Parser;

use beanpole_chaos::command_line::{CommandLine, run};
use beanpole_chaos::namespaces::run_apart;

/// A run that had to leave something out: never a pass.
const SKIPPED: u8 = 77;

fn main() -> ExitCode {
    let asked = CommandLine::parse();
    let apart = if asked.is_a_run() { run_apart() } else { Ok(None) };
    match apart {
        Ok(None) => run_here(&asked),
        Ok(Some(code)) => code,
        Err(error) => failed(&error),
    }
}

fn run_here(asked: &CommandLine) -> ExitCode {
    match run(asked) {
        Ok(beanpole_chaos::check::Verdict::Passed) => ExitCode::SUCCESS,
        Ok(beanpole_chaos::check::Verdict::Failed) => ExitCode::FAILURE,
        Ok(beanpole_chaos::check::Verdict::Skipped) => ExitCode::from(SKIPPED),
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("beanpole-chaos: {error:#}");
    ExitCode::from(2)
}
