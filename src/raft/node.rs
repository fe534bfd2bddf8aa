//! Starts and stops a member's share of the replicated log.
//!
//! In two steps, because the holder of the connections needs the outbox before anything may be
//! applied, and applying needs the holder: [`Opened`] has read the disk, [`Node`] runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use openraft::{BasicNode, Config, Raft, SnapshotPolicy};
use tokio::task::{JoinError, JoinHandle};

use super::cluster::network::Network;
use super::cluster::peers::Peers;
use super::cluster::{self, About, Administration, Cluster, Lease, Timing};
use super::gauges::StorageGauges;
use super::life::Life;
use super::log_store::LogStore;
use super::opening::{FIRST_MEMBER, OpenError, OpenOptions, Parts, open};
use super::outbox::Outbox;
use super::proposer::{Proposer, Stopped};
use super::reads::ReadRequests;
use super::snapshot::Receiver;
use super::state_machine::{Owner, Replica, StateMachine};
use super::types::TypeConfig;
use super::upkeep::Upkeep;
use crate::clock::Clock;
use crate::link::{MemberPort, Secret, Us};
use crate::memory::Memory;
use crate::planted::{self, Bug};
use crate::storage::short_lives::ShortLives;

/// How long an end waits for another member to lead.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(2);

/// A life that is over by itself before this was a short one.
const SHORT_LIFE: Duration = Duration::from_secs(60);

/// How long to wait between two looks at whether openraft still runs.
const LOOK: Duration = Duration::from_millis(100);

/// The member could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// openraft refused to start.
    #[error("the log could not be started: {0}")]
    Raft(String),
    /// The directory is that of a member among others, and no member port is set.
    #[error(
        "this directory belongs to member {member} of a cluster of {members}: start it with a \
         [cluster] table (--config)"
    )]
    NeedsCluster {
        /// Which member.
        member: u64,
        /// How many there are.
        members: usize,
    },
}

/// How a member meets the others.
pub struct Meeting {
    /// Where it is dialled.
    pub port: MemberPort,
    /// That address, as others write it: HOST:PORT.
    pub address: String,
    /// Where its clients connect, for people.
    pub client_address: String,
    /// What all members of the cluster know.
    pub secret: Secret,
    /// How members judge each other.
    pub timing: Timing,
}

impl StartError {
    /// Whether the data directory is at fault: missing, locked, damaged or another's.
    pub fn is_about_the_directory(&self) -> bool {
        matches!(self, Self::Open(_))
    }
}

/// A member that has read its disk and does not take part yet.
pub struct Opened {
    parts: Parts,
    life: Arc<Life>,
    memory: Arc<Memory>,
    outbox: Arc<Outbox>,
    reads: Arc<ReadRequests>,
    lease: Arc<Lease>,
    meeting: Option<Meeting>,
}

impl Opened {
    /// Opens the data directory, or an empty queue in memory.
    ///
    /// # Errors
    ///
    /// [`StartError`] says what is wrong with the directory; nothing was changed then.
    pub fn open(options: OpenOptions, meeting: Option<Meeting>) -> Result<Self, StartError> {
        let timing =
            meeting.as_ref().map_or_else(Timing::default, |meeting| meeting.timing.clone());
        let clock: Arc<dyn Clock> = Arc::clone(&options.clock);
        let memory = Arc::clone(&options.memory);
        let parts = open(options)?;
        let life = Arc::new(Life::new(parts.signature));
        let outbox = Arc::new(Outbox::new(Arc::clone(&life), Arc::clone(&memory)));
        let lease = Arc::new(Lease::new(clock, timing.lease));
        Ok(Self { parts, life, memory, outbox, reads: Arc::default(), lease, meeting })
    }

    /// Under which name ops go.
    pub fn life(&self) -> Arc<Life> {
        Arc::clone(&self.life)
    }

    /// Where connections put their ops.
    pub fn outbox(&self) -> Arc<Outbox> {
        Arc::clone(&self.outbox)
    }

    /// Where connections ask to read.
    pub fn reads(&self) -> Arc<ReadRequests> {
        Arc::clone(&self.reads)
    }

    /// Whether clients may be answered.
    pub fn lease(&self) -> Arc<Lease> {
        Arc::clone(&self.lease)
    }

    /// How many lives of the process in a row were short, before this one.
    pub fn short_lives(&self) -> u32 {
        self.parts.lives.as_ref().map_or(0, ShortLives::before)
    }

    /// How the disk is doing.
    pub fn gauges(&self) -> StorageGauges {
        self.parts.gauges.clone()
    }

