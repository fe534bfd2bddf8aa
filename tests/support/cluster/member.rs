//! One member: its directory, its configuration, its process.

use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::super::{MemoryGroup, now};
use super::hang::Hang;

const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// The ports are the same everywhere: each member has an address of its own.
const CLIENT_PORT: u16 = 11300;
const MEMBER_PORT: u16 = 11400;
/// TCP_LISTEN in /proc/net/tcp.
const LISTENING: &str = "0A";
/// How much of a log is shown when a test fails.
const LOG_LINES_SHOWN: usize = 60;

/// A member, running or not.
#[derive(Debug)]
pub(super) struct Member {
    /// Holds configuration, log and data.
    home: PathBuf,
    address: Ipv4Addr,
    /// What starts it; the arguments are made at each start.
    process: Option<Child>,
    /// Stopped by SIGSTOP.
    pub(super) is_frozen: bool,
    pub(super) hang: Option<Hang>,
    /// What its processes run in, or why they run in none. Removed after their end.
    group: Result<MemoryGroup, String>,
}

impl Member {
    /// Makes the directory of a member and writes its configuration. `settings` are lines of the
    /// file, with `[cluster]` among them.
    pub(super) fn new(home: PathBuf, address: Ipv4Addr, secret: &str, settings: &[String]) -> Self {
        let group = Err("no limit is asked for".to_owned());
        let member = Self { home, address, process: None, is_frozen: false, hang: None, group };
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
        SocketAddr::from((self.address, CLIENT_PORT))
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
        self.group = MemoryGroup::create(bytes);
    }

    /// The group that limits its memory, or why there is none.
    pub(super) fn memory_group(&self) -> Result<&MemoryGroup, &str> {
        self.group.as_ref().map_err(String::as_str)
    }

    /// Starts the process; `command` runs the program where the member is.
    pub(super) fn start(&mut self, command: Command, flags: &[String]) {
        assert!(!self.is_running(), "{} runs already", self.home.display());
        let mut command = match &self.group {
            Ok(group) => group.around(&command),
            Err(_) => command,
        };
        let log = File::options().append(true).create(true).open(self.home.join("log"));
        let log = log.expect("the directory of a test is writable");
        command.arg("--config").arg(self.config()).args(flags);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.process = Some(command.spawn().expect("the program can be started"));
        self.is_frozen = false;
    }

    /// Whether there is a process, frozen or not.
    pub(super) fn is_running(&mut self) -> bool {
        let ended = |child: &mut Child| child.try_wait().expect("a child can be waited for");
        self.process.as_mut().is_some_and(|child| ended(child).is_none())
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
            self.hang = None;
            child.wait().expect("a child can be waited for");
        }
    }

    /// Waits for the process to end by itself; `None` when it has not after `limit`.
    pub(super) fn wait_for_end(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = now() + limit;
        let child = self.process.as_mut().expect("the member was started");
        loop {
            let status = child.try_wait().expect("a child can be waited for");
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
    pub(super) fn lose_disk(&self) {
        empty(&self.data());
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

fn empty(directory: &Path) {
    fs::remove_dir_all(directory).expect("a directory of ours can be removed");
    fs::create_dir(directory).expect("a directory can be made where one was");
}
