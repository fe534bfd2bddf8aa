//! Keeps what happens in a run.

use std::fs;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};

use crate::history::{self, Line};
use crate::workload::Workload;

/// Lines that wait to be written.
const LINES_MAX: usize = 65_536;

/// The name of the history among what a run leaves.
pub(super) const FILE: &str = "history.jsonl";

/// Does `run`, whose lines go to the history in `out`, and returns how it ended by itself.
pub(super) fn record(
    out: &Path,
    run: impl FnOnce(&SyncSender<Line>) -> Result<()>,
) -> Result<Result<()>> {
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let path = out.join(FILE);
    let (lines, taken) = sync_channel(LINES_MAX);
    let writer = thread::spawn({
        let path = path.clone();
        move || history::write(&path, taken)
    });
    let ran = run(&lines);
    drop(lines);
    let written = writer.join().map_err(|_| anyhow!("the writer of the history has panicked"))?;
    written.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(ran)
}

/// Lets all clients finish what they have, and makes sure that the history has all of it.
pub(super) fn stop(workload: Workload) -> Result<()> {
    let figures = workload.stop();
    let lost = figures.totals.lost_records;
    ensure!(figures.panicked == 0, "{} clients have panicked", figures.panicked);
    ensure!(lost == 0, "{lost} records are not in the history");
    Ok(())
}
