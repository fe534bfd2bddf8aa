//! Dialling another member.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::error::is_end;
use super::handshake::{RejectReason, introduce};
use super::identity::{Purpose, Us};
use super::stream::{Link, prepare};

/// How many names are looked up at once. The system's resolver cannot be interrupted, and takes
/// many seconds when its servers are away: those that dial again and again must not pile up.
const RESOLUTIONS_MAX: usize = 4;

/// How many addresses of one name are tried.
const ADDRESSES_MAX: usize = 8;

static RESOLUTIONS: Semaphore = Semaphore::const_new(RESOLUTIONS_MAX);

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nobody listens there: all addresses answered with ECONNREFUSED and nothing else. On a
    /// machine that runs, the process is gone.
    #[error("connection refused")]
    Refused,
    /// Not done within the limit.
    #[error("timed out")]
    TimedOut,
    /// The other side closed the connection in the middle of the handshake.
    #[error("closed in the middle of the handshake")]
    Closed,
    /// The name has no address, or the connection cannot be made.
    #[error("{0}")]
    Io(io::Error),
    /// It speaks something else.
    #[error("what answers there is no member")]
    NotAMember,
    /// It speaks another version.
    #[error("it speaks version {theirs} of the protocol of members, we speak {ours}")]
    Version {
        /// Ours.
        ours: u16,
        /// Theirs.
        theirs: u16,
    },
    /// It does not want us.
    #[error("rejected: {0}")]
    Rejected(RejectReason),
    /// It could not prove that it knows the secret.
    #[error("its secret is not ours")]
    BadProof,
    /// It belongs to another cluster.
    #[error("it belongs to cluster {theirs:032x}, we to {ours:032x}")]
    WrongCluster {
        /// Ours.
        ours: u128,
        /// Theirs.
        theirs: u128,
    },
    /// It is another member of our cluster.
    #[error("it is member {found}, not {asked}")]
    WrongMember {
        /// Whom we wanted.
        asked: u64,
        /// Who is there.
        found: u64,
    },
}

/// Dials `address` (host and port; names are looked up), proves the secret both ways, and checks
/// that the other side is `target` of our cluster; 0 for a process that is to join it.
///
/// All of it happens within `limit`. Dropping the future closes the connection.
///
/// # Errors
///
/// [`DialError`].
pub async fn dial(
    us: &Us,
    target: u64,
    address: &str,
    purpose: Purpose,
    limit: Duration,
) -> Result<Link, DialError> {
    let dialled = async {
        let mut stream = connect(address, limit).await?;
        introduce(&mut stream, us, target, purpose).await?;
        Ok(Link::new(stream))
    };
    timeout(limit, dialled).await.unwrap_or(Err(DialError::TimedOut))
}

/// Tries all addresses of a name, each for its share of the time.
async fn connect(address: &str, limit: Duration) -> Result<TcpStream, DialError> {
    let addresses = resolve(address).await?;
    let share = limit / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    // One that did not refuse may be the one where the process is.
    let mut failed: Option<DialError> = None;
    for address in addresses {
        let connected = timeout(share, TcpStream::connect(address)).await;
        match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                prepare(&stream)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                failed.get_or_insert(DialError::Refused);
            }
            Err(error) => failed = Some(error.into()),
        }
    }
    Err(failed.unwrap_or_else(|| DialError::Io(io::ErrorKind::AddrNotAvailable.into())))
}

async fn resolve(address: &str) -> Result<Vec<SocketAddr>, DialError> {
    if let Ok(address) = address.parse() {
        return Ok(vec![address]);
    }
    let permit = RESOLUTIONS.acquire().await.expect("this semaphore is never closed");
    let name = address.to_owned();
    // A task of its own keeps the permit until the resolver is back, whoever has given up by then.
    let looked_up = tokio::spawn(async move {
        let found = tokio::net::lookup_host(name).await.map(|all| all.take(ADDRESSES_MAX));
        drop(permit);
        found.map(Iterator::collect)
    });
    Ok(looked_up.await.unwrap_or_else(|error| Err(io::Error::other(error)))?)
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::TimedOut,
            _ if is_end(&error) => Self::Closed,
            _ => Self::Io(error),
        }
    }
}
