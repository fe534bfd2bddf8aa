//! What several members need that one does not.
//!
//! `network` and `inbound` carry openraft's calls over links, `messages` has their bytes. `forwarder`
//! takes this member's ops to the leader. `contact` keeps in touch with it, `lease` says whether this
//! member may speak for the cluster, `elections` when to ask for a new leader, `leadership` who leads,
//! `presence` what the leader thinks of the others. `pulse` is the clockwork of all of them.
//! `membership` has the commands of an operator, `join` the way in.

mod contact;
mod elections;
mod forwarder;
mod inbound;
pub(super) mod join;
mod leadership;
mod lease;
mod limits;
mod lives;
mod membership;
mod messages;
pub(super) mod network;
mod options;
mod pace;
pub(super) mod peers;
mod presence;
mod pulse;
mod report;

use std::ops::Deref;
use std::sync::Arc;

use futures_util::FutureExt;
use openraft::async_runtime::WatchReceiver as _;
use openraft::{Instant as _, Raft};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub use lease::{Lease, Standing};
pub use membership::Administration;
pub use options::Timing;

use super::lanes::Lanes;
use super::life::Life;
use super::log_store::LogStore;
use super::outbox::Outbox;
use super::proposer::Estimates;
use super::reads::ReadIndex;
use super::snapshot::Receiver;
use super::state_machine::{Owner, Replica, StateMachine};
use super::types::{Metrics, TypeConfig, leading};
use crate::clock::LogicalClock;
use crate::link::{self, DialError, Link, MemberPort, Purpose, Us};
use crate::queue::MemberId;
use crate::storage::identity::DataDirectory;
use contact::ReadLink;
use elections::Elections;
use leadership::Leadership;
pub(super) use messages::About;
use peers::Peers;
use presence::Presence;

/// What a member says that ends because it was removed.
const REMOVED: &str = "this member was removed from its cluster";

/// How long dialling another member may take.
const DIAL_LIMIT: std::time::Duration = std::time::Duration::from_millis(300);

/// What the tasks of a member share.
pub(super) struct Cluster {
    parts: Parts,
    pub(super) lanes: Arc<Lanes>,
    leadership: Leadership,
    elections: Elections,
    presence: Presence,
    reads: ReadLink,
    metrics: Mutex<Metrics>,
    want_catch_up: Notify,
    /// This member is being removed.
    leaving: Notify,
    failure: Mutex<Option<String>>,
    failed: Notify,
    /// One change of the membership at a time.
    changing: tokio::sync::Mutex<()>,
}

/// What a [`Cluster`] is given. Its tasks use it as if it were the cluster's own.
pub(super) struct Parts {
    pub(super) us: Arc<Us>,
    pub(super) raft: Raft<TypeConfig, StateMachine>,
    pub(super) replica: Arc<Replica>,
    pub(super) owner: Arc<dyn Owner>,
    pub(super) log: LogStore,
    pub(super) outbox: Arc<Outbox>,
    pub(super) clock: Arc<LogicalClock>,
    pub(super) life: Arc<Life>,
    pub(super) lease: Arc<Lease>,
    pub(super) peers: Arc<Peers>,
    pub(super) timing: Timing,
    pub(super) about: About,
    /// Where others dial this member; `None` when it meets nobody.
    pub(super) address: Option<String>,
    pub(super) receiver: tokio::sync::Mutex<Option<Receiver>>,
}

