//! The servers under test, as child processes on a free port of 127.0.0.1, each with a directory
//! of its own on a real disk; or three of them as one cluster. They are killed, by their process
//! ids, when the handle is dropped.

use std::{
    env,
    fs::{self, File},
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use clap::ValueEnum;
use tempfile::TempDir;
use thiserror::Error;

use super::{
    client::Client,
    clock,
    support::{Cluster, ClusterOptions, cluster_options},
};

/// Ports are chosen by binding to port 0 and letting go, so another process can be faster.
const START_ATTEMPTS_MAX: usize = 5;
const READY_TIMEOUT: Duration = Duration::from_secs(20);
const READY_POLL: Duration = Duration::from_millis(5);
const LOG_TAIL_BYTES: usize = 2000;
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// Which server, in which mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum ServerKind {
    /// beanstalkd without a binlog.
    Beanstalkd,
    /// beanstalkd with a binlog, synced at every write: `-b DIR -f0`.
    BeanstalkdF0,
    /// beanpole with a data directory, synced before every reply: `-b DIR`.
    BeanpoleB,
    /// beanpole without a data directory.
    Beanpole,
    /// Three members of beanpole, all on this machine, synced on two before every reply.
    BeanpoleThree,
}

impl ServerKind {
    /// As the tables name it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Beanstalkd => "beanstalkd",
            Self::BeanstalkdF0 => "beanstalkd -b -f0",
            Self::BeanpoleB => "beanpole -b",
            Self::Beanpole => "beanpole",
            Self::BeanpoleThree => "3 members",
        }
    }

    /// What to run.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Beanstalkd | Self::BeanstalkdF0 => "beanstalkd",
            Self::BeanpoleB | Self::Beanpole | Self::BeanpoleThree => {
                env!("CARGO_BIN_EXE_beanpole")
            }
        }
    }

    fn command(self, port: u16, data: &Path) -> Command {
        let mut command = Command::new(self.program());
        command.args(["-l", "127.0.0.1", "-p", &port.to_string()]);
        match self {
            Self::Beanstalkd | Self::Beanpole => &mut command,
            Self::BeanpoleThree => unreachable!("a cluster is started as a whole"),
            Self::BeanstalkdF0 => command.arg("-b").arg(data).arg("-f0"),
            Self::BeanpoleB => command.arg("-b").arg(data),
        };
        command
    }
}

/// Why a server could not be started or looked at.
#[derive(Debug, Error)]
pub(crate) enum ServerError {
    /// The system refused something.
    #[error("{what}: {source}")]
    Io { what: &'static str, source: io::Error },
    /// The data would be in memory, where a sync costs nothing.
    #[error("{0} is on a tmpfs: set BEANPOLE_BENCH_DIR to a directory on a disk")]
    NotADisk(PathBuf),
    /// The process ended before it answered.
    #[error("{} ended with {status}: {log}", kind.label())]
    Ended { kind: ServerKind, status: ExitStatus, log: String },
    /// The members could not be started.
    #[error("no cluster: {0}")]
    NoCluster(String),
    /// A server that should keep its jobs on disk has not written them.
    #[error("{} wrote {written} bytes to disk, its jobs alone have {jobs}", kind.label())]
    NotKept { kind: ServerKind, written: u64, jobs: u64 },
    /// The process runs and does not answer.
    #[error("{} gave no answer within {READY_TIMEOUT:?}: {log}", kind.label())]
    NotReady { kind: ServerKind, log: String },
}

/// A running server, of one process or of three.
pub(crate) struct Server {
    kind: ServerKind,
    processes: Processes,
}

enum Processes {
    One(Single),
    Three(Box<Cluster>),
}

/// A process, killed when dropped.
struct Single {
    child: Child,
    address: SocketAddr,
    home: TempDir,
}

impl Server {
    /// Starts a server with nothing in it and waits until it answers a command.
    ///
    /// # Errors
    /// When no directory on a disk can be made, or the server ends or stays silent.
    pub(crate) fn start(kind: ServerKind) -> Result<Self, ServerError> {
        if kind == ServerKind::BeanpoleThree {
            let place = Some(bench_dir()?);
            let options = ClusterOptions { place, segment_size: None, ..cluster_options() };
            let cluster = Cluster::start_with(options).map_err(ServerError::NoCluster)?;
            return Ok(Self { kind, processes: Processes::Three(Box::new(cluster)) });
        }
        let mut attempt = 1;
        loop {
            let started = Single::spawn(kind)?.wait_until_ready(kind);
            if started.is_ok() || attempt == START_ATTEMPTS_MAX {
                return Ok(Self { kind, processes: Processes::One(started?) });
            }
            attempt += 1;
        }
    }

    /// Where it listens, the first member of three.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address_for(0)
    }

    /// Where it listens, for the connection with this number: members are taken in turn.
    pub(crate) fn address_for(&self, connection: usize) -> SocketAddr {
        match &self.processes {
            Processes::One(single) => single.address,
            Processes::Three(cluster) => cluster.address(connection % cluster.member_count()),
        }
    }

