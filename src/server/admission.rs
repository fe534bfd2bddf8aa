//! Whether there is memory for another job, and who waits for it.
//!
//! When jobs use up their shares of the memory, producers feel it first and alone (DESIGN P6): a put
//! waits, and with it its connection, in order of arrival, while jobs are made cold and written to
//! run files. When nothing gets out of memory for a while, waiting is of no use, and puts are
//! refused at once until there is room again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::connection::Connection;
use crate::memory::Memory;

/// How long a put waits without one being admitted, before all are refused.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

/// How often a put finds that others were admitted meanwhile, before it is refused alone: 10 s.
const PATIENCES_MAX: u32 = 20;

/// How long a put waits for the sake of a member that is slower than this one.
pub(super) const SLOWDOWN: Duration = Duration::from_millis(20);

/// What a job takes up beside its body until it is counted as a hot one, bytes.
const JOB_BYTES: u64 = 512;

/// Puts are taken again when this part of the memory for jobs is free.
const RESUME_PART: u64 = 32;

/// How many are told at a time that there is room: each may have many puts.
const WOKEN_MAX: usize = 16;

/// The gate for puts.
pub(super) struct Admission {
    memory: Arc<Memory>,
    /// Whose puts wait, in order of arrival.
    parked: Mutex<VecDeque<Arc<Connection>>>,
    /// Waiting has come to nothing.
    refuses: AtomicBool,
    /// How many puts were admitted.
    admitted: AtomicU64,
}

/// How long a put has waited.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// When it was last seen whether others were admitted meanwhile, as time since the start.
    pub(super) since: Duration,
    /// How many had been admitted then.
    admitted: u64,
    /// How often others were.
    overtaken: u32,
}

/// What becomes of a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is room for it.
    Admitted,
    /// It is too early, for the sake of another member: it waits on its own.
    TooEarly,
    /// There may be soon.
    Waits,
    /// There is none.
    Refused,
}

impl Admission {
    /// A gate that lets in as long as `memory` has room for jobs.
    pub(super) fn new(memory: Arc<Memory>) -> Self {
        Self {
            memory,
            parked: Mutex::default(),
            refuses: AtomicBool::new(false),
            admitted: AtomicU64::new(0),
        }
    }

    /// Judges a put with a body of so many bytes that has waited for so long. It is counted from the
    /// moment it is on its way.
    pub(super) fn judge(&self, body_bytes: usize, waited: Duration) -> Verdict {
        if self.memory.is_pressed() && waited < SLOWDOWN {
            return Verdict::TooEarly;
        }
        let room = self.memory.jobs_room();
        if self.refuses.load(Ordering::Relaxed) && room < self.memory.jobs_limit() / RESUME_PART {
            return Verdict::Refused;
        }
        self.refuses.store(false, Ordering::Relaxed);
        if room >= JOB_BYTES + body_bytes as u64 {
            self.admitted.fetch_add(1, Ordering::Relaxed);
            return Verdict::Admitted;
        }
        match self.memory.has_cold() {
            true => Verdict::Waits,
            false => Verdict::Refused,
        }
    }

    /// A connection's next put waits. It is woken when there may be room.
    pub(super) fn park(&self, connection: Arc<Connection>) {
        let mut parked = self.parked.lock();
        parked.push_back(connection);
        self.memory.set_waiting(parked.len());
    }

    /// How many puts were admitted so far.
    fn admitted(&self) -> u64 {
        self.admitted.load(Ordering::Relaxed)
    }

    /// A put begins to wait now, which is so long after the start.
    pub(super) fn patience(&self, now: Duration) -> Patience {
        Patience { since: now, admitted: self.admitted(), overtaken: 0 }
    }

    /// A put waits on, or has waited in vain: then `None`.
    pub(super) fn wait_on(&self, now: Duration, patience: Option<Patience>) -> Option<Patience> {
        let Patience { admitted, .. } = self.patience(now);
        let mut patience = patience.unwrap_or_else(|| self.patience(now));
        if now.saturating_sub(patience.since) >= PATIENCE {
            if patience.admitted == admitted {
                self.give_up();
                return None;
            }
            patience = Patience { since: now, admitted, overtaken: patience.overtaken + 1 };
        }
        (patience.overtaken < PATIENCES_MAX).then_some(patience)
    }

