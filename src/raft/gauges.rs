//! How the disk is doing, for those who answer clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use crate::storage::wal::Wal;

/// What a put is taken to need of the disk beside twice its body, bytes: it stands in the log, in a
/// page of its own if it comes alone, and in the next checkpoint.
const PUT_OVERHEAD_BYTES: i64 = 4608;

/// How the disk is doing; without a data directory it is always well.
#[derive(Clone, Default)]
pub struct StorageGauges {
    wal: Option<Arc<Wal>>,
    room: Arc<Room>,
}

/// The room that is left for new jobs, measured now and then and reckoned in between.
#[derive(Default)]
pub(super) struct Room {
    left_bytes: AtomicI64,
    /// A put was refused since it was measured.
    has_refused: AtomicBool,
    is_short: AtomicBool,
}

impl Room {
    pub(super) fn measured(&self, left_bytes: i64) {
        self.left_bytes.store(left_bytes, Ordering::Relaxed);
        let has_refused = self.has_refused.swap(false, Ordering::Relaxed);
        self.is_short.store(left_bytes < 0 || has_refused, Ordering::Relaxed);
    }

    /// Whether a put was refused before the last measurement, or the next one would be.
    pub(super) fn is_short(&self) -> bool {
        self.is_short.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: i64) -> bool {
        let is_there = self.left_bytes.load(Ordering::Relaxed) >= bytes;
        match is_there {
            true => drop(self.left_bytes.fetch_sub(bytes, Ordering::Relaxed)),
            false => self.has_refused.store(true, Ordering::Relaxed),
        }
        is_there
    }
}

/// Figures of the log, named after beanstalkd's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogFigures {
    /// The number of the oldest file of the log.
    pub oldest_segment: u64,
    /// The number of the file that is written to.
    pub current_segment: u64,
    /// Records written since the process started.
    pub records_written: u64,
}

impl StorageGauges {
    pub(super) fn new(wal: Arc<Wal>, room: Arc<Room>) -> Self {
        Self { wal: Some(wal), room }
    }

    /// Whether there is room for one more job with a body of so many bytes. It is taken then.
    pub fn admits(&self, body_bytes: usize) -> bool {
        let Some(wal) = &self.wal else { return true };
        let body_bytes = i64::try_from(body_bytes).unwrap_or(i64::MAX / 4);
        let needed = PUT_OVERHEAD_BYTES + 2 * body_bytes;
        !wal.is_full() && self.room.take(needed)
    }

    /// How the log stands.
    pub fn log_figures(&self) -> LogFigures {
        let Some(wal) = &self.wal else { return LogFigures::default() };
        let state = wal.state();
        LogFigures {
            oldest_segment: state.oldest_segment,
            current_segment: state.current_segment,
            records_written: state.records_written,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_short_when_a_put_was_refused_though_some_room_is_left() {
        let room = Room::default();
        room.measured(100);
        assert!(room.take(60) && !room.take(60));
        assert!(!room.is_short(), "not measured anew yet");
        room.measured(50);
        assert!(room.is_short());
        room.measured(50);
        assert!(!room.is_short(), "nobody has asked since");
        room.measured(-1);
        assert!(room.is_short());
    }
}
