//! A blocking client that sends bytes and reads replies, and knows nothing of what they mean.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::clock::now;

/// How long a reply that must come may take. Long, because tests share few cores; a server that
/// keeps its promises never uses it up.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long it may take to connect.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// One connection to a server.
#[derive(Debug)]
pub struct Client {
    stream: Stream,
    unread: Vec<u8>,
    /// Nothing more can be received; an unexpected end of file if the server closed.
    ended: Option<io::ErrorKind>,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Client {
    /// Connects over TCP, without delaying small packets.
    pub fn tcp(port: u16) -> io::Result<Self> {
        Self::to(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// Connects over TCP to any address. Gives up after a while: a cut cable says nothing.
    pub fn to(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, CONNECT_LIMIT)?;
        stream.set_nodelay(true)?;
        Ok(Self::over(Stream::Tcp(stream)))
    }

    /// Connects over a Unix socket.
    pub fn unix(path: &Path) -> io::Result<Self> {
        Ok(Self::over(Stream::Unix(UnixStream::connect(path)?)))
    }

    fn over(stream: Stream) -> Self {
        Self { stream, unread: Vec::new(), ended: None }
    }

    /// Sends `bytes` in one write.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(bytes),
            Stream::Unix(stream) => stream.write_all(bytes),
        }
    }

    /// Says that nothing more will be sent; replies can still be read.
    pub fn half_close(&mut self) -> io::Result<()> {
        match &self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    /// Gives up sending after `timeout`.
    pub fn limit_sending(&mut self, timeout: Duration) -> io::Result<()> {
        match &self.stream {
            Stream::Tcp(stream) => stream.set_write_timeout(Some(timeout)),
            Stream::Unix(stream) => stream.set_write_timeout(Some(timeout)),
        }
    }

    /// What has been received and not been taken.
    pub fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// Takes the first `count` bytes that have been received.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        self.unread.drain(..count).collect()
    }

    /// Waits for more bytes: false when none came within `timeout` or the server closed.
    pub fn receive(&mut self, timeout: Duration) -> bool {
        if self.ended.is_some() {
            return false;
        }
        let deadline = now() + timeout;
        let mut buffer = [0; 16 * 1024];
        let ended = loop {
            match self.stream.read_within(deadline.saturating_duration_since(now()), &mut buffer) {
                Ok(0) => break io::ErrorKind::UnexpectedEof,
                Ok(count) => {
                    self.unread.extend_from_slice(&buffer[..count]);
                    return true;
                }
                // A read with a timeout is never begun again by the kernel. The signal may be for
                // another thread: that a child of that one has ended, while it starts the next.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => return false,
                Err(error) => break error.kind(),
            }
        };
        self.ended = Some(ended);
        false
    }

    /// Waits until `count` bytes are unread.
    pub fn receive_at_least(&mut self, count: usize, timeout: Duration) -> bool {
        let deadline = now() + timeout;
        while self.unread.len() < count {
            if !self.receive(deadline.saturating_duration_since(now())) {
                return false;
            }
        }
        true
    }

    /// Waits for a line that ends in `end` and takes it, its end included.
    pub fn line(&mut self, end: &[u8], timeout: Duration) -> Option<Vec<u8>> {
        let deadline = now() + timeout;
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|window| window == end) {
                return Some(self.take(at + end.len()));
            }
            if !self.receive(deadline.saturating_duration_since(now())) {
                return None;
            }
        }
    }

    /// Waits for a whole reply and takes it, the body of `OK`, `FOUND` and `RESERVED` included.
    pub fn reply(&mut self, timeout: Duration) -> Option<Vec<u8>> {
        let mut reply = self.line(b"\r\n", timeout)?;
        if let Some(body_size) = announced_body_size(&reply) {
            if !self.receive_at_least(body_size + 2, timeout) {
                return None;
            }
            reply.extend(self.take(body_size + 2));
        }
        Some(reply)
    }

    /// Sends `command`, a line without its end, and waits for the reply.
    pub fn ask(&mut self, command: &str) -> io::Result<String> {
        self.send(format!("{command}\r\n").as_bytes())?;
        self.reply_line()
    }

    /// Waits for a reply that must come, and returns it without its line end.
    ///
    /// # Errors
    ///
    /// `TimedOut` when there is none; `UnexpectedEof` when the server has closed.
    pub fn reply_line(&mut self) -> io::Result<String> {
        let reply = self.reply(PATIENCE);
        let reply = reply.ok_or(self.ended.unwrap_or(io::ErrorKind::TimedOut))?;
        Ok(String::from_utf8_lossy(&reply).trim_end_matches("\r\n").to_owned())
    }

    /// Puts a job of this body and returns the reply without its line end.
    pub fn put(&mut self, arguments: &str, body: &[u8]) -> io::Result<String> {
        let mut bytes = format!("put {arguments} {}\r\n", body.len()).into_bytes();
        bytes.extend_from_slice(body);
        bytes.extend_from_slice(b"\r\n");
        self.send(&bytes)?;
        self.reply_line()
    }

    /// True when no byte came for the whole of `duration` and the server did not close either.
    pub fn is_silent_for(&mut self, duration: Duration) -> bool {
        self.unread.is_empty() && !self.receive(duration) && self.ended.is_none()
    }

    /// True when the server closed the connection within `timeout`, with nothing left to read.
    pub fn is_closed_within(&mut self, timeout: Duration) -> bool {
        self.unread.is_empty() && !self.receive(timeout) && self.ended.is_some()
    }
}

impl Stream {
    /// Reads what is there, or comes within `timeout`.
    fn read_within(&mut self, timeout: Duration, buffer: &mut [u8]) -> io::Result<usize> {
        // Zero would mean no timeout at all.
        let timeout = Some(timeout.max(Duration::from_millis(1)));
        match self {
            Self::Tcp(stream) => {
                stream.set_read_timeout(timeout)?;
                stream.read(buffer)
            }
            Self::Unix(stream) => {
                stream.set_read_timeout(timeout)?;
                stream.read(buffer)
            }
        }
    }
}

/// The size in the last word of a reply's line that announces a body; line ends excluded.
fn announced_body_size(line: &[u8]) -> Option<usize> {
    let line = str::from_utf8(line).ok()?.trim_end_matches("\r\n");
    let has_body = ["OK ", "FOUND ", "RESERVED "].iter().any(|word| line.starts_with(word));
    if has_body { line.rsplit(' ').next()?.parse().ok() } else { None }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
