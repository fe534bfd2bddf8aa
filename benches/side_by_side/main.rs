//! Speed side by side: Debian's beanstalkd and beanpole under the same load on the same machine.
//!
//! `cargo bench --bench side_by_side [-- --quick]`. Each cell runs on a fresh server; the servers
//! take turns inside a cell, several rounds, so that a ratio compares neighbours in time. Every
//! reply is checked, and each job must be put, handed out and deleted once: a wrong reply fails the
//! bench. Without beanstalkd it says so and ends with status 77.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "other benches need more of it")]
mod common;

mod aims;
mod batch;
mod cell;
mod connection;
mod ledger;
mod load;
mod options;
mod report;

use std::{
    env,
    error::Error,
    io::{self, Write},
    process::ExitCode,
};

use cell::{Cell, Workload};
use clap::Parser;
use common::{
    client::Client,
    machine,
    server::{self, Server, ServerKind},
    wire,
};
use ledger::Ledger;
use load::{Measure, Times};
use options::Options;
use report::Report;

/// What test drivers take as "left out".
const EXIT_LEFT_OUT: u8 = 77;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = env::args().collect();
    // `cargo test --all-targets` runs benches too, without this word that `cargo bench` appends.
    let Some(place) = arguments.iter().position(|argument| argument == "--bench") else {
        eprintln!("side_by_side: only under `cargo bench`");
        return ExitCode::SUCCESS;
    };
    arguments.remove(place);
    let options = Options::parse_from(&arguments);
    if let Some(missing) = options.servers.iter().find(|&&kind| !server::is_installed(kind)) {
        eprintln!("side_by_side: left out, {} is not installed", missing.program());
        return ExitCode::from(EXIT_LEFT_OUT);
    }
    match compare(&options, &arguments[1..]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("side_by_side: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(options: &Options, arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let cells = options.cells();
    let mut report = Report::default();
    for turn in turns(&cells) {
        for round in 1..=options.rounds {
            for &kind in &options.servers {
                for (cell, measure) in take_turn(kind, &turn, options.times())? {
                    eprintln!("{}", report::progress(cell, kind, round, &measure));
                    report.add(cell, kind, measure);
                }
            }
        }
    }
    let head = machine::report_head("side_by_side", arguments, &options.servers);
    let tables = report.to_markdown(&cells, &options.servers);
    Ok(write!(io::stdout().lock(), "{head}{tables}")?)
}

/// Cells that share a server: a drain goes with the put that fills the tube for it, and such a put
/// is there even when its own figures were not asked for.
fn turns(cells: &[Cell]) -> Vec<Vec<Cell>> {
    let mut turns = Vec::new();
    for &cell in cells {
        let put = Cell { workload: Workload::Put, ..cell };
        let drain = Cell { workload: Workload::Drain, ..cell };
        match cell.workload {
            Workload::Cycle => turns.push(vec![cell]),
            Workload::Drain => turns.push(vec![put, drain]),
            Workload::Put if cells.contains(&drain) => {}
            Workload::Put => turns.push(vec![put]),
        }
    }
    turns
}

/// Runs the cells one after the other on one fresh server, then asks it what it has left.
fn take_turn(
    kind: ServerKind,
    cells: &[Cell],
    times: Times,
) -> Result<Vec<(Cell, Measure)>, Box<dyn Error>> {
    let server = Server::start(kind)?;
    let mut ledger = Ledger::default();
    let mut measures = Vec::new();
    for &cell in cells {
        let context = |error: &dyn Error| {
            format!(
                "{}, {}, {}: {error}; {}",
                kind.label(),
                cell.workload,
                cell.shape,
                server.log_tail()
            )
        };
        let measure =
            load::run(&server, cell, times, &mut ledger).map_err(|error| context(&error))?;
        ledger.check_settled().map_err(|error| context(&error))?;
        measures.push((cell, measure));
    }
    let body_bytes =
        cells.iter().map(|cell| cell.shape.body_bytes as u64).max().unwrap_or_default();
    server.check_kept(ledger.put_jobs() * body_bytes)?;
    let left = Client::connect(server.address())?.default_tube_stat("current-jobs-ready")?;
    if left != ledger.left() {
        let label = kind.label();
        return Err(format!("{label} has {left} jobs, {} should be left", ledger.left()).into());
    }
    Ok(measures)
}
