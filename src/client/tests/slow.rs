//! A way to a member that is not as fast as this machine.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;

/// What a kernel may hold for the way, bytes: little, or it would seem to be a fast one.
const HELD_BYTES: u32 = 128 << 10;

/// What is carried to the member at once, bytes.
const PIECE_BYTES: usize = 32 << 10;

/// The pause behind each piece.
const PAUSE: Duration = Duration::from_millis(4);

/// Makes a way to the member at `target` that carries 8 MB/s at most. Returns where it begins.
pub(super) fn way_to(target: SocketAddr) -> SocketAddr {
    let socket = TcpSocket::new_v4().expect("a socket can be had");
    socket.set_recv_buffer_size(HELD_BYTES).expect("it can be small");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a port is free");
    let listener = socket.listen(8).expect("it is bound");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(target).await.expect("the member is there");
            let ((mut from, mut back), (mut replies, mut to)) =
                (near.into_split(), far.into_split());
            tokio::spawn(async move { copy(&mut replies, &mut back).await });
            tokio::spawn(async move {
                let mut piece = vec![0; PIECE_BYTES];
                while let Ok(count @ 1..) = from.read(&mut piece).await {
                    to.write_all(&piece[..count]).await.expect("the member reads");
                    sleep(PAUSE).await;
                }
            });
        }
    });
    address
}
