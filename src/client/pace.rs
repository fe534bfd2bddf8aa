//! How long to wait, never as long as everybody else.

use std::time::Duration;

use crate::random;

/// The first pause before a member is dialled again, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// The pauses between attempts, each twice as long as the one before.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) fn new() -> Self {
        Self(BACKOFF.0)
    }

    /// The next pause.
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (2 * pause).min(BACKOFF.1);
        jittered(pause)
    }
}

/// Half to one and a half of `time`.
pub(super) fn jittered(time: Duration) -> Duration {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX / 2).max(1);
    Duration::from_micros(micros / 2 + random::number() % micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_are_never_far_from_it() {
        let mut backoff = Backoff::new();
        for pause in [100, 200, 400, 800, 1600, 2000, 2000] {
            let next = backoff.next().as_millis();
            assert!((pause / 2..=pause * 3 / 2).contains(&next), "{next} for {pause} ms");
        }
    }
}
