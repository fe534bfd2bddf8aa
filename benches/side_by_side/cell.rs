//! One cell of the table: what is asked of a server, by how many connections, how deep, how large.

use std::fmt;

use clap::ValueEnum;

use super::batch::Step;

/// What the connections do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Workload {
    /// Only `put`.
    Put,
    /// `reserve` and then `delete` of the jobs that `put` has left.
    Drain,
    /// `put`, `reserve`, `delete`, over and over.
    Cycle,
}

impl Workload {
    /// The first kind of command of a round.
    pub(crate) fn first(self) -> Step {
        if self == Self::Drain { Step::Reserve } else { Step::Put }
    }

    /// The kind of command after `step`, or nothing when a round is over.
    pub(crate) fn after(self, step: Step) -> Option<Step> {
        match (self, step) {
            (Self::Put, _) | (_, Step::Delete) => None,
            (_, Step::Put) => Some(Step::Reserve),
            (_, Step::Reserve) => Some(Step::Delete),
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Put => "put",
            Self::Drain => "reserve+delete",
            Self::Cycle => "put+reserve+delete",
        })
    }
}

/// How the load is shaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shape {
    /// Bytes of each job's body.
    pub(crate) body_bytes: usize,
    /// Connections, each with its own commands.
    pub(crate) connections: usize,
    /// Commands that a connection has under way at a time, all of one kind.
    pub(crate) depth: usize,
}

impl fmt::Display for Shape {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} x {} deep, {} B", self.connections, self.depth, self.body_bytes)
    }
}

/// One line of the table: a workload in one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cell {
    pub(crate) workload: Workload,
    pub(crate) shape: Shape,
}
