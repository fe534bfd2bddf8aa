//! What a run has shown.

use std::fs;
use std::io::{Write, stdout};
use std::path::Path;

use anyhow::{Context, Result};

use crate::check;
use crate::history::{FaultState, History};
use crate::invariants;
use crate::report;

use super::recording::FILE;

/// What a run has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every promise was held against what happened, and none was broken.
    Passed,
    /// A promise was broken, or could not be held against anything.
    Failed,
    /// Something that was asked for could not be done on this machine. Never a pass.
    Skipped,
}

impl Verdict {
    /// In one word.
    fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::Skipped => "skipped",
        }
    }
}

/// Holds the history in `out` against all promises, and writes the report beside it.
pub(super) fn judge(out: &Path) -> Result<Verdict> {
    let path = out.join(FILE);
    let history = History::read(&path)?;
    let findings = invariants::judge(&history);
    let mut text = Vec::new();
    let is_pass = check::print(&history, &findings, &mut text)?;
    let left_out: Vec<String> = left_out(&history).collect();
    let verdict = match (is_pass, left_out.is_empty()) {
        (false, _) => Verdict::Failed,
        (true, false) => Verdict::Skipped,
        (true, true) => Verdict::Passed,
    };
    for why in &left_out {
        writeln!(text, "left out: {why}")?;
    }
    let report = out.join("report.html");
    report::write_html(&report, &history, &findings, verdict == Verdict::Passed)?;
    writeln!(text, "\n{}\nreport: {}", verdict.word(), report.display())?;
    writeln!(text, "history: {}", path.display())?;
    writeln!(text, "again: {}", history.head.command)?;
    fs::write(out.join("verdict.txt"), &text).context("the verdict cannot be written")?;
    stdout().lock().write_all(&text)?;
    Ok(verdict)
}

/// Faults that were not there, or not surely.
fn left_out(history: &History) -> impl Iterator<Item = String> {
    let missing = history.faults.iter().filter(|fault| fault.state != FaultState::Installed);
    missing.map(|fault| format!("{} of {}: {}", fault.name, fault.target, fault.note))
}
