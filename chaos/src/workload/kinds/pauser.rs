//! Pauses a tube now and then.

use crate::history::Command;

use super::super::client::{Hand, Next};
use super::super::connection::Ended;
use super::Work;

/// Between two pauses of a tube, in milliseconds.
const PAUSE: std::ops::Range<u32> = 4_000..9_000;
/// How long a tube is paused, in seconds.
const SECONDS: u32 = 1;

/// Has one tube or another paused, seldom, so that there is little doubt about what is ready.
#[derive(Debug)]
pub(super) struct Pauser;

impl Work for Pauser {
    fn prepare(&mut self, _hand: &mut Hand<'_>) -> Result<(), Ended> {
        Ok(())
    }

    fn step(&mut self, hand: &mut Hand<'_>) -> Result<Next, Ended> {
        hand.pause(PAUSE);
        if !hand.shared.is_stopping() {
            let tube = hand.any_tube();
            hand.ask(Command::PauseTube { tube: hand.tube_name(tube), seconds: SECONDS })?;
        }
        Ok(Next::Stay)
    }
}