impl Deref for Cluster {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl Cluster {
    pub(super) fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            lanes: Arc::default(),
            leadership: Leadership::default(),
            elections: Elections::new(&parts.timing),
            presence: Presence::new(&parts.timing),
            reads: ReadLink::default(),
            metrics: Mutex::new(parts.raft.metrics()),
            parts,
            want_catch_up: Notify::new(),
            leaving: Notify::new(),
            failure: Mutex::new(None),
            failed: Notify::new(),
            changing: tokio::sync::Mutex::new(()),
        })
    }

    /// Starts the tasks of a member, and serves the others at `port` if there is one.
    pub(super) fn run(
        self: &Arc<Self>,
        port: Option<MemberPort>,
        directory: Option<Arc<Mutex<DataDirectory>>>,
    ) -> Vec<JoinHandle<()>> {
        let mut tasks = vec![
            tokio::spawn(pulse::run(Arc::clone(self))),
            tokio::spawn(pulse::catch_up(Arc::clone(self))),
            tokio::spawn(pulse::leave(Arc::clone(self))),
            tokio::spawn(contact::run(Arc::clone(self))),
            tokio::spawn(contact::notice_removal(Arc::clone(self))),
            tokio::spawn(forwarder::run(Arc::clone(self))),
            tokio::spawn(lives::run(Arc::clone(self), directory)),
        ];
        if let Some(port) = port {
            let cluster = Arc::clone(self);
            let welcome = move |peer, link| {
                drop(tokio::spawn(inbound::serve(Arc::clone(&cluster), peer, link)));
            };
            tasks.push(tokio::spawn(port.run(Arc::clone(&self.us), Arc::new(welcome))));
        }
        tasks
    }

    /// How reads find out what is committed.
    pub(super) fn read_index(self: &Arc<Self>) -> ReadIndex {
        let cluster = Arc::clone(self);
        Arc::new(move || {
            let cluster = Arc::clone(&cluster);
            async move { cluster.reads.read_index(&cluster).await }.boxed()
        })
    }

    /// How a new leader that has just started finds out what time it is.
    pub(super) fn estimates(self: &Arc<Self>) -> Estimates {
        let cluster = Arc::clone(self);
        Arc::new(move || contact::estimate(Arc::clone(&cluster)).boxed())
    }

    /// A link of its own to another member.
    async fn dial(&self, member: u64, address: &str, purpose: Purpose) -> Result<Link, DialError> {
        link::dial(&self.us, member, address, purpose, DIAL_LIMIT).await
    }

    /// The last figures of openraft.
    fn look<R>(&self, look: impl FnOnce(&openraft::RaftMetrics<TypeConfig>) -> R) -> R {
        look(&self.metrics.lock().borrow_watched())
    }

    fn member(&self) -> u64 {
        self.us.member
    }

    /// Who leads, when it is another member, and where it is.
    fn other_leader(&self) -> Option<(u64, String)> {
        self.look(|metrics| {
            let leader = metrics.current_leader.filter(|leader| *leader != self.member())?;
            let node = metrics.membership_config.membership().get_node(&leader)?;
            Some((leader, node.addr.clone()))
        })
    }

    /// Completes when `leader` does not lead any more, as far as this member knows.
    async fn leader_changed(&self, leader: u64) {
        let mut metrics = self.raft.server_metrics();
        while self.other_leader().is_some_and(|(now, _)| now == leader) {
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    /// The other members, and where they are.
    fn others(&self) -> Vec<(u64, String)> {
        self.look(|metrics| {
            let nodes = metrics.membership_config.nodes();
            let others = nodes.filter(|(member, _)| **member != self.member());
            others.map(|(member, node)| (*member, node.addr.clone())).collect()
        })
    }

    /// Whether the log says, up to where this member has applied it, that `member` was removed.
    /// That is for good.
    fn is_removed(&self, member: MemberId) -> bool {
        self.replica
            .with_state(|state| state.queue.life(member).is_some_and(|life| life.is_removed))
    }

    /// Whether this member can be one of several.
    fn meets_others(&self) -> bool {
        self.address.is_some()
    }

    /// Whether this member leads.
    pub(super) fn leads(&self) -> bool {
        leading(&self.raft).is_some()
    }

    /// Whether this member leads and a majority has confirmed that a moment ago.
    fn leads_a_majority(&self) -> bool {
        let Ok(leader) = self.raft.as_leader() else { return false };
        if !self.leads() {
            return false;
        }
        let alone = self.look(|metrics| metrics.membership_config.voter_ids().count()) == 1;
        let acked = leader.last_quorum_acked();
        alone || acked.is_some_and(|acked| acked.elapsed() < self.timing.election_max)
    }

    /// The process can only end: `reason` says why.
    fn fail(&self, reason: &str) {
        self.failure.lock().get_or_insert_with(|| reason.to_owned());
        self.failed.notify_one();
    }

    /// Completes when the process can only end.
    pub(super) async fn failed(&self) -> String {
        loop {
            if let Some(reason) = self.failure.lock().clone() {
                return reason;
            }
            self.failed.notified().await;
        }
    }
}

/// How long the leader may take to hear that this member ends.
const GOODBYE_LIMIT: std::time::Duration = std::time::Duration::from_millis(300);

impl Cluster {
    /// Tells the leader that this member ends on purpose: what its connections held comes back at
    /// once.
    pub(super) async fn say_goodbye(&self) {
        let Some((leader, address)) = self.other_leader() else { return };
        contact::ask(self, (leader, &address), messages::kind::GOODBYE, &[], GOODBYE_LIMIT).await;
    }
}
