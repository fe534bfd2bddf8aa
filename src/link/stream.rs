//! An established link: frames in, frames out, and how it ends.
//!
//! How a link ended is evidence (DESIGN D15): a FIN or RST of the other side is told apart from
//! silence, and from what our own side closed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::error::LinkError;
use super::frame::{FRAME_BYTES_MAX, Frame, FrameDecoder, write_frame};

/// What a writer may hold before the next frame is fed to it, included, bytes. Users flush long
/// before: this is where a mistake of theirs ends.
pub const BUFFERED_BYTES_MAX: usize = FRAME_BYTES_MAX;

/// How long the kernel tries to deliver what is not acknowledged. Without it, TCP's pauses between
/// attempts double, and outlive a partition by its own length (reliability.md 6.3).
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(3);

/// After how much silence the kernel asks whether the other machine is there, and how often.
const KEEPALIVE: Duration = Duration::from_secs(1);

/// How long a write may make no progress.
const STALL_MAX: Duration = Duration::from_secs(5);

/// What a writer keeps of its buffer for the next frames, bytes.
const KEPT_BUFFER_BYTES: usize = 1 << 20;

/// An authenticated connection to another member.
#[derive(Debug)]
pub struct Link {
    stream: TcpStream,
    stall_max: Duration,
}

impl Link {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self::with_stall_max(stream, STALL_MAX)
    }

    pub(super) fn with_stall_max(stream: TcpStream, stall_max: Duration) -> Self {
        Self { stream, stall_max }
    }

    /// One half for each direction. Dropping the writer tells the other side that nothing more
    /// comes; dropping both closes the connection.
    pub fn split(self) -> (LinkReader, LinkWriter) {
        let (reading, writing) = self.stream.into_split();
        let is_closed_here = Arc::new(AtomicBool::new(false));
        let reader = LinkReader {
            stream: reading,
            decoder: FrameDecoder::new(),
            is_closed_here: Arc::clone(&is_closed_here),
        };
        let writer = LinkWriter {
            stream: writing,
            buffer: Vec::new(),
            sent: 0,
            stall_max: self.stall_max,
            is_closed_here,
        };
        (reader, writer)
    }
}

/// Reads the frames of a link.
#[derive(Debug)]
pub struct LinkReader {
    stream: OwnedReadHalf,
    decoder: FrameDecoder,
    /// Set before our side ends the connection, so that what follows is not taken for the other's.
    is_closed_here: Arc<AtomicBool>,
}

impl LinkReader {
    /// The next frame; `None` when the other side has ended the link between two frames.
    ///
    /// Cancel-safe: what has arrived is kept for the next call.
    ///
    /// # Errors
    ///
    /// [`LinkError`]. What came is no frame: the link is closed.
    pub async fn next(&mut self) -> Result<Option<Frame>, LinkError> {
        loop {
            if let Some(frame) = self.next_arrived()? {
                return Ok(Some(frame));
            }
            let read = self.stream.read_buf(&mut self.decoder.space()).await;
            match read {
                _ if self.is_closed_here.load(Ordering::Relaxed) => {
                    return Err(LinkError::ClosedHere);
                }
                Ok(0) if self.decoder.is_between_frames() => return Ok(None),
                Ok(0) => return Err(LinkError::Closed),
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// As [`next`](Self::next), for at most `limit`. When that has passed, nothing is lost and the
    /// link is as it was: what silence means is for the caller to say.
    ///
    /// # Errors
    ///
    /// [`LinkError`], and [`LinkError::TimedOut`] after `limit`.
    pub async fn next_within(&mut self, limit: Duration) -> Result<Option<Frame>, LinkError> {
        timeout(limit, self.next()).await.unwrap_or(Err(LinkError::TimedOut))
    }

    /// The next frame if it has been read already.
    ///
    /// # Errors
    ///
    /// What was read is no frame: the link is closed.
    pub fn next_arrived(&mut self) -> Result<Option<Frame>, LinkError> {
        if self.is_closed_here.load(Ordering::Relaxed) {
            return Err(LinkError::ClosedHere);
        }
        self.decoder.take().inspect_err(|_| end(self.stream.as_ref(), &self.is_closed_here))
    }
}

/// Writes frames to a link: into a buffer first, which [`flush`](Self::flush) sends.
#[derive(Debug)]
pub struct LinkWriter {
    stream: OwnedWriteHalf,
    buffer: Vec<u8>,
    /// How much of the buffer the kernel has taken.
    sent: usize,
    stall_max: Duration,
    is_closed_here: Arc<AtomicBool>,
}

impl LinkWriter {
    /// Adds a frame to the buffer.
    ///
    /// # Panics
    ///
    /// When the buffer has more than [`BUFFERED_BYTES_MAX`] already, or the body is over
    /// [`FRAME_BYTES_MAX`].
    pub fn feed(&mut self, kind: u8, id: u64, body: &[u8]) {
        self.feed_with(kind, id, |buffer| buffer.extend_from_slice(body));
    }

    /// Adds a frame whose body `write` appends.
    ///
    /// # Panics
    ///
    /// As [`feed`](Self::feed), and when `write` takes away what was there before.
    pub fn feed_with(&mut self, kind: u8, id: u64, write: impl FnOnce(&mut Vec<u8>)) {
        let buffered = self.buffered();
        assert!(buffered <= BUFFERED_BYTES_MAX, "fed on with {buffered} bytes unsent");
        write_frame(&mut self.buffer, kind, id, write);
    }

    /// How much waits to be sent, bytes. Users flush when it is about a megabyte.
    pub fn buffered(&self) -> usize {
        self.buffer.len() - self.sent
    }

    /// Sends what was fed.
    ///
    /// Cancel-safe: what was not sent is sent by the next call.
    ///
    /// # Errors
    ///
    /// [`LinkError::TimedOut`] when nothing could be sent for 5 s, and what the kernel says. The
    /// link is closed then, for reading too.
    pub async fn flush(&mut self) -> Result<(), LinkError> {
        while self.buffered() > 0 {
            if self.is_closed_here.load(Ordering::Relaxed) {
                return Err(LinkError::ClosedHere);
            }
            match self.stream.try_write(&self.buffer[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(error) => return Err(self.fail(error.into())),
            }
        }
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BUFFER_BYTES);
        self.sent = 0;
        Ok(())
    }

    /// Ends the link at once, for both directions. The reader sees [`LinkError::ClosedHere`].
    pub fn close(&mut self) {
        end(self.stream.as_ref(), &self.is_closed_here);
    }

    async fn writable(&mut self) -> Result<(), LinkError> {
        match timeout(self.stall_max, self.stream.writable()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.fail(error.into())),
            Err(_) => Err(self.fail(LinkError::TimedOut)),
        }
    }

    fn fail(&mut self, error: LinkError) -> LinkError {
        self.close();
        error
    }
}

/// Sets what every connection between members has. The sizes of the kernel's buffers are left to
/// the kernel.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))
}

fn end(stream: &TcpStream, is_closed_here: &AtomicBool) {
    is_closed_here.store(true, Ordering::Relaxed);
    // It fails when the other side was quicker: then there is nothing left to end.
    let _ = SockRef::from(stream).shutdown(std::net::Shutdown::Both);
}
