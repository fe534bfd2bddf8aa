//! The memory of the process: one budget, shares of it with names, and what is in each.
//!
//! Everything that grows is counted in one share and has its limit there (DESIGN P6, D9). What is
//! counted is ours to bound; what the process really has beside it (its code, stacks, what the
//! allocator keeps) must fit [`PROCESS_BYTES`], and is shown as the difference to the resident size.

mod machine;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::planted::{self, Bug};

pub use machine::{Machine, resident_bytes};

/// What the process has beside all that is counted, bytes: 10 MiB of code, 26 MiB of tables that
/// openraft's histograms compute when they are first used, stacks, the allocator's own.
pub const PROCESS_BYTES: u64 = 48 << 20;

/// The least budget to work with, bytes.
pub const BUDGET_FLOOR_BYTES: u64 = 96 << 20;

/// The shares with a data directory, in percent of what the process leaves.
const HOT_PERCENT: u64 = 40;
const SEALED_PERCENT: u64 = 15;
const QUEUED_PERCENT: u64 = 5;
const CONNECTIONS_PERCENT: u64 = 15;
const LOG_PERCENT: u64 = 9;
const RUNS_PERCENT: u64 = 9;
const CHECKPOINT_PERCENT: u64 = 6;

/// By how much jobs may take up more than they may before the log waits: this part of it.
const OVERFULL_PART: u64 = 16;

/// Which part of the memory for jobs tables leave to jobs, as far as the limits of tables are judged, and
/// as far as members slow each other down: emptying the queue would not free more.
const TABLES_LEAVE_PART: u64 = 4;

/// The shares of a queue in memory: no files, and little log.
const MEMORY_HOT_PERCENT: u64 = 76;
const MEMORY_QUEUED_PERCENT: u64 = 4;
const MEMORY_CONNECTIONS_PERCENT: u64 = 14;
const MEMORY_LOG_PERCENT: u64 = 6;

/// A part of the budget: what may be in it, and what is.
#[derive(Debug)]
pub struct Share {
    /// What it is for, for people.
    pub name: &'static str,
    /// How much may be in it, bytes.
    pub limit: u64,
    used: AtomicU64,
}

/// How a share stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareFigures {
    /// What it is for.
    pub name: &'static str,
    /// How much may be in it, bytes.
    pub limit: u64,
    /// How much is, bytes.
    pub used: u64,
}

/// The budget and its shares.
#[derive(Debug)]
pub struct Memory {
    /// All of it, bytes.
    pub budget: u64,
    /// Hot jobs with their bodies, tubes, sessions, watches.
    pub hot: Share,
    /// Jobs that were made cold and are being written to run files.
    pub sealed: Share,
    /// Commands on their way into the log, with the bodies of their puts.
    pub queued: Share,
    /// Connections: commands that are not whole, commands that wait, replies that were not taken.
    pub connections: Share,
    /// Recent entries of the log.
    pub log: Share,
    /// Of run files: indexes, marks, pages, cursors, merges.
    pub runs: Share,
    /// Copies for a checkpoint under way, snapshots on their way, and the catalog.
    pub checkpoints: Share,
    /// What of the hot share tables take up, bytes.
    tables: AtomicU64,
    /// Jobs should take up half of what they may.
    is_careful: AtomicBool,
    /// Another member cannot write jobs out as fast as they come.
    is_pressed: AtomicBool,
    /// What the process has beyond its budget, bytes.
    overrun: AtomicU64,
    /// How many wait for jobs to take up less.
    waiting: AtomicUsize,
    freed: Notify,
}

impl Share {
    fn new(name: &'static str, limit: u64) -> Self {
        Self { name, limit, used: AtomicU64::new(0) }
    }

    /// How much is in it, bytes.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Says how much is in it.
    pub fn set(&self, bytes: u64) {
        self.used.store(bytes, Ordering::Relaxed);
    }

