//! Drives real members through faults and proves that nothing was lost.

use std::process::ExitCode;

use clap::Parser;

use beanpole_chaos::command_line::{CommandLine, run};

/// A run that had to leave something out: never a pass.
const SKIPPED: u8 = 77;

fn main() -> ExitCode {
    let asked = CommandLine::parse();
    match run(&asked) {
        Ok(beanpole_chaos::runs::Verdict::Passed) => ExitCode::SUCCESS,
        Ok(beanpole_chaos::runs::Verdict::Failed) => ExitCode::FAILURE,
        Ok(beanpole_chaos::runs::Verdict::Skipped) => ExitCode::from(SKIPPED),
        Err(error) => {
            eprintln!("beanpole-chaos: {error:#}");
            ExitCode::from(2)
        }
    }
}
