//! The consumer: one connection that reserves with many in flight, has each job judged, and
//! deletes it, or buries it.

use std::{collections::VecDeque, io::Write, net::SocketAddr, time::Duration};

use super::{jobs::Jobs, judge::Judge, progress::Progress};
use crate::common::{Fallible, client::Client, clock, wire::Reply};

/// How long a reserve waits on the server. A job that is there comes at once, so that one which
/// stays away so long is lost; what is not due yet is asked for again.
const WAIT_SECONDS: u32 = 20;
const STATES: [&str; 4] =
    ["current-jobs-ready", "current-jobs-reserved", "current-jobs-delayed", "current-jobs-buried"];

/// What is done with a job that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Delete,
    Bury,
}

/// One connection and what it waits for.
pub(crate) struct Taker {
    client: Client,
    jobs: Jobs,
    judge: Judge,
    then: Then,
    depth: u64,
    /// Until then, after the origin of the jobs, some can still be delayed.
    last_due: Duration,
    out: Vec<u8>,
    expected: VecDeque<Expected>,
    reserves: u64,
    tube: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Job,
    Done,
    Watching,
}

/// A reply with nothing borrowed.
enum Came {
    Job(u64),
    Nothing,
    Expected,
}

impl Taker {
    /// Connects, to the tube `default`.
    ///
    /// # Errors
    /// When there is no connection.
    pub(crate) fn connect(
        address: SocketAddr,
        judge: Judge,
        jobs: Jobs,
        depth: u64,
    ) -> Fallible<Self> {
        Ok(Self {
            client: Client::connect(address)?,
            jobs,
            judge,
            then: Then::Delete,
            depth,
            last_due: jobs.last_due(),
            out: Vec::new(),
            expected: VecDeque::new(),
            reserves: 0,
            tube: None,
        })
    }

    /// From now on jobs are buried.
    pub(crate) fn bury(&mut self) {
        self.then = Then::Bury;
    }

    /// What has come.
    pub(crate) fn judge(&self) -> &Judge {
        &self.judge
    }

    /// Turns to another tube; not while jobs are awaited.
    pub(crate) fn enter_tube(&mut self, tube: u64) -> Fallible<()> {
        self.judge.enter_tube(tube);
        write!(self.out, "watch t{tube}\r\n")?;
        match self.tube.replace(tube) {
            Some(left) => write!(self.out, "ignore t{left}\r\n")?,
            None => self.out.extend_from_slice(b"ignore default\r\n"),
        }
        self.expected.extend([Expected::Watching; 2]);
        Ok(())
    }

    /// Takes `count` jobs. The last deletes can still be under way: see `settle`.
    ///
    /// # Errors
    /// When a promise is broken, or a job stays away.
    pub(crate) fn take(&mut self, count: u64, progress: &Progress<'_>) -> Fallible<()> {
        let (mut to_ask, mut to_come) = (count, count);
        while to_come > 0 {
            while to_ask > 0 && self.reserves < self.depth {
                write!(self.out, "reserve-with-timeout {WAIT_SECONDS}\r\n")?;
                self.expected.push_back(Expected::Job);
                self.reserves += 1;
                to_ask -= 1;
            }
            match self.next()? {
                Came::Job(id) => {
                    to_come -= 1;
                    progress.add(1);
                    self.finish_job(id)?;
                }
                Came::Nothing => to_ask += 1,
                Came::Expected => {}
            }
        }
        Ok(())
    }

    /// Waits until all is answered.
    ///
    /// # Errors
    /// When a reply is wrong.
    pub(crate) fn settle(&mut self) -> Fallible<()> {
        while !self.expected.is_empty() {
            self.next()?;
        }
        Ok(())
    }

    /// Kicks up to `bound` jobs of the tube `default`; how many there were.
    ///
    /// # Errors
    /// When it is answered with something else.
    pub(crate) fn kick(&mut self, bound: u64) -> Fallible<u64> {
        self.settle()?;
        self.client.send(format!("kick {bound}\r\n").as_bytes())?;
        let reply = self.client.receive()?;
        if let Reply::Line(line) = reply
            && let Some(number) = line.strip_prefix(b"KICKED ")
        {
            return Ok(std::str::from_utf8(number)?.parse()?);
        }
        Err(format!("kick was answered with {reply:?}").into())
    }

    /// All must have come, and nothing may be left on the server.
    ///
    /// # Errors
    /// When it is not so.
    pub(crate) fn check_all_came(&mut self) -> Fallible<()> {
        self.settle()?;
        if self.judge.missing() > 0 {
            return Err(self.lost());
        }
        for state in STATES {
            let left = self.client.stat("stats", state)?;
            if left > 0 {
                return Err(format!("all have come, and {state} is {left}").into());
            }
        }
        Ok(())
    }

    fn finish_job(&mut self, id: u64) -> Fallible<()> {
        match self.then {
            Then::Delete => write!(self.out, "delete {id}\r\n")?,
            Then::Bury => write!(self.out, "bury {id} 0\r\n")?,
        }
        self.expected.push_back(Expected::Done);
        Ok(())
    }

    /// The next reply. What is to be sent goes out when there is nothing more to read.
    fn next(&mut self) -> Fallible<Came> {
        if !self.client.has_reply() && !self.out.is_empty() {
            self.client.send(&self.out)?;
            self.out.clear();
        }
        let expected = self.expected.pop_front().ok_or("nothing is awaited")?;
        self.reserves -= u64::from(expected == Expected::Job);
        match (expected, self.client.receive()?) {
            (Expected::Job, Reply::Reserved { id, body }) => {
                self.judge.came(id, body, clock::now() - self.jobs.origin())?;
                Ok(Came::Job(id))
            }
            (Expected::Job, Reply::Line(b"TIMED_OUT")) => {
                let wait = Duration::from_secs(WAIT_SECONDS.into());
                let is_lost = clock::now() - self.jobs.origin() > self.last_due + wait;
                if is_lost { Err(self.lost()) } else { Ok(Came::Nothing) }
            }
            (Expected::Done, Reply::Deleted) if self.then == Then::Delete => Ok(Came::Expected),
            (Expected::Done, Reply::Line(b"BURIED")) if self.then == Then::Bury => {
                Ok(Came::Expected)
            }
            (Expected::Watching, Reply::Line(line)) if line.starts_with(b"WATCHING ") => {
                Ok(Came::Expected)
            }
            (_, other) => Err(format!("{expected:?} was answered with {other:?}").into()),
        }
    }

    fn lost(&mut self) -> Box<dyn std::error::Error + Send + Sync> {
        let (missing, all) = (self.judge.missing(), self.jobs.count);
        format!("{missing} of {all} jobs stay away").into()
    }
}
