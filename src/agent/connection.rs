//! One library: its commands to a session, the replies back in their order.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use std::time::Duration;

use beanpole_protocol::{Command, CommandDecoder, Request};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::client::{Client, ClientError, Pending, Session};

/// What one read takes, bytes.
const READ_BYTES_MAX: usize = 64 << 10;

/// The most commands of one connection that are not answered.
const PENDING_MAX: usize = 64;

/// How often an agent that ends looks whether a session waits.
const LOOK: Duration = Duration::from_millis(50);

/// The body that a member takes unless it says otherwise, bytes.
const JOB_SIZE_MAX_DEFAULT: u32 = 65_535;

thread_local! {
    /// Where reads land first: an idle connection then needs no buffer of its own.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES_MAX].into());
}

/// Why a connection has ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// The library has left.
    #[error("it has left")]
    Left,
    /// The agent ends.
    #[error("the agent ends")]
    Stopped,
    /// The socket has failed.
    #[error(transparent)]
    Socket(#[from] io::Error),
    /// Its session has ended: the library connects anew and finds out what is left of its jobs.
    #[error(transparent)]
    Session(#[from] ClientError),
}

/// Serves a library until it leaves, its session ends, or the agent stops: then what was taken on
/// is answered first.
pub(super) async fn serve(
    stream: TcpStream,
    client: Client,
    mut stops: watch::Receiver<bool>,
) -> End {
    let (mut reader, writer) = stream.into_split();
    let mut input = BytesMut::new();
    let first = tokio::select! {
        first = read(&mut reader, &mut input) => first,
        _ = stops.wait_for(|stops| *stops) => return End::Stopped,
    };
    match first {
        Ok(true) => {}
        Ok(false) => return End::Left,
        Err(error) => return error.into(),
    }
    // Who says nothing has no session.
    let session = match client.session().await {
        Ok(session) => session,
        Err(error) => return error.into(),
    };
    let size_max = match client.job_size_max() {
        0 => JOB_SIZE_MAX_DEFAULT,
        known => known,
    };
    let decoder = CommandDecoder::new(size_max);
    let pending = VecDeque::new();
    let input = Input { bytes: input, reader, is_over: false, has_ended: false };
    let mut connection = Connection { session, decoder, input, writer, stops, pending };
    let end = match connection.converse().await {
        Ok(end) | Err(end) => end,
    };
    connection.session.close().await;
    end
}

struct Connection {
    session: Session,
    decoder: CommandDecoder,
    input: Input,
    writer: OwnedWriteHalf,
    /// Whether the agent does.
    stops: watch::Receiver<bool>,
    /// Replies that are to come, in their order.
    pending: VecDeque<Pending>,
}

/// What a library says.
struct Input {
    /// What has arrived and is not taken on.
    bytes: BytesMut,
    reader: OwnedReadHalf,
    /// What still arrives is of no interest, but its end is.
    is_over: bool,
    /// No more will arrive.
    has_ended: bool,
}

/// How far the input has been taken on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// All of it.
    All,
    /// As much as may be under way.
    Some,
    /// Up to `quit`.
    Quit,
}

impl Connection {
    async fn converse(&mut self) -> Result<End, End> {
        loop {
            if *self.stops.borrow() {
                self.answer_rest_but_waits().await?;
                return Ok(End::Stopped);
            }
            match self.take_on().await? {
                Taken::Quit => {
                    self.input.is_over = true;
                    self.answer_rest().await?;
                    return Ok(End::Left);
                }
                Taken::All if self.input.has_ended => {
                    self.answer_rest().await?;
                    return Ok(End::Left);
                }
                Taken::All | Taken::Some => {}
            }
            tokio::select! {
                biased;
                reply = next_reply(&mut self.pending) => {
                    let reply = reply?;
                    self.write(reply).await?;
                }
                more = self.input.more(&self.session) => more?,
                changed = self.stops.changed() => {
                    if changed.is_err() {
                        return Ok(End::Stopped);
                    }
                }
            }
        }
    }

