//! Server processes: started on an address of their own, ended when the test ends.

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{Client, PATIENCE, now};

/// How often a condition that must come true is looked at again.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// The servers under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Debian's beanstalkd 1.12: what the expectations are checked against.
    Beanstalkd,
    /// The server of this project.
    Beanpole,
}

/// How a server is started.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerOptions {
    /// Flags beyond the address and the data directory.
    pub(crate) flags: Vec<String>,
    /// Where it keeps its jobs, if it is to keep them.
    pub(crate) data: Option<PathBuf>,
    /// What it listens on.
    pub(crate) transport: Transport,
}

/// What a server listens on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Transport {
    /// What it takes the least to start: TCP for beanpole, which can be asked for a free port, and
    /// a Unix socket for beanstalkd, which cannot.
    #[default]
    Any,
    /// TCP on 127.0.0.1.
    Tcp,
    /// A Unix socket.
    Unix,
}

/// A running server. Ended with SIGKILL when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    target: Target,
    options: ServerOptions,
    child: Child,
    address: Address,
    scratch: TempDir,
}

#[derive(Debug)]
enum Address {
    Port(u16),
    Socket(PathBuf),
}

impl Target {
    /// The name used in transcripts and messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Beanstalkd => "beanstalkd",
            Self::Beanpole => "beanpole",
        }
    }

    /// The program, or `None` when this machine lacks it.
    pub(crate) fn program(self) -> Option<PathBuf> {
        match self {
            Self::Beanpole => Some(env!("CARGO_BIN_EXE_beanpole").into()),
            Self::Beanstalkd => {
                let path = std::env::var_os("PATH")?;
                std::env::split_paths(&path)
                    .map(|directory| directory.join("beanstalkd"))
                    .find(|program| program.is_file())
            }
        }
    }
}

impl Server {
    /// Starts a server and waits until it listens.
    ///
    /// # Panics
    ///
    /// When it does not come up, with what it wrote to stderr.
    pub(crate) fn start(target: Target, options: ServerOptions) -> Self {
        let scratch = tempfile::tempdir().expect("a temporary directory can be made");
        let (child, address) = launch(target, &options, scratch.path());
        Self { target, options, child, address, scratch }
    }

    /// Starts a server without a data directory.
    pub(crate) fn with_flags(target: Target, flags: &[&str]) -> Self {
        let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        Self::start(target, ServerOptions { flags, ..Default::default() })
    }

    /// Kills the server, if it still runs, and starts it again with the same options.
    pub(crate) fn restart(&mut self) {
        self.kill();
        (self.child, self.address) = launch(self.target, &self.options, self.scratch.path());
    }

    /// A new connection. Waits for a server that is still starting.
    ///
    /// # Panics
    ///
    /// When no connection comes about.
    pub(crate) fn connect(&mut self) -> Client {
        let deadline = now() + PATIENCE;
        loop {
            let attempt = match &self.address {
                Address::Port(port) => Client::tcp(*port),
                Address::Socket(path) => Client::unix(path),
            };
            match attempt {
                Ok(client) => return client,
                Err(error) => {
                    let name = self.target.name();
                    let log = read_log(self.scratch.path());
                    assert!(self.is_running(), "{name} has ended; it wrote:\n{log}");
                    assert!(now() < deadline, "{name} takes no connection: {error}\n{log}");
                    thread::sleep(POLL_INTERVAL);
                }
            }
        }
    }

    /// The port, of a server that listens on TCP.
    pub(crate) fn port(&self) -> Option<u16> {
        match self.address {
            Address::Port(port) => Some(port),
            Address::Socket(_) => None,
        }
    }

    /// The id of the process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the process.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Ends the process with SIGKILL and waits for its end.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        drop(self.child.kill());
        self.child.wait().expect("a child can be waited for");
    }

    /// Waits for the process to end by itself; `None` when it has not after `timeout`.
    pub(crate) fn wait_for_end(&mut self, timeout: Duration) -> Option<ExitStatus> {
        wait_for_end(&mut self.child, timeout)
    }

    /// What the server has written to stderr since its last start.
    pub(crate) fn log(&self) -> String {
        read_log(self.scratch.path())
    }

    fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit status; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command that must end by itself; `None`, and its end, when it does not.
