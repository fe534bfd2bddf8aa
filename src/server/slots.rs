//! Room for clients: the file descriptors of the process less those that it needs itself.
//!
//! A member that cannot open a run file or a segment of its log has to end, and one that cannot dial
//! loses its cluster. So clients do not get the last descriptors: who finds no slot waits in the
//! kernel's backlog until another client leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::config::Config;
use crate::link::HANDSHAKES_MAX;
use crate::open_files;
use crate::storage::runs::OPEN_FILES_MAX;

/// Standard streams, the runtime, signals, the listener, and what is opened for a moment.
const OWN_FILES: u64 = 24;

/// The log, a checkpoint, the catalog, reserves, inputs of a merge that are not among the open run
/// files any more, operators.
const DISK_FILES: u64 = 64;

/// Links with seven other members: five each way with each, and as many again that are being replaced.
const LINK_FILES: u64 = 128;

/// However few descriptors there are, so many clients are let in.
const SLOTS_MIN: u64 = 8;

/// With room for fewer clients somebody should know.
const SLOTS_FEW: u64 = 1000;

/// The slots of all clients.
#[derive(Debug)]
pub(super) struct Slots {
    /// Descriptors that are not for clients.
    reserved: u64,
    taken: AtomicU64,
    freed: Notify,
    told: AtomicBool,
}

/// The room of one client; when it is dropped, another has it.
#[derive(Debug)]
pub(super) struct Slot(Arc<Slots>);

impl Slots {
    /// Slots beside so many descriptors.
    pub(super) fn new(reserved: u64) -> Arc<Self> {
        Arc::new(Self {
            reserved,
            taken: AtomicU64::new(0),
            freed: Notify::new(),
            told: AtomicBool::new(false),
        })
    }

    /// Slots of a server with these settings. Says so in the log when they are few.
    pub(super) fn of(config: &Config) -> Arc<Self> {
        let slots = Self::new(reserved(config.data_dir.is_some(), config.cluster.is_some()));
        let room = slots.room(open_files::limit());
        if room < SLOTS_FEW {
            tracing::warn!(
                target: "beanpole",
                open_files = open_files::limit(),
                reserved = slots.reserved,
                "there is room for {room} connections: raise the limit of open files (ulimit -n)"
            );
        }
        slots
    }

    /// Takes a slot, once there is one. Cancel-safe.
    pub(super) async fn take(self: &Arc<Self>) -> Slot {
        loop {
            // Asked for each time: it may be changed from outside.
            let room = self.room(open_files::limit());
            let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken < room).then_some(taken + 1)
            });
            if taken.is_ok() {
                return Slot(Arc::clone(self));
            }
            if !self.told.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    room,
                    "cannot accept connections for now: there are no file descriptors for more"
                );
            }
            self.freed.notified().await;
        }
    }

    fn room(&self, open_files_max: u64) -> u64 {
        open_files_max.saturating_sub(self.reserved).max(SLOTS_MIN)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Slots { taken, freed, told, .. } = &*self.0;
        taken.fetch_sub(1, Ordering::Relaxed);
        told.store(false, Ordering::Relaxed);
        freed.notify_one();
    }
}

/// Descriptors that are not for clients. A snapshot that is received has run files of its own.
fn reserved(has_disk: bool, has_cluster: bool) -> u64 {
    let runs = OPEN_FILES_MAX as u64;
    let disk = if has_disk { runs + DISK_FILES } else { 0 };
    let cluster = if has_cluster { runs + HANDSHAKES_MAX as u64 + LINK_FILES } else { 0 };
    OWN_FILES + disk + cluster
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_files_and_members_have_descriptors_of_their_own() {
        let room = |limit, disk, cluster| Slots::new(reserved(disk, cluster)).room(limit);
        assert_eq!(room(1024, false, false), 1000);
        assert!(room(1024, true, false) + (OPEN_FILES_MAX as u64) < 1000);
        assert!(room(1024, true, true) + 2 * (OPEN_FILES_MAX as u64) < 1000);
        assert_eq!(room(64, true, true), SLOTS_MIN);
    }

    #[tokio::test]
    async fn who_finds_no_slot_has_that_of_the_next_who_leaves() {
        let slots = Slots::new(u64::MAX);
        let mut taken = Vec::new();
        for _ in 0..SLOTS_MIN {
            taken.push(slots.take().await);
        }
        let mut next = std::pin::pin!(slots.take());
        assert!(futures_util::poll!(next.as_mut()).is_pending());
        taken.pop();
        assert!(futures_util::poll!(next.as_mut()).is_ready());
    }
}
