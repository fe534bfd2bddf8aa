//! Starts and stops a member's share of the replicated log.
//!
//! In two steps, because the holder of the connections needs the outbox before anything may be
//! applied, and applying needs the holder: [`Opened`] has read the disk, [`Node`] runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::{BasicNode, Config, Raft, ReadPolicy, SnapshotPolicy};
use tokio::task::JoinHandle;

use super::gauges::StorageGauges;
use super::log_store::LogStore;
use super::opening::{OpenError, OpenOptions, Parts, open};
use super::outbox::Outbox;
use super::proposer::{Proposer, Stopped};
use super::reads::ReadRequests;
use super::state_machine::{Owner, Replica, Signature, StateMachine};
use super::transport::Alone;
use super::types::TypeConfig;
use super::upkeep::Upkeep;
use crate::clock::LogicalClock;

/// How long to wait before asking again whether somebody leads.
const LEADER_POLL: Duration = Duration::from_millis(1);

/// The member could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// openraft refused to start.
    #[error("the log could not be started: {0}")]
    Raft(String),
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
    outbox: Arc<Outbox>,
    reads: Arc<ReadRequests>,
}

impl Opened {
    /// Opens the data directory, or an empty queue in memory.
    ///
    /// # Errors
    ///
    /// [`StartError::Open`] says what is wrong with the directory; nothing was changed then.
    pub fn open(options: OpenOptions) -> Result<Self, StartError> {
        let parts = open(options)?;
        let outbox = Arc::new(Outbox::new(parts.signature));
        Ok(Self { parts, outbox, reads: Arc::new(ReadRequests::default()) })
    }

    /// Under which name this life's ops go.
    pub fn signature(&self) -> Signature {
        self.parts.signature
    }

    /// Where connections put their ops.
    pub fn outbox(&self) -> Arc<Outbox> {
        Arc::clone(&self.outbox)
    }

    /// Where connections ask to read.
    pub fn reads(&self) -> Arc<ReadRequests> {
        Arc::clone(&self.reads)
    }

    /// How the disk is doing.
    pub fn gauges(&self) -> StorageGauges {
        self.parts.gauges.clone()
    }

    /// Takes part: replays the log, leads, and opens this life. When it returns, commands that are
    /// put into the outbox are carried out.
    ///
    /// # Errors
    ///
    /// [`StartError::Raft`] when openraft does not start.
    pub async fn start(self, owner: Arc<dyn Owner>) -> Result<Node, StartError> {
        let Self { parts, outbox, reads } = self;
        let member = parts.signature.member.0;
        let log = LogStore::new(parts.wal.clone(), parts.log_start, Arc::clone(&parts.clock));
        let replica = Arc::new(Replica::new(
            parts.signature,
            Arc::clone(&parts.clock),
            log.clone(),
            Arc::clone(&outbox),
            owner,
            parts.state,
        ));
        let machine = StateMachine(Arc::clone(&replica));
        let raft = Raft::new(member, Arc::new(config()?), Alone, log.clone(), machine)
            .await
            .map_err(failed)?;
        lead(&raft, member).await?;
        replica.with_state(|state| parts.clock.raise(state.queue.now()));
        let opened = replica.opened();
        let mut node = Node::run(raft, &replica, &outbox, &reads, &parts.clock);
        tokio::select! {
            () = opened => {}
            error = node.failed() => return Err(failed(error)),
        }
        let upkeep = Upkeep::new(node.raft.clone(), replica, log, parts.upkeep);
        node.tasks.push(tokio::spawn(upkeep.run()));
        Ok(node)
    }
}

/// A member that takes part.
pub struct Node {
    raft: Raft<TypeConfig, StateMachine>,
    proposer: JoinHandle<Result<(), Stopped>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Node {
    fn run(
        raft: Raft<TypeConfig, StateMachine>,
        replica: &Arc<Replica>,
        outbox: &Arc<Outbox>,
        reads: &Arc<ReadRequests>,
        clock: &Arc<LogicalClock>,
    ) -> Self {
        let proposer =
            Proposer::new(raft.clone(), Arc::clone(replica), Arc::clone(outbox), Arc::clone(clock));
        let reader = Arc::clone(reads).run(raft.clone(), Arc::clone(replica));
        Self { raft, proposer: tokio::spawn(proposer.run()), tasks: vec![tokio::spawn(reader)] }
    }

    /// Completes when the log has stopped by itself: the process can only end.
    pub async fn failed(&mut self) -> String {
        let tasks = futures_util::future::select_all(self.tasks.iter_mut());
        tokio::select! {
            ended = &mut self.proposer => match ended {
                Ok(Ok(())) => "the proposer has ended".to_owned(),
                Ok(Err(stopped)) => stopped.to_string(),
                Err(panicked) => panicked.to_string(),
            },
            (ended, _, _) = tasks => match ended {
                Ok(()) => "a task of the log has ended".to_owned(),
                Err(panicked) => panicked.to_string(),
            },
        }
    }

    /// Stops. What was acknowledged is on disk, as always; what was not is lost or not.
    pub async fn stop(self) {
        self.proposer.abort();
        self.tasks.iter().for_each(JoinHandle::abort);
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "the log did not stop cleanly");
        }
    }
}

fn failed(error: impl std::fmt::Display) -> StartError {
    StartError::Raft(error.to_string())
}

/// Settings by the reference on openraft, section 9, and DESIGN D11 and D15.
fn config() -> Result<Config, StartError> {
    let config = Config {
        cluster_name: "beanpole".to_owned(),
        heartbeat_interval: 60,
        election_timeout_min: 200,
        election_timeout_max: 400,
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

/// Makes this member the leader of its cluster of one and waits until the log is replayed.
async fn lead(raft: &Raft<TypeConfig, StateMachine>, member: u64) -> Result<(), StartError> {
    if raft.is_initialized().await.map_err(failed)? {
        raft.trigger().elect(false).await.map_err(failed)?;
    } else {
        let members = BTreeMap::from([(member, BasicNode::default())]);
        raft.initialize(members).await.map_err(failed)?;
    }
    loop {
        match raft.ensure_linearizable(ReadPolicy::ReadIndex).await {
            Ok(_) => return Ok(()),
            Err(openraft::error::RaftError::Fatal(fatal)) => return Err(failed(fatal)),
            Err(openraft::error::RaftError::APIError(_)) => tokio::time::sleep(LEADER_POLL).await,
        }
    }
}
