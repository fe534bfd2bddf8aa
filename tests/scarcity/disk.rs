//! A small disk that others can fill.

use std::path::PathBuf;

use crate::support::{LoopDisk, alone, left_out};

/// A mounted disk. Unmounted when dropped.
pub(super) struct SmallDisk(LoopDisk);

impl SmallDisk {
    /// Makes and mounts a disk of so many bytes.
    ///
    /// # Errors
    ///
    /// Why this machine or this user cannot.
    fn mount(bytes: u64) -> Result<Self, String> {
        LoopDisk::mount(bytes).map(Self)
    }

    /// Where the server keeps its jobs.
    pub(super) fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// Takes up what room is left.
    pub(super) fn fill(&self) {
        self.0.fill().expect("the disk is ours");
    }

    /// Gives up again what [`fill`](Self::fill) took.
    pub(super) fn drain(&self) {
        self.0.drain().expect("it was filled");
    }
}

/// Runs a test, alone, on a disk of so many bytes. Where there can be none, says that `what` is left
/// out.
pub(super) fn with_small_disk(bytes: u64, what: &str, test: impl FnOnce(&SmallDisk)) {
    let _alone = alone();
    match SmallDisk::mount(bytes) {
        Ok(disk) => test(&disk),
        Err(why) => left_out(&format!("{what}: {why}")),
    }
}
