//! What a run has shown.

use std::fs;
use std::io::{Write, stdout};

use anyhow::{Context, Result};

use crate::check::{self, Verdict};

use super::Live;
use super::recording::FILE;

/// Judges what was seen, however the run ended, and leaves the verdict and the report beside the
/// history.
///
/// # Errors
/// How it ended, if not well; or when it cannot be judged.
pub(super) fn conclude(live: &Live, ended: Result<()>) -> Result<Verdict> {
    let mut text = Vec::new();
    let verdict = check::check(&live.out.join(FILE), Some(&live.out), &mut text)?;
    fs::write(live.out.join("verdict.txt"), &text).context("the verdict cannot be written")?;
    stdout().lock().write_all(&text)?;
    ended?;
    Ok(verdict)
}
