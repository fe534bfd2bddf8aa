//! Tends what is beside the log: hands runs to the background writer, takes over what it has written,
//! counts what all of it has in memory, and says how fast to write.
//!
//! It goes on while a checkpoint is made: producers may wait for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::cold::ColdRuns;
use super::log_store::LogStore;
use super::state_machine::Replica;
use crate::chain::Chain;
use crate::memory::Memory;
use crate::storage::background::{Background, BackgroundHandle, Pace};
use crate::storage::runs::Resident;

/// How often to look when nothing has happened.
const INTERVAL: Duration = Duration::from_millis(100);

/// What a record takes up that was copied ahead of a checkpoint, bytes.
const COPY_BYTES: usize = 256;

/// The task's parts.
pub(super) struct Tending {
    cold: ColdRuns,
    /// Something has become of a run file.
    changed: Arc<Notify>,
    memory: Arc<Memory>,
    background: BackgroundHandle,
}

impl Tending {
    pub(super) fn new(
        cold: &ColdRuns,
        changed: Arc<Notify>,
        memory: &Arc<Memory>,
        background: &Background,
    ) -> Self {
        let (cold, memory) = (cold.clone(), Arc::clone(memory));
        Self { cold, changed, memory, background: background.handle() }
    }

    /// Runs for as long as it is polled.
    pub(super) async fn run(self, replica: Arc<Replica>, log: LogStore) {
        loop {
            drop(tokio::time::timeout(INTERVAL, self.changed.notified()).await);
            // Merges are taken over between two entries.
            replica.with_state(|_| self.tend());
            self.measure(&replica, &log);
            replica.look_at_memory();
            self.background.set_pace(self.pace());
            self.memory.tell_freed();
        }
    }

    fn tend(&self) {
        self.cold.with(|set| {
            for error in set.write_sealed() {
                tracing::error!("a run could not be written yet: {}", Chain(&error));
            }
            if let Err(error) = set.publish() {
                tracing::error!("runs could not be merged: {}", Chain(&error));
            }
            if let Some(plan) = set.plan_merge() {
                set.merge(plan);
            }
        });
    }

    fn measure(&self, replica: &Replica, log: &LogStore) {
        let resident = self.cold.with(|set| set.resident());
        let Resident { indexes, marks, sealed, cache, cursors, merge } = resident;
        self.memory.sealed.set(sealed as u64);
        self.memory.runs.set((indexes + marks + cache + cursors + merge) as u64);
        let copies = replica.with_state(|state| state.queue.checkpoint_copies_held());
        self.memory.checkpoints.set((copies * COPY_BYTES) as u64);
        self.memory.log.set(log.recent_bytes() as u64);
        self.memory.measure();
    }

    /// How fast files should be written: as slowly as memory allows.
    fn pace(&self) -> Pace {
        let is_behind = self.memory.sealed.used() * 2 > self.memory.sealed.limit;
        match self.memory.waiting() > 0 || self.memory.is_overfull() {
            true => Pace::Hurried,
            false if is_behind => Pace::Brisk,
            false => Pace::Calm,
        }
    }
}