    /// Nothing was admitted while a put waited: all are refused until there is room.
    fn give_up(&self) {
        if !self.refuses.swap(true, Ordering::Relaxed) {
            let (tables, limit) = (self.memory.tables(), self.memory.jobs_limit());
            match tables > self.memory.tables_limit() {
                true => tracing::warn!(
                    tables,
                    limit,
                    "tubes, sessions and watches take up most of the memory for jobs: puts are refused \
                     until there are fewer, or a larger budget (--memory)"
                ),
                false => tracing::warn!(
                    "there is no memory for more jobs, and none can be written out: puts are refused"
                ),
            }
        }
        self.wake(usize::MAX);
    }

    /// Wakes those whose turn it is, whenever there may be room. Never completes.
    pub(super) async fn run(&self) {
        loop {
            self.memory.freed().await;
            if self.memory.jobs_room() >= JOB_BYTES {
                self.wake(WOKEN_MAX);
            }
        }
    }

    fn wake(&self, count: usize) {
        let mut parked = self.parked.lock();
        let count = count.min(parked.len());
        let woken: Vec<_> = parked.drain(..count).collect();
        self.memory.set_waiting(parked.len());
        drop(parked);
        woken.iter().for_each(|connection| connection.unpark());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::BUDGET_FLOOR_BYTES;

    const NOT_YET: Duration = Duration::ZERO;

    fn full(has_disk: bool) -> (Arc<Memory>, Admission) {
        let memory = Arc::new(Memory::new(BUDGET_FLOOR_BYTES, has_disk));
        memory.hot.set(memory.jobs_limit());
        (Arc::clone(&memory), Admission::new(memory))
    }

    #[test]
    fn puts_wait_where_jobs_can_become_cold_and_are_refused_where_not() {
        assert_eq!(full(true).1.judge(10, NOT_YET), Verdict::Waits);
        assert_eq!(full(false).1.judge(10, NOT_YET), Verdict::Refused);
    }

    #[test]
    fn after_waiting_in_vain_puts_are_refused_until_there_is_some_room() {
        let (memory, admission) = full(true);
        admission.give_up();
        let resumed = memory.jobs_limit() / RESUME_PART;
        memory.hot.set(memory.jobs_limit() - resumed + 1);
        assert_eq!(admission.judge(10, NOT_YET), Verdict::Refused);
        memory.hot.set(memory.jobs_limit() - resumed);
        assert_eq!((admission.judge(10, NOT_YET), admission.admitted()), (Verdict::Admitted, 1));
        memory.hot.set(memory.jobs_limit());
        assert_eq!(admission.judge(10, NOT_YET), Verdict::Waits);
    }

    #[test]
    fn puts_slow_down_for_another_member_and_are_not_refused() {
        let memory = Arc::new(Memory::new(BUDGET_FLOOR_BYTES, true));
        let admission = Admission::new(Arc::clone(&memory));
        memory.set_pressed(true);
        assert_eq!(admission.judge(10, NOT_YET), Verdict::TooEarly);
        assert_eq!(admission.judge(10, SLOWDOWN), Verdict::Admitted);
        memory.set_pressed(false);
        assert_eq!(admission.judge(10, NOT_YET), Verdict::Admitted);
    }

    #[test]
    fn what_is_under_way_counts() {
        let memory = Arc::new(Memory::new(BUDGET_FLOOR_BYTES, true));
        let admission = Admission::new(Arc::clone(&memory));
        memory.queued.set(memory.jobs_limit() - JOB_BYTES - 10);
        assert_eq!(admission.judge(10, NOT_YET), Verdict::Admitted);
        assert_eq!(admission.judge(11, NOT_YET), Verdict::Waits);
    }
}
