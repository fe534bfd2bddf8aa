//! The same clients and the same checks against Debian's beanstalkd, which syncs every write and is
//! killed again and again: what is found there shows that the checks are fair.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::check::Verdict;
use crate::clock::{Clock, now};
use crate::history::{self, Fault, FaultState, Head, Line, MemberSample};
use crate::testbed::Random;
use crate::workload::{Workload, WorkloadOptions};

use super::Live;
use super::recording::record;
use super::sampler::Leaders;
use super::stage::{Stage, Subject, tubes};
use super::verdict::conclude;
use super::watch::Watch;

/// How long it runs between two kills, and is down after one, in milliseconds.
const RUNS: std::ops::Range<u64> = 3_000..8_000;
const DOWN: std::ops::Range<u64> = 200..1_500;
const KILL: &str = "kill";
const UP_WITHIN: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Runs it, killing it for `live.time`.
///
/// # Errors
/// When it is not installed, or the run cannot be made.
pub fn beanstalkd(live: &Live) -> Result<Verdict> {
    let ended = record(&live.out, |lines| run(live, lines))?;
    conclude(live, ended)
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
        has_agent: false,
        has_keys: false,
        memory_budget: None,
        memory_limit: None,
    }))?;
    server.start()?;
    let addresses = server.addresses();
    let options = WorkloadOptions {
        tubes: tubes(),
        has_keys: false,
        ..WorkloadOptions::on(addresses, live.seed)
    };
    let workload = Some(Workload::start(options, clock, lines.clone()));
    let random = Random::new(live.seed);
    let watch = Watch::new(clock, Leaders::default());
    let mut stage = Stage {
        subject: server,
        clock,
        lines,
        random,
        workload,
        agent: None,
        backlog: None,
        watch,
    };
    stage.walk(|stage| kill_again_and_again(stage, live.time))
}

fn kill_again_and_again(stage: &mut Stage<'_, Beanstalkd>, time: Duration) -> Result<()> {
    let end = now() + time;
    while now() < end {
        let runs = Duration::from_millis(stage.random.within(RUNS));
        stage.stay(runs);
        let began = stage.clock.now();
        stage.watch.fault_begins(KILL);
        stage.subject.kill();
        let down = Duration::from_millis(stage.random.within(DOWN));
        stage.stay(down);
        stage.subject.start()?;
        stage.watch.fault_ends(KILL, "healed");
        stage.write(Line::Fault(Fault {
            name: KILL.to_owned(),
            target: "the server".to_owned(),
            members: vec![0],
            began,
            healed: Some(stage.clock.now()),
            state: FaultState::Installed,
            note: "SIGKILL, and a start on the same binlog".to_owned(),
        }))?;
    }
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

impl Subject for Beanstalkd {
    fn addresses(&self) -> Vec<SocketAddr> {
        vec![self.address]
    }

    /// It tells nothing of its inside.
    fn samples(&self, _: Clock) -> Vec<MemberSample> {
        Vec::new()
    }
}

impl Drop for Beanstalkd {
    fn drop(&mut self) {
        self.kill();
    }
}
