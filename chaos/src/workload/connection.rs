//! One connection to a member: one command at a time, and a record of each.
//!
//! What is cut off or not answered in time is [`Outcome::Unknown`]: the bytes may have arrived, and
//! may still. Only what never left is [`Outcome::NoEffect`]. Whatever is not an answer to the
//! command ends the connection, for nobody knows what the next bytes belong to.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::clock::{self, Moment};
use crate::history::{Command, Outcome, Record, Reply};

use super::encode::bytes_of;
use super::reply::{Parsed, Watched, parse, shown};
use super::tally::Recorder;

/// How long connecting may take: a member that was cut off says nothing.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Read at a time.
const READ_BYTES: usize = 64 * 1024;
const FIRST_TUBE: &str = "default";

/// The connection is over, and a record says so; there may be another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended;

/// Who speaks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Which client.
    pub(super) client: u32,
    /// Which of its connections, from 1.
    pub(super) connection: u32,
    /// The place of the member.
    pub(super) member: u32,
}

/// A connection, not pipelined.
#[derive(Debug)]
pub(super) struct Connection {
    place: Place,
    stream: TcpStream,
    unread: Vec<u8>,
    /// As the member has acknowledged them.
    used: String,
    watched: Vec<String>,
    /// The last moment at which it was surely there: before the last command that was answered.
    /// Not after its answer, which may have been on its way while the connection ended already and
    /// what it held went to others.
    last_seen: Moment,
    reply_limit: Duration,
    recorder: Arc<Recorder>,
}

/// How far a command got.
enum Exchange {
    Replied(Reply),
    /// It surely had no effect.
    NotSent(String),
    Unknown(String),
}

impl Connection {
    /// Connects. A reply is waited for until `reply_limit` after the moment at which the member has
    /// to give one.
    pub(super) fn open(
        place: Place,
        address: SocketAddr,
        reply_limit: Duration,
        recorder: &Arc<Recorder>,
    ) -> Result<Self, Ended> {
        let invoked = recorder.now();
        let connected = connect(address);
        let returned = recorder.now();
        let outcome = match &connected {
            Ok(_) => Outcome::Replied(Reply::Done),
            Err(error) if is_refusal(error) => Outcome::NoEffect { why: error.to_string() },
            Err(error) => Outcome::Unknown { why: error.to_string() },
        };
        let command = Command::Connect;
        recorder.write(record(place, (invoked, returned), command, outcome));
        Ok(Self {
            place,
            stream: connected.map_err(|_| Ended)?,
            unread: Vec::new(),
            used: FIRST_TUBE.to_owned(),
            watched: vec![FIRST_TUBE.to_owned()],
            last_seen: invoked,
            reply_limit,
            recorder: Arc::clone(recorder),
        })
    }

    /// The tube that puts, kicks and peeks are about.
    pub(super) fn used(&self) -> &str {
        &self.used
    }

    /// The tubes that reserves take from.
    pub(super) fn watched(&self) -> &[String] {
        &self.watched
    }

    /// Asks and waits for the reply.
    ///
    /// # Errors
    ///
    /// When the connection has ended; nothing may be asked of it any more.
    ///
    /// # Panics
    ///
    /// When the command is none of the protocol.
    pub(super) fn ask(&mut self, command: Command) -> Result<Reply, Ended> {
        if self.unread.is_empty() && self.receive(clock::now()).is_err() {
            return Err(self.end());
        }
        let invoked = self.recorder.now();
        let exchange = self.exchange(&command);
        let returned = self.recorder.now();
        if let Exchange::Replied(reply) = &exchange {
            self.last_seen = invoked;
            self.follow(&command, reply);
        }
        let (outcome, reply) = match exchange {
            Exchange::Replied(reply) => (Outcome::Replied(reply.clone()), Some(reply)),
            Exchange::NotSent(why) => (Outcome::NoEffect { why }, None),
            Exchange::Unknown(why) => (Outcome::Unknown { why }, None),
        };
        self.recorder.write(record(self.place, (invoked, returned), command, outcome));
        match reply {
            None | Some(Reply::Illegal { .. }) => Err(self.end()),
            Some(reply) => Ok(reply),
        }
    }

    /// Closes it. All replies have been read.
    pub(super) fn close(self) {
        let invoked = self.recorder.now();
        // One that the member has closed already is closed all the same.
        drop(self.stream.shutdown(Shutdown::Both));
        drop(self.stream);
        let times = (invoked, self.recorder.now());
        let done = Outcome::Replied(Reply::Done);
        self.recorder.write(record(self.place, times, Command::Close, done));
    }

