//! Consumers that always wait for a job: many connections on one thread, each with a `reserve`
//! under way. A job is deleted at once, together with the next `reserve`.

use std::{
    error::Error,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
};

use super::common::{
    clock,
    wire::{Reply, next_reply},
};

const CONSUMERS: usize = 64;
const READ_SIZE_BYTES: usize = 64 * 1024;
const STALL_SECONDS: u32 = 120;

/// The waiting connections and what they have seen.
pub(crate) struct Consumers {
    epoll: OwnedFd,
    streams: Vec<(TcpStream, Vec<u8>)>,
    seen: Vec<bool>,
    deleted: usize,
    early: u64,
    lateness: Histogram<u64>,
}

impl Consumers {
    /// Connects and waits for `jobs` jobs, numbered from 0 in their bodies.
    pub(crate) fn open(address: SocketAddr, jobs: u32) -> Result<Self, Box<dyn Error>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut streams = Vec::new();
        for index in 0..CONSUMERS {
            let mut stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(&epoll, &stream, data, epoll::EventFlags::IN)?;
            stream.write_all(b"reserve\r\n")?;
            streams.push((stream, Vec::new()));
        }
        let seen = vec![false; jobs as usize];
        Ok(Self { epoll, streams, seen, deleted: 0, early: 0, lateness: Histogram::new(3)? })
    }

    /// Jobs that came before their time.
    pub(crate) fn early(&self) -> u64 {
        self.early
    }

    /// Takes and deletes all jobs; nanoseconds of lateness. Calls `each_second` about so often.
    pub(crate) fn run(
        &mut self,
        origin: Instant,
        mut each_second: impl FnMut(),
    ) -> Result<Histogram<u64>, Box<dyn Error>> {
        let mut events = Vec::with_capacity(CONSUMERS);
        let (mut last_second, mut quiet_seconds) = (0, 0);
        while self.deleted < self.seen.len() {
            events.clear();
            let second = Timespec { tv_sec: 1, tv_nsec: 0 };
            epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&second))?;
            quiet_seconds = if events.is_empty() { quiet_seconds + 1 } else { 0 };
            if quiet_seconds > STALL_SECONDS {
                let (seen, all) = (self.deleted, self.seen.len());
                return Err(format!("only {seen} of {all} jobs came").into());
            }
            for event in &events {
                self.serve(usize::try_from(event.data.u64())?, origin)?;
            }
            let now = (clock::now() - origin).as_secs();
            if now > last_second {
                last_second = now;
                each_second();
            }
        }
        Ok(self.lateness.clone())
    }

    fn serve(&mut self, index: usize, origin: Instant) -> Result<(), Box<dyn Error>> {
        let (stream, received) = &mut self.streams[index];
        let filled = received.len();
        received.resize(filled + READ_SIZE_BYTES, 0);
        let count = stream.read(&mut received[filled..])?;
        let arrived = clock::now() - origin;
        received.truncate(filled + count);
        if count == 0 {
            return Err("the server hung up".into());
        }
        let received = std::mem::take(received);
        let mut consumed = 0;
        while let Some((reply, length)) = next_reply(&received[consumed..]) {
            self.take(index, reply, arrived)?;
            consumed += length;
        }
        let kept = received[consumed..].to_vec();
        self.streams[index].1 = kept;
        Ok(())
    }

    fn take(
        &mut self,
        index: usize,
        reply: Reply<'_>,
        arrived: Duration,
    ) -> Result<(), Box<dyn Error>> {
        match reply {
            Reply::Deleted => self.deleted += 1,
            Reply::Reserved { id, body } => {
                let (number, due) = parse_body(body).ok_or("a body is not as it was put")?;
                let seen = self.seen.get_mut(number).ok_or("a job that was never put")?;
                if std::mem::replace(seen, true) {
                    return Err(format!("job {id} came twice").into());
                }
                self.early += u64::from(arrived < due);
                let late = arrived.saturating_sub(due);
                self.lateness.record(u64::try_from(late.as_nanos())?)?;
                // One write: `write!` on a socket sends each piece by itself.
                let commands = format!("delete {id}\r\nreserve\r\n");
                self.streams[index].0.write_all(commands.as_bytes())?;
            }
            other => return Err(format!("a consumer was told {other:?}").into()),
        }
        Ok(())
    }
}

/// The job's number and when it is due, after the origin.
fn parse_body(body: &[u8]) -> Option<(usize, Duration)> {
    let (number, due) = std::str::from_utf8(body).ok()?.split_once(' ')?;
    Some((number.parse().ok()?, Duration::from_nanos(due.parse().ok()?)))
}
