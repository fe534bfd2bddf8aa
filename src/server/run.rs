//! The life of the server process, from the checked settings to the end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::{Gid, Uid, User};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::facts::MemberFacts;
use super::hub::Hub;
use super::listener::{BindError, Bound};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::raft::{CheckpointLimits, Durability, Node, OpenOptions, Opened, StartError};
use crate::storage::disk::{Disk, RealDisk};

/// How long a clean end waits for what is under way.
const STOP_MAX: Duration = Duration::from_secs(5);

/// Where the kernel tells one of its lives from the next.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Why the server could not run, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No such user.
    #[error("there is no user {0}")]
    NoSuchUser(String),
    /// The user cannot be taken on.
    #[error("cannot become user {user}: {source}")]
    Become {
        /// Whom.
        user: String,
        /// What the kernel said.
        source: nix::Error,
    },
    /// The address cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The queue cannot be opened.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The log stopped by itself.
    #[error("{0}")]
    Failed(String),
    /// The operating system refused something basic.
    #[error("cannot {what}: {source}")]
    System {
        /// What was asked of it.
        what: &'static str,
        /// What it said.
        source: io::Error,
    },
}

/// Serves clients until the process is told to end.
///
/// When it returns `Ok`, everything that was taken on has been answered.
///
/// # Errors
///
/// [`RunError`]; nothing acknowledged is lost by any of them.
pub fn run(config: Config) -> Result<(), RunError> {
    raise_open_files_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| RunError::System { what: "start the runtime", source })?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> Result<(), RunError> {
    let mut signals =
        Signals::new().map_err(|source| RunError::System { what: "catch signals", source })?;
    let bound = Bound::new(&config.listen)?;
    if let Some(user) = &config.user {
        become_user(user)?;
    }
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(boot_id(disk.as_ref()).as_deref()));
    let opened = Opened::open(open_options(&config, &disk, &clock))?;
    let facts = MemberFacts::new(
        config.job_size_max,
        config.segment_size_typed,
        random(),
        opened.gauges(),
        clock,
    );
    let hub = Arc::new(Hub::new(opened.signature(), facts, opened.outbox(), opened.reads()));
    let starting = opened.start(Arc::clone(&hub) as _);
    let Some(node) = started(starting, &mut signals, &hub).await? else { return Ok(()) };
    announce(&config, &bound, disk.as_ref());
    serve_clients(bound, hub, node, signals).await
}

/// Waits for the replay of the log, which may take long. `None` when told to end meanwhile.
async fn started(
    starting: impl Future<Output = Result<Node, StartError>>,
    signals: &mut Signals,
    hub: &Hub,
) -> Result<Option<Node>, RunError> {
    let mut starting = std::pin::pin!(starting);
    loop {
        tokio::select! {
            node = &mut starting => return Ok(Some(node?)),
            told = signals.next() => match told {
                Told::End => return Ok(None),
                Told::Drain => hub.drain(),
            }
        }
    }
}

async fn serve_clients(
    bound: Bound,
    hub: Arc<Hub>,
    mut node: Node,
    mut signals: Signals,
) -> Result<(), RunError> {
    let name = bound.name().to_owned();
    let listener = bound.listen().map_err(|source| RunError::System { what: "listen", source })?;
    let accepting = tokio::spawn(listener.run(Arc::clone(&hub)));
    tracing::info!(target: "beanpole", "ready, listening on {name}");
    loop {
        tokio::select! {
            error = node.failed() => return Err(RunError::Failed(error)),
            told = signals.next() => match told {
                Told::End => break,
                Told::Drain => {
                    tracing::info!("draining: no more jobs are taken");
                    hub.drain();
                }
            }
        }
    }
    tracing::info!("ending: answering what is under way");
    accepting.abort();
    if tokio::time::timeout(STOP_MAX, hub.stop()).await.is_err() {
        tracing::warn!("some clients did not take their replies in time");
    }
    node.stop().await;
    Ok(())
}

/// The signals the server acts on. SIGPIPE is ignored by Rust's own start-up.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    user1: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            user1: signal(SignalKind::user_defined1())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::End,
            _ = self.interrupt.recv() => Told::End,
            _ = self.user1.recv() => Told::Drain,
        }
    }
}

/// What a signal means.
enum Told {
    End,
    Drain,
}

fn open_options(config: &Config, disk: &Arc<dyn Disk>, clock: &Arc<dyn Clock>) -> OpenOptions {
    let durability = match &config.data_dir {
        None => {
            tracing::warn!(
                "no data directory (-b): jobs are kept in memory only and end with the process"
            );
            Durability::Memory
        }
        Some(dir) => Durability::Disk {
            disk: Arc::clone(disk),
            dir: dir.clone(),
            must_exist: config.must_exist,
            sync: config.sync,
            segment_size_max: config.segment_size_max,
        },
    };
    OpenOptions {
        durability,
        clock: Arc::clone(clock),
        cluster: u128::from(random()) << 64 | u128::from(random()),
        checkpoints: CheckpointLimits::default(),
    }
}

/// Raises the soft limit of open files to the hard one: every client needs one.
fn raise_open_files_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

fn become_user(name: &str) -> Result<(), RunError> {
    let found = User::from_name(name).ok().flatten();
    let User { uid, gid, .. } = found.ok_or_else(|| RunError::NoSuchUser(name.to_owned()))?;
    drop_to(uid, gid).map_err(|source| RunError::Become { user: name.to_owned(), source })
}

fn drop_to(uid: Uid, gid: Gid) -> nix::Result<()> {
    if uid == Uid::current() && gid == Gid::current() {
        return Ok(());
    }
    nix::unistd::setgroups(&[gid])?;
    nix::unistd::setgid(gid)?;
    nix::unistd::setuid(uid)
}

fn boot_id(disk: &dyn Disk) -> Option<String> {
    let file = disk.open(BOOT_ID.as_ref()).ok()?;
    let mut text = [0; 36];
    file.read_exact_at(&mut text, 0).ok()?;
    String::from_utf8(text.to_vec()).ok()
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    let flags = rustix::rand::GetRandomFlags::empty();
    let filled = rustix::rand::getrandom(&mut bytes, flags);
    assert!(filled.is_ok(), "the kernel always has eight random bytes: {filled:?}");
    u64::from_le_bytes(bytes)
}

/// Tells where the port is that the system chose, for those who start the server.
fn announce(config: &Config, bound: &Bound, disk: &dyn Disk) {
    let (Some(dir), Some(port)) = (&config.data_dir, bound.port()) else { return };
    let contents = format!("{port}\n");
    if let Err(error) = crate::storage::disk::replace_file(disk, dir, "port", contents.as_bytes()) {
        tracing::warn!(%error, "cannot write the file that names the port");
    }
}
