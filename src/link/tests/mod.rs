//! What the tests of links share: members and their ports on this machine.

mod calls;
mod frames;
mod handshakes;
mod links;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Link, MemberPort, Peer, Secret, Us};

const CLUSTER: u128 = 0xBEA9;
const SECRET: &[u8] = b"correct horse battery staple";

/// Longer than anything takes here, so that a test that hangs ends.
const LONG: Duration = Duration::from_secs(20);

fn secret() -> Secret {
    Secret::new(SECRET).expect("it is long enough")
}

fn member(member: u64) -> Us {
    Us { cluster: CLUSTER, member, secret: secret() }
}

/// A member that accepts.
struct Accepting {
    address: SocketAddr,
    links: mpsc::Receiver<(Peer, Link)>,
    task: JoinHandle<()>,
}

impl Accepting {
    async fn start(us: Us) -> Self {
        Self::start_with(us, LONG).await
    }

    async fn start_with(us: Us, handshake_max: Duration) -> Self {
        let port = MemberPort::bind_with("127.0.0.1:0", handshake_max).await;
        Self::on(port.expect("the system has a port"), us)
    }

    fn on(port: MemberPort, us: Us) -> Self {
        let (established, links) = mpsc::channel(16);
        let address = port.local_addr();
        let welcome = Arc::new(move |peer, link| {
            established.try_send((peer, link)).expect("a test has few links");
        });
        Self { address, links, task: tokio::spawn(port.run(Arc::new(us), welcome)) }
    }

    fn address(&self) -> String {
        self.address.to_string()
    }

    async fn next(&mut self) -> (Peer, Link) {
        let link = tokio::time::timeout(LONG, self.links.recv()).await;
        link.expect("a link comes in time").expect("the port is there")
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Both ends of a connection without a handshake.
async fn streams() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("the system has a port");
    let address = listener.local_addr().expect("it is bound");
    let (dialled, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (dialled.expect("somebody listens"), accepted.expect("somebody dials").0)
}

async fn links() -> (Link, Link) {
    let (one, other) = streams().await;
    (Link::new(one), Link::new(other))
}
