//! One client under load, and its share of the ledger.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use super::ledger::{Job, Place, Progress, body};
use crate::support::{Client, Random, Target};

/// Jobs a worker keeps before it only works them off.
const LIVE_JOBS_MAX: usize = 100;
/// The longest delay, in seconds: no delay ends during a test.
const DELAY: u32 = 100_000;
/// Puts that are sent at once, at most.
const BURST_MAX: u64 = 8;

/// A worker that uses a tube of its own.
pub(crate) struct Worker {
    target: Target,
    number: u64,
    random: Random,
    /// The jobs put so far, which also names the next one.
    job_count: u64,
    /// Its jobs, without those that an audit has seen deleted.
    pub(crate) jobs: Vec<Job>,
}

impl Worker {
    pub(crate) fn new(target: Target, number: u64, seed: u64) -> Self {
        let random = Random::new(seed ^ number << 32);
        Self { target, number, random, job_count: 0, jobs: Vec::new() }
    }

    /// Forgets what the server does not promise to keep: beanstalkd writes no reserve down, so
    /// that a job may come back in the place before it.
    pub(crate) fn forget_what_is_not_kept(&mut self) {
        if self.target == Target::Beanstalkd {
            for job in &mut self.jobs {
                if matches!(job.place, Place::Held { .. }) {
                    job.place = Place::Unsure;
                }
            }
        }
    }

    /// Works until the connection breaks or a reply is not the one that a healthy server gives
    /// ([`io::ErrorKind::Other`]).
    pub(crate) fn work(&mut self, client: &mut Client) -> io::Error {
        let never = AtomicBool::new(false);
        match self.work_until(client, &never) {
            Ok(()) => unreachable!("nobody says stop"),
            Err(error) => error,
        }
    }

    /// Works until `stop` is set.
    ///
    /// # Errors
    ///
    /// The connection has broken, or a reply is not the one that a healthy server gives
    /// ([`io::ErrorKind::Other`]).
    pub(crate) fn work_until(&mut self, client: &mut Client, stop: &AtomicBool) -> io::Result<()> {
        client.ask(&format!("use tube-{}", self.number))?;
        while !stop.load(Ordering::Relaxed) {
            self.act(client)?;
        }
        Ok(())
    }

    fn act(&mut self, client: &mut Client) -> io::Result<()> {
        let live: Vec<usize> =
            (0..self.jobs.len()).rev().filter(|&index| self.jobs[index].is_live()).collect();
        if live.is_empty() || live.len() < LIVE_JOBS_MAX && self.random.once_in(3) {
            return self.put(client);
        }
        let index = self.random.pick(&live);
        let id = self.jobs[index].id.expect("a live job has an id");
        match self.jobs[index].place {
            Place::Held { .. } => self.finish(client, index, id),
            Place::Resting { state, .. } if state != "ready" && self.random.once_in(2) => self
                .change(client, index, &format!("kick-job {id}"), |priority| Place::Resting {
                    state: "ready",
                    priority,
                }),
            _ if self.random.once_in(4) => self.delete(client, index, id),
            _ => self.change(client, index, &format!("reserve-job {id}"), |priority| Place::Held {
                priority,
            }),
        }
    }

    /// Puts some jobs at once and takes the replies afterwards.
    fn put(&mut self, client: &mut Client) -> io::Result<()> {
        let first = self.jobs.len();
        let mut bytes = Vec::new();
        for _ in 0..self.random.within(1..BURST_MAX + 1) {
            let key = self.number << 32 | self.job_count;
            self.job_count += 1;
            let priority = self.priority();
            let (delay, state) = self.random.pick(&[(0, "ready"), (DELAY, "delayed")]);
            let body = body(key);
            bytes.extend_from_slice(format!("put {priority} {delay} 1000 ",).as_bytes());
            bytes.extend_from_slice(format!("{}\r\n", body.len()).as_bytes());
            bytes.extend_from_slice(&body);
            bytes.extend_from_slice(b"\r\n");
            self.jobs.push(Job::new(key, Place::Resting { state, priority }));
        }
        client.send(&bytes)?;
        for index in first..self.jobs.len() {
            let reply = client.reply_line()?;
            let id = reply.strip_prefix("INSERTED ").and_then(|id| id.parse().ok());
            let refused = || io::Error::other(format!("a put is answered {reply}"));
            self.jobs[index].id = Some(id.ok_or_else(refused)?);
            self.jobs[index].put = Progress::Done;
        }
        Ok(())
    }

    /// Gives up a job that is held.
    fn finish(&mut self, client: &mut Client, index: usize, id: u64) -> io::Result<()> {
        let priority = self.priority();
        match self.random.within(0..4) {
            0 => {
                let place = Place::Resting { state: "buried", priority };
                self.change(client, index, &format!("bury {id} {priority}"), |_| place)
            }
            // beanstalkd does not write down a release without delay.
            1 if self.target == Target::Beanpole => {
                let place = Place::Resting { state: "ready", priority };
                self.change(client, index, &format!("release {id} {priority} 0"), |_| place)
            }
            1 | 2 => {
                let place = Place::Resting { state: "delayed", priority };
                self.change(client, index, &format!("release {id} {priority} {DELAY}"), |_| place)
            }
            _ => self.delete(client, index, id),
        }
    }

    /// Sends a command that moves the job to the place that follows from its priority.
    fn change(
        &mut self,
        client: &mut Client,
        index: usize,
        command: &str,
        place: impl Fn(u32) -> Place,
    ) -> io::Result<()> {
        let job = &mut self.jobs[index];
        let next = match job.place {
            Place::Resting { priority, .. } | Place::Held { priority } => place(priority),
            Place::Unsure => unreachable!("an unsure place is settled by the audit"),
        };
        job.place = Place::Unsure;
        client.send(format!("{command}\r\n").as_bytes())?;
        let reply = client.reply_line()?;
        let is_done =
            ["RESERVED", "RELEASED", "BURIED", "KICKED"].iter().any(|word| reply.starts_with(word));
        if !is_done {
            return Err(io::Error::other(format!("{command} is answered {reply}")));
        }
        job.place = next;
        Ok(())
    }

    fn delete(&mut self, client: &mut Client, index: usize, id: u64) -> io::Result<()> {
        self.jobs[index].delete = Progress::Sent;
        client.send(format!("delete {id}\r\n").as_bytes())?;
        let reply = client.reply_line()?;
        if reply != "DELETED" {
            return Err(io::Error::other(format!("delete {id} is answered {reply}")));
        }
        self.jobs[index].delete = Progress::Done;
        Ok(())
    }

    fn priority(&mut self) -> u32 {
        u32::try_from(self.random.within(0..2000)).expect("a small number")
    }
}
