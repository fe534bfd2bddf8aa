//! What was typed, and what it asks for.

use std::io::stdout;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clap::{Args, Parser, Subcommand};

use crate::check::{self, Verdict};
use crate::faults::Kind;
use crate::program::{Build, program};
use crate::runs::{self, Live, Mix, Via};
use crate::testbed::Random;

/// How long each kind of run takes unless that is said, in seconds.
const LIVE_SECONDS: u64 = 120;
const STANDARD_SECONDS: u64 = 900;
const SOAK_SECONDS: u64 = 4 * 3600;
const BEANSTALKD_SECONDS: u64 = 60;
/// How many members there are after growth.
const GROWN: u8 = 3;

/// Drives real members through faults and proves that nothing was lost.
///
/// Exit status 0: nothing was broken. 1: a promise was broken. 77: something that was asked for could
/// not be done on this machine, which is no pass. 2: the run itself failed.
#[derive(Debug, Parser)]
#[command(name = "beanpole-chaos", version)]
pub struct CommandLine {
    #[command(subcommand)]
    ask: Ask,
}

#[derive(Debug, Subcommand)]
enum Ask {
    /// Faults for a while, as many as fit, but each at least once.
    Live {
        /// How many members. With the fault `grow` it is three, of which one is there at the beginning.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=3))]
        members: u8,
        #[command(flatten)]
        course: Course,
    },
    /// Each fault alone, then pairs of the seed's choice: 15 minutes.
    Standard {
        #[command(flatten)]
        course: Course,
    },
    /// All 64 ways to cut the six directions between three members.
    Patterns {
        #[command(flatten)]
        course: Course,
    },
    /// As `standard`, for hours.
    Soak {
        #[command(flatten)]
        course: Course,
    },
    /// The same clients and checks against beanstalkd, which is killed: shows what they find there.
    Beanstalkd {
        #[command(flatten)]
        course: Course,
    },
    /// Bugs on purpose, one after the other: each must be caught.
    Planted {
        /// Which; all if none is named.
        bugs: Vec<String>,
        /// The same runs with a server that has no bug: then nothing may be caught.
        #[arg(long)]
        sound: bool,
        #[command(flatten)]
        course: Course,
    },
    /// Which faults can be had on this machine.
    Faults,
    /// Judges a history that was kept.
    Check {
        /// The file.
        history: PathBuf,
        /// Where a report and its picture go.
        #[arg(long)]
        report: Option<PathBuf>,
    },
}

impl CommandLine {
    /// Whether processes are started and things are broken: not where something is only told.
    pub fn is_a_run(&self) -> bool {
        !matches!(self.ask, Ask::Faults | Ask::Check { .. })
    }
}

/// What is common to all runs.
#[derive(Args, Clone, Debug)]
struct Course {
    /// For how long faults come and go [default: 120, standard 900, soak 14400, beanstalkd 60].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    seconds: Option<u64>,
    /// Which faults: `all`, `none`, or names as `faults` shows them, with commas.
    #[arg(long, default_value = "all", value_delimiter = ',')]
    faults: Vec<String>,
    /// Which faults not, though `all` were asked for.
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// What clients speak to.
    #[arg(long, value_enum, default_value_t = Via::Members)]
    via: Via,
    /// Where all that is random comes from [default: another one each time].
    #[arg(long)]
    seed: Option<u64>,
    /// The server [default: built from this checkout].
    #[arg(long)]
    server: Option<PathBuf>,
    /// A bug that the server is to have on purpose; builds a server that can have it.
    #[arg(long)]
    planted: Option<String>,
    /// Where history, report and logs go [default: target/chaos/SEED].
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Does what was asked for.
///
/// # Errors
/// When it cannot be done. A broken promise is no error.
pub fn run(asked: &CommandLine) -> Result<Verdict> {
    match &asked.ask {
        Ask::Live { members, course } => course.live(*members, LIVE_SECONDS, Mix::Alone),
        Ask::Standard { course } => course.live(3, STANDARD_SECONDS, Mix::AloneThenPairs),
        Ask::Soak { course } => course.live(3, SOAK_SECONDS, Mix::AloneThenPairs),
        Ask::Patterns { course } => runs::patterns(&course.options(3, 0, Mix::Alone)?),
        Ask::Beanstalkd { course } => {
            ensure!(course.via == Via::Members, "an agent speaks to members of a cluster only");
            let program = PathBuf::from("beanstalkd");
            runs::beanstalkd(&course.options_for(program, 1, BEANSTALKD_SECONDS, Mix::Alone)?)
        }
        Ask::Planted { bugs, sound, course } => {
            let course = Course { planted: Some(String::new()), ..course.clone() };
            runs::planted(&course.options(3, LIVE_SECONDS, Mix::Alone)?, bugs, *sound)
        }
        Ask::Faults => Ok(runs::list_faults(&mut stdout().lock())?),
        Ask::Check { history, report } => {
            check::check(history, report.as_deref(), &mut stdout().lock())
        }
    }
}

impl Course {
    fn live(&self, members: u8, seconds: u64, mix: Mix) -> Result<Verdict> {
        runs::live(&self.options(members, seconds, mix)?)
    }

