//! `beanpole demo`: three members on this machine, each a process of its own, to be looked at, killed
//! and started again.
//!
//! `layout` makes the files, `process` starts and stops the members, `formation` makes a cluster of
//! them, `watch` tells what becomes of it. The members are what they would be in production: the demo
//! speaks to them through their administration sockets only, and restarts none.

mod formation;
mod layout;
mod process;
mod watch;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::admin::AskError;
use crate::cli::DemoArguments;
use crate::clock::{Clock, SystemClock};
use crate::config::ConfigError;
use crate::storage::disk::{Disk, RealDisk, replace_file};
use layout::{Layout, Place};
use process::Process;
pub use process::end_with_parent;
use watch::Watcher;

/// The file that names the members while the demo runs.
const LIST_NAME: &str = "demo.json";

/// Between two looks at the members.
const WATCH_PAUSE: Duration = Duration::from_millis(200);

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The directory cannot be used.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another demo runs there.
    #[error("another demo runs in {}", .0.display())]
    InUse(PathBuf),
    /// The name cannot be written in a configuration file.
    #[error("{} is not UTF-8", .0.display())]
    NotUtf8(PathBuf),
    /// There are no three ports from there on.
    #[error("port {0} has no two ports after it")]
    PortRange(u16),
    /// Somebody else has a port.
    #[error("port {port} on 127.0.0.1 cannot be had; --port chooses others for clients")]
    Port {
        /// Which one.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// A configuration file of an earlier demo cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A member ended before there was a cluster.
    #[error("member {number} has ended ({status}); the end of {}:\n{tail}", log.display())]
    Ended {
        /// Its place, from 1.
        number: u64,
        /// How it ended.
        status: String,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// A member does not do what it must.
    #[error("member {number} is still not {what}; see {}", log.display())]
    Slow {
        /// Its place, from 1.
        number: u64,
        /// What is waited for.
        what: &'static str,
        /// Its log.
        log: PathBuf,
    },
    /// A member does not do what it is asked.
    #[error("cannot {what}: {reason}")]
    Refused {
        /// What it was asked.
        what: String,
        /// What it said.
        reason: String,
    },
    /// A member does not answer.
    #[error(transparent)]
    Ask(#[from] AskError),
}

/// A member, as `demo.json` names it.
#[derive(Serialize)]
struct Listed<'a> {
    id: u64,
    client_address: String,
    member_address: String,
    pid: u32,
    config: &'a Path,
    data_dir: &'a Path,
    log: &'a Path,
}

/// Runs until SIGINT, SIGTERM or SIGHUP; the members have ended when it returns.
///
/// # Errors
///
/// [`DemoError`], when there is no cluster to show.
pub fn run(arguments: &DemoArguments) -> Result<(), DemoError> {
    let failed = |source| DemoError::Io { action: "run in", path: arguments.dir.clone(), source };
    // The members are killed when the thread that started them ends: it must be this one.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(failed)?.block_on(async {
        let mut signals = Signals::new().map_err(failed)?;
        let layout = Layout::prepare(&arguments.dir, arguments.port)?;
        remove_list(&layout.dir)?;
        let mut processes = Vec::new();
        let result = tokio::select! {
            result = show(&layout, &mut processes) => result,
            () = signals.next() => Ok(()),
        };
        tell("ending: each member answers what is under way");
        process::stop(&mut processes).await;
        remove_list(&layout.dir)?;
        result
    })
}

/// Starts the members, makes them a cluster, and tells of it for as long as it is polled.
async fn show(layout: &Layout, processes: &mut Vec<Process>) -> Result<(), DemoError> {
    for place in &layout.places {
        processes.push(Process::start(place)?);
    }
    tell(&format!("three members start in {}", layout.dir.display()));
    let mut check = || processes.iter_mut().try_for_each(Process::check);
    let ids = formation::form(&layout.places, &mut check).await?;
    formation::serving(&layout.places, &mut check).await?;
    let listed: Vec<_> = layout.places.iter().zip(&ids).zip(&*processes).map(listed).collect();
    write_list(&layout.dir, &listed)?;
    introduce(&listed);
    let clock = SystemClock::new(None);
    let start = clock.boot_nanos();
    let mut watcher = Watcher::default();
    loop {
        let seen = watch::look(&layout.places, &ids, processes).await;
        for line in watcher.changes(seen) {
            let seconds = Duration::from_nanos(clock.boot_nanos() - start).as_secs_f64();
            tell(&format!("{seconds:8.1} s  {line}"));
        }
        tokio::time::sleep(WATCH_PAUSE).await;
    }
}

fn listed<'a>(((place, id), process): ((&'a Place, &u64), &Process)) -> Listed<'a> {
    Listed {
        id: *id,
        client_address: place.client_address(),
        member_address: place.member_address(),
        pid: process.pid(),
        config: &place.config,
        data_dir: &place.data,
        log: &place.log,
    }
}

fn introduce(listed: &[Listed<'_>]) {
    for member in listed {
        let Listed { id, client_address, pid, log, .. } = member;
        let log = log.display();
        tell(&format!("member {id}: clients on {client_address}, pid {pid}, log {log}"));
    }
    let Some(Listed { id, config, .. }) = listed.first() else { return };
    let config = config.display();
    // As it was called: one that was built here may be on no path.
    let program = std::env::args().next().unwrap_or_else(|| "beanpole".to_owned());
    tell(
        "Kill one (kill -9 PID) and watch. Ctrl-C ends those that the demo has started. Elsewhere:",
    );
    tell(&format!("  {program} --config {config}                 starts member {id} again"));
    tell(&format!("  {program} cluster status --config {config}  shows what it knows"));
}

fn write_list(dir: &Path, listed: &[Listed<'_>]) -> Result<(), DemoError> {
    let path = dir.join(LIST_NAME);
    let written = serde_json::to_vec_pretty(listed)
        .map_err(io::Error::from)
        .and_then(|text| replace_file(&RealDisk, dir, LIST_NAME, &text));
    written.map_err(|source| DemoError::Io { action: "write", path, source })
}

/// There is none while no demo runs: the ids of processes in it would be those of others.
fn remove_list(dir: &Path) -> Result<(), DemoError> {
    let path = dir.join(LIST_NAME);
    match RealDisk.remove(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(DemoError::Io { action: "remove", path, source })
        }
        _ => Ok(()),
    }
}

/// A line for whoever watches. Nobody may watch any more; that is no reason to end.
fn tell(line: &str) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// What ends a demo.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
            _ = hangup.recv() => (),
        }
    }
}
