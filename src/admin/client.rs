//! The asking side of the administration socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::SockAddr;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::socket::too_long;
use super::{MESSAGE_BYTES_MAX, REQUEST_LIMIT, Reply, Request, SOCKET_NAME};

/// What a member may take longer than [`REQUEST_LIMIT`] to say that its time is over.
const GRACE: Duration = Duration::from_secs(5);

/// How long a member may take to say how it is: it asks the leader for a second at most.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// Nobody answered.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error(
        "nobody answers on {}: {source}; is the member running, and are you its user or root?",
        path.display()
    )]
    Nobody {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody listens, and so many wait to be heard that there is no room for more.
    #[error("{} takes no more questions: its process is frozen or hangs", path.display())]
    Stuck {
        /// The socket.
        path: PathBuf,
    },
    /// Somebody listens and does not answer.
    #[error(
        "no answer on {} within {} ms: its process is frozen or hangs",
        path.display(),
        limit.as_millis()
    )]
    TimedOut {
        /// The socket.
        path: PathBuf,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The connection ended before the answer.
    #[error("the connection to {} broke off: {source}", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The answer is none that this version knows.
    #[error("the answer of {} is not understood: {source}", path.display())]
    NotUnderstood {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// Asks the member with the data directory `dir`, and waits for its answer. Not to be called from
/// a task of an async runtime; [`ask_within`] is for those.
///
/// # Errors
///
/// [`AskError`]; then it is not known whether what was asked was done, unless nobody listens.
pub fn ask(dir: &Path, request: &Request) -> Result<Reply, AskError> {
    let path = dir.join(SOCKET_NAME);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| AskError::Nobody { path, source })?;
    let limit = match request {
        Request::Status | Request::Check => LOOK_LIMIT,
        _ => REQUEST_LIMIT + GRACE,
    };
    runtime.block_on(ask_within(dir, request, limit))
}

/// Asks the member with the data directory `dir`; the answer must be there within `limit`.
///
/// # Errors
///
/// As [`ask`].
pub async fn ask_within(dir: &Path, request: &Request, limit: Duration) -> Result<Reply, AskError> {
    let path = dir.join(SOCKET_NAME);
    let asked = tokio::time::timeout(limit, ask_at(path.clone(), request)).await;
    asked.unwrap_or(Err(AskError::TimedOut { path, limit }))
}

async fn ask_at(path: PathBuf, request: &Request) -> Result<Reply, AskError> {
    let nobody = |source| AskError::Nobody { path: path.clone(), source };
    SockAddr::unix(&path).map_err(|_| nobody(too_long(&path)))?;
    let stream = UnixStream::connect(&path).await.map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => AskError::Stuck { path: path.clone() },
        _ => nobody(source),
    })?;
    let line = exchange(stream, request)
        .await
        .map_err(|source| AskError::Broken { path: path.clone(), source })?;
    serde_json::from_slice(&line).map_err(|source| AskError::NotUnderstood { path, source })
}

/// Sends the request and reads the line that comes back.
async fn exchange(mut stream: UnixStream, request: &Request) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(request)?;
    bytes.push(b'\n');
    stream.write_all(&bytes).await?;
    let mut line = Vec::new();
    BufReader::new(stream.take(MESSAGE_BYTES_MAX)).read_until(b'\n', &mut line).await?;
    if line.last() != Some(&b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line)
}
