//! Run files that nobody needs go on the background thread, a few in each step: to unlink one takes
//! as long as some entries of the log.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

use super::RunUid;
use super::files::Files;
use crate::chain::Chain;
use crate::storage::background::{BackgroundHandle, Job, Lane, Step};

/// How many files go in one step.
const STEP_FILES_MAX: usize = 8;

/// The files of a directory that are about to go.
#[derive(Default)]
pub(super) struct Removals(Mutex<State>);

#[derive(Default)]
struct State {
    pending: BTreeSet<RunUid>,
    removed: Vec<RunUid>,
    /// The background writer has them before it.
    is_under_way: bool,
}

impl Removals {
    /// These stay if they are still there: somebody needs them again. When it returns, each of them
    /// is there for good or gone.
    pub(super) fn keep(&self, uids: &BTreeSet<RunUid>) {
        self.0.lock().pending.retain(|uid| !uids.contains(uid));
    }

    /// All that are still there stay.
    pub(super) fn keep_all(&self) {
        self.0.lock().pending.clear();
    }

    /// Those that are gone since it was last asked.
    pub(super) fn take_removed(&self) -> Vec<RunUid> {
        std::mem::take(&mut self.0.lock().removed)
    }
}

/// Has files removed. One that cannot be is tried again when it is asked for again.
pub(super) fn remove_later(
    files: &Arc<Files>,
    uids: BTreeSet<RunUid>,
    background: &BackgroundHandle,
) {
    if uids.is_empty() {
        return;
    }
    {
        let mut state = files.removals.0.lock();
        state.pending = uids;
        if std::mem::replace(&mut state.is_under_way, true) {
            return;
        }
    }
    // A job that is not taken is dropped, and says so.
    let _ = background.try_submit(Lane::Bulk, Box::new(Remove { files: files.clone() }));
}

struct Remove {
    files: Arc<Files>,
}

impl Job for Remove {
    fn step(&mut self) -> Step {
        for _ in 0..STEP_FILES_MAX {
            // Held while a file goes, so that nobody takes it for one that stays.
            let mut state = self.files.removals.0.lock();
            let Some(uid) = state.pending.pop_first() else {
                return Step::Finished { bytes: 0 };
            };
            match self.files.remove(uid) {
                Ok(()) => state.removed.push(uid),
                Err(error) => {
                    tracing::warn!("a run file that nobody needs stays: {}", Chain(&error));
                }
            }
        }
        Step::More { bytes: 0 }
    }
}

impl Drop for Remove {
    fn drop(&mut self) {
        self.files.removals.0.lock().is_under_way = false;
    }
}
