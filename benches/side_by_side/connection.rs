//! One connection of the load generator: sends a batch of commands of one kind, reads as many
//! replies, checks each, and goes on to the next kind.
//!
//! It never blocks and keeps no bytes but an incomplete reply.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::{AsFd, BorrowedFd},
    time::Instant,
};

use thiserror::Error;

use super::{
    batch::{Batch, BatchError, Step},
    cell::Shape,
    ledger::Ledger,
    wire::next_reply,
};
use crate::common::clock;

/// TTR of the jobs, in seconds: far longer than any cell, so that none expires.
const TTR_SECONDS: u32 = 3600;
const RESERVE: &[u8] = b"reserve\r\n";

/// Something that must not happen happened; the bench ends.
#[derive(Debug, Error)]
pub(crate) enum LoadError {
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The server hung up.
    #[error("the server hung up")]
    HungUp,
    /// A reply that must not be.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// No reply at all for a long time.
    #[error("no reply for {0} seconds with commands under way")]
    Stalled(u64),
}

/// The bytes of the commands that all connections send, made once.
pub(crate) struct Requests {
    body: Vec<u8>,
    puts: Vec<u8>,
    put_bytes: usize,
    reserves: Vec<u8>,
}

impl Requests {
    pub(crate) fn new(shape: Shape) -> Self {
        let body: Vec<u8> = (b'!'..=b'~').cycle().take(shape.body_bytes).collect();
        let mut put = format!("put 0 0 {TTR_SECONDS} {}\r\n", body.len()).into_bytes();
        put.extend_from_slice(&body);
        put.extend_from_slice(b"\r\n");
        let put_bytes = put.len();
        Self {
            body,
            put_bytes,
            puts: put.repeat(shape.depth),
            reserves: RESERVE.repeat(shape.depth),
        }
    }
}

/// What one readable event brought.
pub(crate) struct Progress {
    /// Replies that were read.
    pub(crate) replies: u64,
    /// Nanoseconds from the batch's start to now.
    pub(crate) latency_ns: u64,
    /// All replies of the batch are there.
    pub(crate) batch_done: bool,
}

/// One connection.
pub(crate) struct Connection {
    stream: TcpStream,
    batch: Batch,
    written: usize,
    started: Instant,
    incomplete: Vec<u8>,
    deletes: Vec<u8>,
}

impl Connection {
    /// Connects; from then on nothing blocks.
    pub(crate) fn open(address: SocketAddr, shape: Shape) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            batch: Batch::new(shape.depth),
            written: 0,
            started: clock::now(),
            incomplete: Vec::new(),
            deletes: Vec::new(),
        })
    }

    /// The commands under way, or the last ones.
    pub(crate) fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Sends `count` commands of one kind, as far as the socket takes them; true when all are out.
    pub(crate) fn begin(
        &mut self,
        step: Step,
        count: usize,
        requests: &Requests,
    ) -> Result<bool, LoadError> {
        self.batch.begin(step, count);
        self.written = 0;
        if step == Step::Delete {
            self.deletes.clear();
            for id in self.batch.reserved_ids() {
                write!(self.deletes, "delete {id}\r\n")?;
            }
        }
        self.started = clock::now();
        self.go_on_writing(requests)
    }

    /// Writes what the socket did not take before; true when all is out.
    pub(crate) fn go_on_writing(&mut self, requests: &Requests) -> Result<bool, LoadError> {
        let bytes = match self.batch.step() {
            Step::Put => &requests.puts[..self.batch.commands() * requests.put_bytes],
            Step::Reserve => &requests.reserves[..self.batch.commands() * RESERVE.len()],
            Step::Delete => &self.deletes,
        };
        while self.written < bytes.len() {
            match self.stream.write(&bytes[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Reads once into `scratch`, which must hold more than one whole reply, and checks the
    /// replies that are complete.
    pub(crate) fn read(
        &mut self,
        scratch: &mut [u8],
        requests: &Requests,
        ledger: &mut Ledger,
    ) -> Result<Progress, LoadError> {
        let kept = self.incomplete.len();
        scratch[..kept].copy_from_slice(&self.incomplete);
        let count = match self.stream.read(&mut scratch[kept..]) {
            Ok(0) => return Err(LoadError::HungUp),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error.into()),
        };
        let latency = clock::now() - self.started;
        let received = &scratch[..kept + count];
        let mut consumed = 0;
        let answered_before = self.batch.answered();
        while let Some((reply, length)) = next_reply(&received[consumed..]) {
            self.batch.answer(reply, &requests.body, ledger)?;
            consumed += length;
        }
        self.incomplete.clear();
        self.incomplete.extend_from_slice(&received[consumed..]);
        Ok(Progress {
            replies: u64::try_from(self.batch.answered() - answered_before)
                .expect("usize fits into u64"),
            latency_ns: u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX),
            batch_done: self.batch.answered() == self.batch.commands(),
        })
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