    /// Writes down that it has ended.
    fn end(&self) -> Ended {
        // So that a frozen member finds no more of it than what it was sent.
        drop(self.stream.shutdown(Shutdown::Both));
        let times = (self.last_seen, self.recorder.now());
        let done = Outcome::Replied(Reply::Done);
        self.recorder.write(record(self.place, times, Command::Broken, done));
        Ended
    }

    /// Sends a command and reads its reply.
    fn exchange(&mut self, command: &Command) -> Exchange {
        if !self.unread.is_empty() {
            let text = format!("not asked for: {}", shown(&self.unread));
            return Exchange::Replied(Reply::Illegal { text });
        }
        let bytes = bytes_of(command).expect("a command of the protocol");
        let deadline = clock::now() + self.reply_limit + waiting_time(command);
        if let Err((sent, error)) = self.send(&bytes, deadline) {
            let why = format!("{sent} of {} bytes sent: {error}", bytes.len());
            return if sent == 0 { Exchange::NotSent(why) } else { Exchange::Unknown(why) };
        }
        loop {
            if let Parsed::Whole(reply, length) =
                parse(command, self.watches(command), &self.unread)
            {
                self.unread.drain(..length);
                return Exchange::Replied(reply);
            }
            match self.receive(deadline) {
                Ok(true) => {}
                Ok(false) => return Exchange::Unknown("no reply in time".to_owned()),
                Err(error) => return Exchange::Unknown(error.to_string()),
            }
        }
    }

    fn watches(&self, command: &Command) -> Watched {
        let tube = match command {
            Command::Watch { tube } | Command::Ignore { tube } => Some(tube),
            _ => None,
        };
        let has_tube = tube.is_some_and(|tube| self.watched.contains(tube));
        Watched { count: self.watched.len(), has_tube }
    }

    /// What `use`, `watch` and `ignore` have changed.
    fn follow(&mut self, command: &Command, reply: &Reply) {
        match (command, reply) {
            (Command::Use { tube }, Reply::Using) => self.used.clone_from(tube),
            (Command::Watch { tube }, Reply::Watching) if !self.watched.contains(tube) => {
                self.watched.push(tube.clone());
            }
            (Command::Ignore { tube }, Reply::Watching) => {
                self.watched.retain(|watched| watched != tube);
            }
            _ => {}
        }
    }

    /// Sends all bytes, or says how many have left and why no more.
    fn send(&mut self, bytes: &[u8], deadline: Instant) -> Result<(), (usize, io::Error)> {
        let mut sent = 0;
        while sent < bytes.len() {
            match self.stream.write(&bytes[sent..]) {
                Ok(0) => return Err((sent, io::ErrorKind::WriteZero.into())),
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match self.wait(PollFlags::OUT, deadline) {
                        Ok(true) => {}
                        Ok(false) => return Err((sent, io::ErrorKind::TimedOut.into())),
                        Err(error) => return Err((sent, error)),
                    }
                }
                Err(error) => return Err((sent, error)),
            }
        }
        Ok(())
    }

    /// Receives what is there, or comes until `deadline`: false when nothing does.
    fn receive(&mut self, deadline: Instant) -> io::Result<bool> {
        let mut buffer = [0; READ_BYTES];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::Error::other("closed by the member")),
                Ok(count) => {
                    self.unread.extend_from_slice(&buffer[..count]);
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !self.wait(PollFlags::IN, deadline)? {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the socket is ready: false when it is not until `deadline`.
    fn wait(&self, flags: PollFlags, deadline: Instant) -> io::Result<bool> {
        loop {
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                return Ok(false);
            }
            let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(&self.stream, flags)], Some(&timeout)) {
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(true),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, CONNECT_LIMIT)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Nobody is there who could have seen anything.
fn is_refusal(error: &io::Error) -> bool {
    let kinds = [
        io::ErrorKind::ConnectionRefused,
        io::ErrorKind::HostUnreachable,
        io::ErrorKind::NetworkUnreachable,
    ];
    kinds.contains(&error.kind())
}

/// How long the member was asked to wait before it answers.
fn waiting_time(command: &Command) -> Duration {
    match command {
        Command::Reserve { timeout: Some(seconds), .. } => Duration::from_secs((*seconds).into()),
        _ => Duration::ZERO,
    }
}

fn record(place: Place, times: (Moment, Moment), command: Command, outcome: Outcome) -> Record {
    let Place { client, connection, member } = place;
    let (invoked, returned) = times;
    Record { client, connection, member, invoked, returned, command, outcome }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
