//! Reserves jobs and ends them in all the ways that workers have, the careless ones too.

use std::time::Duration;

use crate::history::{Command, Reply};

use super::super::client::{Hand, Next};
use super::super::connection::Ended;
use super::super::shared::Job;
use super::Work;
use crate::clock::Moment;
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

/// Jobs that a worker oversleeps at once at most.
const OVERSLEPT_JOBS_MAX: usize = 2;
/// Times to run that a worker oversleeps, in seconds at most: it is to get at the next ones too.
const OVERSLEPT_TTR_MAX: u32 = 3;
/// How long after the end of such a time to run it is back, in milliseconds: longer than a check
/// allows for a busy machine.
const OVERSLEPT: std::ops::Range<u32> = 2_200..3_200;

/// A worker on one connection.
#[derive(Debug)]
pub(super) struct Worker {
    watches: usize,
    /// Most workers take little time, or few jobs would get anywhere.
    is_quick: bool,
    /// Reserved and not ended yet, or left to run out: who knows which are still held.
    held: Vec<Job>,
    /// Jobs that it lets run out, and when it is to learn of that.
    overslept: Vec<(Job, Moment)>,
}

impl Worker {
    pub(super) fn new(random: &mut Random) -> Self {
        let watches = 1 + random.index(WATCHED_MAX);
        Self { watches, is_quick: !random.once_in(3), held: Vec::new(), overslept: Vec::new() }
    }

    /// Does with a new job what chance says.
    fn deal_with(&mut self, hand: &mut Hand<'_>, job: Job) -> Result<Next, Ended> {
        // What comes back to it is held again.
        self.overslept.retain(|(overslept, _)| *overslept != job);
        let may_sleep = self.overslept.len() < OVERSLEPT_JOBS_MAX;
        if may_sleep && hand.random.once_in(5) && self.oversleep(hand, job)? {
            return Ok(Next::Stay);
        }
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
            // Who overslept mostly stays to learn of it.
            _ if !self.overslept.is_empty() && !hand.random.once_in(3) => drop(hand.delete(job)?),
            _ => return Ok(Next::Leave),
        }
        Ok(Next::Stay)
    }

    /// Leaves a job alone until long after its time to run, if that is short.
    fn oversleep(&mut self, hand: &mut Hand<'_>, job: Job) -> Result<bool, Ended> {
        let Some(ttr) = hand.time_to_run(job)?.filter(|&ttr| ttr <= OVERSLEPT_TTR_MAX) else {
            return Ok(false);
        };
        let after = hand.random.within_u32(OVERSLEPT);
        let until = Duration::from_secs(ttr.into()) + Duration::from_millis(after.into());
        self.overslept.push((job, hand.shared.recorder.now().after(until)));
        Ok(true)
    }

    /// Does with a job that it overslept what only its holder can do.
    fn wake_up(&mut self, hand: &mut Hand<'_>) -> Result<(), Ended> {
        let now = hand.shared.recorder.now();
        let due = self.overslept.iter().position(|(_, until)| *until <= now);
        let Some((job, _)) = due.map(|place| self.overslept.swap_remove(place)) else {
            return Ok(());
        };
        match hand.random.within_u32(0..3) {
            0 => hand.ask(Command::Touch { id: job.id })?,
            1 => hand.release(job, 0)?,
            _ => hand.bury(job)?,
        };
        Ok(())
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
        self.wake_up(hand)?;
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
