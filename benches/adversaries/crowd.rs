//! Many connections that all send the same, from a few threads.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};

use crate::common::{Fallible, section::Section};

const THREADS: u64 = 4;
/// A server that takes nothing from a connection for so long has its reasons.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Of replies that are not as hoped for, as many bytes are told apart.
const TOLD_BYTES: usize = 24;

/// What each connection does.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    /// What it sends at once.
    pub(crate) commands: Vec<u8>,
    /// Lines that it reads then.
    pub(crate) replies: u64,
    /// How a line begins that is as hoped for.
    pub(crate) hoped_for: &'static str,
    /// The size of its receive buffer, if not the system's.
    pub(crate) receive_buffer_bytes: Option<usize>,
}

/// The connections, which stay open until this is dropped.
#[derive(Default)]
pub(crate) struct Crowd {
    streams: Vec<TcpStream>,
    /// What was told instead of what was hoped for, and how often.
    refusals: BTreeMap<String, u64>,
}

impl Crowd {
    /// Opens `count` connections. That the server refuses some is a result, not an error.
    ///
    /// # Errors
    /// When the bench itself may not open so many.
    pub(crate) fn gather(address: SocketAddr, count: u64, manner: &Manner) -> Fallible<Self> {
        let parts = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let share = count / THREADS + u64::from(thread < count % THREADS);
                    scope.spawn(move || Self::gather_part(address, share, manner))
                })
                .collect();
            let join = |thread: thread::ScopedJoinHandle<'_, Self>| {
                thread.join().expect("a panic here is a bug of the bench")
            };
            threads.into_iter().map(join).collect::<Vec<_>>()
        });
        let mut all = Self::default();
        for part in parts {
            all.streams.extend(part.streams);
            for (refusal, times) in part.refusals {
                *all.refusals.entry(refusal).or_default() += times;
            }
        }
        Ok(all)
    }

    /// How many are open, and what was refused.
    pub(crate) fn report(&self, section: &mut Section) {
        section.figure("its connections that stay", self.streams.len());
        for (refusal, times) in &self.refusals {
            section.figure(&format!("it was told `{refusal}`"), times);
        }
    }

    fn gather_part(address: SocketAddr, count: u64, manner: &Manner) -> Self {
        let mut crowd = Self::default();
        for _ in 0..count {
            match crowd.send_one(address, manner) {
                Ok(stream) => crowd.streams.push(stream),
                Err(error) => crowd.refuse(&error.kind().to_string()),
            }
        }
        crowd
    }

    fn send_one(&mut self, address: SocketAddr, manner: &Manner) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if let Some(bytes) = manner.receive_buffer_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.connect(&address.into())?;
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.write_all(&manner.commands)?;
        // Nothing is read ahead: as many lines are awaited as will come.
        let mut lines = BufReader::new(&stream);
        let mut line = Vec::new();
        for _ in 0..manner.replies {
            line.clear();
            if lines.read_until(b'\n', &mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if !line.starts_with(manner.hoped_for.as_bytes()) {
                let told = &line[..line.len().min(TOLD_BYTES)];
                self.refuse(String::from_utf8_lossy(told).trim());
            }
        }
        Ok(stream)
    }

    fn refuse(&mut self, what: &str) {
        *self.refusals.entry(what.to_owned()).or_default() += 1;
    }
}

/// Lets the bench, and the server that it starts, open as many files as the system allows.
///
/// # Errors
/// When the limit cannot be set.
pub(crate) fn raise_file_limit() -> Fallible<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(())
}
