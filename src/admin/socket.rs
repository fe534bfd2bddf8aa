//! The member's side of the administration socket.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Administrator, MESSAGE_BYTES_MAX, REQUEST_LIMIT, Reply, Request, SOCKET_NAME};

/// Connections at once; others wait to be accepted.
const CONNECTIONS_MAX: usize = 16;

/// Connections that the kernel lets wait.
const BACKLOG: i32 = 16;

/// How long a connection may say nothing, or not take its reply.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// How long to leave the listener alone when a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long answers may take that are under way at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// The socket in a data directory. Removed when dropped.
#[derive(Debug)]
pub struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl AdminSocket {
    /// Makes the socket in the data directory `dir`, whose lock the caller holds: a socket that is
    /// there already was left behind and is removed. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// What the kernel says; `AlreadyExists` when something else than a socket has the name;
    /// `InvalidFilename` when the path is too long for a Unix socket.
    pub fn bind(dir: &Path) -> io::Result<Self> {
        let path = dir.join(SOCKET_NAME);
        let address = SockAddr::unix(&path).map_err(|_| too_long(&path))?;
        remove_stale(&path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM.cloexec(), None)?;
        socket.bind(&address)?;
        // Nobody can connect before `listen`, so nobody comes in under the wider mode.
        rustix::fs::chmod(&path, rustix::fs::Mode::from_raw_mode(0o600))?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let listener = UnixListener::from_std(socket.into())?;
        Ok(Self { listener, path })
    }

    /// Answers requests for as long as it is polled. Dropping it closes all its connections.
    pub async fn run(self, administrator: Arc<dyn Administrator>) {
        self.run_until(administrator, std::future::pending()).await;
    }

    /// Answers requests until `end`, and then those that are under way, for a short while.
    pub async fn run_until(
        &self,
        administrator: Arc<dyn Administrator>,
        end: impl Future<Output = ()>,
    ) {
        let mut connections = JoinSet::new();
        tokio::select! {
            () = self.accept(&mut connections, administrator) => {}
            () = end => {}
        }
        let answered = async { while connections.join_next().await.is_some() {} };
        // Who keeps its connection open after that loses it.
        let _ = tokio::time::timeout(LAST_ANSWERS, answered).await;
    }

    async fn accept(&self, connections: &mut JoinSet<()>, administrator: Arc<dyn Administrator>) {
        loop {
            while connections.try_join_next().is_some() {}
            if connections.len() == CONNECTIONS_MAX {
                connections.join_next().await;
            }
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&administrator)));
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept on the admin socket for now");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        // What is left behind is removed by the next start.
        let _ = rustix::fs::unlink(&self.path);
    }
}

/// Removes a socket; leaves anything else alone.
fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(found) = rustix::fs::lstat(path) else { return Ok(()) };
    let kind = rustix::fs::FileType::from_raw_mode(found.st_mode);
    if kind != rustix::fs::FileType::Socket {
        let text = format!("{} exists and is not a socket", path.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    Ok(rustix::fs::unlink(path)?)
}

/// The error for a path that does not fit into the address of a Unix socket.
pub(super) fn too_long(path: &Path) -> io::Error {
    let text = format!(
        "{} is {} bytes long, and the path of a Unix socket at most 107: choose a shorter data \
         directory",
        path.display(),
        path.as_os_str().len()
    );
    io::Error::new(io::ErrorKind::InvalidFilename, text)
}

/// One connection, from its start to its end.
async fn connection(stream: UnixStream, administrator: Arc<dyn Administrator>) {
    if let Err(error) = answer_all(stream, administrator.as_ref()).await {
        tracing::debug!(%error, "a connection to the admin socket broke off");
    }
}

/// Answers the requests of one connection, in order.
async fn answer_all(stream: UnixStream, administrator: &dyn Administrator) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut reader).take(MESSAGE_BYTES_MAX);
        timeout(IDLE_MAX, limited.read_until(b'\n', &mut line)).await??;
        if line.is_empty() {
            return Ok(());
        }
        let is_whole = line.last() == Some(&b'\n');
        let reply = if is_whole { answer(&line, administrator).await } else { not_a_line(&line) };
        let mut bytes = serde_json::to_vec(&reply)?;
        bytes.push(b'\n');
        timeout(IDLE_MAX, writer.write_all(&bytes)).await??;
        if !is_whole {
            return Ok(());
        }
    }
}

async fn answer(line: &[u8], administrator: &dyn Administrator) -> Reply {
    let request: Request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(error) => return Reply::Refused { reason: format!("not understood: {error}") },
    };
    if request != Request::Status && request != Request::Check {
        tracing::info!(?request, "asked by an operator");
    }
    match timeout(REQUEST_LIMIT, administrator.execute(request)).await {
        Ok(reply) => reply,
        Err(_) => {
            let limit = REQUEST_LIMIT.as_secs();
            let reason = format!(
                "not done within {limit} s; it may still be: see `beanpole cluster status`"
            );
            Reply::Refused { reason }
        }
    }
}

fn not_a_line(line: &[u8]) -> Reply {
    let reason = format!(
        "a request is one line of at most {MESSAGE_BYTES_MAX} bytes; {} came without its end",
        line.len()
    );
    Reply::Refused { reason }
}
