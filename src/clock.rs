//! The only reader of time.
//!
//! Three clocks of the machine, and the logical clock of the cluster that is made of them (DESIGN
//! D5). Nothing else in the code base may call `Instant::now` or `SystemTime::now`.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::planted::{self, Bug};
use crate::queue::LogicalTime;

/// How far a wall clock may drift from boot time before a new anchor is due, nanoseconds.
const WALL_STEP_NANOS: u64 = 100_000_000;

/// The oldest an anchor gets while the log is written to, nanoseconds.
const ANCHOR_AGE_NANOS: u64 = 1_000_000_000;

/// The clocks of a machine, in nanoseconds.
pub trait Clock: Send + Sync + Debug {
    /// Time since the machine was started, with the time it was suspended. Never goes back.
    fn boot_nanos(&self) -> u64;
    /// Time since 1970 as the machine believes it. May jump.
    fn wall_nanos(&self) -> u64;
    /// A number that changes with every start of the machine, 0 when it cannot be told.
    fn boot_id(&self) -> u128;
}

/// The clocks of this machine.
#[derive(Debug)]
pub struct SystemClock {
    boot_id: u128,
}

impl SystemClock {
    /// Reads the boot id once.
    ///
    /// `boot_id` is the text of the kernel's `random/boot_id`, or `None` when it could not be read:
    /// then every restart counts as a reboot.
    pub fn new(boot_id: Option<&str>) -> Self {
        let hex: String =
            boot_id.unwrap_or_default().chars().filter(char::is_ascii_hexdigit).collect();
        Self { boot_id: u128::from_str_radix(&hex, 16).unwrap_or(0) }
    }
}

impl Clock for SystemClock {
    fn boot_nanos(&self) -> u64 {
        match planted::is(Bug::WallClock) {
            true => self.wall_nanos(),
            false => read(ClockId::Boottime),
        }
    }

    /// By way of the C library, unlike the other: there a test can put a clock that jumps in its place.
    #[expect(clippy::disallowed_methods, reason = "this is the only reader of time")]
    fn wall_nanos(&self) -> u64 {
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
    }

    fn boot_id(&self) -> u128 {
        self.boot_id
    }
}

/// What the log keeps so that a restarted member knows how long it was away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// The machine's life in which the other three were read.
    pub boot_id: u128,
    /// [`Clock::boot_nanos`] of that moment.
    pub boot_nanos: u64,
    /// [`Clock::wall_nanos`] of that moment.
    pub wall_nanos: u64,
    /// Logical time of that moment.
    pub logical: LogicalTime,
}

/// Logical time while the process runs: it follows boot time from a point fixed at start.
#[derive(Debug)]
pub struct LogicalClock {
    clock: Arc<dyn Clock>,
    /// Logical time minus boot time, wrapping.
    offset: AtomicU64,
    /// The greatest logical time that a leader is known to have reached, this member included;
    /// 0 before the first.
    heard: AtomicU64,
    /// This member leads, and its time is the cluster's.
    leads: AtomicBool,
    last_anchor_boot: AtomicU64,
    last_anchor_wall: AtomicU64,
}

impl LogicalClock {
    /// Goes on from where the log says that time was: by boot time within one life of the machine,
    /// by wall time after a reboot, and never before `floor`, the greatest time the state has seen.
    pub fn resume(clock: Arc<dyn Clock>, anchor: Option<Anchor>, floor: LogicalTime) -> Self {
        let start = resumed_time(clock.as_ref(), anchor).max(floor);
        let offset = AtomicU64::new(start.0.wrapping_sub(clock.boot_nanos()));
        Self {
            clock,
            offset,
            heard: AtomicU64::new(0),
            leads: AtomicBool::new(false),
            last_anchor_boot: AtomicU64::new(0),
            last_anchor_wall: AtomicU64::new(0),
        }
    }

    /// Logical time now.
    pub fn now(&self) -> LogicalTime {
        LogicalTime(self.clock.boot_nanos().wrapping_add(self.offset.load(Ordering::Relaxed)))
    }

    /// The time that others may follow: while this member leads, its own; else the greatest that a
    /// leader is known to have reached, 0 before the first. This member's own has run on since
    /// then, also while there was no leader: who followed that would be ahead of all leaders to
    /// come.
    pub fn told(&self) -> LogicalTime {
        match self.leads.load(Ordering::Relaxed) {
            true => self.now(),
            false => LogicalTime(self.heard.load(Ordering::Relaxed)),
        }
    }

