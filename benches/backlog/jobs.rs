//! The jobs: what each is put with, and how it is known again, without remembering any of them.
//!
//! A body holds the job's number, when it is due, and bytes that follow from the number. Priority,
//! delay and tube follow from the number too.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use crate::common::{clock, support::Random};

/// Far longer than any run, so that none expires.
const TTR_SECONDS: u32 = 1_000_000;
const NUMBER_BYTES: usize = 8;
const HEAD_BYTES: usize = 2 * NUMBER_BYTES;
/// Each tube gets its jobs in so many runs, between which all the others get theirs.
const ROUNDS: u64 = 4;

/// How the jobs differ from each other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Variety {
    /// Only in their bodies.
    Plain,
    /// In priority, at random.
    Priorities,
    /// In delay, at random from 1 to so many seconds. The priority is the due time, so that jobs
    /// that are ready together are ordered by it.
    Delays(u64),
    /// In delay, so that all are due in the second that ends so many seconds after the origin.
    DueTogether(u64),
    /// In tube: so many, which divide the jobs evenly.
    Tubes(u64),
}

/// All jobs of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Jobs {
    /// How many; their numbers are from 0 to below this.
    pub(crate) count: u64,
    variety: Variety,
    size_bytes: usize,
    origin: Instant,
}

/// What a body says, if it is as it was put.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) number: u64,
    /// After the origin of the jobs; zero for those without a delay.
    pub(crate) due: Duration,
}

impl Jobs {
    /// The jobs of a run; of tubes, as many as fit evenly.
    pub(crate) fn new(count: u64, size_bytes: u32, variety: Variety) -> Self {
        let count = match variety {
            Variety::Tubes(tubes) => count / tubes * tubes,
            _ => count,
        };
        let size_bytes = usize::try_from(size_bytes).expect("a body fits into memory");
        Self { count, variety, size_bytes, origin: clock::now() }
    }

    /// How they differ.
    pub(crate) fn variety(&self) -> Variety {
        self.variety
    }

    /// Bytes of all bodies.
    pub(crate) fn data_bytes(&self) -> u64 {
        self.count * self.size_bytes as u64
    }

    /// The moment from which due times count.
    pub(crate) fn origin(&self) -> Instant {
        self.origin
    }

    /// After which no job that is put now is due.
    pub(crate) fn last_due(&self) -> Duration {
        let now = clock::now() - self.origin;
        match self.variety {
            Variety::Delays(seconds) => now + Duration::from_secs(seconds),
            Variety::DueTogether(moment) => Duration::from_secs(moment).max(now),
            Variety::Plain | Variety::Priorities | Variety::Tubes(_) => now,
        }
    }

    /// The tube in which job `number` lies.
    pub(crate) fn tube_of(&self, number: u64) -> u64 {
        if let Variety::Tubes(tubes) = self.variety { number / (self.count / tubes) } else { 0 }
    }

    /// The priority of a job.
    pub(crate) fn priority(&self, job: Known) -> u32 {
        match self.variety {
            Variety::Plain | Variety::Tubes(_) => 0,
            Variety::Priorities => (Random::new(job.number).bits() >> 32) as u32,
            Variety::Delays(_) | Variety::DueTogether(_) => {
                u32::try_from(job.due.as_millis()).unwrap_or(u32::MAX)
            }
        }
    }

    /// Writes the command that puts the job of place `sequence` in the order of insertion, with a
    /// `use` before it where the tube is not that of `previous`.
    pub(crate) fn write_put(
        &self,
        sequence: u64,
        previous: Option<u64>,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let number = self.number_at(sequence);
        let mut delay_seconds = 0;
        let mut job = Known { number, due: Duration::ZERO };
        match self.variety {
            Variety::Plain | Variety::Priorities => {}
            Variety::Delays(spread) => {
                delay_seconds = 1 + Random::new(number).bits() % spread;
                job.due = clock::now() - self.origin + Duration::from_secs(delay_seconds);
            }
            Variety::DueTogether(moment) => {
                let now = clock::now() - self.origin;
                let left = Duration::from_secs(moment).saturating_sub(now);
                delay_seconds = left.as_secs();
                job.due = now + Duration::from_secs(delay_seconds);
            }
            Variety::Tubes(_) => {
                let tube = self.tube_of(number);
                let is_used = previous.map(|sequence| self.tube_of(self.number_at(sequence)));
                if is_used != Some(tube) {
                    write!(out, "use t{tube}\r\n")?;
                }
            }
        }
        let priority = self.priority(job);
        write!(out, "put {priority} {delay_seconds} {TTR_SECONDS} {}\r\n", self.size_bytes)?;
        self.write_body(job, out);
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// What the body says; nothing when it is not a body of these jobs to the last byte.
    pub(crate) fn recognise(&self, body: &[u8]) -> Option<Known> {
        let head = body.get(..HEAD_BYTES).filter(|_| body.len() == self.size_bytes)?;
        let number = u64::from_le_bytes(head[..NUMBER_BYTES].try_into().ok()?);
        let due = u64::from_le_bytes(head[NUMBER_BYTES..].try_into().ok()?);
        let mut filling = Random::new(number);
        let chunks = body[HEAD_BYTES..].chunks(NUMBER_BYTES);
        let is_whole =
            chunks.into_iter().all(|chunk| filling.bits().to_le_bytes().starts_with(chunk));
        let job = Known { number, due: Duration::from_nanos(due) };
        (is_whole && number < self.count).then_some(job)
    }

    fn write_body(&self, job: Known, out: &mut Vec<u8>) {
        let end = out.len() + self.size_bytes;
        let due = u64::try_from(job.due.as_nanos()).expect("no run takes centuries");
        out.extend_from_slice(&job.number.to_le_bytes());
        out.extend_from_slice(&due.to_le_bytes());
        let mut filling = Random::new(job.number);
        while out.len() < end {
            out.extend_from_slice(&filling.bits().to_le_bytes());
        }
        out.truncate(end);
    }

    /// The number of the job that is put in place `sequence`.
    fn number_at(&self, sequence: u64) -> u64 {
        let Variety::Tubes(tubes) = self.variety else { return sequence };
        let in_a_tube = self.count / tubes;
        let run = in_a_tube.div_ceil(ROUNDS);
        let round = sequence / (run * tubes);
        // The last round can have shorter runs.
        let this_run = run.min(in_a_tube - round * run);
        let in_round = sequence - round * run * tubes;
        let (tube, place) = (in_round / this_run, in_round % this_run);
        tube * in_a_tube + round * run + place
    }
}
