//! The life of the server process, from the checked settings to the end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::{Gid, Uid, User};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::door::Door;
use super::facts::MemberFacts;
use super::hub::Hub;
use super::listener::{BindError, Bound};
use super::slots::Slots;
use super::waiting;
use crate::admin::AdminSocket;
use crate::clock::{Clock, SystemClock};
use crate::config::{ClusterConfig, Config};
use crate::link::{MemberPort, Secret, SecretError};
use crate::memory::Memory;
use crate::open_files;
use crate::raft::{
    CheckpointLimits, Durability, Ended, FIRST_MEMBER, Meeting, Node, OpenOptions, Opened,
    Standing, StartError,
};
use crate::storage::Owner;
use crate::storage::disk::{Disk, RealDisk, read_small_file};

/// How long a clean end waits: for another leader, and for what is under way.
const STOP_MAX: Duration = Duration::from_secs(5);

/// The kernel's boot id is 36 characters and the end of a line.
const BOOT_ID_BYTES_MAX: u64 = 64;

/// After so long without being able to serve, somebody should know.
const READY_SOON: Duration = Duration::from_secs(5);

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
    /// The secret of the cluster cannot be used.
    #[error("the secret: {0}")]
    Secret(#[from] SecretError),
    /// The log stopped by itself.
    #[error("{0}")]
    Failed(String),
    /// The member may not take part in its cluster any more.
    #[error("{0}")]
    Expelled(String),
    /// The operating system refused something basic.
    #[error("cannot {what}: {source}")]
    System {
        /// What was asked of it.
        what: &'static str,
        /// What it said.
        source: io::Error,
    },
}

impl From<Ended> for RunError {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Log(reason) => Self::Failed(reason),
            Ended::Expelled(reason) => Self::Expelled(reason),
        }
    }
}

/// Serves clients until the process is told to end.
///
/// When it returns `Ok`, everything that was taken on has been answered, unless a client did not take
/// its replies or there was no majority to answer by.
///
/// # Errors
///
/// [`RunError`]; nothing acknowledged is lost by any of them.
pub fn run(config: Config) -> Result<(), RunError> {
    open_files::raise_limit();
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
    let port = member_port(&config).await?;
    if let Some(user) = &config.user {
        become_user(user)?;
    }
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(boot_id().as_deref()));
    let waits = config.cluster.is_some() && !config.must_exist && is_empty(&config, disk.as_ref())?;
    if waits {
        make_data_dir(&config, disk.as_ref())?;
        announce(&config, &bound, disk.as_ref());
    }
    let newcomer = match (&config.cluster, &port) {
        (Some(cluster), Some(port)) if waits => {
            match waiting::member(&config, cluster, port, &mut signals).await? {
                Some(newcomer) => newcomer,
                None => return Ok(()),
            }
        }
        _ => first_member(),
    };
    let meeting = port.map(|port| meeting(&config, &bound, port)).transpose()?;
    let memory = Arc::new(Memory::new(config.memory, config.data_dir.is_some()));
    let options = open_options(&config, &disk, &clock, newcomer, &memory);
    let opened = Opened::open(options, meeting)?;
    let facts = MemberFacts::new(
        config.job_size_max,
        config.segment_size_typed,
        random(),
        opened.gauges(),
        clock,
    );
    announce(&config, &bound, disk.as_ref());
    let admin = admin_socket(&config)?;
    let lease = opened.lease();
    let short_lives = opened.short_lives();
    let hub = Arc::new(Hub::new(&opened, facts, memory, Slots::of(&config)));
    let starting = opened.start(Arc::clone(&hub) as _);
    let gate = Arc::clone(&hub);
    drop(tokio::spawn(async move { gate.admission().run().await }));
    let Some(mut node) = started(starting, &mut signals, &hub).await? else { return Ok(()) };
    if let Some(admin) = admin {
        drop(tokio::spawn(admin.run(Arc::new(node.administration()))));
    }
    if !until_ready(&mut node, &mut signals, &hub).await? {
        return Ok(());
    }
    node.tell_of_limits();
    if hub.recovers(short_lives) {
        let careful = Arc::clone(&hub);
        drop(tokio::spawn(async move { careful.recover().await }));
    }
    let is_inherited = bound.is_inherited();
    let door =
        Door { config: &config, hub: Arc::clone(&hub), lease, accepting: None, is_inherited };
    serve_clients(bound, door, node, signals).await
}

/// Waits for the start of the log, which may take long. `None` when told to end meanwhile.
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

/// Waits until clients can be served: the log is replayed, and a majority is there. False when told to
/// end meanwhile.
async fn until_ready(node: &mut Node, signals: &mut Signals, hub: &Hub) -> Result<bool, RunError> {
    let mut ready = std::pin::pin!(node.ready());
    let mut patience = std::pin::pin!(tokio::time::sleep(READY_SOON));
    loop {
        tokio::select! {
            () = &mut ready => return Ok(true),
            () = &mut patience => {
                tracing::warn!(
                    target: "beanpole",
                    "not serving yet: still catching up, or no leader takes this member on. Is a majority \
                     of the members up?"
                );
                patience.set(tokio::time::sleep(READY_SOON * 6));
            }
            ended = node.failed() => return Err(ended.into()),
            told = signals.next() => match told {
                Told::End => return Ok(false),
                Told::Drain => hub.drain(),
            }
        }
    }
}

