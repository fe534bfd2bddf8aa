//! A run as one page: a timeline, what was broken, what was promised, and the first promise that
//! did not hold with all that shows it.
//!
//! The page needs nothing beside itself: no network, no scripts. It is light or dark as its reader
//! prefers. What it says is what the history says; it judges nothing itself.

mod colours;
mod describe;
mod lanes;
mod page;
mod plot;
mod series;
mod tables;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::history::History;
use crate::invariants::{Finding, Invariant};

use self::plot::DrawError;
use self::series::Series;

/// Why there is no report.
#[derive(Debug, Error)]
pub enum ReportError {
    /// The picture cannot be drawn.
    #[error("the timeline cannot be drawn")]
    Draw(#[source] DrawError),
    /// The file cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Writes the page: the history with what was found, and whether all in all it passed.
///
/// # Errors
///
/// When the file cannot be written.
pub fn write_html(
    path: &Path,
    history: &History,
    findings: &[(Invariant, Finding)],
    passed: bool,
) -> Result<(), ReportError> {
    let series = Series::of(history);
    let svg = plot::draw(history, &series).map_err(ReportError::Draw)?;
    write(path, &page::page(history, &series, findings, (passed, &svg)))
}

/// Writes the timeline alone, as a picture for a document.
///
/// # Errors
///
/// When the file cannot be written.
pub fn write_svg(path: &Path, history: &History) -> Result<(), ReportError> {
    let svg = plot::draw(history, &Series::of(history)).map_err(ReportError::Draw)?;
    write(path, &svg)
}

fn write(path: &Path, text: &str) -> Result<(), ReportError> {
    fs::write(path, text).map_err(|source| ReportError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
