//! One client connection: bytes in, commands to the pipeline, replies out.
//!
//! Replies are written by whoever has them: the appliers right after a batch (see
//! [`Connection::flush`]), the connection's own task for what needs nobody else. The task reads,
//! and waits for room when the client is faster than the queue or slower than its own replies.

use std::cell::RefCell;
use std::io;
use std::sync::{Arc, OnceLock};

use beanpole_protocol::CommandDecoder;
use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::io::Interest;
use tokio::sync::Notify;

use super::dispatch;
use super::hub::Hub;
use super::pipeline::Pipeline;
use super::stream::Stream;
use crate::queue::ConnectionNumber;
use crate::raft::Ask;

/// What one read takes, bytes.
const READ_BYTES_MAX: usize = 64 << 10;

thread_local! {
    /// Where reads land first: an idle connection then needs no buffer of its own.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES_MAX].into());
}

/// A client, as its task and the appliers share it.
#[derive(Debug)]
pub(super) struct Connection {
    number: ConnectionNumber,
    stream: Stream,
    line: Mutex<Line>,
    wake: Notify,
    /// Replies have nowhere to go any more, and why.
    broken: OnceLock<End>,
}

/// Why a connection has ended, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client has left, and what it asked for before is answered.
    Left,
    /// The server ends, and what the client asked for before is answered.
    Stopped,
    /// This member has closed its clients.
    Cut,
    /// The socket has failed; the error was told when it did.
    Broken,
}

/// What the mutex of a connection guards.
#[derive(Debug)]
pub(super) struct Line {
    /// The commands taken on.
    pub pipeline: Pipeline,
    /// The log has been sent an op of this connection.
    pub numbered: bool,
    /// The state knows this connection.
    pub opened: bool,
    /// It is in the list of those that get replies after this batch.
    pub touched: bool,
    /// The task sleeps until something other than input happens.
    asleep: bool,
}

/// How the reading side stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    Open,
    /// After `quit`: what comes is thrown away, and only its end is of interest.
    Ignored,
    /// The client will send no more, or the server stops.
    Ended,
}

/// Why a connection's task goes on.
enum Woken {
    InputEnded,
    Other,
}

impl Connection {
    /// A connection that has said nothing yet.
    pub(super) fn new(number: ConnectionNumber, stream: Stream) -> Self {
        let line = Line {
            pipeline: Pipeline::new(number),
            numbered: false,
            opened: false,
            touched: false,
            asleep: false,
        };
        Self {
            number,
            stream,
            line: Mutex::new(line),
            wake: Notify::new(),
            broken: OnceLock::new(),
        }
    }

    /// Its number in this life of the member.
    pub(super) fn number(&self) -> ConnectionNumber {
        self.number
    }

    /// Runs `work` on the shared part. It must be short and take no other connection's.
    pub(super) fn with_line<R>(&self, work: impl FnOnce(&mut Line) -> R) -> R {
        work(&mut self.line.lock())
    }

    /// Wakes the task, to look at everything again.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Called by the appliers when there may be something new to send: sends it, and wakes the task
    /// if the rest is up to it. Returns the asking when a read waits for the leader's word.
    pub(super) fn flush(&self) -> Option<Ask> {
        let mut line = self.line.lock();
        line.touched = false;
        if !self.is_broken() {
            self.send(&mut line);
        }
        if line.asleep || self.is_broken() || !line.pipeline.output().is_empty() {
            line.asleep = false;
            self.wake.notify_one();
        }
        line.pipeline.ask_reads()
    }

    /// Writes what there is, as far as the socket takes it.
    fn send(&self, line: &mut Line) {
        while !line.pipeline.output().is_empty() {
            match self.stream.try_write(line.pipeline.output()) {
                Ok(count) => line.pipeline.sent(count),
                Err(error) => {
                    if !is_passing(&error) {
                        self.fail(&error);
                    }
                    return;
                }
            }
        }
    }

    /// Ends the connection without another word.
    pub(super) fn cut(&self) {
        self.broken.get_or_init(|| End::Cut);
        self.wake.notify_one();
    }

    fn fail(&self, error: &io::Error) -> End {
        tracing::debug!(connection = self.number.0, %error, "broken");
        *self.broken.get_or_init(|| End::Broken)
    }

