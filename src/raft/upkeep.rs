//! Keeps the log short: a checkpoint when the log behind the last one has grown, then a purge.

use std::sync::Arc;
use std::time::Duration;

use openraft::Raft;

use super::log_store::LogStore;
use super::state_machine::{Replica, StateMachine};
use super::types::{SnapshotMeta, TypeConfig};

/// How often to look.
const INTERVAL: Duration = Duration::from_millis(100);

/// Without a data directory, the log in memory is cut after so many bytes.
const MEMORY_LOG_BYTES_MAX: u64 = 4 << 20;

pub struct Upkeep {
    raft: Raft<TypeConfig, StateMachine>,
    replica: Arc<Replica>,
    log: LogStore,
    at: u64,
}

impl Upkeep {
    pub fn new(
        raft: Raft<TypeConfig, StateMachine>,
        replica: Arc<Replica>,
        log: LogStore,
        _storage: Option<()>,
    ) -> Self {
        Self { raft, replica, log, at: 0 }
    }

    pub async fn run(mut self) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let bytes = self.log.appended_bytes();
            if bytes - self.at < MEMORY_LOG_BYTES_MAX {
                continue;
            }
            self.at = bytes;
            let purge = self.replica.with_state(|state| {
                let previous = state.snapshot.take().and_then(|meta| meta.last_log_id);
                state.snapshot = Some(SnapshotMeta {
                    last_log_id: state.applied,
                    last_membership: state.membership.clone(),
                });
                previous
            });
            self.raft.trigger().snapshot().await.ok();
            if let Some(purge) = purge {
                self.raft.trigger().purge_log(purge.index).await.ok();
            }
        }
    }
}