    /// Counts `bytes` in.
    pub fn add(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts `bytes` out, which were counted in.
    pub fn remove(&self, bytes: u64) {
        let before = self.used.fetch_sub(bytes, Ordering::Relaxed);
        assert!(before >= bytes, "{bytes} bytes leave {}, which has {before}", self.name);
    }

    /// Whether more is in it than may be.
    pub fn is_over(&self) -> bool {
        self.used() > self.limit
    }

    fn figures(&self) -> ShareFigures {
        ShareFigures { name: self.name, limit: self.limit, used: self.used() }
    }
}

impl Memory {
    /// The shares of a budget of so many bytes, at least [`BUDGET_FLOOR_BYTES`].
    ///
    /// # Panics
    /// When it is less.
    pub fn new(budget: u64, has_disk: bool) -> Self {
        assert!(budget >= BUDGET_FLOOR_BYTES, "the budget was checked");
        let times = if planted::is(Bug::MemoryUnbounded) { 64 } else { 1 };
        let percent = |percent: u64| (budget - PROCESS_BYTES) / 100 * percent * times;
        let share = |name, on_disk: u64, in_memory: u64| {
            Share::new(name, percent(if has_disk { on_disk } else { in_memory }))
        };
        Self {
            budget,
            hot: share("hot jobs", HOT_PERCENT, MEMORY_HOT_PERCENT),
            sealed: share("jobs becoming cold", SEALED_PERCENT, 0),
            queued: share("commands under way", QUEUED_PERCENT, MEMORY_QUEUED_PERCENT),
            connections: share("connections", CONNECTIONS_PERCENT, MEMORY_CONNECTIONS_PERCENT),
            log: share("log", LOG_PERCENT, MEMORY_LOG_PERCENT),
            runs: share("run files", RUNS_PERCENT, 0),
            checkpoints: share("checkpoints", CHECKPOINT_PERCENT, 0),
            tables: AtomicU64::new(0),
            is_careful: AtomicBool::new(false),
            is_pressed: AtomicBool::new(false),
            overrun: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
        }
    }

    /// How all shares stand.
    pub fn figures(&self) -> Vec<ShareFigures> {
        let Self { hot, sealed, queued, connections, log, runs, checkpoints, .. } = self;
        [hot, sealed, queued, connections, log, runs, checkpoints].map(Share::figures).to_vec()
    }

    /// Whether jobs leave memory when there are too many: for run files.
    pub fn has_cold(&self) -> bool {
        self.sealed.limit > 0
    }

    /// What jobs may take up, on their way in, hot, or on their way out, bytes.
    pub fn jobs_limit(&self) -> u64 {
        self.job_shares().iter().map(|share| share.limit).sum()
    }

    /// How much room there is for more jobs, bytes.
    pub fn jobs_room(&self) -> u64 {
        let used = self.job_shares().iter().map(|share| share.used()).sum();
        self.jobs_limit().saturating_sub(used)
    }

    /// Whether jobs take up clearly more than they may: nobody asks before an entry of the log is
    /// applied. Tables alone never do: to wait for others would not make them smaller.
    pub fn is_overfull(&self) -> bool {
        let jobs = self.hot_jobs() + self.sealed.used();
        jobs > self.beside_tables(self.jobs_limit() / OVERFULL_PART * (OVERFULL_PART + 1))
    }

    /// Says what of the hot share tables take up, bytes.
    pub fn set_tables(&self, bytes: u64) {
        self.tables.store(bytes, Ordering::Relaxed);
    }

    /// What tables take up: tubes, sessions, watches and waits, bytes.
    pub fn tables(&self) -> u64 {
        self.tables.load(Ordering::Relaxed)
    }

    /// What tables may take up and leave jobs enough, bytes.
    pub fn tables_limit(&self) -> u64 {
        self.jobs_limit() - self.jobs_limit() / TABLES_LEAVE_PART
    }

    /// The least budget, of members that write jobs out or that do not, in which tables may take up so
    /// many bytes.
    pub fn budget_for_tables(tables_bytes: u64, has_disk: bool) -> u64 {
        let percent = match has_disk {
            true => HOT_PERCENT + SEALED_PERCENT + QUEUED_PERCENT,
            false => MEMORY_HOT_PERCENT + MEMORY_QUEUED_PERCENT,
        };
        let jobs = tables_bytes.div_ceil(TABLES_LEAVE_PART - 1) * TABLES_LEAVE_PART;
        // A hundredth is rounded down in each share.
        let budget = PROCESS_BYTES + (jobs / percent + 8) * 100;
        budget.max(BUDGET_FLOOR_BYTES)
    }

    fn hot_jobs(&self) -> u64 {
        self.hot.used().saturating_sub(self.tables())
    }

    /// What tables leave to jobs of `bytes`.
    fn beside_tables(&self, bytes: u64) -> u64 {
        bytes.saturating_sub(self.tables()).max(self.jobs_limit() / TABLES_LEAVE_PART)
    }

    fn job_shares(&self) -> [&Share; 3] {
        [&self.hot, &self.sealed, &self.queued]
    }

