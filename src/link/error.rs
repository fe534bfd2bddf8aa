//! How a link ends that has not simply been closed between two frames.

use std::io;

/// Why a link is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The other side ended it: by a reset, or by an orderly end inside a frame.
    #[error("closed by the other side")]
    Closed,
    /// Our own side had ended it before, after another error.
    #[error("closed by our own side")]
    ClosedHere,
    /// Not done within its limit, or the other machine acknowledges nothing.
    #[error("timed out")]
    TimedOut,
    /// What came is no frame: it has another checksum than it says.
    #[error("checksum {found:08x} of a frame that says {said:08x}")]
    Corrupt {
        /// What the header says.
        said: u32,
        /// What was computed.
        found: u32,
    },
    /// What came is no frame: its body is announced longer than is allowed.
    #[error("a body of {len} bytes, and at most {max} are allowed")]
    TooLarge {
        /// As announced.
        len: usize,
        /// What is allowed.
        max: usize,
    },
    /// An answer to something else than was asked.
    #[error("an answer to request {answered}, asked was {asked}")]
    Misanswered {
        /// The request that is under way.
        asked: u64,
        /// The one that was answered.
        answered: u64,
    },
    /// The connection failed in another way.
    #[error("{0}")]
    Io(io::Error),
}

/// Whether the other side has ended the connection.
pub(super) fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::NotConnected
    )
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::TimedOut,
            _ if is_end(&error) => Self::Closed,
            _ => Self::Io(error),
        }
    }
}
