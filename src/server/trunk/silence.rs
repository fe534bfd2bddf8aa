//! Whether anybody is still at the other end of a trunk.
//!
//! The network does not say when a client has been frozen or cut off, and its sessions would hold
//! their jobs for ever. So a client asks now and then whether the member is there, and the member
//! counts ticks of its own in which nothing came: after a pause of the member itself it hears what
//! has arrived before it counts on.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

/// How long a tick is.
const TICK: Duration = Duration::from_millis(500);

/// With so many ticks in a row without a sign, nobody is there: 5 s. Clients say something every 2 s.
const SILENT_TICKS_MAX: u32 = 10;

/// How long nothing has come.
#[derive(Debug)]
pub(super) struct Silence {
    ticks: Interval,
    silent: u32,
}

impl Silence {
    /// It begins now.
    pub(super) fn new() -> Self {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        Self { ticks, silent: 0 }
    }

    /// Completes when it has lasted for a tick more. Cancel-safe.
    pub(super) async fn tick(&mut self) {
        self.ticks.tick().await;
    }

    /// Counts a tick. Returns whether it has lasted too long.
    pub(super) fn grow(&mut self) -> bool {
        self.silent += 1;
        self.silent > SILENT_TICKS_MAX
    }

    /// It is over, or was not the other side's.
    pub(super) fn end(&mut self) {
        self.silent = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_ticks_in_a_row_without_a_sign_are_too_long() {
        let mut silence = Silence::new();
        for _ in 0..3 {
            assert!((0..SILENT_TICKS_MAX).all(|_| !silence.grow()));
            silence.end();
        }
        assert!((0..SILENT_TICKS_MAX).all(|_| !silence.grow()) && silence.grow());
    }

    #[tokio::test]
    async fn a_pause_of_the_member_is_one_tick() {
        let mut silence = Silence::new();
        std::thread::sleep(4 * TICK);
        silence.tick().await;
        let next = tokio::time::timeout(TICK / 4, silence.tick()).await;
        assert!(next.is_err(), "ticks that were missed are not made up for");
    }
}
