//! The types beanpole hands to openraft, and short names for what comes back.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use openraft::async_runtime::WatchReceiver as _;

use super::snapshot::SnapshotData;
use crate::queue::Batch;

openraft::declare_raft_types!(
    /// beanpole's choice of types for openraft.
    pub(crate) TypeConfig:
        D = Command,
        R = (),
        Node = openraft::BasicNode,
        AsyncRuntime = super::runtime::Runtime,
);

/// As whom this member leads; `None` when it does not. openraft's `as_leader` goes by the last vote
/// alone, and after a restart that is the one by which this member led before.
pub(super) fn leading<SM>(raft: &openraft::Raft<TypeConfig, SM>) -> Option<LeaderId>
where
    SM: openraft::storage::RaftStateMachine<TypeConfig>,
{
    let is_leader = raft.metrics().borrow_watched().state.is_leader();
    is_leader.then(|| raft.as_leader().ok().map(|leader| leader.to_committed_leader_id()))?
}

/// The application's part of a log entry: one batch, shared by the log, the appliers and the wire.
#[derive(Clone)]
pub(crate) struct Command(Arc<Shared>);

struct Shared {
    batch: Batch,
    /// The entry as it is written and sent, once somebody has needed it in one piece.
    bytes: OnceLock<Bytes>,
}

impl Command {
    pub(super) fn new(batch: Batch) -> Self {
        Self(Arc::new(Shared { batch, bytes: OnceLock::new() }))
    }

    /// A batch that came as these bytes: they are passed on as they are.
    pub(super) fn received(batch: Batch, bytes: Bytes) -> Self {
        Self(Arc::new(Shared { batch, bytes: bytes.into() }))
    }

    pub(super) fn batch(&self) -> &Batch {
        &self.0.batch
    }

    /// The bytes of the entry, if they are there.
    pub(super) fn known_bytes(&self) -> Option<&Bytes> {
        self.0.bytes.get()
    }

    /// The bytes of the entry, made by `encode` when they are wanted for the first time.
    pub(super) fn bytes(&self, encode: impl FnOnce(&Batch) -> Bytes) -> &Bytes {
        self.0.bytes.get_or_init(|| encode(&self.0.batch))
    }
}

impl PartialEq for Command {
    fn eq(&self, other: &Self) -> bool {
        self.batch() == other.batch()
    }
}

impl Eq for Command {}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.batch(), f)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Batch { parts, now } = self.batch();
        write!(f, "batch of {} parts at {}", parts.len(), now.0)
    }
}

pub(crate) type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
pub(crate) type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
pub(crate) type LeaderId = openraft::type_config::alias::CommittedLeaderIdOf<TypeConfig>;
pub(crate) type Membership = openraft::Membership<u64, openraft::BasicNode>;
pub(crate) type Payload = openraft::EntryPayload<Command, u64, openraft::BasicNode>;
pub(crate) type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type SnapshotOf = openraft::type_config::alias::SnapshotOf<TypeConfig, SnapshotData>;
pub(crate) type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
pub(crate) type Metrics =
    openraft::type_config::alias::WatchReceiverOf<TypeConfig, openraft::RaftMetrics<TypeConfig>>;
