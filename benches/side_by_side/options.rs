//! The command line: which cells, which servers, how long.

use std::time::Duration;

use clap::Parser;

use super::{
    cell::{Cell, Shape, Workload},
    load::Times,
};
use crate::common::server::ServerKind;

const CONNECTIONS: [usize; 4] = [1, 16, 128, 1000];
const DEPTHS: [usize; 2] = [1, 32];
const BODIES: [usize; 2] = [256, 4096];
/// Connections and depth of the cells that `--quick` keeps, with the smaller body.
const QUICK: [(usize, usize); 5] = [(1, 1), (16, 1), (128, 1), (1000, 1), (16, 32)];
const QUICK_SECONDS: f64 = 0.7;
const SECONDS: f64 = 1.5;
const ROUNDS_MAX: i64 = 100;

/// Compares beanpole with beanstalkd on this machine and prints a Markdown report.
#[derive(Debug, Parser)]
#[command(name = "side_by_side")]
pub(crate) struct Options {
    /// Only 256-byte bodies, five shapes, short cells.
    #[arg(long)]
    quick: bool,
    /// Measurements of each cell on each server.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=ROUNDS_MAX))]
    pub(crate) rounds: u32,
    /// Seconds measured for each cell, without its warm-up [default: 1.5, with --quick 0.7].
    #[arg(long, value_parser = seconds)]
    seconds: Option<Duration>,
    /// Only these workloads (drain is reserve+delete, and needs a put before it).
    #[arg(long, value_delimiter = ',')]
    workload: Vec<Workload>,
    /// Only these numbers of connections.
    #[arg(long, value_delimiter = ',', value_parser = positive)]
    connections: Vec<usize>,
    /// Only these numbers of commands in flight on a connection.
    #[arg(long, value_delimiter = ',', value_parser = positive)]
    depth: Vec<usize>,
    /// Only these body sizes, in bytes.
    #[arg(long, value_delimiter = ',', value_parser = positive)]
    body: Vec<usize>,
    /// Only these servers.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "beanstalkd,beanstalkd-f0,beanpole-b,beanpole,beanpole-three"
    )]
    pub(crate) servers: Vec<ServerKind>,
}

impl Options {
    /// How long each cell runs.
    pub(crate) fn times(&self) -> Times {
        let default = if self.quick { QUICK_SECONDS } else { SECONDS };
        let window = self.seconds.unwrap_or(Duration::from_secs_f64(default));
        Times { warmup: window / 5, window }
    }

    /// All cells that were asked for, in the order of the table.
    pub(crate) fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for workload in [Workload::Put, Workload::Drain, Workload::Cycle] {
            if self.workload.is_empty() || self.workload.contains(&workload) {
                let shapes = self.shapes().into_iter();
                cells.extend(shapes.map(|shape| Cell { workload, shape }));
            }
        }
        cells
    }

    fn shapes(&self) -> Vec<Shape> {
        let asked = |list: &[usize], otherwise: &[usize]| {
            if list.is_empty() { otherwise.to_vec() } else { list.to_vec() }
        };
        // What is asked for by number is measured, also when `--quick` would leave it out.
        let all = !self.connections.is_empty() || !self.depth.is_empty() || !self.quick;
        let bodies = if self.quick { &BODIES[..1] } else { &BODIES[..] };
        let mut shapes = Vec::new();
        for body_bytes in asked(&self.body, bodies) {
            for depth in asked(&self.depth, &DEPTHS) {
                let connections = asked(&self.connections, &CONNECTIONS).into_iter();
                shapes.extend(
                    connections
                        .filter(|&connections| all || QUICK.contains(&(connections, depth)))
                        .map(|connections| Shape { body_bytes, connections, depth }),
                );
            }
        }
        shapes
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let value: f64 = text.parse().map_err(|_| String::from("not a number"))?;
    if (0.05..=600.0).contains(&value) {
        Ok(Duration::from_secs_f64(value))
    } else {
        Err(String::from("must be from 0.05 to 600"))
    }
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(value @ 1..=65535) => Ok(value),
        _ => Err(String::from("must be from 1 to 65535")),
    }
}
