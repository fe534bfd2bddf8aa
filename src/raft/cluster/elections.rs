//! When to call an election (DESIGN D15).
//!
//! openraft would wait a random time after the leader's lease; this member asks as soon as the lease
//! is over, when the leader's link has ended or it is silent. A pre-vote makes asking too early
//! harmless. After the term has risen openraft is left alone for a while: with slow disks, asking on
//! would give up elections that are under way.

use std::sync::atomic::{AtomicU64, Ordering};

use super::lease::ticks;
use super::options::Timing;

/// So often in a row every tick is used. Who has asked so long in vain has no majority to ask.
const EAGER_MAX: u64 = 100;

/// After that, one tick in so many.
const PATIENT_TICKS: u64 = 5;

/// No leader has been heard: ticks count from 1.
const NEVER: u64 = 0;

/// Nobody has been lost.
const NOBODY: u64 = 0;

/// What is known of the leader.
#[derive(Debug)]
pub(super) struct Elections {
    silence_ticks: u64,
    calm_ticks: u64,
    heard_at: AtomicU64,
    lost: AtomicU64,
    term: AtomicU64,
    calm_until: AtomicU64,
    /// How often in a row an election was due.
    asked: AtomicU64,
}

impl Elections {
    pub(super) fn new(timing: &Timing) -> Self {
        Self {
            silence_ticks: ticks(timing.heartbeat * 3),
            calm_ticks: ticks(timing.election_min),
            heard_at: AtomicU64::new(NEVER),
            lost: AtomicU64::new(NOBODY),
            term: AtomicU64::new(0),
            calm_until: AtomicU64::new(0),
            asked: AtomicU64::new(0),
        }
    }

    /// The leader has answered, at `tick`.
    pub(super) fn heard(&self, tick: u64) {
        self.heard_at.store(tick, Ordering::Relaxed);
        self.lost.store(NOBODY, Ordering::Relaxed);
        self.asked.store(0, Ordering::Relaxed);
    }

    /// Whether the leader has answered a short while before `tick`.
    pub(super) fn is_heard(&self, tick: u64) -> bool {
        let heard_at = self.heard_at.load(Ordering::Relaxed);
        heard_at != NEVER && tick <= heard_at + self.silence_ticks
    }

    /// The links of `leader` have ended.
    pub(super) fn lost(&self, leader: u64) {
        self.lost.store(leader, Ordering::Relaxed);
    }

    /// Whether to ask for an election at `tick`, in `term`, with `leader` the last one known.
    pub(super) fn is_due(&self, tick: u64, term: u64, leader: Option<u64>) -> bool {
        if self.term.swap(term, Ordering::Relaxed) < term {
            self.calm_until.store(tick + self.calm_ticks, Ordering::Relaxed);
        }
        if tick < self.calm_until.load(Ordering::Relaxed) {
            return false;
        }
        let is_lost = leader.is_none_or(|leader| leader == self.lost.load(Ordering::Relaxed));
        if !is_lost && tick <= self.heard_at.load(Ordering::Relaxed) + self.silence_ticks {
            return false;
        }
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        asked < EAGER_MAX || asked.is_multiple_of(PATIENT_TICKS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elections() -> Elections {
        let elections = Elections::new(&Timing::default());
        assert!(!elections.is_due(100, 1, Some(2)), "the term has just risen");
        elections.heard(120);
        elections
    }

    #[test]
    fn a_leader_that_is_heard_is_left_alone() {
        let elections = elections();
        assert!(!elections.is_due(121, 1, Some(2)));
        assert!(!elections.is_due(129, 1, Some(2)));
    }

    #[test]
    fn a_leader_is_heard_for_a_short_while() {
        let elections = Elections::new(&Timing::default());
        assert!(!elections.is_heard(1), "none has been heard yet");
        elections.heard(120);
        assert!(elections.is_heard(129) && !elections.is_heard(130));
    }

    #[test]
    fn the_end_of_its_links_or_silence_call_an_election() {
        let elections = elections();
        assert!(elections.is_due(150, 1, Some(2)));
        elections.heard(150);
        elections.lost(2);
        assert!(elections.is_due(151, 1, Some(2)));
        assert!(!elections.is_due(151, 1, Some(3)), "another leads by now");
        assert!(elections.is_due(151, 1, None));
    }

    #[test]
    fn who_asks_in_vain_asks_less_often() {
        let elections = elections();
        let asked = (200..700).filter(|tick| elections.is_due(*tick, 1, Some(2))).count();
        assert_eq!(asked as u64, EAGER_MAX + 400 / PATIENT_TICKS);
        elections.heard(700);
        elections.lost(2);
        assert!((701..711).all(|tick| elections.is_due(tick, 1, Some(2))));
    }

    #[test]
    fn an_election_under_way_is_not_given_up() {
        let elections = elections();
        elections.lost(2);
        assert!(elections.is_due(130, 1, Some(2)));
        assert!(!elections.is_due(131, 2, None));
        assert!(!elections.is_due(140, 2, None));
        assert!(elections.is_due(141, 2, None));
    }
}
