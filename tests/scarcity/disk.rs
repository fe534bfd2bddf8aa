//! A small disk that others can fill.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
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
        let mut file = File::create(self.filler()).expect("the disk has a name left");
        for size in [1 << 20, 4096, 1] {
            let piece = vec![1; size];
            loop {
                match file.write_all(&piece).and_then(|()| file.sync_all()) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("cannot fill the disk: {error}"),
                }
                if size < 4096 {
                    break;
                }
            }
        }
    }

    /// Gives up again what [`fill`](Self::fill) took.
    pub(super) fn drain(&self) {
        fs::remove_file(self.filler()).expect("it was filled");
    }

    fn filler(&self) -> PathBuf {
        self.0.path().join("filler")
    }
}