    /// Takes part. When it returns, the member votes and applies; clients can be served once
    /// [`Node::ready`] says so.
    ///
    /// # Errors
    ///
    /// [`StartError::Raft`] when openraft does not start, [`StartError::NeedsCluster`] when there are
    /// other members and no way to them.
    pub async fn start(self, owner: Arc<dyn Owner>) -> Result<Node, StartError> {
        let Self { parts, life, memory, outbox, reads, lease, meeting } = self;
        let Parts {
            clock,
            wal,
            log_start,
            state,
            upkeep,
            lives,
            receiving,
            directory,
            cluster,
            ..
        } = parts;
        let (member, meets_nobody) = (life.member().0, meeting.is_none());
        let log = LogStore::new(wal, log_start, Arc::clone(&clock), memory.log.limit);
        let replica = Arc::new(Replica::new(
            Arc::clone(&life),
            Arc::clone(&clock),
            log.clone(),
            Arc::clone(&outbox),
            Arc::clone(&owner),
            state,
        ));
        let (port, us, address, timing, about) = introduce(meeting, member, cluster);
        let (us, peers) = (Arc::new(us), Arc::new(Peers::default()));
        let network = Network::new(&us, &peers, &clock, &log);
        let machine = StateMachine::new(Arc::clone(&replica));
        let config = Arc::new(config(&timing)?);
        let raft =
            Raft::new(member, config, network, log.clone(), machine).await.map_err(failed)?;
        begin(&raft, member, address.as_deref()).await?;
        if meets_nobody {
            require_alone(&raft, member)?;
        }
        let grace_millis = u32::try_from(timing.dead_after.as_millis()).unwrap_or(u32::MAX);
        let receiver = receiving.map(|receiving| Receiver::new(receiving, Arc::clone(&replica)));
        let cluster = Cluster::new(cluster::Parts {
            us,
            raft: raft.clone(),
            replica: Arc::clone(&replica),
            owner,
            log: log.clone(),
            outbox: Arc::clone(&outbox),
            clock: Arc::clone(&clock),
            life,
            lease,
            peers,
            timing,
            about,
            address,
            receiver: tokio::sync::Mutex::new(receiver),
        });
        let proposer = Proposer {
            raft: raft.clone(),
            replica: Arc::clone(&replica),
            outbox,
            lanes: Arc::clone(&cluster.lanes),
            clock,
            estimates: cluster.estimates(),
            grace_millis,
        };
        let mut tasks = cluster.run(port, directory);
        tasks.push(tokio::spawn(reads.run(cluster.read_index(), Arc::clone(&replica))));
        let lives = lives.map(Arc::new);
        tasks.push(tokio::spawn(outlive(lives.clone())));
        tasks.push(tokio::spawn(Upkeep::new(raft.clone(), replica, log, upkeep).run()));
        Ok(Node { raft, cluster, lives, proposer: tokio::spawn(proposer.run()), tasks })
    }
}

/// A member that meets nobody must be the only voter, also by its log: that may be newer than its
/// checkpoint.
fn require_alone(raft: &Raft<TypeConfig, StateMachine>, member: u64) -> Result<(), StartError> {
    match raft.voter_ids().count() {
        members if members > 1 => Err(StartError::NeedsCluster { member, members }),
        _ => Ok(()),
    }
}

/// What a member says of itself; one that meets nobody has a secret that nobody knows.
fn introduce(
    meeting: Option<Meeting>,
    member: u64,
    cluster: u128,
) -> (Option<MemberPort>, Us, Option<String>, Timing, About) {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let Some(meeting) = meeting else {
        let us = Us { cluster, member, secret: Secret::random() };
        let about = About { client_address: String::new(), version };
        return (None, us, None, Timing::default(), about);
    };
    let us = Us { cluster, member, secret: meeting.secret };
    let about = About { client_address: meeting.client_address, version };
    (Some(meeting.port), us, Some(meeting.address), meeting.timing, about)
}

