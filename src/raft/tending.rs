//! Tends what is beside the log: hands runs to the background writer, takes over what it has written,
//! counts what all of it has in memory, and says how fast to write.
//!
//! It goes on while a checkpoint is made: producers may wait for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::cold::{ColdRuns, or_end};
use super::log_store::LogStore;
use super::state_machine::Replica;
use crate::chain::Chain;
use crate::memory::Memory;
use crate::storage::Now;
use crate::storage::background::{Background, BackgroundHandle, Pace};
use crate::storage::runs::{Resident, RunSet};

/// How often to look when nothing has happened.
const INTERVAL: Duration = Duration::from_millis(100);

/// How long no merge is begun after one has failed, at first and at most: it is twice as long after
/// each further one.
const MERGE_PAUSE_MIN: Duration = Duration::from_secs(1);
const MERGE_PAUSE_MAX: Duration = Duration::from_secs(60);

/// What a record takes up that was copied ahead of a checkpoint, bytes.
const COPY_BYTES: usize = 256;

/// The task's parts.
pub(super) struct Tending {
    cold: ColdRuns,
    /// Something has become of a run file.
    changed: Arc<Notify>,
    memory: Arc<Memory>,
    background: BackgroundHandle,
    now: Now,
    merges: Merges,
}

/// When merges are begun.
#[derive(Default)]
struct Merges {
    not_before: Duration,
    /// How long to wait after the last one; zero when it has not failed.
    pause: Duration,
}

impl Tending {
    pub(super) fn new(
        cold: &ColdRuns,
        changed: Arc<Notify>,
        memory: &Arc<Memory>,
        background: &Background,
        now: Now,
    ) -> Self {
        let (cold, memory) = (cold.clone(), Arc::clone(memory));
        let merges = Merges::default();
        Self { cold, changed, memory, background: background.handle(), now, merges }
    }

    /// Runs for as long as it is polled.
    pub(super) async fn run(mut self, replica: Arc<Replica>, log: LogStore) {
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

    fn tend(&mut self) {
        let now = (self.now)();
        self.cold.with(|set| {
            for error in set.write_sealed() {
                tracing::error!("a run could not be written yet: {}", Chain(&error));
            }
            self.merges.tend(set, now);
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

impl Merges {
    /// Takes over what was merged, and begins the next one when that can be.
    fn tend(&mut self, set: &mut RunSet, now: Duration) {
        match set.publish() {
            Ok(false) => {}
            Ok(true) => self.pause = Duration::ZERO,
            // As everywhere: what cannot be read now is missed by the entry that needs it.
            Err(error) if error.is_damage() => or_end(Err(error)),
            Err(error) => {
                self.failed(now);
                let pause = self.pause;
                tracing::warn!("runs could not be merged, again in {pause:?}: {}", Chain(&error));
            }
        }
        if now >= self.not_before
            && let Some(plan) = set.plan_merge()
        {
            set.merge(plan);
        }
    }

    fn failed(&mut self, now: Duration) {
        self.pause = (self.pause * 2).clamp(MERGE_PAUSE_MIN, MERGE_PAUSE_MAX);
        self.not_before = now + self.pause;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_that_fails_again_and_again_is_tried_less_and_less_often() {
        let mut merges = Merges::default();
        let mut pauses = Vec::new();
        for now in (0..8).map(|turn| Duration::from_secs(100 * turn)) {
            merges.failed(now);
            pauses.push((merges.not_before - now).as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    }
}