    /// Processor time used so far by all its threads, in steps of one clock tick (10 ms).
    ///
    /// # Errors
    /// When a process has gone.
    pub(crate) fn cpu(&self) -> Result<Duration, ServerError> {
        self.pids().into_iter().map(cpu_of).sum()
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    /// When a process has gone.
    pub(crate) fn resident_bytes(&self) -> Result<u64, ServerError> {
        let mut kibibytes = 0;
        for pid in self.pids() {
            let status = proc_file(pid, "status")?;
            let resident = status.lines().find_map(|line| {
                line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<u64>().ok()
            });
            kibibytes += resident.unwrap_or_default();
        }
        Ok(kibibytes * 1024)
    }

    /// Makes sure that a server with a data directory has written `jobs` bytes of bodies to disk,
    /// each member of three as many, or its figures are not what they are called. It cannot see
    /// whether they were synced.
    ///
    /// # Errors
    /// When it wrote less.
    pub(crate) fn check_kept(&self, jobs: u64) -> Result<(), ServerError> {
        let kind = self.kind;
        if matches!(kind, ServerKind::Beanstalkd | ServerKind::Beanpole) {
            return Ok(());
        }
        for pid in self.pids() {
            let io = proc_file(pid, "io")?;
            let written =
                io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok());
            let written = written.unwrap_or_default();
            if written < jobs {
                return Err(ServerError::NotKept { kind, written, jobs });
            }
        }
        Ok(())
    }

    /// The end of what the server wrote to its standard output and error.
    pub(crate) fn log_tail(&self) -> String {
        match &self.processes {
            Processes::One(single) => single.log_tail(),
            Processes::Three(cluster) => cluster.logs(),
        }
    }

    fn pids(&self) -> Vec<u32> {
        match &self.processes {
            Processes::One(single) => vec![single.child.id()],
            Processes::Three(cluster) => {
                (0..cluster.member_count()).map(|member| cluster.pid(member)).collect()
            }
        }
    }
}

impl Single {
    fn log_tail(&self) -> String {
        let log = fs::read(self.home.path().join("log")).unwrap_or_default();
        let tail = &log[log.len().saturating_sub(LOG_TAIL_BYTES)..];
        String::from_utf8_lossy(tail).trim().to_owned()
    }

    fn spawn(kind: ServerKind) -> Result<Self, ServerError> {
        let home = TempDir::new_in(bench_dir()?).map_err(io_error("cannot make a directory"))?;
        let data = home.path().join("data");
        fs::create_dir(&data).map_err(io_error("cannot make the data directory"))?;
        let log = File::create(home.path().join("log")).map_err(io_error("cannot make the log"))?;
        let stderr = log.try_clone().map_err(io_error("cannot share the log"))?;
        let port = free_port().map_err(io_error("no free port"))?;
        let child = kind
            .command(port, &data)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(stderr)
            .spawn()
            .map_err(io_error("cannot start the server"))?;
        Ok(Self { child, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), home })
    }

    fn wait_until_ready(mut self, kind: ServerKind) -> Result<Self, ServerError> {
        let deadline = clock::now() + READY_TIMEOUT;
        loop {
            let answered = self.answers();
            // A stranger on the port can answer as well; it is ours only if our child lives.
            let ended = self.child.try_wait().map_err(io_error("cannot wait for the server"))?;
            if let Some(status) = ended {
                return Err(ServerError::Ended { kind, status, log: self.log_tail() });
            }
            if answered {
                return Ok(self);
            }
            if clock::now() > deadline {
                return Err(ServerError::NotReady { kind, log: self.log_tail() });
            }
            thread::sleep(READY_POLL);
        }
    }

    fn answers(&self) -> bool {
        Client::connect(self.address)
            .and_then(|mut client| {
                client.send(b"list-tube-used\r\n")?;
                client.receive().map(drop)
            })
            .is_ok()
    }
}

impl Drop for Single {
    fn drop(&mut self) {
        // Both fail only if the process has ended by itself, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processor time that a process has used so far, in steps of one clock tick (10 ms).
///
/// # Errors
/// When it has gone.
pub(crate) fn cpu_of(pid: u32) -> Result<Duration, ServerError> {
    let stat = proc_file(pid, "stat")?;
    // The second field is the name in brackets and may hold spaces.
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let user_and_system = after_name.split_whitespace().skip(11).take(2);
    let ticks: u64 = user_and_system.filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_secs(ticks) / tick_rate())
}

fn proc_file(pid: u32, name: &str) -> Result<String, ServerError> {
    fs::read_to_string(format!("/proc/{pid}/{name}")).map_err(io_error("the server has gone"))
}

/// Is this program there to be started?
pub(crate) fn is_installed(kind: ServerKind) -> bool {
    Command::new(kind.program())
        .arg("-v")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

/// Where data directories go: `$BEANPOLE_BENCH_DIR`, else cargo's directory for temporary files.
///
/// # Errors
/// When it cannot be made or is on a tmpfs.
pub(crate) fn bench_dir() -> Result<PathBuf, ServerError> {
    let chosen = env::var_os("BEANPOLE_BENCH_DIR");
    let dir = chosen.map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    fs::create_dir_all(&dir).map_err(io_error("cannot make the directory for the bench"))?;
    let file_system = rustix::fs::statfs(&dir).map_err(|errno| ServerError::Io {
        what: "cannot look at the disk",
        source: errno.into(),
    })?;
    if file_system.f_type == TMPFS_MAGIC {
        return Err(ServerError::NotADisk(dir));
    }
    Ok(dir)
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn tick_rate() -> u32 {
    u32::try_from(rustix::param::clock_ticks_per_second()).expect("a tick is at least a nanosecond")
}

fn io_error(what: &'static str) -> impl Fn(io::Error) -> ServerError {
    move |source| ServerError::Io { what, source }
}