    /// Takes on the commands that have arrived, as many as may be under way.
    async fn take_on(&mut self) -> Result<Taken, End> {
        while self.pending.len() < PENDING_MAX {
            let Some(request) = self.decoder.next_request(&mut self.input.bytes) else {
                return Ok(Taken::All);
            };
            if matches!(request, Request::Command(Command::Quit)) {
                return Ok(Taken::Quit);
            }
            let pending = self.ask(request).await?;
            self.pending.push_back(pending);
        }
        Ok(Taken::Some)
    }

    /// Asks for a command, and passes on replies as long as there is no room for it.
    async fn ask(&mut self, request: Request) -> Result<Pending, End> {
        let Self { session, input, pending, writer, .. } = self;
        let mut asked = pin!(session.request(request));
        loop {
            tokio::select! {
                biased;
                asked = &mut asked => return Ok(asked?),
                reply = next_reply(pending) => writer.write_all(&reply?).await?,
                more = input.more(session) => more?,
            }
        }
    }

    /// Passes on a reply, and those behind it that are here.
    async fn write(&mut self, first: Bytes) -> Result<(), End> {
        let mut replies = first;
        if let Some(second) = self.take_ready()? {
            let mut more = BytesMut::from(&replies[..]);
            more.extend_from_slice(&second);
            while more.len() < READ_BYTES_MAX
                && let Some(next) = self.take_ready()?
            {
                more.extend_from_slice(&next);
            }
            replies = more.freeze();
        }
        Ok(self.writer.write_all(&replies).await?)
    }

    /// The next reply, if it is here.
    fn take_ready(&mut self) -> Result<Option<Bytes>, End> {
        let Some(first) = self.pending.pop_front() else { return Ok(None) };
        match first.take() {
            Ok(reply) => Ok(Some(reply?)),
            Err(first) => {
                self.pending.push_front(first);
                Ok(None)
            }
        }
    }

    /// Passes on all replies that are to come.
    async fn answer_rest(&mut self) -> Result<(), End> {
        while !self.pending.is_empty() {
            tokio::select! {
                biased;
                reply = next_reply(&mut self.pending) => self.writer.write_all(&reply?).await?,
                more = self.input.more(&self.session) => more?,
            }
        }
        Ok(())
    }

    /// Passes on all replies that are to come soon: a reserve waits for ever.
    async fn answer_rest_but_waits(&mut self) -> Result<(), End> {
        loop {
            while let Some(reply) = self.take_ready()? {
                self.writer.write_all(&reply).await?;
            }
            if self.pending.is_empty() || self.session.waits() {
                return Ok(());
            }
            // A session that moves may wait again when it has.
            if let Ok(reply) = timeout(LOOK, next_reply(&mut self.pending)).await {
                self.writer.write_all(&reply?).await?;
            }
        }
    }
}

impl Input {
    /// Reads what arrives, also behind commands that are not taken on yet: the library may be gone,
    /// and a reserve that waits would wait for ever. The session is told of the end. Never
    /// completes when there is too much already, or nothing to come. Cancel-safe.
    async fn more(&mut self, session: &Session) -> io::Result<()> {
        if self.is_over {
            self.bytes.clear();
        }
        if self.has_ended || self.bytes.len() >= READ_BYTES_MAX {
            return std::future::pending().await;
        }
        if !read(&mut self.reader, &mut self.bytes).await? {
            self.has_ended = true;
            session.end_input();
        }
        Ok(())
    }
}

/// The next reply in order. Never completes if none is to come. Cancel-safe.
async fn next_reply(pending: &mut VecDeque<Pending>) -> Result<Bytes, ClientError> {
    let Some(first) = pending.front_mut() else { return std::future::pending().await };
    let reply = first.await;
    pending.pop_front();
    reply
}

/// Reads what is there. Returns whether there was anything: if not, the input has ended. Cancel-safe.
async fn read(reader: &mut OwnedReadHalf, input: &mut BytesMut) -> io::Result<bool> {
    poll_fn(|context| {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut bytes = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *reader).poll_read(context, &mut bytes))?;
            // What is empty is given up: most connections are idle most of the time.
            if input.is_empty() {
                *input = BytesMut::new();
            }
            input.extend_from_slice(bytes.filled());
            Poll::Ready(Ok(!bytes.filled().is_empty()))
        })
    })
    .await
}
