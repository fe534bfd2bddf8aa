//! Whether this member may speak for the cluster (DESIGN D15).
//!
//! A member may answer clients until some time after it was last *heard* by a leader that had a
//! majority; hearing the leader is no proof. Time is counted in this member's own ticks, and a late
//! tick counts as one: a pause of the whole host takes nobody's lease away. A tick that was very
//! late leaves the member unsure, and nothing is said to clients until it is heard again and has
//! caught up: jobs may have gone to others meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::planted::{self, Bug};

/// How often it ticks.
pub(super) const TICK: Duration = Duration::from_millis(20);

/// Who was not heard for so long serves its clients no more, though it still may.
const UNHEARD: Duration = Duration::from_millis(500);

/// A tick that is so late leaves the member unsure of itself.
const LATE_NANOS: u64 = 300_000_000;

/// How a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may answer its clients.
    Sound,
    /// It has been away for a moment: what it knows may be old.
    Unsure,
    /// It has not been heard for the length of the lease, or not yet.
    Cut,
}

/// The lease of one member.
#[derive(Debug)]
pub struct Lease {
    clock: Arc<dyn Clock>,
    length_ticks: u64,
    tick: AtomicU64,
    /// The last tick at which it holds.
    until: AtomicU64,
    ticked_at: AtomicU64,
    /// The tick that was late: being heard with what was sent before proves nothing.
    unsure_since: AtomicU64,
    is_unsure: AtomicBool,
    is_held_up: AtomicBool,
    standing: watch::Sender<Standing>,
}

impl Lease {
    /// A lease that does not hold yet, of `length` once it is granted.
    pub fn new(clock: Arc<dyn Clock>, length: Duration) -> Self {
        let ticked_at = AtomicU64::new(clock.boot_nanos());
        Self {
            clock,
            length_ticks: ticks(length),
            tick: AtomicU64::new(1),
            until: AtomicU64::new(0),
            ticked_at,
            unsure_since: AtomicU64::new(0),
            is_unsure: AtomicBool::new(false),
            is_held_up: AtomicBool::new(false),
            standing: watch::Sender::new(Standing::Cut),
        }
    }

    /// How the member stands, to be asked right before something is said to a client.
    pub fn standing(&self) -> Standing {
        if planted::is(Bug::LeaseIgnored) {
            return Standing::Sound;
        }
        if self.until.load(Ordering::Acquire) < self.tick() {
            return Standing::Cut;
        }
        let ticked_at = self.ticked_at.load(Ordering::Acquire);
        let silence = self.clock.boot_nanos().saturating_sub(ticked_at);
        match self.is_unsure.load(Ordering::Acquire) || silence > LATE_NANOS {
            true => Standing::Unsure,
            false => Standing::Sound,
        }
    }

    /// Whether it can do what its clients ask for: it was heard a moment ago, and its disk gets on.
    /// Who does not keep up may be a leader yet; its clients are better served elsewhere.
    pub fn keeps_up(&self) -> bool {
        let heard = self.until.load(Ordering::Acquire).saturating_sub(self.length_ticks);
        !self.is_held_up.load(Ordering::Acquire) && heard + ticks(UNHEARD) >= self.tick()
    }

    /// Its disk does not get on, or does again.
    pub(super) fn hold_up(&self, is_held_up: bool) {
        self.is_held_up.store(is_held_up, Ordering::Release);
    }