    fn options(&self, members: u8, seconds: u64, mix: Mix) -> Result<Live> {
        let build = Build { is_planted: self.planted.is_some() };
        self.options_for(program(self.server.as_deref(), build)?, members, seconds, mix)
    }

    fn options_for(&self, program: PathBuf, members: u8, seconds: u64, mix: Mix) -> Result<Live> {
        let seed = self.seed.unwrap_or_else(Random::fresh_seed);
        let out = self.out.clone().unwrap_or_else(|| PathBuf::from(format!("target/chaos/{seed}")));
        let kinds = self.kinds(members)?;
        Ok(Live {
            members: if kinds.contains(&Kind::Grow) { GROWN } else { members },
            via: self.via,
            time: Duration::from_secs(self.seconds.unwrap_or(seconds)),
            kinds,
            mix,
            has_bursts: false,
            seed,
            program,
            planted: self.planted.clone(),
            out,
            command: command_again(seed),
        })
    }

    /// The faults that are asked for. Of `all`, those that so many members can have.
    fn kinds(&self, members: u8) -> Result<Vec<Kind>> {
        let named = |names: &[String]| -> Result<Vec<Kind>> {
            names.iter().map(|name| kind_of(name)).collect()
        };
        let without: Vec<Kind> = named(&self.without)?;
        let asked: Vec<Kind> = match self.faults.iter().map(String::as_str).collect::<Vec<_>>()[..]
        {
            ["all"] => Kind::ALL.iter().copied().filter(|kind| suits(*kind, members)).collect(),
            ["none"] => Vec::new(),
            _ => named(&self.faults)?,
        };
        Ok(asked.into_iter().filter(|kind| !without.contains(kind)).collect())
    }
}

/// Whether a cluster of so many can have such a fault.
fn suits(kind: Kind, members: u8) -> bool {
    match kind {
        Kind::CutOneWay | Kind::CutTwoWays | Kind::Isolate | Kind::Delay | Kind::Loss => {
            members > 1
        }
        Kind::FlipRun => members > 1,
        Kind::Transfer | Kind::Replace => members > 1,
        Kind::CutPattern | Kind::Grow => members == 3,
        _ => true,
    }
}

fn kind_of(name: &str) -> Result<Kind> {
    match Kind::ALL.iter().find(|kind| kind.name() == name) {
        Some(kind) => Ok(*kind),
        None => {
            let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
            bail!("no fault is called {name}; there are {}", names.join(", "))
        }
    }
}

/// The command that was typed, with its seed.
fn command_again(seed: u64) -> String {
    let typed: Vec<String> = std::env::args().skip(1).collect();
    let has_seed = typed.iter().any(|word| word == "--seed" || word.starts_with("--seed="));
    let seed = if has_seed { String::new() } else { format!(" --seed {seed}") };
    format!("cargo run --release -p beanpole-chaos -- {}{seed}", typed.join(" "))
}
