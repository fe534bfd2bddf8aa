//! The member port: who dials it proves the secret, or is sent away.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::error::is_end;
use super::handshake::{Admitted, Door, Rejection, admit};
use super::identity::{Peer, Secret, Us};
use super::refusals::Refusals;
use super::stream::{Link, prepare};

/// Handshakes under way at once. When they are so many, the oldest is given up: an honest one takes
/// milliseconds, so that strangers who keep silent cannot keep it out.
pub const HANDSHAKES_MAX: usize = 64;

/// How long to wait for one of too many to end by itself. In a flood every handshake still gets 64
/// times as long, and a full backlog is through in a second.
const CROWDED_PAUSE: Duration = Duration::from_millis(1);

/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(2);

/// How long to leave the listener alone when a connection could not be accepted: there are no file
/// descriptors left, and trying again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where other members dial. Dropping it closes the port: connections are refused from then on.
#[derive(Debug)]
pub struct MemberPort {
    listener: TcpListener,
    address: SocketAddr,
    handshake_max: Duration,
    refusals: Refusals,
}

impl MemberPort {
    /// Binds `address`: host and port, names are looked up. With port 0 the system chooses one.
    ///
    /// From now on connections wait to be accepted.
    ///
    /// # Errors
    ///
    /// When the name has no address, or it cannot be had.
    pub async fn bind(address: &str) -> io::Result<Self> {
        Self::bind_with(address, HANDSHAKE_MAX).await
    }

    pub(super) async fn bind_with(address: &str, handshake_max: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, handshake_max, refusals: Refusals::new() })
    }

    /// Where it is.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Lets members of our cluster in that want to reach us, until dropped.
    ///
    /// Handshakes run in tasks of their own, at most [`HANDSHAKES_MAX`] at once and for 2 s each.
    /// `welcome` gets the established links, in the task that polls this; it must not block.
    pub async fn run(self, us: Arc<Us>, welcome: Arc<dyn Fn(Peer, Link) + Send + Sync>) {
        let member = Some((us.cluster, us.member));
        let door = Arc::new(Door { secret: us.secret.clone(), member });
        let mut handshakes = Handshakes::default();
        loop {
            let newcomer = self.next(&door, &mut handshakes).await;
            let Admitted { member, purpose, .. } = newcomer.admitted;
            welcome(Peer { member, purpose, address: newcomer.address }, newcomer.link);
        }
    }

    /// For a process that belongs to no cluster yet: the next link of a member that wants us to
    /// join its cluster, and the id of that cluster. All others hear that we are not a member yet.
    ///
    /// Cancel-safe, in that the port goes on; handshakes under way are given up.
    pub async fn next_join(&self, secret: &Secret) -> (Link, u128) {
        let door = Arc::new(Door { secret: secret.clone(), member: None });
        let newcomer = self.next(&door, &mut Handshakes::default()).await;
        (newcomer.link, newcomer.admitted.cluster)
    }

    async fn next(&self, door: &Arc<Door>, handshakes: &mut Handshakes) -> Newcomer {
        loop {
            let done = tokio::select! {
                // What is done first, so that a flood of connections cannot pile it up.
                biased;
                Some(done) = handshakes.tasks.join_next() => done,
                () = tokio::time::sleep(CROWDED_PAUSE), if handshakes.are_too_many() => {
                    if let Some(address) = handshakes.give_up_oldest() {
                        self.refusals.tell(address, &Rejection::Crowded);
                    }
                    continue;
                }
                (stream, address) = self.accept(), if !handshakes.are_too_many() => {
                    let door = Arc::clone(door);
                    handshakes.begin(address, handshake(stream, address, door, self.handshake_max));
                    continue;
                }
            };
            match done {
                Ok(Ok(newcomer)) => return newcomer,
                Ok(Err((address, rejection))) => self.refusals.tell(address, &rejection),
                // Given up, which has been told, or a panic, which tells itself.
                Err(_) => {}
            }
        }
    }

    async fn accept(&self) -> (TcpStream, SocketAddr) {
        // Once for every time that it begins: it may go on for hours.
        let mut told = false;
        loop {
            match self.listener.accept().await {
                Ok(accepted) => return accepted,
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(%error, "cannot accept connections of members for now");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Who was let in, and the link.
#[derive(Debug)]
struct Newcomer {
    admitted: Admitted,
    address: SocketAddr,
    link: Link,
}

/// Of a handshake.
type Outcome = Result<Newcomer, (SocketAddr, Rejection)>;

/// The handshakes under way. Dropping it gives them up.
#[derive(Debug, Default)]
struct Handshakes {
    tasks: JoinSet<Outcome>,
    /// The oldest first; may name some that are done.
    by_age: VecDeque<(SocketAddr, AbortHandle)>,
}

impl Handshakes {
    fn begin(
        &mut self,
        address: SocketAddr,
        handshake: impl Future<Output = Outcome> + Send + 'static,
    ) {
        self.by_age.retain(|(_, task)| !task.is_finished());
        self.by_age.push_back((address, self.tasks.spawn(handshake)));
    }

    fn are_too_many(&self) -> bool {
        let under_way = self.by_age.iter().filter(|(_, task)| !task.is_finished());
        under_way.count() >= HANDSHAKES_MAX
    }

    /// Returns whose it was.
    fn give_up_oldest(&mut self) -> Option<SocketAddr> {
        self.by_age.retain(|(_, task)| !task.is_finished());
        let (address, task) = self.by_age.pop_front()?;
        task.abort();
        Some(address)
    }
}

async fn handshake(
    mut stream: TcpStream,
    address: SocketAddr,
    door: Arc<Door>,
    limit: Duration,
) -> Outcome {
    let admitting = async {
        prepare(&stream)?;
        admit(&mut stream, &door).await
    };
    match timeout(limit, admitting).await.unwrap_or(Err(Rejection::TooSlow)) {
        Ok(admitted) => Ok(Newcomer { admitted, address, link: Link::new(stream) }),
        Err(rejection) => Err((address, rejection)),
    }
}

/// Whether an error of accept is the end of that one connection and says nothing of the next.
fn is_of_one_connection(error: &io::Error) -> bool {
    is_end(error)
        || matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::InvalidInput)
}
