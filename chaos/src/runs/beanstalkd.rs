//! The same clients and the same checks against Debian's beanstalkd, which syncs every write and is
//! killed again and again: what is found there shows that the checks are fair.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use crate::clock::{Clock, now};
use crate::history::{self, Fault, FaultState, Head, Line, Phase, PhaseName};
use crate::testbed::Random;
use crate::workload::{self, Workload, WorkloadOptions, tube_names};

use super::live::{DRAIN_LIMIT, TUBES};
use super::recording::{record, stop};
use super::verdict::judge;
use super::{Live, Verdict};

const WARM: Duration = Duration::from_secs(3);
const HEALED: Duration = Duration::from_secs(12);
/// How long it runs between two kills, and is down after one, in milliseconds.
const RUNS: std::ops::Range<u64> = 3_000..8_000;
const DOWN: std::ops::Range<u64> = 200..1_500;
const UP_WITHIN: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Runs it, killing it for `live.time`.
///
/// # Errors
/// When it is not installed, or the run cannot be made.
pub fn beanstalkd(live: &Live) -> Result<Verdict> {
    record(&live.out, |lines| run(live, lines))??;
    judge(&live.out)
}

fn run(live: &Live, lines: &SyncSender<Line>) -> Result<()> {
    let clock = Clock::start();
    let mut server = Beanstalkd::prepare(live.program.clone(), live.out.join("binlog"))?;
    lines.send(Line::Head(Head {
        format: history::FORMAT,
        seed: live.seed,
        command: live.command.clone(),
        server: server.version()?,
        members: 1,
        memory_budget: None,
        memory_limit: None,
    }))?;
    server.start()?;
    let enter = |name| {
        let line = Line::Phase(Phase { name, at: clock.now() });
        lines.send(line).map_err(|_| anyhow!("the history cannot be written any more"))
    };
    let tubes = tube_names(TUBES);
    let addresses = vec![server.address];
    let options = WorkloadOptions {
        tubes: tubes.clone(),
        ..WorkloadOptions::on(addresses.clone(), live.seed)
    };
    enter(PhaseName::Warm)?;
    let workload = Workload::start(options, clock, lines.clone());
    thread::sleep(WARM);
    enter(PhaseName::Faults)?;
    let mut random = Random::new(live.seed);
    let end = now() + live.time;
    while now() < end {
        thread::sleep(Duration::from_millis(random.within(RUNS)));
        let began = clock.now();
        server.kill();
        thread::sleep(Duration::from_millis(random.within(DOWN)));
        server.start()?;
        lines.send(Line::Fault(Fault {
            name: "kill".to_owned(),
            target: "the server".to_owned(),
            members: vec![0],
            began,
            healed: Some(clock.now()),
            state: FaultState::Installed,
            note: "SIGKILL, and a start on the same binlog".to_owned(),
        }))?;
    }
    enter(PhaseName::Healed)?;
    thread::sleep(HEALED);
    stop(workload)?;
    enter(PhaseName::Quiet)?;
    workload::look(&addresses, &tubes, clock, lines)?;
    enter(PhaseName::Drain)?;
    workload::drain(&addresses, &tubes, clock, lines, DRAIN_LIMIT)?;
    enter(PhaseName::Over)?;
    Ok(())
}

/// A beanstalkd with a binlog. Killed when dropped.
struct Beanstalkd {
    program: PathBuf,
    directory: PathBuf,
    address: SocketAddr,
    process: Option<Child>,
}

impl Beanstalkd {
    fn prepare(program: PathBuf, directory: PathBuf) -> Result<Self> {
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(&directory)?;
        // Nobody takes it in between but by chance.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        Ok(Self { program, directory, address, process: None })
    }

    fn version(&self) -> Result<String> {
        let output = Command::new(&self.program).arg("-v").output();
        let output = output.context("beanstalkd cannot be started; Debian has it")?;
        Ok(format!("{} -f0", String::from_utf8_lossy(&output.stdout).trim()))
    }

    fn start(&mut self) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.args(["-l", "127.0.0.1", "-p", &self.address.port().to_string(), "-f0", "-b"]);
        command.arg(&self.directory).stdin(Stdio::null()).stdout(Stdio::null());
        self.process = Some(command.stderr(Stdio::null()).spawn()?);
        let deadline = now() + UP_WITHIN;
        while TcpStream::connect(self.address).is_err() {
            ensure!(now() < deadline, "beanstalkd is not up within {UP_WITHIN:?}");
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself.
            drop(process.kill());
            process.wait().expect("a child can be waited for");
        }
    }
}

impl Drop for Beanstalkd {
    fn drop(&mut self) {
        self.kill();
    }
}
