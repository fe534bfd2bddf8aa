//! Reserves jobs and ends them in all the ways that workers have, the careless ones too.

use crate::history::{Command, Reply};

use super::super::client::{Hand, Next};
use super::super::connection::Ended;
use super::super::shared::Job;
use super::Work;
use crate::testbed::Random;

/// Jobs that a worker holds at once at most, those it has forgotten included.
const HELD_MAX: usize = 4;
/// Tubes that a worker watches at most.
const WATCHED_MAX: usize = 3;
/// A short job, in milliseconds.
const SHORT: std::ops::Range<u32> = 0..4;
/// A job that takes longer than a change of leader, in milliseconds.
const LONG: std::ops::Range<u32> = 1_000..3_000;
/// Between two touches, in milliseconds.
const BETWEEN_TOUCHES: std::ops::Range<u32> = 100..700;
/// After a reserve that found nothing, in milliseconds.
const AFTER_NOTHING: std::ops::Range<u32> = 10..60;
/// When a job that was forgotten is about to run out, in milliseconds: less than a second.
const DEADLINE_PAUSE: std::ops::Range<u32> = 200..500;

/// A worker on one connection.
#[derive(Debug)]
pub(super) struct Worker {
    watches: usize,
    /// Most workers take little time, or few jobs would get anywhere.
    is_quick: bool,
    /// Reserved and not ended yet, or left to run out: who knows which are still held.
    held: Vec<Job>,
}

impl Worker {
    pub(super) fn new(random: &mut Random) -> Self {
        let watches = 1 + random.index(WATCHED_MAX);
        Self { watches, is_quick: !random.once_in(3), held: Vec::new() }
    }

    /// Does with a new job what chance says.
    fn deal_with(&mut self, hand: &mut Hand<'_>, job: Job) -> Result<Next, Ended> {
        let quick = if self.is_quick { 100 } else { 30 };
        if hand.random.within_u32(0..100) >= quick {
            return deal_slowly_with(hand, job).map(|()| Next::Stay);
        }
        match hand.random.within_u32(0..200) {
            0..150 => {
                hand.pause(SHORT);
                hand.delete(job)?;
            }
            150..172 => {
                let delay = hand.random.pick(&[0, 0, 1, 2]);
                hand.release(job, delay)?;
            }
            172..185 => drop(hand.bury(job)?),
            185..189 => {
                hand.ask(Command::StatsJob { id: job.id })?;
                hand.delete(job)?;
            }
            // Held beside the next ones, or left to run out.
            189..199 => self.held.push(job),
            _ => return Ok(Next::Leave),
        }
        Ok(Next::Stay)
    }

    /// Ends one of the jobs that it may still hold.
    fn end_one(&mut self, hand: &mut Hand<'_>) -> Result<(), Ended> {
        let job = self.held.swap_remove(hand.random.index(self.held.len()));
        match hand.random.within_u32(0..10) {
            0..6 => hand.delete(job)?,
            6..8 => hand.release(job, 0)?,
            8 => hand.bury(job)?,
            _ => hand.ask(Command::Touch { id: job.id })?,
        };
        Ok(())
    }
}

impl Work for Worker {
    fn prepare(&mut self, hand: &mut Hand<'_>) -> Result<(), Ended> {
        for _ in 0..self.watches {
            let tube = hand.any_tube();
            hand.ask(Command::Watch { tube: hand.tube_name(tube) })?;
        }
        hand.ask(Command::Ignore { tube: "default".to_owned() })?;
        Ok(())
    }

    fn step(&mut self, hand: &mut Hand<'_>) -> Result<Next, Ended> {
        let is_enough = self.held.len() >= HELD_MAX;
        if is_enough || !self.held.is_empty() && hand.random.once_in(10) {
            self.end_one(hand)?;
        }
        let timeout = hand.random.pick(&[0, 0, 1, 1, 2, 3]);
        match hand.reserve(timeout)? {
            (_, Some(job)) => self.deal_with(hand, job),
            (Reply::DeadlineSoon, None) => {
                if !self.held.is_empty() && hand.random.once_in(2) {
                    self.end_one(hand)?;
                } else {
                    hand.pause(DEADLINE_PAUSE);
                }
                Ok(Next::Stay)
            }
            (_, None) => {
                hand.pause(AFTER_NOTHING);
                Ok(Next::Stay)
            }
        }
    }

    fn finish(&mut self, hand: &mut Hand<'_>) -> Result<(), Ended> {
        while !self.held.is_empty() {
            self.end_one(hand)?;
        }
        Ok(())
    }
}

/// Holds a job for longer than a change of leader takes, then ends it.
fn deal_slowly_with(hand: &mut Hand<'_>, job: Job) -> Result<(), Ended> {
    if hand.random.once_in(3) {
        hand.pause(LONG);
    } else {
        for _ in 0..hand.random.within_u32(1..5) {
            hand.pause(BETWEEN_TOUCHES);
            if hand.ask(Command::Touch { id: job.id })? == Reply::NotFound {
                return Ok(());
            }
        }
    }
    if hand.random.once_in(4) {
        hand.release(job, 0)?
    } else {
        hand.delete(job)?
    };
    Ok(())
}
