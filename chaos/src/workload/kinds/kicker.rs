//! Brings back what was buried.

use crate::history::Command;

use super::super::client::{Hand, Next};
use super::super::connection::Ended;
use super::Work;

/// Between two steps, in milliseconds.
const PAUSE: std::ops::Range<u32> = 30..200;

/// Kicks by number, by id, and looks at who is first.
#[derive(Debug)]
pub(super) struct Kicker;

impl Work for Kicker {
    fn prepare(&mut self, _hand: &mut Hand<'_>) -> Result<(), Ended> {
        Ok(())
    }

    fn step(&mut self, hand: &mut Hand<'_>) -> Result<Next, Ended> {
        match hand.random.within_u32(0..10) {
            0..4 => {
                if let Some(job) = hand.shared.take_buried() {
                    hand.ask(Command::KickJob { id: job.id })?;
                }
            }
            4..6 => {
                let tube = hand.any_tube();
                hand.use_tube(tube)?;
                hand.ask(Command::PeekBuried { tube: hand.tube_name(tube) })?;
            }
            _ => {
                let tube = hand.any_tube();
                hand.use_tube(tube)?;
                let bound = hand.random.within_u32(1..20).into();
                hand.ask(Command::Kick { tube: hand.tube_name(tube), bound })?;
            }
        }
        hand.pause(PAUSE);
        Ok(Next::Stay)
    }
}
