//! Whole runs: members, clients, faults, and the verdict.

mod beanstalkd;
mod bed;
mod live;
mod planted;
mod recording;
mod sampler;
mod schedule;
mod stage;
mod verdict;
mod watch;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::check::Verdict;
use crate::faults::{self, Kind};

pub use beanstalkd::beanstalkd;
pub use live::{live, patterns};
pub use planted::planted;
pub use schedule::Mix;

/// What clients speak to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Via {
    /// The members, one each at a time.
    Members,
    /// An agent beside them, which speaks to the members.
    Agent,
}

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Live {
    /// How many members; before growth, which comes first if it is among the faults, there is one.
    pub members: u8,
    /// For how long faults come and go; each kind comes once, however long that takes.
    pub time: Duration,
    /// What clients speak to.
    pub via: Via,
    /// Which faults.
    pub kinds: Vec<Kind>,
    /// How they are combined.
    pub mix: Mix,
    /// Whether the backlog is put once more, each time when the first fault of some is there.
    pub has_bursts: bool,
    /// Where all that is random comes from.
    pub seed: u64,
    /// The server.
    pub program: PathBuf,
    /// The bug that it is to have on purpose.
    pub planted: Option<String>,
    /// Where history, report and logs go.
    pub out: PathBuf,
    /// The command that repeats the run.
    pub command: String,
}

/// Says which faults can be had here.
///
/// # Errors
/// When it cannot be written.
pub fn list_faults(out: &mut dyn io::Write) -> io::Result<Verdict> {
    for kind in Kind::ALL {
        let can = match faults::probe(kind) {
            Ok(()) => "yes".to_owned(),
            Err(why) => format!("no: {why}"),
        };
        writeln!(out, "{:16} {}\n{:16} {can}", kind.name(), kind.what(), "")?;
    }
    Ok(Verdict::Passed)
}
