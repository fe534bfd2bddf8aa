//! The command line: which faults, how often.

use clap::Parser;

use super::fault::{Fault, Role};

const ROUNDS: u32 = 30;
const ROUNDS_QUICK: u32 = 5;
const ROUNDS_MAX: i64 = 1000;

/// Loses one member of three again and again and prints a Markdown report.
#[derive(Debug, Parser)]
#[command(name = "failover")]
pub(crate) struct Options {
    /// Rounds of each fault and role [default: 30, with --quick 5].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=ROUNDS_MAX))]
    rounds: Option<u32>,
    /// Only these faults.
    #[arg(long, value_delimiter = ',')]
    kinds: Vec<Fault>,
    /// Only of these.
    #[arg(long, value_delimiter = ',')]
    roles: Vec<Role>,
    /// Fewer rounds.
    #[arg(long)]
    quick: bool,
}

impl Options {
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { ROUNDS_QUICK } else { ROUNDS })
    }

    pub(crate) fn faults(&self) -> Vec<Fault> {
        let all = [Fault::Kill, Fault::Stop, Fault::Cut, Fault::Hang, Fault::Term];
        chosen(all, &self.kinds)
    }

    pub(crate) fn roles(&self) -> Vec<Role> {
        chosen([Role::Leader, Role::Follower], &self.roles)
    }
}

fn chosen<T: Copy + PartialEq, const N: usize>(all: [T; N], wanted: &[T]) -> Vec<T> {
    all.into_iter().filter(|one| wanted.is_empty() || wanted.contains(one)).collect()
}
