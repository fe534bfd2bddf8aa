//! The least that a process between a client and its server can do: copy bytes.

use std::net::SocketAddr;
use std::thread;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

use super::common::Fallible;

/// Starts a relay to `target` on a thread of its own, as long as the bench runs. Returns where it
/// listens.
pub(crate) fn start(target: SocketAddr) -> Fallible<SocketAddr> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    thread::spawn(move || relay(&runtime, &listener, target));
    Ok(address)
}

fn relay(runtime: &Runtime, listener: &TcpListener, target: SocketAddr) {
    runtime.block_on(async {
        while let Ok((near, _)) = listener.accept().await {
            tokio::spawn(carry(near, target));
        }
    });
}

/// A side that fails ends both, and whoever measures notices.
async fn carry(mut near: TcpStream, target: SocketAddr) {
    let Ok(mut far) = TcpStream::connect(target).await else { return };
    if near.set_nodelay(true).and_then(|()| far.set_nodelay(true)).is_ok() {
        drop(copy_bidirectional(&mut near, &mut far).await);
    }
}
