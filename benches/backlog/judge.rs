//! Whether each job comes once, as it was put, and in its order. No I/O.
//!
//! Its memory is one bit for each job.

use std::time::Duration;

use hdrhistogram::Histogram;
use thiserror::Error;

use super::jobs::{Jobs, Variety};

/// Jobs that became ready one after the other may come that far out of the order of their due
/// times: the server promises to be late by milliseconds, not by how many.
const DISORDER_MAX: Duration = Duration::from_secs(2);
const HISTOGRAM_DIGITS: u8 = 3;

/// A promise of the server that was broken.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum Broken {
    #[error("job {id} came back with {length} bytes, not as it was put")]
    NotAsPut { id: u64, length: usize },
    #[error("job {id}, number {number}, came twice")]
    Twice { id: u64, number: u64 },
    #[error("job {id} came, which was deleted")]
    Deleted { id: u64 },
    #[error("job {id} of priority {priority} came after job {last_id} of priority {last_priority}")]
    OutOfOrder { id: u64, priority: u32, last_id: u64, last_priority: u32 },
    #[error("job {id} came {by:?} too early")]
    Early { id: u64, by: Duration },
    #[error("job {id} came {by:?} after one that was due later")]
    DueOutOfOrder { id: u64, by: Duration },
    #[error("job {id} of tube {tube} came out of tube {asked}")]
    WrongTube { id: u64, tube: u64, asked: u64 },
}

/// A set of numbers below a bound.
pub(crate) struct Bitmap {
    words: Vec<u64>,
}

/// Sees all jobs that come, in the order in which they come.
pub(crate) struct Judge {
    jobs: Jobs,
    seen: Bitmap,
    came: u64,
    deleted: Option<(u64, Bitmap)>,
    deleted_count: u64,
    tube: u64,
    last: Option<(u32, u64)>,
    latest_due: Duration,
    disorder: Duration,
    lateness: Histogram<u64>,
}

impl Bitmap {
    /// None of the numbers below `count`.
    pub(crate) fn new(count: u64) -> Self {
        let words = usize::try_from(count.div_ceil(64)).expect("a bit for each job fits");
        Self { words: vec![0; words] }
    }

    /// Adds a number; whether it was in already.
    pub(crate) fn set(&mut self, number: u64) -> bool {
        let (word, bit) = (&mut self.words[(number / 64) as usize], 1 << (number % 64));
        let was_set = *word & bit != 0;
        *word |= bit;
        was_set
    }

    fn has(&self, number: u64) -> bool {
        let word = self.words.get((number / 64) as usize);
        word.is_some_and(|word| word & (1 << (number % 64)) != 0)
    }
}

impl Judge {
    /// Nothing has come yet.
    pub(crate) fn new(jobs: Jobs) -> Self {
        let lateness = Histogram::new(HISTOGRAM_DIGITS).expect("so many digits are allowed");
        Self {
            jobs,
            seen: Bitmap::new(jobs.count),
            came: 0,
            deleted: None,
            deleted_count: 0,
            tube: 0,
            last: None,
            latest_due: Duration::ZERO,
            disorder: Duration::ZERO,
            lateness,
        }
    }

    /// These, counted from `first_id`, were deleted and must not come: `count` ids.
    pub(crate) fn know_deleted(&mut self, first_id: u64, ids: Bitmap, count: u64) {
        self.deleted = Some((first_id, ids));
        self.deleted_count = count;
    }

    /// From here on jobs of `tube` only, in an order of their own.
    pub(crate) fn enter_tube(&mut self, tube: u64) {
        self.tube = tube;
        self.last = None;
    }

    /// How many must still come.
    pub(crate) fn missing(&self) -> u64 {
        self.jobs.count - self.deleted_count - self.came
    }

    /// How late jobs with a delay came, in nanoseconds, and how far out of the order of due times.
    pub(crate) fn delays(&self) -> (&Histogram<u64>, Duration) {
        (&self.lateness, self.disorder)
    }

    /// A job has come, so long after the origin of the jobs.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn came(&mut self, id: u64, body: &[u8], now: Duration) -> Result<(), Broken> {
        let length = body.len();
        let job = self.jobs.recognise(body).ok_or(Broken::NotAsPut { id, length })?;
        let (number, asked) = (job.number, self.tube);
        if self.seen.set(number) {
            return Err(Broken::Twice { id, number });
        }
        self.came += 1;
        let was_deleted = self.deleted.as_ref().is_some_and(|(first_id, ids)| {
            id.checked_sub(*first_id).is_some_and(|place| ids.has(place))
        });
        if was_deleted {
            return Err(Broken::Deleted { id });
        }
        let tube = self.jobs.tube_of(number);
        if tube != asked {
            return Err(Broken::WrongTube { id, tube, asked });
        }
        if matches!(self.jobs.variety(), Variety::Delays(_)) {
            return self.came_after_delay(id, job.due, now);
        }
        let priority = self.jobs.priority(job);
        if let Some((last_priority, last_id)) = self.last.replace((priority, id))
            && (last_priority, last_id) >= (priority, id)
        {
            return Err(Broken::OutOfOrder { id, priority, last_id, last_priority });
        }
        Ok(())
    }

    fn came_after_delay(&mut self, id: u64, due: Duration, now: Duration) -> Result<(), Broken> {
        if now < due {
            return Err(Broken::Early { id, by: due - now });
        }
        let late = u64::try_from((now - due).as_nanos()).unwrap_or(u64::MAX);
        self.lateness.record(late).expect("it grows with what it records");
        let by = self.latest_due.saturating_sub(due);
        self.latest_due = self.latest_due.max(due);
        self.disorder = self.disorder.max(by);
        if by > DISORDER_MAX { Err(Broken::DueOutOfOrder { id, by }) } else { Ok(()) }
    }
}