    /// Moves on to `floor` when time has not got there yet.
    pub fn raise(&self, floor: LogicalTime) {
        let behind = floor.0.saturating_sub(self.now().0);
        self.offset.fetch_add(behind, Ordering::Relaxed);
    }

    /// Takes over the time of a leader that was heard. One that is behind another heard before
    /// changes nothing.
    pub fn follow(&self, leader: LogicalTime) {
        let before = self.heard.fetch_max(leader.0, Ordering::Relaxed);
        if leader.0 > before {
            self.set(leader);
        }
    }

    /// Whether the cluster's time is known in this life of the process: a leader was heard, or this
    /// member has led. Before, [`Self::now`] is an estimate.
    pub fn is_running(&self) -> bool {
        self.heard.load(Ordering::Relaxed) > 0
    }

    /// Begins to lead: time goes on from the greatest that a leader is known to have reached, from
    /// `floor` at least. The time without a leader is not counted (DESIGN D5). An estimate stays,
    /// unless `estimate` is given in its place.
    pub fn lead(&self, floor: LogicalTime, estimate: Option<LogicalTime>) {
        let heard = LogicalTime(self.heard.load(Ordering::Relaxed));
        let start = match self.is_running() {
            true => heard,
            false => estimate.unwrap_or_else(|| self.now()),
        };
        let ahead =
            if planted::is(Bug::ClockAhead) { Duration::from_secs(10) } else { Duration::ZERO };
        self.set(start.max(floor).after(ahead));
        self.pause();
        self.leads.store(true, Ordering::Relaxed);
    }

    /// Leads no more.
    pub fn cease(&self) {
        self.leads.store(false, Ordering::Relaxed);
    }

    /// Keeps in mind how far time has got, while this member leads or when it ends to.
    pub fn pause(&self) {
        self.heard.fetch_max(self.now().0.max(1), Ordering::Relaxed);
    }

    fn set(&self, now: LogicalTime) {
        self.offset.store(now.0.wrapping_sub(self.clock.boot_nanos()), Ordering::Relaxed);
    }

    /// A fresh anchor when one is due: the last is a second old, or the wall clock has stepped.
    pub fn due_anchor(&self) -> Option<Anchor> {
        let (boot, wall) = (self.clock.boot_nanos(), self.clock.wall_nanos());
        let boot_passed = boot.wrapping_sub(self.last_anchor_boot.load(Ordering::Relaxed));
        let wall_passed = wall.wrapping_sub(self.last_anchor_wall.load(Ordering::Relaxed));
        if boot_passed < ANCHOR_AGE_NANOS && boot_passed.abs_diff(wall_passed) < WALL_STEP_NANOS {
            return None;
        }
        self.last_anchor_boot.store(boot, Ordering::Relaxed);
        self.last_anchor_wall.store(wall, Ordering::Relaxed);
        Some(Anchor {
            boot_id: self.clock.boot_id(),
            boot_nanos: boot,
            wall_nanos: wall,
            // Of the same reading: an anchor that is ahead would end delays early after a restart.
            logical: LogicalTime(boot.wrapping_add(self.offset.load(Ordering::Relaxed))),
        })
    }
}

fn resumed_time(clock: &dyn Clock, anchor: Option<Anchor>) -> LogicalTime {
    let Some(anchor) = anchor else { return LogicalTime(0) };
    let same_boot = anchor.boot_id != 0 && anchor.boot_id == clock.boot_id();
    let away = if same_boot {
        clock.boot_nanos().saturating_sub(anchor.boot_nanos)
    } else {
        clock.wall_nanos().saturating_sub(anchor.wall_nanos)
    };
    LogicalTime(anchor.logical.0.saturating_add(away))
}