async fn serve_clients(
    bound: Bound,
    mut door: Door<'_>,
    mut node: Node,
    mut signals: Signals,
) -> Result<(), RunError> {
    let name = bound.name().to_owned();
    let port = bound.port();
    door.open(bound)?;
    tracing::info!(target: "beanpole", "ready, listening on {name}");
    let mut standing = door.lease.watch();
    loop {
        tokio::select! {
            ended = node.failed() => return Err(ended.into()),
            told = signals.next() => match told {
                Told::End => break,
                Told::Drain => {
                    tracing::info!("draining: no more jobs are taken");
                    door.hub.drain();
                }
            },
            changed = standing.changed() => {
                changed.expect("the lease lives as long as the node");
                let now = *standing.borrow_and_update();
                door.stands(now, port).await?;
            }
        }
    }
    tracing::info!("ending: answering what is under way");
    door.close();
    answer_the_rest(&door, &node).await;
    node.stop().await;
    Ok(())
}

/// Lets another member lead and waits until what is under way is answered, for so long as there is
/// hope: who is cut off has nobody to answer by, and clients go elsewhere the sooner it ends.
async fn answer_the_rest(door: &Door<'_>, node: &Node) {
    let answered = async {
        if node.leads_others() {
            node.hand_over().await;
        }
        door.hub.stop().await;
    };
    let mut standing = door.lease.watch();
    tokio::select! {
        biased;
        () = answered => {}
        _ = standing.wait_for(|standing| *standing == Standing::Cut) => {
            tracing::warn!("not part of a majority: what is under way stays unanswered");
        }
        () = tokio::time::sleep(STOP_MAX) => {
            tracing::warn!("some clients did not take their replies in time");
        }
    }
}

/// The signals the server acts on. SIGPIPE is ignored by Rust's own start-up.
pub(super) struct Signals {
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

    pub(super) async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::End,
            _ = self.interrupt.recv() => Told::End,
            _ = self.user1.recv() => Told::Drain,
        }
    }
}

/// What a signal means.
pub(super) enum Told {
    End,
    Drain,
}

fn open_options(
    config: &Config,
    disk: &Arc<dyn Disk>,
    clock: &Arc<dyn Clock>,
    newcomer: Owner,
    memory: &Arc<Memory>,
) -> OpenOptions {
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
            free_min: config.disk_free_min,
        },
    };
    OpenOptions {
        durability,
        clock: Arc::clone(clock),
        newcomer,
        checkpoints: CheckpointLimits {
            log_bytes_min: config.checkpoint_log_min,
            replay_ops_max: config.checkpoint_ops_max,
        },
        hot_bytes_max: memory.has_cold().then_some(memory.hot.limit / 8 * 7),
        memory: Arc::clone(memory),
    }
}

/// Where other members connect, if this is to be one of several.
async fn member_port(config: &Config) -> Result<Option<MemberPort>, RunError> {
    let Some(cluster) = &config.cluster else { return Ok(None) };
    let bound = MemberPort::bind(&cluster.listen).await;
    let port =
        bound.map_err(|source| BindError::Bind { address: cluster.listen.clone(), source })?;
    Ok(Some(port))
}

/// How this member and the others meet.
fn meeting(config: &Config, bound: &Bound, port: MemberPort) -> Result<Meeting, RunError> {
    let cluster = config.cluster.as_ref().expect("who has a member port has a cluster");
    let address = cluster.address.clone().unwrap_or_else(|| port.local_addr().to_string());
    let client_address = cluster.client_address.clone().unwrap_or_else(|| bound.name().to_owned());
    tracing::info!(target: "beanpole", "members reach this one at {address}");
    Ok(Meeting {
        port,
        address,
        client_address,
        secret: secret(cluster)?,
        timing: cluster.timing.clone(),
    })
}

pub(super) fn secret(cluster: &ClusterConfig) -> Result<Secret, RunError> {
    Ok(Secret::new(cluster.secret.as_bytes())?)
}

/// The name of a cluster that may begin here, and its first member.
pub(super) fn first_member() -> Owner {
    Owner { cluster: u128::from(random()) << 64 | u128::from(random()), member: FIRST_MEMBER }
}

fn is_empty(config: &Config, disk: &dyn Disk) -> Result<bool, RunError> {
    let Some(dir) = &config.data_dir else { return Ok(true) };
    let has = crate::storage::identity::is_there(disk, dir)
        .map_err(|source| RunError::System { what: "read the data directory", source })?;
    Ok(!has)
}

fn make_data_dir(config: &Config, disk: &dyn Disk) -> Result<(), RunError> {
    let dir = config.data_dir.as_ref().expect("a member of a cluster has a data directory");
    let made = disk.create_dir(dir);
    made.map_err(|source| RunError::System { what: "make the data directory", source })
}

/// Where an operator asks. A server that is no member of a cluster goes on without.
fn admin_socket(config: &Config) -> Result<Option<AdminSocket>, RunError> {
    let Some(dir) = &config.data_dir else { return Ok(None) };
    match AdminSocket::bind(dir) {
        Ok(socket) => Ok(Some(socket)),
        Err(source) if config.cluster.is_some() => Err(no_socket(source)),
        Err(error) => {
            tracing::warn!(%error, "no admin.sock: `beanpole cluster` cannot ask this server");
            Ok(None)
        }
    }
}

pub(super) fn no_socket(source: io::Error) -> RunError {
    RunError::System { what: "open admin.sock in the data directory", source }
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

fn boot_id() -> Option<String> {
    let file = read_small_file(BOOT_ID.as_ref(), BOOT_ID_BYTES_MAX).ok()?;
    String::from_utf8(file.bytes).ok()
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    crate::random::fill(&mut bytes);
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