    /// Whether there is nobody to be answered.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.get().is_some()
    }

    /// Serves the client until it leaves, or the server stops, and everything it asked for before
    /// is answered. Returns why it ended.
    pub(super) async fn serve(self: Arc<Self>, hub: Arc<Hub>) -> End {
        let mut decoder = CommandDecoder::new(hub.job_size_max());
        let mut buffer = BytesMut::new();
        let mut input = Input::Open;
        loop {
            if let Some(end) = self.broken.get() {
                return *end;
            }
            if hub.is_stopping() {
                input = Input::Ended;
            }
            let held_up = self.take_on(&hub, &mut decoder, &mut buffer, &mut input);
            let may_speak = hub.may_speak();
            let asked = self.with_line(|line| {
                if may_speak {
                    self.send(line);
                }
                line.pipeline.ask_reads()
            });
            if let Some(ask) = asked {
                hub.want_read(self.number, ask);
            }
            if let Some(end) = self.broken.get() {
                return *end;
            }
            if self.is_finished(&hub, input) {
                return if hub.is_stopping() { End::Stopped } else { End::Left };
            }
            if held_up && !self.with_line(|line| line.pipeline.is_full()) {
                continue;
            }
            match self.wait(&mut buffer, input, may_speak).await {
                Ok(Woken::InputEnded) => {
                    input = Input::Ended;
                    self.end_wait(&hub);
                }
                Ok(Woken::Other) => {}
                Err(error) => return self.fail(&error),
            }
        }
    }

    /// Takes on the commands that have arrived, as long as there is room for them. Returns whether
    /// it stopped for want of room, so that there may be more in the buffer.
    fn take_on(
        &self,
        hub: &Hub,
        decoder: &mut CommandDecoder,
        buffer: &mut BytesMut,
        input: &mut Input,
    ) -> bool {
        let mut line = self.line.lock();
        while !hub.is_stopping() {
            if line.pipeline.is_full() {
                return true;
            }
            let Some(request) = decoder.next_request(buffer) else { break };
            if dispatch::take_on(hub, &mut line, request).is_break() {
                buffer.clear();
                *input = Input::Ignored;
                break;
            }
        }
        false
    }

    fn end_wait(&self, hub: &Hub) {
        let stop = self.line.lock().pipeline.half_close();
        if let Some(op) = stop {
            hub.submit(op);
        }
    }

    /// Whether the connection is to be closed now. What is left in the buffer then is half a command
    /// that will never be finished: an idle pipeline had room for whole ones.
    fn is_finished(&self, hub: &Hub, input: Input) -> bool {
        let line = self.line.lock();
        let waits = line.pipeline.is_waiting() && line.pipeline.output().is_empty();
        input != Input::Open && (line.pipeline.is_idle() || (hub.is_stopping() && waits))
    }

    /// Waits for something to do, and reads if it is input.
    async fn wait(
        &self,
        buffer: &mut BytesMut,
        input: Input,
        may_speak: bool,
    ) -> io::Result<Woken> {
        let (reads, writes) = {
            let mut line = self.line.lock();
            let full = line.pipeline.is_full();
            line.asleep =
                !may_speak || full || buffer.len() >= READ_BYTES_MAX || input != Input::Open;
            // Behind a wait, reading goes on though nothing is taken on: the client may be gone.
            let room = buffer.len() < READ_BYTES_MAX && (!full || line.pipeline.is_waiting());
            (input != Input::Ended && room, may_speak && !line.pipeline.output().is_empty())
        };
        let interest = match (reads, writes) {
            (true, true) => Interest::READABLE | Interest::WRITABLE,
            (true, false) => Interest::READABLE,
            (false, true) => Interest::WRITABLE,
            (false, false) => {
                self.wake.notified().await;
                return Ok(Woken::Other);
            }
        };
        tokio::select! {
            biased;
            ready = self.stream.ready(interest) => ready?,
            () = self.wake.notified() => return Ok(Woken::Other),
        }
        if !reads {
            return Ok(Woken::Other);
        }
        let woken = self.read(buffer);
        if input == Input::Ignored {
            buffer.clear();
        }
        woken
    }

    fn read(&self, buffer: &mut BytesMut) -> io::Result<Woken> {
        SCRATCH.with_borrow_mut(|scratch| match self.stream.try_read(scratch) {
            Ok(0) => Ok(Woken::InputEnded),
            Ok(count) => {
                buffer.extend_from_slice(&scratch[..count]);
                Ok(Woken::Other)
            }
            Err(error) if is_passing(&error) => Ok(Woken::Other),
            Err(error) => Err(error),
        })
    }
}

/// Whether the same call may succeed later.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