fn read(id: ClockId) -> u64 {
    let time = clock_gettime(id);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct FixedClock {
        boot: AtomicU64,
        wall: AtomicU64,
        boot_id: u128,
    }

    impl Clock for FixedClock {
        fn boot_nanos(&self) -> u64 {
            self.boot.load(Ordering::Relaxed)
        }
        fn wall_nanos(&self) -> u64 {
            self.wall.load(Ordering::Relaxed)
        }
        fn boot_id(&self) -> u128 {
            self.boot_id
        }
    }

    fn fixed(boot: u64, wall: u64, boot_id: u128) -> Arc<FixedClock> {
        Arc::new(FixedClock { boot: boot.into(), wall: wall.into(), boot_id })
    }

    fn anchor() -> Anchor {
        Anchor { boot_id: 7, boot_nanos: 100, wall_nanos: 1_000, logical: LogicalTime(50) }
    }

    #[test]
    fn restart_in_one_boot_goes_on_by_boot_time_whatever_the_wall_says() {
        let clock = fixed(130, 999_999_999, 7);
        let logical = LogicalClock::resume(clock, Some(anchor()), LogicalTime(0));
        assert_eq!(logical.now(), LogicalTime(80));
    }

    #[test]
    fn reboot_goes_on_by_wall_time() {
        let clock = fixed(5, 1_400, 8);
        let logical = LogicalClock::resume(clock, Some(anchor()), LogicalTime(0));
        assert_eq!(logical.now(), LogicalTime(450));
    }

    #[test]
    fn a_wall_clock_that_went_back_does_not_take_time_back() {
        let clock = fixed(5, 0, 8);
        let logical = LogicalClock::resume(clock.clone(), Some(anchor()), LogicalTime(70));
        assert_eq!(logical.now(), LogicalTime(70));
        clock.boot.store(6, Ordering::Relaxed);
        assert_eq!(logical.now(), LogicalTime(71));
    }

    #[test]
    fn anchor_is_due_once_a_second_or_when_the_wall_steps() {
        let clock = fixed(2 * ANCHOR_AGE_NANOS, 5 * ANCHOR_AGE_NANOS, 7);
        let logical = LogicalClock::resume(clock.clone(), None, LogicalTime(9));
        assert!(logical.due_anchor().is_some());
        assert!(logical.due_anchor().is_none());
        clock.wall.fetch_add(WALL_STEP_NANOS, Ordering::Relaxed);
        let stepped = logical.due_anchor().expect("the wall clock has stepped");
        assert_eq!(stepped.logical, LogicalTime(9));
        clock.boot.fetch_add(ANCHOR_AGE_NANOS, Ordering::Relaxed);
        clock.wall.fetch_add(ANCHOR_AGE_NANOS, Ordering::Relaxed);
        assert!(logical.due_anchor().is_some());
    }

    #[test]
    fn raising_moves_on_but_never_back() {
        let clock = fixed(10, 10, 7);
        let logical = LogicalClock::resume(clock, None, LogicalTime(100));
        logical.raise(LogicalTime(90));
        assert_eq!(logical.now(), LogicalTime(100));
        logical.raise(LogicalTime(150));
        assert_eq!(logical.now(), LogicalTime(150));
    }

    #[test]
    fn the_time_without_a_leader_is_not_counted() {
        let clock = fixed(10, 10, 7);
        let logical = LogicalClock::resume(clock.clone(), None, LogicalTime(500));
        assert!(!logical.is_running());
        logical.follow(LogicalTime(100));
        assert_eq!(logical.now(), LogicalTime(100));
        clock.boot.store(40, Ordering::Relaxed);
        assert_eq!(logical.now(), LogicalTime(130));
        logical.follow(LogicalTime(90));
        assert_eq!(logical.now(), LogicalTime(130));
        logical.lead(LogicalTime(0), None);
        assert_eq!(logical.now(), LogicalTime(100));
        clock.boot.store(60, Ordering::Relaxed);
        logical.pause();
        clock.boot.store(90, Ordering::Relaxed);
        logical.lead(LogicalTime(0), None);
        assert_eq!(logical.now(), LogicalTime(120));
        logical.lead(LogicalTime(900), None);
        assert_eq!(logical.now(), LogicalTime(900));
    }

    #[test]
    fn nobody_is_told_of_time_that_went_by_without_a_leader() {
        let clock = fixed(100, 0, 7);
        let logical = LogicalClock::resume(clock.clone(), None, LogicalTime(9));
        assert_eq!(logical.told(), LogicalTime(0));
        logical.follow(LogicalTime(50));
        clock.boot.store(9_000, Ordering::Relaxed);
        assert_eq!((logical.now(), logical.told()), (LogicalTime(8_950), LogicalTime(50)));
        logical.lead(LogicalTime(40), None);
        clock.boot.store(9_001, Ordering::Relaxed);
        assert_eq!((logical.now(), logical.told()), (LogicalTime(51), LogicalTime(51)));
        logical.cease();
        clock.boot.store(9_500, Ordering::Relaxed);
        assert_eq!(logical.told(), LogicalTime(50));
    }

    #[test]
    fn an_estimate_stays_until_something_better_is_known() {
        let logical = LogicalClock::resume(fixed(10, 10, 7), None, LogicalTime(500));
        logical.lead(LogicalTime(0), Some(LogicalTime(300)));
        assert_eq!(logical.now(), LogicalTime(300));
        assert!(logical.is_running());
    }
}
