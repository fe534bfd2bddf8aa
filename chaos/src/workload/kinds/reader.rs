//! Looks at jobs, tubes and figures and changes nothing.

use crate::history::Command;

use super::super::client::{Hand, Next};
use super::super::connection::Ended;
use super::Work;

/// Between two looks, in milliseconds.
const PAUSE: std::ops::Range<u32> = 5..50;

/// Reads.
#[derive(Debug)]
pub(super) struct Reader;

impl Work for Reader {
    fn prepare(&mut self, _hand: &mut Hand<'_>) -> Result<(), Ended> {
        Ok(())
    }

    fn step(&mut self, hand: &mut Hand<'_>) -> Result<Next, Ended> {
        let tube = hand.any_tube();
        match hand.random.within_u32(0..100) {
            0..50 => {
                if let Some(job) = hand.shared.pick_put(hand.random) {
                    let id = job.id;
                    let is_peek = hand.random.once_in(2);
                    hand.ask(if is_peek {
                        Command::Peek { id }
                    } else {
                        Command::StatsJob { id }
                    })?;
                }
            }
            50..65 => {
                hand.use_tube(tube)?;
                hand.ask(Command::PeekReady { tube: hand.tube_name(tube) })?;
            }
            65..75 => {
                hand.use_tube(tube)?;
                hand.ask(Command::PeekDelayed { tube: hand.tube_name(tube) })?;
            }
            75..92 => drop(hand.ask(Command::StatsTube { tube: hand.tube_name(tube) })?),
            92..97 => drop(hand.ask(Command::ListTubes)?),
            _ => drop(hand.ask(Command::Stats)?),
        }
        hand.pause(PAUSE);
        Ok(Next::Stay)
    }
}
