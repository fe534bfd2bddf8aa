//! Puts jobs, as long as their tube is not full.

use crate::history::{Command, Reply};

use super::super::body::BODY_BYTES_MIN;
use super::super::client::{Hand, Next};
use super::super::connection::Ended;
use super::{Work, any_priority};
use crate::testbed::Random;

/// Times to run of most jobs, in seconds: longer than a change of leader takes.
const TTR_LONG: std::ops::Range<u32> = 30..36;
/// Times to run of the others, which are to run out.
const TTR_SHORT: std::ops::Range<u32> = 1..6;
/// The size of a job that fills a block of its own; the usual limit is 65,535.
const BYTES_LARGE: std::ops::Range<u32> = 60_000..65_536;
/// Between two puts, in milliseconds.
const PAUSE: std::ops::Range<u32> = 0..6;
/// When there is no room, in milliseconds.
const PAUSE_WHEN_FULL: std::ops::Range<u32> = 5..60;

/// One put in so many has a key; one step in so many sends one of those again, and one in so many
/// puts another body with its key.
const KEYED_ONCE_IN: u64 = 2;
const AGAIN_ONCE_IN: u64 = 12;
const ANOTHER_ONCE_IN: u64 = 60;

/// Stays with one tube for a while.
#[derive(Debug, Default)]
pub(super) struct Producer {
    tube: usize,
    /// Puts until it takes another tube.
    left: u32,
}

impl Work for Producer {
    fn prepare(&mut self, _hand: &mut Hand<'_>) -> Result<(), Ended> {
        self.left = 0;
        Ok(())
    }

    fn step(&mut self, hand: &mut Hand<'_>) -> Result<Next, Ended> {
        if hand.shared.options.has_keys {
            repeat(hand)?;
        }
        if self.left == 0 || hand.shared.is_full(self.tube) {
            let tube = hand.any_tube();
            if hand.shared.is_full(tube) {
                return wait_for_room(hand, tube);
            }
            *self = Self { tube, left: hand.random.within_u32(1..20) };
        }
        self.left -= 1;
        let attributes = any_attributes(hand.random);
        let bytes = any_bytes(hand.random);
        hand.use_tube(self.tube)?;
        let has_key = hand.shared.options.has_keys && hand.random.once_in(KEYED_ONCE_IN);
        let put = if has_key { Hand::put_with_key } else { Hand::put };
        match put(hand, self.tube, attributes, bytes)? {
            Reply::OutOfMemory | Reply::Draining | Reply::InternalError => {
                hand.pause(PAUSE_WHEN_FULL);
            }
            _ => hand.pause(PAUSE),
        }
        Ok(Next::Stay)
    }
}

/// Sends puts with keys that were sent before.
fn repeat(hand: &mut Hand<'_>) -> Result<(), Ended> {
    hand.put_what_was_lost()?;
    if hand.random.once_in(AGAIN_ONCE_IN) {
        hand.put_again()?;
    }
    if hand.random.once_in(ANOTHER_ONCE_IN) {
        hand.put_another_with_its_key()?;
    }
    Ok(())
}

/// Lets some time pass. The count may be too high, of what was never answered: a look puts it right.
fn wait_for_room(hand: &mut Hand<'_>, tube: usize) -> Result<Next, Ended> {
    if hand.random.once_in(8) {
        hand.ask(Command::StatsTube { tube: hand.tube_name(tube) })?;
    }
    hand.pause(PAUSE_WHEN_FULL);
    Ok(Next::Stay)
}

/// Priority, delay and time to run.
fn any_attributes(random: &mut Random) -> (u32, u32, u32) {
    let delay = if random.once_in(6) { random.within_u32(1..4) } else { 0 };
    let ttr = if random.once_in(6) { TTR_SHORT } else { TTR_LONG };
    (any_priority(random), delay, random.within_u32(ttr))
}

/// A size in bytes: mostly small.
fn any_bytes(random: &mut Random) -> u32 {
    match random.within_u32(0..200) {
        0 => random.within_u32(BYTES_LARGE),
        1..10 => random.within_u32(1_000..9_000),
        _ => random.within_u32(BODY_BYTES_MIN..200),
    }
}
