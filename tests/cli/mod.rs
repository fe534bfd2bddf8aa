//! The command line as beanstalkd has it: flags, exit statuses, sockets, signals; and what it does not
//! have: a configuration file, other commands.

mod cluster_tests;
mod config_tests;
mod flag_tests;
mod planted_tests;
mod process_tests;
mod socket_tests;

use std::process::Command;

use crate::support::{Ended, Target, left_out, run_to_end};

/// Calls `check` for both servers, or for beanpole alone where there is no beanstalkd.
fn for_both(what: &str, check: impl Fn(Target)) {
    if Target::Beanstalkd.program().is_some() {
        check(Target::Beanstalkd);
    } else {
        left_out(&format!("{what}, of beanstalkd: it is not installed"));
    }
    check(Target::Beanpole);
}

/// Runs a server that must end by itself.
///
/// # Panics
///
/// When it does not.
fn run(target: Target, arguments: &[&str]) -> Ended {
    let program = target.program().expect("the caller has checked that the program exists");
    let ended = run_to_end(Command::new(program).args(arguments));
    ended.unwrap_or_else(|| panic!("{} {arguments:?} does not end", target.name()))
}
