//! A small disk that others can fill.

use std::path::PathBuf;

use crate::support::LoopDisk;

/// A mounted disk. Unmounted when dropped.
pub(super) struct SmallDisk(LoopDisk);

impl SmallDisk {
    /// Makes and mounts a disk of so many bytes.
    ///
    /// # Errors
    ///
    /// Why this machine or this user cannot.
    pub(super) fn mount(bytes: u64) -> Result<Self, String> {
        LoopDisk::mount(bytes).map(Self)
    }

    /// Where the server keeps its jobs.
    pub(super) fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// Takes up what room is left.
    pub(super) fn fill(&self) {
        self.0.fill();
    }

    /// Gives up again what [`fill`](Self::fill) took.
    pub(super) fn drain(&self) {
        self.0.drain();
    }
}
