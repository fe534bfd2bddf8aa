//! One member: its directory, its configuration, its process.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::sample::Watched;
use super::syncs::Tracer;
use crate::clock::now;
use crate::testbed::{LoopDisk, MemoryGroup};

const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// The ports are the same everywhere: each member has an address of its own.
const CLIENT_PORT: u16 = 11300;
const MEMBER_PORT: u16 = 11400;
/// TCP_LISTEN in /proc/net/tcp.
const LISTENING: &str = "0A";
/// How much of a log is shown when a test fails.
const LOG_LINES_SHOWN: usize = 60;

/// Where clients of a member with this address connect.
pub(super) fn client_address(address: Ipv4Addr) -> SocketAddr {
    SocketAddr::from((address, CLIENT_PORT))
}

/// A member, running or not.
#[derive(Debug)]
pub(super) struct Member {
    /// Holds configuration, log and data.
    home: PathBuf,
    address: Ipv4Addr,
    /// What starts it; the arguments are made at each start.
    process: Option<Child>,
    /// The id of the process, for those who only look; 0 while there is none.
    watched_pid: Arc<AtomicU32>,
    /// Stopped by SIGSTOP.
    pub(super) is_frozen: bool,
    /// What stands between it and its disk.
    pub(super) tracer: Option<Tracer>,
    /// What its processes run in, or why they run in none. Removed after their end.
    group: Result<Arc<MemoryGroup>, String>,
    /// What its data lies on, when that is a disk of its own.
    pub(super) disk: Option<LoopDisk>,
}

impl Member {
    /// Makes the directory of a member and writes its configuration. `settings` are lines of the
    /// file, with `[cluster]` among them.
    pub(super) fn new(home: PathBuf, address: Ipv4Addr, secret: &str, settings: &[String]) -> Self {
        let group = Err("no limit is asked for".to_owned());
        let member = Self {
            home,
            address,
            process: None,
            watched_pid: Arc::default(),
            is_frozen: false,
            tracer: None,
            group,
            disk: None,
        };
        fs::create_dir_all(member.data()).expect("the directory of a test is writable");
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(member.home.join("secret"))
            .expect("the directory of a test is writable");
        writeln!(file, "{secret}").expect("a file of a test is writable");
        let config = format!(
            "data_dir = {:?}\nlisten = \"{address}\"\nport = {CLIENT_PORT}\n{}\n\
             listen = \"{address}:{MEMBER_PORT}\"\nsecret_file = {:?}\n",
            member.data(),
            settings.join("\n"),
            member.home.join("secret"),
        );
        fs::write(member.config(), config).expect("the directory of a test is writable");
        member
    }

    /// Where clients connect.
    pub(super) fn client_address(&self) -> SocketAddr {
        client_address(self.address)
    }

    /// Where other members connect.
    pub(super) fn member_address(&self) -> SocketAddr {
        SocketAddr::from((self.address, MEMBER_PORT))
    }

    /// The data directory.
    pub(super) fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    /// The configuration file.
    pub(super) fn config(&self) -> PathBuf {
        self.home.join("config.toml")
    }

    /// From its next start on it gets so many bytes of memory, where this machine can see to that.
    pub(super) fn limit_memory(&mut self, bytes: u64) {
        self.group = MemoryGroup::create(bytes).map(Arc::new);
    }

    /// The group that limits its memory, or why there is none.
    pub(super) fn memory_group(&self) -> Result<&MemoryGroup, &str> {
        self.group.as_ref().map(Arc::as_ref).map_err(String::as_str)
    }

    /// What a look at it takes.
    pub(super) fn watched(&self) -> Watched {
        let group = self.group.as_ref().ok().cloned();
        Watched { data: self.data(), pid: Arc::clone(&self.watched_pid), group }
    }

