//! The socket that clients connect to: bound early, so that a bad address is told at once, and
//! opened when the queue is ready to serve, so that a connection is proof of readiness.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use listenfd::ListenFd;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::hub::Hub;
use super::stream::Stream;

/// Connections that may wait to be accepted (beanstalkd's figure).
const BACKLOG: i32 = 1024;

/// What the kernel may hold for a client in each direction, bytes. By itself it would take on more
/// than a megabyte for each client that does not read (storage-review F21).
const SOCKET_BUFFER_BYTES: usize = 128 << 10;

/// How long to leave the listener alone when a connection could not be accepted: there are no file
/// descriptors left, and trying again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP: a name or an IP address, all interfaces when there is none, and a port or the name of a
    /// service.
    Tcp {
        /// The host.
        host: Option<String>,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

/// The address cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The name has no address.
    #[error("getaddrinfo(): {host}: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The address is in use, or not ours.
    #[error("bind(): {address}: {source}")]
    Bind {
        /// The address.
        address: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// There is something else at the path of the Unix socket.
    #[error("{0} exists and is not a socket")]
    NotASocket(PathBuf),
    /// What the service manager handed over is not a stream socket that listens.
    #[error("inherited socket: {0}")]
    Inherited(io::Error),
}

/// A socket that has its address and does not accept yet (an inherited one may).
#[derive(Debug)]
pub(super) struct Bound {
    socket: Socket,
    listens: bool,
    name: String,
}

impl Bound {
    /// Takes the socket of the service manager if there is one, else binds `address`.
    ///
    /// # Errors
    ///
    /// [`BindError`]; a stale Unix socket is removed, anything else at its path is left alone.
    pub(super) fn new(address: &Address) -> Result<Self, BindError> {
        if let Some(inherited) = inherited()? {
            return Ok(inherited);
        }
        match address {
            Address::Tcp { host, port } => bind_tcp(host.as_deref(), *port),
            Address::Unix(path) => bind_unix(path),
        }
    }

    /// Whether the service manager made it, and has it still.
    pub(super) fn is_inherited(&self) -> bool {
        self.listens
    }

    /// Where it is, as a client would write it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The TCP port; `None` for a Unix socket.
    pub(super) fn port(&self) -> Option<u16> {
        self.socket.local_addr().ok()?.as_socket().map(|address| address.port())
    }

    /// Begins to accept connections.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub(super) fn listen(self) -> io::Result<Listener> {
        if !self.listens {
            self.socket.listen(BACKLOG)?;
        }
        self.socket.set_nonblocking(true)?;
        if self.socket.domain()? == Domain::UNIX {
            return UnixListener::from_std(self.socket.into()).map(Listener::Unix);
        }
        TcpListener::from_std(self.socket.into()).map(Listener::Tcp)
    }
}

/// A socket that accepts connections.
#[derive(Debug)]
pub(super) enum Listener {
    /// Over TCP.
    Tcp(TcpListener),
    /// Over a Unix socket.
    Unix(UnixListener),
}

impl Listener {
    /// Accepts clients, each served by a task of its own, for as long as it is polled.
    pub(super) async fn run(self, hub: Arc<Hub>) {
        // Once for every time that it begins: it may go on for hours.
        let mut told = false;
        loop {
            let slot = hub.slots().take().await;
            match self.accept().await {
                Ok(stream) => {
                    told = false;
                    let hub = Arc::clone(&hub);
                    drop(tokio::spawn(async move {
                        hub.serve(stream).await;
                        drop(slot);
                    }));
                }
                Err(error) if is_of_one_client(&error) => {}
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(%error, "cannot accept connections for now");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let socket = SockRef::from(&stream);
                socket.set_keepalive(true)?;
                socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
                socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
                Ok(Stream::Tcp(stream))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                // What is on its way to the server is in the buffer of the client.
                SockRef::from(&stream).set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
                Ok(Stream::Unix(stream))
            }
        }
    }
}

/// Whether an error of accept is the end of that one client and says nothing of the next.
fn is_of_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::NotConnected
            | io::ErrorKind::InvalidInput
    )
}

fn inherited() -> Result<Option<Bound>, BindError> {
    let mut sockets = ListenFd::from_env();
    if sockets.len() == 0 {
        return Ok(None);
    }
    if sockets.len() > 1 {
        tracing::warn!("more than one socket inherited: only the first is used");
    }
    let tcp = sockets.take_tcp_listener(0);
    let socket: Option<Socket> = match tcp {
        Ok(listener) => listener.map(Socket::from),
        Err(_) => sockets.take_unix_listener(0).map_err(BindError::Inherited)?.map(Socket::from),
    };
    let Some(socket) = socket else { return Ok(None) };
    let name = name_of(&socket);
    tracing::warn!(%name, "using the inherited socket: -l and -p are ignored");
    Ok(Some(Bound { socket, listens: true, name }))
}

fn bind_tcp(host: Option<&str>, port: u16) -> Result<Bound, BindError> {
    let mut refused = None;
    for address in addresses(host, port)? {
        match bind_one(address) {
            Ok(socket) => {
                let name = name_of(&socket);
                return Ok(Bound { socket, listens: false, name });
            }
            Err(source) => refused = Some((address.to_string(), source)),
        }
    }
    let (address, source) = refused.unwrap_or_else(|| {
        (host.unwrap_or_default().to_owned(), io::ErrorKind::AddrNotAvailable.into())
    });
    Err(BindError::Bind { address, source })
}

fn addresses(host: Option<&str>, port: u16) -> Result<Vec<SocketAddr>, BindError> {
    let Some(host) = host else {
        return Ok(vec![SocketAddr::from(([0, 0, 0, 0], port))]);
    };
    let resolved = std::net::ToSocketAddrs::to_socket_addrs(&(host, port))
        .map_err(|source| BindError::Resolve { host: host.to_owned(), source })?;
    Ok(resolved.collect())
}

fn bind_one(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.cloexec(), None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn bind_unix(path: &Path) -> Result<Bound, BindError> {
    let name = format!("unix:{}", path.display());
    let failed = |source| BindError::Bind { address: name.clone(), source };
    if let Ok(found) = rustix::fs::lstat(path) {
        let kind = rustix::fs::FileType::from_raw_mode(found.st_mode);
        if kind != rustix::fs::FileType::Socket {
            return Err(BindError::NotASocket(path.to_owned()));
        }
        tracing::warn!(%name, "removing what is left of an earlier socket");
        rustix::fs::unlink(path).map_err(|error| failed(error.into()))?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM.cloexec(), None).map_err(&failed)?;
    socket.bind(&SockAddr::unix(path).map_err(&failed)?).map_err(&failed)?;
    Ok(Bound { socket, listens: false, name })
}

fn name_of(socket: &Socket) -> String {
    let Ok(address) = socket.local_addr() else { return "unknown".to_owned() };
    match (address.as_socket(), address.as_pathname()) {
        (Some(address), _) => address.to_string(),
        (None, Some(path)) => format!("unix:{}", path.display()),
        (None, None) => "unix".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_kernel_holds_for_a_client_of_a_unix_socket_is_bounded() {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let path = scratch.path().join("socket");
        let listener = bind_unix(&path).expect("it is free").listen().expect("it listens");
        let _client = tokio::net::UnixStream::connect(&path).await.expect("it connects");
        let Ok(Stream::Unix(stream)) = listener.accept().await else { panic!("no client") };
        let bytes = SockRef::from(&stream).send_buffer_size().expect("the kernel tells");
        assert_eq!(bytes, 2 * SOCKET_BUFFER_BYTES, "twice what it is asked for, with its own");
    }
}
