//! Room kept for the day the disk is full.
//!
//! A file that is written, not only allocated, and given up when nothing else has room: the log
//! takes it as its next segment, a checkpoint has it removed. Refilled when there is room again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::background::{BackgroundHandle, Lane, ZeroFill};
use super::disk::{Disk, DiskFile, is_full};

/// One reserve file.
pub struct Reserve {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held_bytes: u64,
    wanted_bytes: u64,
    is_filling: bool,
}

impl Reserve {
    /// A reserve in the file `path`, of nothing so far.
    pub fn new(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Self { disk, path, state: Mutex::default() }
    }

    /// Takes over the file that an earlier life left, and removes an unfinished one.
    ///
    /// # Errors
    /// What the disk says.
    pub fn load(&self) -> io::Result<()> {
        remove_if_there(&*self.disk, &self.draft())?;
        match self.disk.open(&self.path) {
            Ok(file) => {
                self.state.lock().held_bytes = file.length()?;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sets how large the reserve is to be at the next [`refill`](Self::refill).
    pub fn set_wanted(&self, bytes: u64) {
        self.state.lock().wanted_bytes = bytes;
    }

    /// How many bytes are held.
    pub fn held_bytes(&self) -> u64 {
        self.state.lock().held_bytes
    }

    /// Gives up the file: its room is free when this returns. Returns how many bytes that is.
    ///
    /// # Errors
    /// What the disk says.
    pub fn release(&self) -> io::Result<u64> {
        let mut state = self.state.lock();
        if state.held_bytes > 0 {
            self.disk.remove(&self.path)?;
        }
        Ok(std::mem::take(&mut state.held_bytes))
    }

    /// Gives up the file under another name, if it has at least `needed` bytes. Returns the file
    /// and its length. The new name is not durable yet.
    ///
    /// # Errors
    /// What the disk says.
    pub fn take_as(
        &self,
        needed: u64,
        path: &Path,
    ) -> io::Result<Option<(Arc<dyn DiskFile>, u64)>> {
        let mut state = self.state.lock();
        if state.held_bytes == 0 || state.held_bytes < needed {
            return Ok(None);
        }
        self.disk.rename(&self.path, path)?;
        let bytes = std::mem::take(&mut state.held_bytes);
        Ok(Some((self.disk.open(path)?, bytes)))
    }

    /// Has the file written, unless it is large enough or being written; cuts one that is more than
    /// twice as large as it is to be. No room is no error: it is for the caller to try again.
    pub fn refill(self: &Arc<Self>, background: &BackgroundHandle) {
        let wanted = {
            let mut state = self.state.lock();
            if state.is_filling {
                return;
            }
            if state.held_bytes >= state.wanted_bytes {
                if state.held_bytes / 2 > state.wanted_bytes {
                    self.cut(&mut state);
                }
                return;
            }
            state.is_filling = true;
            state.wanted_bytes
        };
        let reserve = self.clone();
        let filled = Box::new(move |result: io::Result<Arc<dyn DiskFile>>| {
            if let Err(error) = result.and_then(|_| reserve.publish(wanted))
                && !is_full(&error)
            {
                let path = reserve.path.display();
                tracing::warn!(%path, %error, "cannot fill the reserve");
            }
            reserve.state.lock().is_filling = false;
        });
        let job = ZeroFill::new(self.disk.clone(), self.draft(), wanted, filled);
        if background.try_submit(Lane::Bulk, Box::new(job)).is_err() {
            self.state.lock().is_filling = false;
        }
    }

    fn cut(&self, state: &mut State) {
        let cut = self.disk.open(&self.path).and_then(|file| file.set_length(state.wanted_bytes));
        match cut {
            Ok(()) => state.held_bytes = state.wanted_bytes,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "cannot cut the reserve");
            }
        }
    }

    fn publish(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        self.disk.rename(&self.draft(), &self.path)?;
        state.held_bytes = bytes;
        Ok(())
    }

    fn draft(&self) -> PathBuf {
        self.path.with_extension("new")
    }
}

/// Removes a file; one that is not there is fine.
pub(super) fn remove_if_there(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::background::{Background, BackgroundOptions};
    use crate::storage::sim::SimDisk;
    use crate::storage::tests::test_now;

    const LARGE: u64 = 3 << 20;
    const SMALL: u64 = 1 << 20;

    #[test]
    fn a_reserve_that_is_much_too_large_gives_room_back() {
        let disk = SimDisk::new();
        let background = Background::start(BackgroundOptions::new(test_now())).unwrap();
        let reserve = Arc::new(Reserve::new(Arc::new(disk.clone()), "/reserve".into()));
        let expect_held = |bytes| {
            while reserve.state.lock().is_filling {
                std::thread::yield_now();
            }
            assert_eq!((reserve.held_bytes(), disk.used_bytes()), (bytes, bytes));
        };
        reserve.set_wanted(LARGE);
        reserve.refill(&background.handle());
        expect_held(LARGE);
        reserve.set_wanted(LARGE / 2);
        reserve.refill(&background.handle());
        expect_held(LARGE);
        reserve.set_wanted(SMALL);
        reserve.refill(&background.handle());
        expect_held(SMALL);
    }
}