    /// Starts the process; `command` runs the program where the member is.
    pub(super) fn start(
        &mut self,
        command: Command,
        flags: &[String],
        environment: &[(String, String)],
    ) {
        assert!(!self.is_running(), "{} runs already", self.home.display());
        let mut command = match &self.group {
            Ok(group) => group.around(&command),
            Err(_) => command,
        };
        let log = File::options().append(true).create(true).open(self.home.join("log"));
        let log = log.expect("the directory of a test is writable");
        command.arg("--config").arg(self.config()).args(flags);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let process = command.spawn().expect("the program can be started");
        self.watched_pid.store(process.id(), Ordering::Relaxed);
        self.process = Some(process);
        self.is_frozen = false;
    }

    /// Whether there is a process, frozen or not.
    pub(super) fn is_running(&mut self) -> bool {
        self.process.is_some() && self.look_for_end().is_none()
    }

    /// How the process has ended, if it has.
    fn look_for_end(&mut self) -> Option<ExitStatus> {
        let child = self.process.as_mut().expect("the member was started");
        let status = child.try_wait().expect("a child can be waited for");
        if status.is_some() {
            // From now on it may be the id of another process.
            self.watched_pid.store(0, Ordering::Relaxed);
        }
        status
    }

    /// Whether somebody listens where clients connect: looked up, because an attempt to connect
    /// would be counted.
    pub(super) fn is_listening(&self) -> bool {
        // As the kernel prints it: the address as a number of this machine's byte order.
        let address = u32::from_ne_bytes(self.address.octets());
        let wanted = format!("{address:08X}:{CLIENT_PORT:04X}");
        // The sockets of the network that the process is in.
        let sockets = fs::read_to_string(format!("/proc/{}/net/tcp", self.pid()));
        sockets.unwrap_or_default().lines().any(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields.get(1) == Some(&wanted.as_str()) && fields.get(3) == Some(&LISTENING)
        })
    }

    /// The id of the process.
    pub(super) fn pid(&self) -> u32 {
        self.process.as_ref().expect("the member was started").id()
    }

    /// Sends a signal to the process.
    pub(super) fn signal(&self, signal: Signal) {
        let child = self.process.as_ref().expect("the member was started");
        kill_process(Pid::from_child(child), signal).expect("a child of ours can be signalled");
    }

    /// Ends the process with SIGKILL and waits for its end.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            // It may have ended by itself; then there is nothing to kill.
            drop(child.kill());
            // It is not gone for as long as one of its threads is held.
            self.tracer = None;
            child.wait().expect("a child can be waited for");
            self.watched_pid.store(0, Ordering::Relaxed);
        }
    }

    /// Waits for the process to end by itself; `None` when it has not after `limit`.
    pub(super) fn wait_for_end(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = now() + limit;
        loop {
            let status = self.look_for_end();
            if status.is_some() || now() >= deadline {
                return status;
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// All that the member has written to stderr, over all its starts.
    pub(super) fn log(&self) -> String {
        let bytes = fs::read(self.home.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The end of the log, for a message.
    pub(super) fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
        format!("--- {}\n{}", self.home.display(), shown.join("\n"))
    }

    /// Loses all that the member has kept: a new disk.
    pub(super) fn lose_disk(&self) -> io::Result<()> {
        let data = self.data().canonicalize()?;
        fs::remove_dir_all(&data)?;
        fs::create_dir(data)
    }

    /// The file that says how far its wall clock is off, when it has one of its own.
    pub(super) fn clock_file(&self) -> PathBuf {
        self.home.join("clock")
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Lets the data directory of a member that is still to be made lie in `elsewhere`: nothing else of
/// it does, so that a test can always write its log and its configuration.
pub(super) fn lay_data_elsewhere(home: &Path, elsewhere: &Path) {
    fs::create_dir_all(home).expect("the directory of a test is writable");
    fs::create_dir_all(elsewhere).expect("the disk of a test is writable");
    symlink(elsewhere, home.join("data")).expect("the directory of a test is writable");
}
