//! What a member finds when it starts: its identity, its newest checkpoint, its log.

use std::path::PathBuf;
use std::sync::Arc;

use super::gauges::StorageGauges;
use super::log_store::LogStart;
use super::state_machine::{ReplicaState, Signature};
use super::types::StoredMembership;
use crate::clock::{Clock, LogicalClock};
use crate::queue::{Incarnation, LogicalTime, MemberId, Queue};
use crate::storage::disk::Disk;
use crate::storage::wal::{SyncPolicy, Wal};

/// Where jobs are kept.
#[derive(Clone)]
pub enum Durability {
    /// In memory: they end with the process.
    Memory,
    /// In a data directory.
    Disk {
        /// The file system.
        disk: Arc<dyn Disk>,
        /// The data directory.
        dir: PathBuf,
        /// Refuse a directory that is empty.
        must_exist: bool,
        /// When the log is synced.
        sync: SyncPolicy,
        /// The largest file of the log, bytes.
        segment_size_max: u64,
    },
}

/// How to open a member.
pub struct OpenOptions {
    /// Where jobs are kept.
    pub durability: Durability,
    /// The machine's clocks.
    pub clock: Arc<dyn Clock>,
    /// Drawn at random: the name of the cluster, should one begin here.
    pub cluster: u128,
}

/// The data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("x")]
    X,
}

pub(super) struct Parts {
    pub(super) signature: Signature,
    pub(super) clock: Arc<LogicalClock>,
    pub(super) wal: Option<Arc<Wal>>,
    pub(super) log_start: LogStart,
    pub(super) state: ReplicaState,
    pub(super) gauges: StorageGauges,
    pub(super) storage: Option<()>,
}

pub(super) fn open(options: OpenOptions) -> Result<Parts, OpenError> {
    Ok(in_memory(options.clock))
}

fn in_memory(clock: Arc<dyn Clock>) -> Parts {
    Parts {
        signature: Signature { member: MemberId(1), incarnation: Incarnation(1) },
        clock: Arc::new(LogicalClock::resume(clock, None, LogicalTime(0))),
        wal: None,
        log_start: LogStart::default(),
        state: ReplicaState::empty(),
        gauges: StorageGauges::default(),
        storage: None,
    }
}
