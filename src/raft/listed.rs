//! Which run files the checkpoints of this member list: those may not go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::cold::ColdRuns;
use super::opening::OpenError;
use crate::storage::checkpoint::Checkpoints;
use crate::storage::runs::RunUid;

/// The run files of each checkpoint that is kept. Clones share it.
///
/// A checkpoint is added before its file has its name, so that there is never one whose run files
/// nobody keeps, and forgotten after its file is gone.
#[derive(Clone, Default)]
pub(super) struct ListedRuns(Arc<Mutex<BTreeMap<u64, BTreeSet<RunUid>>>>);

impl ListedRuns {
    /// Adds the checkpoint at `index`.
    pub(super) fn add(&self, index: u64, uids: BTreeSet<RunUid>) {
        self.0.lock().insert(index, uids);
    }

    /// Forgets the checkpoints that are gone. When none is on its way here, removes what has come of
    /// run files from another member.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub(super) fn forget_removed(
        &self,
        checkpoints: &Checkpoints,
        cold: &ColdRuns,
    ) -> Result<(), OpenError> {
        // One that is added and has no name yet is newer than all that have.
        if let Some(oldest) = checkpoints.list()?.last() {
            self.0.lock().retain(|index, _| index >= oldest);
        }
        if !checkpoints.has_incoming()? {
            cold.with(|set| set.exchange()).keep_only(&BTreeSet::new())?;
        }
        Ok(())
    }

    /// Those of the checkpoint at `index`.
    pub(super) fn of(&self, index: u64) -> BTreeSet<RunUid> {
        self.0.lock().get(&index).cloned().unwrap_or_default()
    }

    /// All that are listed.
    pub(super) fn uids(&self) -> BTreeSet<RunUid> {
        self.0.lock().values().flatten().copied().collect()
    }

    /// Has `cold` remove files that neither it nor a checkpoint needs. Returns how many are still
    /// there.
    pub(super) fn release(&self, cold: &ColdRuns) -> usize {
        let listed = self.0.lock();
        cold.with(|set| set.release(listed.values().flatten()))
    }
}
