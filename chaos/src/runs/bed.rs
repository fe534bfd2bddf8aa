//! The members of a run: with all that its faults take, and no more.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::faults::Kind;
use crate::testbed::{ClusterOptions, MemoryGroup};

use super::Live;

/// What each member may use, and where the kernel would kill it.
pub(super) const MEMORY_BUDGET: u64 = 96 << 20;
pub(super) const MEMORY_LIMIT: u64 = 160 << 20;
/// Jobs that are there before anything else, four times what members with such a budget keep in
/// memory: so there are files of cold jobs. Clients work some of them off in some minutes; the others
/// rest in a tube that nobody knows of until all are taken out.
pub(super) const WORKED_JOBS: u32 = 4_000;
pub(super) const RESTING_JOBS: u32 = 7_000;
pub(super) const BACKLOG_BODY_BYTES: u32 = 6_000;
/// The disk of each member, when it has one of its own.
const DISK_BYTES: u64 = 1 << 30;
/// So that there are checkpoints and snapshots in a run of minutes.
const CHECKPOINT_OPS: &str = "3000";

/// How the members are started.
pub(super) fn options(live: &Live) -> ClusterOptions {
    let any = |kinds: &[Kind]| live.kinds.iter().any(|kind| kinds.contains(kind));
    let ways = [Kind::CutOneWay, Kind::CutTwoWays, Kind::Isolate, Kind::CutPattern];
    let members = if live.kinds.contains(&Kind::Grow) { 1 } else { live.members };
    let planted = live.planted.iter().map(|bug| ("BEANPOLE_PLANTED".to_owned(), bug.clone()));
    let flags = ["--memory", &format!("{MEMORY_BUDGET}"), "--checkpoint-ops-max", CHECKPOINT_OPS];
    ClusterOptions {
        members,
        flags: flags.map(str::to_owned).to_vec(),
        environment: planted.collect(),
        disk_size: any(&[Kind::PowerLoss, Kind::FullDisk]).then_some(DISK_BYTES),
        has_cables: any(&ways) || any(&[Kind::Delay, Kind::Loss]),
        has_clocks: any(&[Kind::ClockJump]),
        memory_limit: MemoryGroup::create(MEMORY_LIMIT).is_ok().then_some(MEMORY_LIMIT),
        ..ClusterOptions::of(live.program.clone())
    }
}

/// What the server says of itself.
pub(super) fn version(program: &Path) -> Result<String> {
    let output = Command::new(program).arg("--version").output();
    let output = output.with_context(|| format!("{} cannot be started", program.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
