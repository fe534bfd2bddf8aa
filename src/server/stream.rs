//! The byte stream of a client: TCP or a Unix socket. Both ends of the API are non-blocking.

use std::io;

use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

/// A connected client.
#[derive(Debug)]
pub(super) enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

impl Stream {
    /// Reads what is there. `Ok(0)` is the end of the client's input.
    ///
    /// A read that does not fill `buffer` has emptied the socket. It is reported to tokio as one
    /// that would block, so that the next wait does not begin with a read in vain: that is one call
    /// of the kernel in four for a client that sends one command at a time.
    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut taken = None;
        let read = || {
            let count = match self {
                Self::Tcp(stream) => rustix::io::read(stream, &mut *buffer)?,
                Self::Unix(stream) => rustix::io::read(stream, &mut *buffer)?,
            };
            taken = Some(count);
            match count > 0 && count < buffer.len() {
                true => Err(io::ErrorKind::WouldBlock.into()),
                false => Ok(count),
            }
        };
        let outcome = match self {
            Self::Tcp(stream) => stream.try_io(Interest::READABLE, read),
            Self::Unix(stream) => stream.try_io(Interest::READABLE, read),
        };
        taken.map_or(outcome, Ok)
    }

    /// Writes what the socket takes now.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Unix(stream) => stream.try_write(bytes),
        }
    }

    /// Completes when `interest` may be acted on. Cancel-safe.
    pub(super) async fn ready(&self, interest: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.ready(interest).await.map(drop),
            Self::Unix(stream) => stream.ready(interest).await.map(drop),
        }
    }
}