    /// Measures what the process really has. Returns its resident size, bytes.
    pub fn measure(&self) -> u64 {
        let resident = resident_bytes().unwrap_or_default();
        self.overrun.store(resident.saturating_sub(self.budget), Ordering::Relaxed);
        resident
    }

    /// From now on jobs should take up half of what they may, or all of it again.
    pub fn set_careful(&self, is_careful: bool) {
        self.is_careful.store(is_careful, Ordering::Relaxed);
    }

    /// Whether puts should slow down for the sake of another member, which cannot write jobs out as fast
    /// as they come.
    pub fn set_pressed(&self, is_pressed: bool) {
        self.is_pressed.store(is_pressed, Ordering::Relaxed);
    }

    /// Whether puts should slow down.
    pub fn is_pressed(&self) -> bool {
        self.is_pressed.load(Ordering::Relaxed)
    }

    /// Whether jobs take up half of what they may, or as little as tables leave them.
    pub fn is_roomy(&self) -> bool {
        let jobs = self.hot_jobs() + self.sealed.used() + self.queued.used();
        jobs <= self.beside_tables(self.jobs_limit() / 2)
    }

    /// How much less hot jobs should take up than they may, because others take up more, bytes: at
    /// most half of it.
    pub fn squeeze(&self) -> u64 {
        let most = self.hot.limit / 2;
        if self.is_careful.load(Ordering::Relaxed) {
            return most;
        }
        let connections = self.connections.used().saturating_sub(self.connections.limit);
        let overrun = self.overrun.load(Ordering::Relaxed);
        connections.max(overrun).min(most)
    }

    /// Jobs may take up less: who waits for that can look again.
    pub fn tell_freed(&self) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.freed.notify_one();
        }
    }

    /// How many wait to be told.
    pub fn set_waiting(&self, count: usize) {
        self.waiting.store(count, Ordering::Relaxed);
    }

    /// How many wait for jobs to take up less.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Completes when jobs may take up less than before. For one who waits.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_and_the_process_are_the_budget() {
        for has_disk in [true, false] {
            for budget in [BUDGET_FLOOR_BYTES, 192 << 20, 5_000_000_001] {
                let memory = Memory::new(budget, has_disk);
                let shared: u64 = memory.figures().iter().map(|share| share.limit).sum();
                assert!(shared + PROCESS_BYTES <= budget, "{shared} of {budget}");
                assert!(shared + PROCESS_BYTES >= budget / 100 * 97, "{shared} of {budget}");
            }
        }
    }

    #[test]
    fn tables_alone_neither_slow_members_down_nor_keep_one_careful() {
        let memory = Memory::new(192 << 20, true);
        let limit = memory.jobs_limit();
        let fill = |jobs, tables| {
            memory.hot.set(jobs + tables);
            memory.set_tables(tables);
        };
        fill(0, 2 * limit);
        assert_eq!(memory.jobs_room(), 0, "its own puts are refused");
        assert!(!memory.is_overfull() && memory.is_roomy());
        fill(limit / 4 + 1, 2 * limit);
        assert!(memory.is_overfull() && !memory.is_roomy(), "to empty the queue frees this");
        fill(limit / 16 * 17, 0);
        assert!(!memory.is_overfull() && !memory.is_roomy());
        fill(limit / 16 * 17 + 1, 0);
        assert!(memory.is_overfull());
        fill(limit / 4 + 1, limit / 2);
        assert!(!memory.is_roomy(), "tables leave less than half");
    }

    #[test]
    fn the_budget_that_is_said_to_be_enough_for_tables_is() {
        for has_disk in [true, false] {
            for tables in [0, 1 << 20, 230_000_000, 1 << 34] {
                let budget = Memory::budget_for_tables(tables, has_disk);
                assert!(Memory::new(budget, has_disk).tables_limit() >= tables, "{budget}");
                let less = budget / 50 * 49;
                let fits = |less| Memory::new(less, has_disk).tables_limit() >= tables;
                assert!(less < BUDGET_FLOOR_BYTES || !fits(less), "{budget} is too much");
            }
        }
    }

    #[test]
    fn a_share_counts_in_and_out() {
        let share = Share::new("test", 10);
        share.add(11);
        assert!(share.is_over());
        share.remove(1);
        assert!(!share.is_over());
        assert_eq!(share.figures(), ShareFigures { name: "test", limit: 10, used: 10 });
    }

    #[test]
    #[should_panic(expected = "which has 1")]
    fn more_than_is_in_a_share_cannot_leave_it() {
        let share = Share::new("test", 10);
        share.add(1);
        share.remove(2);
    }
}
