//! The way to a member.

use std::io;
use std::time::Duration;

use beanpole_protocol::trunk::{
    ClientFrame, FrameError, MemberFrame, MemberFrameDecoder, TRUNK_VERSION,
};
use beanpole_protocol::{Command, Reply, ReplyDecodeError, ReplyDecoder};
use bytes::BytesMut;
use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// What the kernel may hold that is not through, bytes; it takes twice that. Pings wait behind it,
/// and what it takes says that the member is there: with megabytes, it would say so too rarely.
const UNSENT_BYTES_MAX: usize = 128 << 10;

/// How many addresses of one name are tried.
const ADDRESSES_MAX: usize = 8;

/// A member that carries sessions.
#[derive(Debug)]
pub(in crate::client) struct Dialled {
    pub(in crate::client) stream: TcpStream,
    /// The member's number.
    pub(in crate::client) member: u64,
    /// The longest body that it takes, in bytes.
    pub(in crate::client) job_size_max: u32,
    /// What came behind its answer.
    pub(in crate::client) rest: BytesMut,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(in crate::client) enum DialError {
    /// The name has no address, or nobody answers there.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Not done within the limit.
    #[error("timed out")]
    TimedOut,
    /// It has no trunks: beanstalkd, or an older beanpole.
    #[error("what answers there carries no sessions, but says {reply:?}")]
    NoTrunks {
        /// Its answer.
        reply: Reply,
    },
    /// It sends what is no frame.
    #[error("the member sends what is no frame: {0}")]
    Frame(#[from] FrameError),
    /// It speaks something else.
    #[error("what answers there is no server: {0}")]
    NoServer(#[from] ReplyDecodeError),
}

/// Makes a connection to the member at `address`, a host and a port.
///
/// The name is looked up without a limit of time, since the system's resolver cannot be
/// interrupted: so there is never more than one lookup for each member.
pub(in crate::client) async fn dial(address: &str, limit: Duration) -> Result<Dialled, DialError> {
    let addresses: Vec<_> = lookup_host(address).await?.take(ADDRESSES_MAX).collect();
    let introduced = async {
        let stream = TcpStream::connect(addresses.as_slice()).await?;
        stream.set_nodelay(true)?;
        set_socket_send_buffer_size(&stream, UNSENT_BYTES_MAX).map_err(io::Error::from)?;
        introduce(stream).await
    };
    timeout(limit, introduced).await.unwrap_or(Err(DialError::TimedOut))
}

async fn introduce(mut stream: TcpStream) -> Result<Dialled, DialError> {
    let mut line = BytesMut::new();
    Command::Trunk { version: TRUNK_VERSION }.encode(&mut line);
    stream.write_all(&line).await?;
    let mut decoder = ReplyDecoder::new(0);
    let mut rest = BytesMut::with_capacity(1024);
    loop {
        match decoder.next_reply(&mut rest)? {
            Some(Reply::Trunk { member, job_size_max }) => {
                wait_until_it_keeps_up(&mut stream, &mut rest).await?;
                return Ok(Dialled { stream, member, job_size_max, rest });
            }
            Some(reply) => return Err(DialError::NoTrunks { reply }),
            None => {}
        }
        read_more(&mut stream, &mut rest).await?;
    }
}

/// A member that takes connections and does not answer this one could do nothing for a session.
async fn wait_until_it_keeps_up(
    stream: &mut TcpStream,
    rest: &mut BytesMut,
) -> Result<(), DialError> {
    let mut line = BytesMut::new();
    ClientFrame::Ping(0).encode(&mut line);
    stream.write_all(&line).await?;
    // There is no session yet, and so no frame with a payload.
    let mut decoder = MemberFrameDecoder::new(0);
    while !matches!(decoder.next_frame(rest)?, Some(MemberFrame::Pong(_))) {
        read_more(stream, rest).await?;
    }
    Ok(())
}

async fn read_more(stream: &mut TcpStream, rest: &mut BytesMut) -> io::Result<()> {
    match stream.read_buf(rest).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}
