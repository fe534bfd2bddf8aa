//! One section of the report: a heading and a table of figures, some with an aim.

use std::fmt;

/// Figures under a heading.
pub(crate) struct Section {
    heading: String,
    rows: Vec<String>,
}

impl Section {
    pub(crate) fn new(heading: String) -> Self {
        Self { heading, rows: Vec::new() }
    }

    /// A figure without an aim.
    pub(crate) fn figure(&mut self, name: &str, value: impl fmt::Display) {
        self.rows.push(format!("| {name} | {value} | |"));
    }

    /// A figure, what it should be, and whether it is.
    pub(crate) fn judged(&mut self, name: &str, value: impl fmt::Display, aim: &str, met: bool) {
        let verdict = if met { "met" } else { "**missed**" };
        self.rows.push(format!("| {name} | {value} | {aim}: {verdict} |"));
    }
}

impl fmt::Display for Section {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "\n### {}\n\n| figure | value | aim |\n|---|---|---|", self.heading)?;
        self.rows.iter().try_for_each(|row| writeln!(out, "{row}"))
    }
}

/// Bytes as MiB.
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1024.0 * 1024.0))
}