    /// How the member stood at the last tick, and when that changes.
    pub fn watch(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// The present tick.
    pub(super) fn tick(&self) -> u64 {
        self.tick.load(Ordering::Acquire)
    }

    /// Time goes on by one tick.
    pub(super) fn advance(&self) {
        let tick = self.tick.fetch_add(1, Ordering::AcqRel) + 1;
        let now = self.clock.boot_nanos();
        let before = self.ticked_at.swap(now, Ordering::AcqRel);
        if now.saturating_sub(before) > LATE_NANOS {
            self.unsure_since.store(tick, Ordering::Release);
            self.is_unsure.store(true, Ordering::Release);
        }
        self.publish();
    }

    /// The member was heard with what it sent at tick `sent`. Returns whether it was unsure and has
    /// to catch up before [`Self::is_caught_up`] is told.
    pub(super) fn heard(&self, sent: u64) -> bool {
        self.until.fetch_max(sent + self.length_ticks, Ordering::AcqRel);
        self.publish();
        self.is_unsure.load(Ordering::Acquire) && sent >= self.unsure_since.load(Ordering::Acquire)
    }

    /// It is taken away.
    pub(super) fn revoke(&self) {
        self.until.store(0, Ordering::Release);
        self.publish();
    }

    /// It has applied everything that was committed at a moment after it was heard again, at tick
    /// `asked`.
    pub(super) fn caught_up(&self, asked: u64) {
        if asked < self.unsure_since.load(Ordering::Acquire) {
            return;
        }
        self.is_unsure.store(false, Ordering::Release);
        self.publish();
    }

    fn publish(&self) {
        let standing = self.standing();
        self.standing.send_if_modified(|shown| std::mem::replace(shown, standing) != standing);
    }
}

/// How many ticks a time has, at least one.
pub(super) fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_millis() / TICK.as_millis()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn boot_nanos(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }
        fn wall_nanos(&self) -> u64 {
            0
        }
        fn boot_id(&self) -> u128 {
            1
        }
    }

    fn lease() -> (Lease, Arc<Hand>) {
        let hand = Arc::new(Hand(AtomicU64::new(1)));
        (Lease::new(Arc::clone(&hand) as _, Duration::from_secs(2)), hand)
    }

    fn pass(lease: &Lease, hand: &Hand, ticks: u64) {
        for _ in 0..ticks {
            hand.0.fetch_add(20_000_000, Ordering::Relaxed);
            lease.advance();
        }
    }

    #[test]
    fn it_holds_for_its_length_after_the_sending_of_what_was_heard() {
        let (lease, hand) = lease();
        assert_eq!(lease.standing(), Standing::Cut);
        let sent = lease.tick();
        pass(&lease, &hand, 50);
        assert!(!lease.heard(sent));
        assert_eq!(lease.standing(), Standing::Sound);
        pass(&lease, &hand, 50);
        assert_eq!(lease.standing(), Standing::Sound);
        pass(&lease, &hand, 1);
        assert_eq!(lease.standing(), Standing::Cut);
        assert_eq!(*lease.watch().borrow(), Standing::Cut);
    }

    #[test]
    fn it_keeps_up_while_it_is_heard_and_not_held_up() {
        let (lease, hand) = lease();
        pass(&lease, &hand, 100);
        assert!(!lease.keeps_up(), "never heard");
        lease.heard(lease.tick());
        pass(&lease, &hand, 25);
        assert!(lease.keeps_up());
        pass(&lease, &hand, 1);
        assert!(!lease.keeps_up());
        assert_eq!(lease.standing(), Standing::Sound, "it may speak all the same");
        lease.heard(lease.tick());
        assert!(lease.keeps_up());
        lease.hold_up(true);
        assert!(!lease.keeps_up());
        lease.hold_up(false);
        lease.revoke();
        assert!(!lease.keeps_up());
    }

    #[test]
    fn a_pause_leaves_it_unsure_until_it_is_heard_anew_and_has_caught_up() {
        let (lease, hand) = lease();
        let sent = lease.tick();
        lease.heard(sent);
        hand.0.fetch_add(60_000_000_000, Ordering::Relaxed);
        assert_eq!(lease.standing(), Standing::Unsure, "before the first tick after the pause");
        lease.advance();
        assert_eq!(lease.standing(), Standing::Unsure);
        assert!(!lease.heard(sent), "what was sent before the pause proves nothing");
        assert!(lease.heard(lease.tick()));
        assert_eq!(lease.standing(), Standing::Unsure);
        lease.caught_up(lease.tick());
        assert_eq!(lease.standing(), Standing::Sound);
    }
}