/// A member that takes part.
pub struct Node {
    raft: Raft<TypeConfig, StateMachine>,
    cluster: Arc<Cluster>,
    lives: Option<Arc<ShortLives>>,
    proposer: JoinHandle<Result<(), Stopped>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Node {
    /// Completes when clients can be served: everything acknowledged before is applied, and the
    /// member's life has been opened by the log.
    pub fn ready(&self) -> impl Future<Output = ()> + use<> {
        let cluster = Arc::clone(&self.cluster);
        async move {
            cluster.replica.opened().await;
            let mut standing = cluster.lease.watch();
            let sound = standing.wait_for(|standing| *standing == super::Standing::Sound);
            sound.await.expect("the lease lives as long as its watchers");
        }
    }

    /// The commands of an operator.
    pub fn administration(&self) -> Administration {
        Administration { cluster: Arc::clone(&self.cluster) }
    }

    /// Says in the log when the limits of what is not a job do not fit the memory of this member.
    pub fn tell_of_limits(&self) {
        self.cluster.tell_of_limits();
    }

    /// Completes when the process can only end.
    pub async fn failed(&mut self) -> Ended {
        let tasks = futures_util::future::select_all(self.tasks.iter_mut());
        tokio::select! {
            reason = self.cluster.failed() => Ended::Expelled(reason),
            reason = log_failed(&mut self.proposer, tasks, &self.raft) => Ended::Log(reason),
        }
    }

    /// Lets another member lead, if this one does and there is another.
    pub async fn hand_over(&self) {
        let handed = tokio::time::timeout(HAND_OVER_LIMIT, self.cluster.hand_over_any());
        if !handed.await.unwrap_or(false) {
            tracing::warn!("no other member leads yet: the others will elect one");
        }
    }

    /// Whether this member leads others.
    pub fn leads_others(&self) -> bool {
        self.cluster.leads() && self.raft.voter_ids().count() > 1
    }

    /// Stops. What was acknowledged is on disk, as always; what was not is lost or not.
    pub async fn stop(self) {
        self.cluster.say_goodbye().await;
        self.proposer.abort();
        self.tasks.iter().for_each(JoinHandle::abort);
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "the log did not stop cleanly");
        }
        self.lives.iter().for_each(|lives| lives.ended_well());
    }
}

/// Says of a life when it is not a short one any more. Never completes.
async fn outlive(lives: Option<Arc<ShortLives>>) {
    tokio::time::sleep(SHORT_LIFE).await;
    if let Some(lives) = lives {
        drop(tokio::task::spawn_blocking(move || lives.ended_well()).await);
    }
    std::future::pending().await
}

/// Why a member has ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its log has stopped: starting it again may help.
    Log(String),
    /// It may not take part any more: starting it again does not help.
    Expelled(String),
}

/// Completes when the log has stopped by itself.
async fn log_failed(
    proposer: &mut JoinHandle<Result<(), Stopped>>,
    tasks: impl Future<Output = (Result<(), JoinError>, usize, Vec<&mut JoinHandle<()>>)>,
    raft: &Raft<TypeConfig, StateMachine>,
) -> String {
    tokio::select! {
        ended = proposer => match ended {
            Ok(Ok(())) => "the proposer has ended".to_owned(),
            Ok(Err(stopped)) => stopped.to_string(),
            Err(panicked) => panicked.to_string(),
        },
        (ended, _, _) = tasks => match ended {
            Ok(()) => "a task of the log has ended".to_owned(),
            Err(panicked) => panicked.to_string(),
        },
        reason = stopped(raft) => reason,
    }
}

/// Completes when openraft has stopped by itself.
async fn stopped(raft: &Raft<TypeConfig, StateMachine>) -> String {
    loop {
        if let Err(fatal) = &raft.metrics().borrow_watched().running_state {
            return fatal.to_string();
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn failed(error: impl std::fmt::Display) -> StartError {
    StartError::Raft(error.to_string())
}

/// Settings by the reference on openraft, section 9, and DESIGN D11 and D15.
fn config(timing: &Timing) -> Result<Config, StartError> {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        cluster_name: "beanpole".to_owned(),
        heartbeat_interval: millis(timing.heartbeat),
        election_timeout_min: millis(timing.election_min),
        election_timeout_max: millis(timing.election_max),
        enable_elect: !planted::is(Bug::NoElections),
        enable_pre_vote: Some(true),
        // The default loses acknowledged entries with a log that is synced in the background.
        enable_leader_restore: Some(false),
        max_payload_entries: 1024,
        max_append_entries: Some(4096),
        api_channel_size: Some(4096),
        api_batch_capacity: 1024,
        api_batch_linger_ms: 0,
        state_machine_channel_size: Some(16384),
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        purge_batch_size: 1,
        install_snapshot_timeout: 30_000,
        backoff: "20ms 40ms ...500ms".to_owned(),
        ..Config::default()
    };
    config.validate().map_err(failed)
}

/// Begins a cluster, if this is its first member, and asks to lead at once if it is the only voter.
async fn begin(
    raft: &Raft<TypeConfig, StateMachine>,
    member: u64,
    address: Option<&str>,
) -> Result<(), StartError> {
    if !raft.is_initialized().await.map_err(failed)? {
        if member == FIRST_MEMBER {
            let members = BTreeMap::from([(member, BasicNode::new(address.unwrap_or_default()))]);
            raft.initialize(members).await.map_err(failed)?;
        }
        return Ok(());
    }
    let voters: Vec<u64> = raft.voter_ids().collect();
    if voters == [member] {
        raft.trigger().elect(false).await.map_err(failed)?;
    }
    Ok(())
}