pub(crate) fn run_to_end(command: &mut Command) -> Option<Ended> {
    let scratch = tempfile::tempdir().expect("a temporary directory can be made");
    let [stdout, stderr] = ["stdout", "stderr"].map(|name| scratch.path().join(name));
    let file = |path| File::create(path).expect("the scratch directory is writable");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file(&stdout))
        .stderr(file(&stderr))
        .spawn()
        .expect("the program can be started");
    let status = wait_for_end(&mut child, PATIENCE);
    if status.is_none() {
        child.kill().expect("it runs");
        child.wait().expect("a child can be waited for");
    }
    let read = |path| fs::read_to_string(path).expect("it was written here");
    status.map(|status| Ended { code: status.code(), stdout: read(stdout), stderr: read(stderr) })
}

fn wait_for_end(child: &mut Child, timeout: Duration) -> Option<ExitStatus> {
    let deadline = now() + timeout;
    loop {
        let status = child.try_wait().expect("a child can be waited for");
        if status.is_some() || now() >= deadline {
            return status;
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// Starts the process.
fn launch(target: Target, options: &ServerOptions, scratch: &Path) -> (Child, Address) {
    match (target, options.transport) {
        (Target::Beanpole, Transport::Any | Transport::Tcp) => {
            let mut child = spawn(target, options, scratch, &["-l", "127.0.0.1", "-p", "0"]);
            let port = wait_for_port(&mut child, scratch);
            (child, Address::Port(port))
        }
        (Target::Beanstalkd, Transport::Tcp) => launch_on_free_port(options, scratch),
        (Target::Beanstalkd, Transport::Any) | (_, Transport::Unix) => {
            let socket = scratch.join("socket");
            let address = format!("unix:{}", socket.display());
            (spawn(target, options, scratch, &["-l", &address]), Address::Socket(socket))
        }
    }
}

/// Starts beanstalkd on a port that was free a moment ago, until one stays free.
fn launch_on_free_port(options: &ServerOptions, scratch: &Path) -> (Child, Address) {
    let deadline = now() + PATIENCE;
    loop {
        let port = free_port();
        let flags = ["-l", "127.0.0.1", "-p", &port.to_string()];
        let mut child = spawn(Target::Beanstalkd, options, scratch, &flags);
        while child.try_wait().expect("a child can be waited for").is_none() {
            let pid = Client::tcp(port).and_then(|mut client| client.ask("stats"));
            // Somebody else may have got the port.
            if pid.is_ok_and(|stats| stats.contains(&format!("\npid: {}\n", child.id()))) {
                return (child, Address::Port(port));
            }
            assert!(now() < deadline, "beanstalkd does not answer; {}", read_log(scratch));
            thread::sleep(POLL_INTERVAL);
        }
        assert!(now() < deadline, "beanstalkd gets no port; {}", read_log(scratch));
    }
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("there is a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

fn spawn(target: Target, options: &ServerOptions, scratch: &Path, address: &[&str]) -> Child {
    let program = target.program().expect("the caller has checked that the program exists");
    let mut command = Command::new(program);
    command.args(address);
    if let Some(data) = &options.data {
        command.arg("-b").arg(data);
    }
    let log = File::create(log_path(scratch)).expect("the scratch directory is writable");
    command.args(&options.flags).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.spawn().expect("the program can be started")
}

/// Waits for the line that names the port.
fn wait_for_port(child: &mut Child, scratch: &Path) -> u16 {
    let deadline = now() + PATIENCE;
    loop {
        let log = read_log(scratch);
        if let Some(port) = port_of_ready_line(&log) {
            return port;
        }
        let ended = child.try_wait().expect("a child can be waited for");
        if ended.is_some() || now() >= deadline {
            // It may have ended by itself; then there is nothing to kill.
            drop(child.kill());
            panic!("the server did not get ready ({ended:?}); it wrote:\n{log}");
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// The line is text or, on request, JSON.
fn port_of_ready_line(log: &str) -> Option<u16> {
    let (_, rest) = log.split_once("ready, listening on 127.0.0.1:")?;
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    rest[..end].parse().ok()
}

fn log_path(scratch: &Path) -> PathBuf {
    scratch.join("stderr")
}

fn read_log(scratch: &Path) -> String {
    let bytes = fs::read(log_path(scratch)).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
