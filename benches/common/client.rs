//! A blocking client for what is not measured closely: preparing a server and asking for its
//! statistics.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::wire::{Reply, next_reply};

/// How long a single reply may take before the run counts as hung.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
const READ_SIZE_BYTES: usize = 64 * 1024;

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    consumed: usize,
}

impl Client {
    /// Connects, with Nagle's algorithm off.
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect(address)?)
    }

    /// Over a connection that is there.
    pub(crate) fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        Ok(Self { stream, received: Vec::new(), consumed: 0 })
    }

    /// Sends whole commands, one or many.
    pub(crate) fn send(&mut self, commands: &[u8]) -> io::Result<()> {
        self.stream.write_all(commands)
    }

    /// Waits for the next reply.
    pub(crate) fn receive(&mut self) -> io::Result<Reply<'_>> {
        while next_reply(&self.received[self.consumed..]).is_none() {
            self.fill()?;
        }
        let (reply, length) =
            next_reply(&self.received[self.consumed..]).expect("the loop above saw a whole reply");
        self.consumed += length;
        Ok(reply)
    }

    /// Whether `receive` would return at once.
    pub(crate) fn has_reply(&self) -> bool {
        next_reply(&self.received[self.consumed..]).is_some()
    }

    /// One field of `stats-tube default`.
    pub(crate) fn default_tube_stat(&mut self, field: &str) -> io::Result<u64> {
        self.stat("stats-tube default", field)
    }

    /// One field of what `command`, without CR LF, answers.
    pub(crate) fn stat(&mut self, command: &str, field: &str) -> io::Result<u64> {
        self.send(format!("{command}\r\n").as_bytes())?;
        let Reply::Ok(yaml) = self.receive()? else {
            let refused = format!("{command} was refused");
            return Err(io::Error::new(io::ErrorKind::InvalidData, refused));
        };
        let yaml = String::from_utf8_lossy(yaml);
        let value = yaml.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(": "));
        value.and_then(|value| value.parse().ok()).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{command} has no {field}"))
        })
    }

    fn fill(&mut self) -> io::Result<()> {
        self.received.drain(..self.consumed);
        self.consumed = 0;
        let filled = self.received.len();
        self.received.resize(filled + READ_SIZE_BYTES, 0);
        let read = loop {
            match self.stream.read(&mut self.received[filled..]) {
                // A read with a timeout is never begun again by the kernel.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let count = read?;
        self.received.truncate(filled + count);
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server hung up"));
        }
        Ok(())
    }
}
