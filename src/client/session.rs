//! A session, as its user has it.

mod commands;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use beanpole_protocol::{CommandName, Reply, ReplyDecoder, Request};
use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::carried::Carried;
use super::connect::Client;
use super::core::Ask;
use super::error::{ClientError, End};

/// A session with the cluster: what a connection is to beanstalkd, but not bound to a member.
///
/// Commands are carried out in the order in which they are asked for; the methods may be called
/// from several tasks at once, but a [`reserve`](Self::reserve) that waits holds all behind it up.
/// What is asked for and not answered is bounded: a method waits until there is room.
///
/// A future that is dropped before it is ready does not take its command back. A `reserve` that is
/// given up may still bring a job, which is held until its time to run is over.
///
/// Dropped, the session ends, and what it held is ready again at once.
#[derive(Debug)]
pub struct Session {
    carried: Arc<Carried>,
    /// Keeps the client there.
    _client: Client,
}

/// A job that is reserved, or looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: u64,
    /// Its body.
    pub body: Bytes,
}

/// A job that is to be put; see [`Session::put`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// 0 is the most urgent.
    pub priority: u32,
    /// Seconds before it is ready.
    pub delay: u32,
    /// Seconds for who reserves it; 0 is 1.
    pub ttr: u32,
    /// Its body.
    pub body: Bytes,
}

/// The reply to a command, which is still to come.
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<Result<Bytes, End>>);

impl Session {
    pub(super) fn new(carried: Arc<Carried>, client: Client) -> Self {
        Self { carried, _client: client }
    }

    /// Asks for a command, as a library has sent it. Returns when there is room for it, and before
    /// it is answered, so that more can be asked for behind it.
    ///
    /// What is refused on sight, and a body that no member takes, is answered without asking a member.
    ///
    /// # Errors
    ///
    /// [`ClientError::Ended`] if the session has; [`ClientError::Quit`].
    pub async fn request(&self, request: Request) -> Result<Pending, ClientError> {
        let ask = Ask::of(request).ok_or(ClientError::Quit)?;
        Ok(Pending(self.carried.ask(ask).await?))
    }

    /// Says that the user has no more to say, as when a connection is half closed: a `reserve` that
    /// waits is answered `TIMED_OUT`, and so is one that was said before and is yet to be asked
    /// for, if it finds no job.
    pub fn end_input(&self) {
        self.carried.end_input();
    }

    /// Whether the first command that is not answered is with a member, and one that waits for a job.
    pub(crate) fn waits(&self) -> bool {
        self.carried.waits()
    }

    /// Ends the session, and waits until a member has heard of it, or it has ended in another way.
    pub async fn close(self) {
        // An error says that it has ended.
        let _ended = self.carried.close().await;
    }

    async fn reply_to(&self, ask: Ask) -> Result<Reply, ClientError> {
        let payload = Pending(self.carried.ask(ask).await?).await?;
        let mut bytes = BytesMut::from(&payload[..]);
        match ReplyDecoder::default().next_reply(&mut bytes)? {
            Some(reply) => Ok(reply),
            None => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof))
                .map_err(|error| ClientError::UnreadableReply(error.into())),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Nobody waits for the end.
        let _ended = self.carried.close();
    }
}

impl Pending {
    /// The reply, if it is here; else the same again, to be waited for.
    ///
    /// # Errors
    ///
    /// It is not here. The result inside is as when it is awaited.
    pub fn take(mut self) -> Result<Result<Bytes, ClientError>, Self> {
        match self.0.try_recv() {
            Ok(reply) => Ok(reply.map_err(ClientError::from)),
            Err(TryRecvError::Empty) => Err(self),
            Err(TryRecvError::Closed) => Ok(Err(End::Closed.into())),
        }
    }
}

impl Future for Pending {
    /// As a plain connection carries it: a line with CR LF, and behind some a body with CR LF.
    type Output = Result<Bytes, ClientError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let reply = Pin::new(&mut self.0).poll(context);
        reply.map(|reply| Ok(reply.unwrap_or(Err(End::Closed))?))
    }
}

/// What a reply says that has no place among the results of a command.
fn failure(command: CommandName, reply: &Reply) -> ClientError {
    match reply {
        Reply::NotFound => ClientError::NotFound,
        Reply::DeadlineSoon => ClientError::DeadlineSoon,
        Reply::NotIgnored => ClientError::NotIgnored,
        Reply::KeyInUse => ClientError::KeyInUse,
        Reply::JobTooBig => ClientError::JobTooBig,
        Reply::Draining => ClientError::Draining,
        Reply::OutOfMemory => ClientError::OutOfMemory,
        other => {
            let mut line = BytesMut::new();
            other.encode_line(&mut line);
            let reply = String::from_utf8_lossy(&line).trim_end().to_owned();
            ClientError::UnexpectedReply { command, reply }
        }
    }
}
