//! Takes certain jobs by their ids, whatever their state, and deletes jobs that nobody holds.

use crate::history::{Command, Reply};

use super::super::client::{Hand, Next};
use super::super::connection::Ended;
use super::super::shared::Job;
use super::Work;

/// Between two steps, in milliseconds.
const PAUSE: std::ops::Range<u32> = 5..60;
/// How long it holds a job, in milliseconds.
const HOLD: std::ops::Range<u32> = 0..50;

/// Picks by id.
#[derive(Debug)]
pub(super) struct Picker;

impl Work for Picker {
    fn prepare(&mut self, _hand: &mut Hand<'_>) -> Result<(), Ended> {
        Ok(())
    }

    fn step(&mut self, hand: &mut Hand<'_>) -> Result<Next, Ended> {
        if let Some(job) = pick(hand) {
            if hand.random.once_in(4) {
                hand.delete(job)?;
            } else {
                take(hand, job)?;
            }
        }
        hand.pause(PAUSE);
        Ok(Next::Stay)
    }
}

/// A buried job, or any.
fn pick(hand: &mut Hand<'_>) -> Option<Job> {
    let buried = if hand.random.once_in(4) { hand.shared.take_buried() } else { None };
    buried.or_else(|| hand.shared.pick_put(hand.random))
}

/// Reserves a job and ends it.
fn take(hand: &mut Hand<'_>, job: Job) -> Result<(), Ended> {
    if !matches!(hand.reserve_job(job)?, Reply::Reserved { .. }) {
        return Ok(());
    }
    hand.pause(HOLD);
    match hand.random.within_u32(0..10) {
        0..4 => hand.delete(job)?,
        4..6 => hand.release(job, 0)?,
        6 => hand.release(job, 1)?,
        7 => hand.bury(job)?,
        // Left to run out, after one more look.
        _ => hand.ask(Command::StatsJob { id: job.id })?,
    };
    Ok(())
}
