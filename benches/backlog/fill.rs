//! Producers: connections that put jobs, many in flight. A put that is refused for want of memory
//! is sent again after a pause, as a client should.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use super::{jobs::Jobs, progress::Progress};
use crate::common::{Fallible, client::Client, clock, wire::Reply};

const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// A connection of which nothing is taken for so long gives up.
const REFUSED_TIMEOUT: Duration = Duration::from_secs(120);

/// How the load comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) connections: u32,
    /// Commands in flight on each.
    pub(crate) depth: u64,
    /// Jobs a second at most, over all connections; as fast as they are taken if unset.
    pub(crate) pace: Option<u64>,
}

impl Load {
    /// From one batch of a connection to its next, at least.
    fn interval(&self) -> Duration {
        let jobs_in_flight = self.depth as f64 * f64::from(self.connections);
        self.pace
            .map_or(Duration::ZERO, |pace| Duration::from_secs_f64(jobs_in_flight / pace as f64))
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filled {
    /// Puts that were answered OUT_OF_MEMORY or DRAINING, and sent again.
    pub(crate) refused: u64,
    /// The lowest id and the highest.
    pub(crate) first_id: u64,
    pub(crate) last_id: u64,
}

/// Puts all jobs.
///
/// # Errors
/// When a reply is wrong, or nothing is taken for two minutes.
pub(crate) fn fill(load: Load, jobs: &Jobs, progress: &Progress<'_>) -> Fallible<Filled> {
    let next = AtomicU64::new(0);
    let filled = thread::scope(|scope| {
        let producers: Vec<_> = (0..load.connections)
            .map(|_| scope.spawn(|| Producer::connect(load, jobs)?.run(&next, progress)))
            .collect();
        producers
            .into_iter()
            .map(|producer| producer.join().expect("a producer's panic is a bug of the bench"))
            .collect::<Fallible<Vec<Filled>>>()
    })?;
    let all = filled.into_iter().reduce(Filled::and).ok_or("nobody puts")?;
    Ok(all)
}

struct Producer<'a> {
    client: Client,
    jobs: &'a Jobs,
    load: Load,
    /// Places in the order of insertion: under way, and to be sent again.
    batch: Vec<u64>,
    again: Vec<u64>,
    filled: Filled,
}

impl Filled {
    const NOTHING: Self = Self { refused: 0, first_id: u64::MAX, last_id: 0 };

    fn and(self, other: Self) -> Self {
        Self {
            refused: self.refused + other.refused,
            first_id: self.first_id.min(other.first_id),
            last_id: self.last_id.max(other.last_id),
        }
    }
}

impl<'a> Producer<'a> {
    fn connect(load: Load, jobs: &'a Jobs) -> Fallible<Self> {
        let client = Client::connect(load.address)?;
        let (batch, again) = (Vec::new(), Vec::new());
        Ok(Self { client, jobs, load, batch, again, filled: Filled::NOTHING })
    }

    fn run(mut self, next: &AtomicU64, progress: &Progress<'_>) -> Fallible<Filled> {
        let mut commands = Vec::new();
        let mut pause = PAUSE_MIN;
        let mut last_taken = clock::now();
        let mut due = last_taken;
        loop {
            thread::sleep(due.saturating_duration_since(clock::now()));
            due = clock::now().max(due + self.load.interval());
            self.choose(next);
            if self.batch.is_empty() {
                return Ok(self.filled);
            }
            commands.clear();
            let mut previous = None;
            for &sequence in &self.batch {
                self.jobs.write_put(sequence, previous, &mut commands)?;
                previous = Some(sequence);
            }
            self.client.send(&commands)?;
            let taken = self.receive()?;
            progress.add(taken);
            if taken > 0 {
                last_taken = clock::now();
            } else if clock::now() - last_taken > REFUSED_TIMEOUT {
                return Err(format!("puts are refused for {REFUSED_TIMEOUT:?}").into());
            }
            if self.again.is_empty() {
                pause = PAUSE_MIN;
            } else {
                thread::sleep(pause);
                pause = PAUSE_MAX.min(pause * 2);
            }
        }
    }

    /// Refused ones first, then new ones, up to the depth.
    fn choose(&mut self, next: &AtomicU64) {
        self.batch.clear();
        self.batch.append(&mut self.again);
        let room = self.load.depth - self.batch.len() as u64;
        let first = next.fetch_add(room, Ordering::Relaxed);
        self.batch.extend(first.min(self.jobs.count)..(first + room).min(self.jobs.count));
    }

    /// Reads the replies to all puts of the batch; how many were taken.
    fn receive(&mut self) -> Fallible<u64> {
        let mut taken = 0;
        let mut answered = 0;
        while let Some(&sequence) = self.batch.get(answered) {
            match self.client.receive()? {
                Reply::Inserted(id) => {
                    taken += 1;
                    let own = Filled { refused: 0, first_id: id, last_id: id };
                    self.filled = self.filled.and(own);
                }
                Reply::Line(b"OUT_OF_MEMORY" | b"DRAINING") => {
                    self.filled.refused += 1;
                    self.again.push(sequence);
                }
                Reply::Line(line) if line.starts_with(b"USING ") => continue,
                other => return Err(format!("a put was answered with {other:?}").into()),
            }
            answered += 1;
        }
        Ok(taken)
    }
}
