//! How long entries wait for jobs to be written out, while these take up more memory than they may.
//!
//! To wait is of use only as long as files are written: when none is finished in a while the disk is
//! full, or broken, and what is in the log has to be applied all the same, at a start too. And it may
//! be that jobs are not what takes up the memory. So all waits together are bounded, until there is
//! room once.

use std::time::Duration;

use super::cold::Writing;
use super::types::{Entry, Payload};
use crate::queue::{Action, Part};

/// How long an entry waits before it looks again.
const PAUSE: Duration = Duration::from_millis(5);

/// How long entries wait, all together, while no run is finished: on a slow disk one takes as long.
const STALLED_MAX: Duration = Duration::from_secs(2);

/// How long entries wait, all together, while there is never room.
const WAITED_MAX: Duration = Duration::from_secs(10);

/// What entries have waited since there was room.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Patience {
    waited: Duration,
    /// Since a run was finished.
    stalled: Duration,
    written: u64,
}

impl Patience {
    /// There is room.
    pub(super) fn renew(&mut self) {
        *self = Self { written: self.written, ..Self::default() };
    }

    /// How long to wait before the next look; `None` when it is of no use.
    pub(super) fn pause(&mut self, writing: Writing) -> Option<Duration> {
        if self.written != writing.written {
            self.written = writing.written;
            self.stalled = Duration::ZERO;
        }
        if writing.waiting == 0 || self.stalled >= STALLED_MAX || self.waited >= WAITED_MAX {
            return None;
        }
        self.waited += PAUSE;
        self.stalled += PAUSE;
        Some(PAUSE)
    }
}

/// Whether jobs come with the entry.
pub(super) fn has_puts(entry: &Entry) -> bool {
    let Payload::Normal(command) = &entry.payload else { return false };
    let is_put = |action: &Action| matches!(action, Action::Put { .. });
    command.batch().parts.iter().any(|part| match part {
        Part::Ops { ops, .. } => ops.iter().any(|op| is_put(&op.action)),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long entries wait that come one after the other, when runs are written like this.
    fn waited(
        patience: &mut Patience,
        entries: u32,
        mut writing: impl FnMut(u32) -> Writing,
    ) -> Duration {
        let (mut waited, mut looks) = (Duration::ZERO, 0);
        for _ in 0..entries {
            while let Some(pause) = patience.pause(writing(looks)) {
                waited += pause;
                looks += 1;
            }
        }
        waited
    }

    #[test]
    fn nobody_waits_when_nothing_is_written() {
        let idle = |_| Writing { waiting: 0, written: 9 };
        assert_eq!(waited(&mut Patience::default(), 100, idle), Duration::ZERO);
    }

    #[test]
    fn entries_wait_a_while_in_all_when_no_run_is_finished() {
        let mut patience = Patience::default();
        let stuck = |_| Writing { waiting: 3, written: 0 };
        assert_eq!(waited(&mut patience, 1000, stuck), STALLED_MAX);
        // One run more, and it is worth it again.
        let stuck_again = |_| Writing { waiting: 3, written: 1 };
        assert_eq!(waited(&mut patience, 1000, stuck_again), STALLED_MAX);
    }

    #[test]
    fn entries_wait_a_while_in_all_when_there_is_never_room_and_again_when_there_was() {
        let mut patience = Patience::default();
        let busy = |looks| Writing { waiting: 3, written: u64::from(looks) };
        assert_eq!(waited(&mut patience, 1000, busy), WAITED_MAX);
        assert_eq!(waited(&mut patience, 1000, busy), Duration::ZERO);
        patience.renew();
        assert_eq!(waited(&mut patience, 1000, busy), WAITED_MAX);
    }
}
