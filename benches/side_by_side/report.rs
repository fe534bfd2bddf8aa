//! Turns the measurements into two Markdown tables: figures per server, and ratios against aims.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use super::{aims::Pair, cell::Cell, load::Measure};
use crate::common::server::ServerKind;

/// A generator that used this share of a processor held the server back.
const BUSY_GENERATOR: f64 = 0.95;

/// All measurements, by cell and server, in the order of the rounds.
#[derive(Default)]
pub(crate) struct Report {
    measures: BTreeMap<(Cell, ServerKind), Vec<Measure>>,
}

impl Report {
    /// Adds the measurement of one round.
    pub(crate) fn add(&mut self, cell: Cell, server: ServerKind, measure: Measure) {
        self.measures.entry((cell, server)).or_default().push(measure);
    }

    /// The whole report, for the cells and servers in the order given.
    pub(crate) fn to_markdown(&self, cells: &[Cell], servers: &[ServerKind]) -> String {
        let mut text = String::from(FIGURES_HEAD);
        for &cell in cells {
            for &server in servers {
                if let Some(measures) = self.measures.get(&(cell, server)) {
                    figures_row(&mut text, cell, server, measures);
                }
            }
        }
        text.push_str(RATIOS_HEAD);
        line(&mut text, ratios_head());
        let mut tally = [Tally::default(); Pair::ALL.len()];
        for &cell in cells {
            self.ratios_row(&mut text, cell, &mut tally);
        }
        for (pair, tally) in Pair::ALL.into_iter().zip(tally) {
            let (ours, theirs) = pair.servers();
            let Tally { met, aims } = tally;
            line(
                &mut text,
                format!("\n{} / {}: {met} of {aims} aims met", ours.label(), theirs.label()),
            );
        }
        text
    }

    fn ratios_row(&self, text: &mut String, cell: Cell, tally: &mut [Tally; Pair::ALL.len()]) {
        let mut row = format!("| {} | {} |", cell.workload, cell.shape);
        for (pair, tally) in Pair::ALL.into_iter().zip(tally) {
            let ratio = self.ratios(cell, pair);
            let verdict = match (ratio, pair.aim(cell)) {
                (None, _) => String::from("-"),
                (Some(ratio), None) => format!("{ratio:.2}"),
                (Some(ratio), Some(aim)) => {
                    tally.count(ratio.median >= aim);
                    judged(ratio, aim)
                }
            };
            write!(row, " {verdict} |").expect("a String takes what it is given");
        }
        line(text, row);
    }

    /// Ratios of commands per second, round by round.
    fn ratios(&self, cell: Cell, pair: Pair) -> Option<Spread> {
        let (ours, theirs) = pair.servers();
        let ours = self.measures.get(&(cell, ours))?;
        let theirs = self.measures.get(&(cell, theirs))?;
        let ratios = ours.iter().zip(theirs).map(|(ours, theirs)| rate(ours) / rate(theirs));
        Some(Spread::of(ratios))
    }
}

const FIGURES_HEAD: &str = "
Commands per second: median over the rounds [least-most]. Latency: from sending a batch to each of
its replies, all commands of the workload, median of the rounds. The right-hand columns say where
time goes: the server's processor time per command, the processors it kept busy, its resident memory
at the end, and the share of one processor that the load generator took (`*`: it was the limit).

| workload | connections x depth, body | server | commands/s | p50 ms | p99 ms | server us/command | server cores | server MiB | generator |
|---|---|---|---|---|---|---|---|---|---|
";

const RATIOS_HEAD: &str = "
Ratios of commands per second: median of the ratios of each round [least-most], and the aim.

";

/// The head of the table of ratios: a column for each pair.
fn ratios_head() -> String {
    let column = |pair: Pair| {
        let (ours, theirs) = pair.servers();
        format!(" {} / {} |", ours.label(), theirs.label())
    };
    let columns: String = Pair::ALL.into_iter().map(column).collect();
    let rule = "---|".repeat(Pair::ALL.len());
    format!("| workload | connections x depth, body |{columns}\n|---|---|{rule}")
}

#[derive(Clone, Copy, Default)]
struct Tally {
    met: u32,
    aims: u32,
}

impl Tally {
    fn count(&mut self, met: bool) {
        self.aims += 1;
        self.met += u32::from(met);
    }
}

/// Median, least and most of some values.
#[derive(Clone, Copy)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (values[0], values[values.len() - 1]);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(values[middle - 1], values[middle])
        } else {
            values[middle]
        };
        Self { median, least, most }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = out.precision().unwrap_or_default();
        let Self { median, least, most } = self;
        write!(out, "{median:.digits$} [{least:.digits$}-{most:.digits$}]")
    }
}

fn figures_row(text: &mut String, cell: Cell, server: ServerKind, measures: &[Measure]) {
    let over = |value: fn(&Measure) -> f64| Spread::of(measures.iter().map(value));
    let generator = over(|measure| measure.generator_cpu.div_duration_f64(measure.elapsed));
    let mark = if generator.median >= BUSY_GENERATOR { " *" } else { "" };
    line(
        text,
        format!(
            "| {} | {} | {} | {:.0} | {:.3} | {:.3} | {:.2} | {:.2} | {:.0} | {:.0}%{mark} |",
            cell.workload,
            cell.shape,
            server.label(),
            over(rate),
            over(|measure| milliseconds(measure, 0.5)).median,
            over(|measure| milliseconds(measure, 0.99)).median,
            over(|measure| measure.server_cpu.as_secs_f64() * 1e6 / commands(measure)).median,
            over(|measure| measure.server_cpu.div_duration_f64(measure.elapsed)).median,
            over(|measure| measure.server_resident_bytes as f64 / 1048576.0).median,
            generator.median * 100.0,
        ),
    );
}

fn judged(ratio: Spread, aim: f64) -> String {
    if ratio.median >= aim {
        return format!("{ratio:.2}, aim {aim} met");
    }
    let missing = (1.0 - ratio.median / aim) * 100.0;
    format!("{ratio:.2}, aim {aim} **missed by {missing:.0}%**")
}

/// One line for whoever waits.
pub(crate) fn progress(cell: Cell, server: ServerKind, round: u32, measure: &Measure) -> String {
    format!(
        "round {round}  {:<18}  {:<26}  {:<17}  {:>9.0}/s  p50 {:.3} ms  p99 {:.3} ms  {:.1} s",
        cell.workload,
        cell.shape.to_string(),
        server.label(),
        rate(measure),
        milliseconds(measure, 0.5),
        milliseconds(measure, 0.99),
        measure.elapsed.as_secs_f64(),
    )
}

fn rate(measure: &Measure) -> f64 {
    commands(measure) / measure.elapsed.max(Duration::from_micros(1)).as_secs_f64()
}

/// At least one, so that a ratio stays a number.
fn commands(measure: &Measure) -> f64 {
    measure.commands.max(1) as f64
}

fn milliseconds(measure: &Measure, quantile: f64) -> f64 {
    measure.latency.value_at_quantile(quantile) as f64 / 1e6
}

fn line(text: &mut String, row: String) {
    text.push_str(&row);
    text.push('\n');
}
