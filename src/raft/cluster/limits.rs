//! The limits of what is not a job. They are a part of the queue's state, so that a change goes
//! through the log.

use super::Cluster;
use super::membership::Refusal;
use crate::memory::Memory;
use crate::queue::{KEYS_BYTES_MAX, Limits, LimitsChange, Part};

/// How the limits fit the memory of this member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LimitsFit {
    /// What all that they allow takes up, bytes.
    pub bytes_max: u64,
    /// What it may take up and leave jobs enough, bytes.
    pub room: u64,
    /// The budget in which it would fit, bytes.
    pub enough: u64,
}

impl LimitsFit {
    fn new(limits: Limits, memory: &Memory) -> Self {
        let bytes_max = limits.bytes_max();
        // Keys of puts have a bound of their own, and their place beside what is limited.
        let enough = Memory::budget_for_tables(bytes_max + KEYS_BYTES_MAX, memory.has_cold());
        let room = memory.tables_limit().saturating_sub(KEYS_BYTES_MAX);
        Self { bytes_max, room, enough }
    }
}

impl Cluster {
    /// The limits as this member has applied them, and how much of them is used.
    pub(super) fn limits(&self) -> (Limits, Limits) {
        self.replica.with_state(|state| (state.queue.limits(), state.queue.limits_used()))
    }

    /// As the leader: changes the limits that are named, and waits until that is applied.
    pub(super) async fn set_limits(&self, change: LimitsChange) -> Result<(), Refusal> {
        self.log_says(Part::Limits { change }, "the change of the limits", || {
            let (limits, _) = self.limits();
            change.of(limits) == limits
        })
        .await?;
        tracing::info!(target: "beanpole", ?change, "limits changed");
        self.tell_of_limits();
        Ok(())
    }

    /// What all that the limits allow takes up, and what of this member's memory that may.
    pub(super) fn limits_fit(&self) -> LimitsFit {
        LimitsFit::new(self.limits().0, self.replica.memory())
    }

    /// Says in the log when the limits do not fit.
    pub(in super::super) fn tell_of_limits(&self) {
        let LimitsFit { bytes_max, room, enough } = self.limits_fit();
        if bytes_max > room {
            tracing::warn!(
                target: "beanpole",
                bytes_max,
                room,
                "the limits of tubes, watches, held jobs and sessions allow more than the memory budget \
                 has room for: --memory {}M would be enough, or {} percent of each (beanpole \
                 cluster limits)",
                enough.div_ceil(1 << 20),
                room / (bytes_max / 100).max(1)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_that_are_set_at_first_do_not_fit_a_small_budget() {
        let small = LimitsFit::new(Limits::default(), &Memory::new(192 << 20, true));
        assert!(small.bytes_max > small.room, "{small:?}");
        let enough = LimitsFit::new(Limits::default(), &Memory::new(small.enough, true));
        assert!(enough.bytes_max <= enough.room, "{enough:?}");
        let percent = small.room / (small.bytes_max / 100);
        let part = |count| count / 100 * percent;
        let Limits { tubes, watches, held_jobs, sessions } = Limits::default();
        let fewer = Limits {
            tubes: part(tubes),
            watches: part(watches),
            held_jobs: part(held_jobs),
            sessions: part(sessions),
        };
        let fewer = LimitsFit::new(fewer, &Memory::new(192 << 20, true));
        assert!(fewer.bytes_max <= fewer.room, "{fewer:?}");
    }
}
