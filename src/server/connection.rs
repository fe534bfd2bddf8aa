//! One client connection: bytes in, commands to the pipeline, replies out.
//!
//! Replies are written by whoever has them: the appliers right after a batch (see
//! [`Connection::flush`]), the connection's own task for what needs nobody else. The task reads,
//! and waits for room when the client is faster than the queue or slower than its own replies.

use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use beanpole_protocol::{Command, CommandDecoder, Reply, Request};
use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use tokio::io::Interest;
use tokio::sync::Notify;

use super::admission::{PATIENCE, Patience, SLOWDOWN};
use super::buffer::give_up_empty;
use super::dispatch::{self, Taken};
use super::hub::Hub;
use super::pipeline::Pipeline;
use super::stream::Stream;
use crate::memory::Memory;
use crate::queue::ConnectionNumber;
use crate::raft::Ask;

/// What one read takes, bytes.
const READ_BYTES_MAX: usize = 64 << 10;

/// What one read takes when memory is short, and what of a body may wait for its end then, bytes.
pub(super) const SHORT_READ_BYTES_MAX: usize = 4 << 10;

/// What an input buffer may keep of its memory when it is empty, bytes.
pub(super) const INPUT_BYTES_KEPT_MAX: usize = 4 << 10;

/// What a connection takes up that does nothing, bytes.
pub(super) const CONNECTION_BYTES: u64 = 2048;

thread_local! {
    /// Where reads land first: an idle connection then needs no buffer of its own.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES_MAX].into());
}

/// A client, as its task and the appliers share it.
#[derive(Debug)]
pub(super) struct Connection {
    number: ConnectionNumber,
    stream: Stream,
    memory: Arc<Memory>,
    /// What a reply may have, bytes.
    reply_bytes: u64,
    line: Mutex<Line>,
    wake: Notify,
    /// It is in the queue of those whose puts wait for memory.
    is_parked: AtomicBool,
    /// Its list waits until others have been sent.
    awaits_list: AtomicBool,
    /// Replies have nowhere to go any more, and why.
    broken: OnceLock<End>,
}

/// How a connection was served.
#[derive(Debug)]
pub(super) enum Served {
    /// To its end.
    Ended(End),
    /// Until it was to be a trunk; with what came behind that word.
    BecomesTrunk(BytesMut),
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
    /// Of a trunk: nothing has come of it for too long.
    Silent,
    /// The socket has failed; the error was told when it did.
    Broken,
}

/// What the mutex of a connection guards.
#[derive(Debug)]
pub(super) struct Line {
    /// The commands taken on.
    pub pipeline: Pipeline,
    /// The state knows this connection.
    pub opened: bool,
    /// Its last op was refused because there is no room for its session.
    pub turned_down: bool,
    /// It carries sessions, and is none.
    pub is_trunk: bool,
    /// It is in the list of those that get replies after this batch.
    pub touched: bool,
    /// The task sleeps until something other than input happens.
    asleep: bool,
    /// A put that waits.
    parked: Option<Parked>,
    /// What is in memory of commands that are not whole, bytes.
    input_bytes: usize,
    /// What is counted for this connection, bytes.
    counted_bytes: u64,
}

/// A put that waits.
#[derive(Debug)]
struct Parked {
    put: Request,
    patience: Patience,
    /// After what time it is looked at again, when nobody says that there is room.
    again: Duration,
}

/// How the reading side stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    Open,
    /// After `quit`: what comes is thrown away, and only its end is of interest.
    Ignored,
    /// What comes are frames.
    Trunk,
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
    pub(super) fn new(
        number: ConnectionNumber,
        stream: Stream,
        memory: Arc<Memory>,
        reply_bytes: u64,
    ) -> Self {
        memory.connections.add(CONNECTION_BYTES);
        let line = Line {
            pipeline: Pipeline::new(number),
            opened: false,
            turned_down: false,
            is_trunk: false,
            touched: false,
            asleep: false,
            parked: None,
            input_bytes: 0,
            counted_bytes: CONNECTION_BYTES,
        };
        Self {
            number,
            stream,
            memory,
            reply_bytes,
            line: Mutex::new(line),
            wake: Notify::new(),
            is_parked: AtomicBool::new(false),
            awaits_list: AtomicBool::new(false),
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

    /// Wakes the task: there may be memory for its put.
    pub(super) fn unpark(&self) {
        self.is_parked.store(false, Ordering::Relaxed);
        self.wake();
    }

    /// Its list has to wait: it is not asked for until there may be room.
    pub(super) fn park_list(&self) {
        self.awaits_list.store(true, Ordering::Relaxed);
    }

    /// Wakes the task: there may be room for its list.
    pub(super) fn unpark_list(&self) {
        self.awaits_list.store(false, Ordering::Relaxed);
        self.wake();
    }

    /// Whether the leader's word is wanted now, and under which number.
    fn ask_reads(&self, line: &mut Line) -> Option<Ask> {
        if self.awaits_list.load(Ordering::Relaxed) {
            return None;
        }
        line.pipeline.ask_reads()
    }

    /// Counts what the connection has in memory.
    pub(super) fn count(&self, line: &mut Line) {
        let held = line.pipeline.held_bytes(self.reply_bytes);
        let parked = line.parked.as_ref().map_or(0, |parked| body_bytes(&parked.put));
        self.count_as(line, CONNECTION_BYTES + held + (line.input_bytes + parked) as u64);
    }

    /// The connection is gone.
    pub(super) fn uncount(&self, line: &mut Line) {
        self.count_as(line, 0);
    }

    fn count_as(&self, line: &mut Line, bytes: u64) {
        let before = std::mem::replace(&mut line.counted_bytes, bytes);
        match bytes > before {
            true => self.memory.connections.add(bytes - before),
            false => self.memory.connections.remove(before - bytes),
        }
    }

    fn is_full(&self, line: &Line) -> bool {
        line.parked.is_some() || line.pipeline.is_full(self.memory.connections.is_over())
    }

    /// Called by the appliers when there may be something new to send: sends it, and wakes the task
    /// if the rest is up to it. Returns the asking when a read waits for the leader's word.
    pub(super) fn flush(&self) -> Option<Ask> {
        let mut line = self.line.lock();
        line.touched = false;
        if !self.is_broken() {
            self.send(&mut line);
        }
        self.count(&mut line);
        if line.asleep || self.is_broken() || !line.pipeline.output().is_empty() {
            line.asleep = false;
            self.wake.notify_one();
        }
        self.ask_reads(&mut line)
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

    pub(super) fn fail(&self, error: &io::Error) -> End {
        tracing::debug!(connection = self.number.0, %error, "broken");
        *self.broken.get_or_init(|| End::Broken)
    }

    /// Why it has ended, if it has.
    pub(super) fn end(&self) -> Option<End> {
        self.broken.get().copied()
    }

    /// Completes when its task is to look at everything again.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Completes when the socket may be used so.
    pub(super) async fn ready(&self, interest: Interest) -> io::Result<()> {
        self.stream.ready(interest).await
    }

    /// Reads what is there, as far as one read goes. Returns whether the input has ended.
    pub(super) fn read_some(&self, buffer: &mut BytesMut) -> io::Result<bool> {
        Ok(matches!(self.read(buffer, self.read_bytes_max())?, Woken::InputEnded))
    }

    /// Writes of `output` what the socket takes.
    pub(super) fn write_some(&self, output: &mut BytesMut) {
        while !output.is_empty() {
            match self.stream.try_write(output) {
                Ok(count) => output.advance(count),
                Err(error) => {
                    if !is_passing(&error) {
                        self.fail(&error);
                    }
                    return;
                }
            }
        }
    }

    /// Whether there is nobody to be answered.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.get().is_some()
    }

    /// Serves the client until it leaves, or the server stops, and everything it asked for before
    /// is answered, or until it becomes a trunk.
    pub(super) async fn serve(self: Arc<Self>, hub: Arc<Hub>) -> Served {
        let mut decoder = CommandDecoder::new(hub.job_size_max());
        let mut buffer = BytesMut::new();
        let mut input = Input::Open;
        loop {
            if let Some(end) = self.broken.get() {
                return Served::Ended(*end);
            }
            if hub.is_stopping() {
                input = Input::Ended;
            }
            let held_up = self.take_on(&hub, &mut decoder, &mut buffer, &mut input);
            if input == Input::Trunk {
                return Served::BecomesTrunk(buffer);
            }
            self.keep_small(&mut decoder, &mut buffer);
            let may_speak = hub.may_speak();
            let asked = self.with_line(|line| {
                if may_speak {
                    self.send(line);
                }
                line.input_bytes = decoder.held_bytes() + buffer.capacity();
                self.count(line);
                self.ask_reads(line)
            });
            if let Some(ask) = asked {
                hub.want_read(self.number, ask);
            }
            if let Some(end) = self.broken.get() {
                return Served::Ended(*end);
            }
            if self.is_finished(&hub, input) {
                let end = if hub.is_stopping() { End::Stopped } else { End::Left };
                return Served::Ended(end);
            }
            if held_up && !self.with_line(|line| self.is_full(line)) {
                continue;
            }
            match self.wait(&mut buffer, input, may_speak).await {
                Ok(Woken::InputEnded) => {
                    input = Input::Ended;
                    self.end_wait(&hub);
                }
                Ok(Woken::Other) => {}
                Err(error) => return Served::Ended(self.fail(&error)),
            }
        }
    }

    /// Takes on the commands that have arrived, as long as there is room for them. Returns whether
    /// it stopped for want of room, so that there may be more in the buffer.
    fn take_on(
        self: &Arc<Self>,
        hub: &Hub,
        decoder: &mut CommandDecoder,
        buffer: &mut BytesMut,
        input: &mut Input,
    ) -> bool {
        let mut line = self.line.lock();
        while !hub.is_stopping() {
            if line.pipeline.is_full(self.memory.connections.is_over()) {
                return true;
            }
            let (request, patience) = match line.parked.take() {
                Some(Parked { put, patience, .. }) => (Some(put), Some(patience)),
                None => (decoder.next_request(buffer), None),
            };
            let Some(request) = request else { break };
            let waited =
                patience.map_or(Duration::ZERO, |it| hub.uptime().saturating_sub(it.since));
            match dispatch::take_on(hub, &mut line.pipeline, request, waited) {
                // The next one may find that there is too much already.
                Taken::On if line.pipeline.awaits_bodies() => self.count(&mut line),
                Taken::On => {}
                Taken::NotYet(put) => {
                    let patience =
                        patience.unwrap_or_else(|| hub.admission().patience(hub.uptime()));
                    line.parked = Some(Parked { put, patience, again: SLOWDOWN });
                    return true;
                }
                Taken::Not(put) => match self.wait_on(hub, patience) {
                    Some(patience) => {
                        line.parked = Some(Parked { put, patience, again: PATIENCE });
                        return true;
                    }
                    None => dispatch::refuse_put(hub, &mut line.pipeline, Reply::OutOfMemory),
                },
                Taken::Leave => {
                    buffer.clear();
                    *input = Input::Ignored;
                    break;
                }
                Taken::Trunk => {
                    *input = Input::Trunk;
                    break;
                }
            }
        }
        false
    }

    /// The put of this connection waits for memory, or has waited in vain: then `None`.
    fn wait_on(self: &Arc<Self>, hub: &Hub, patience: Option<Patience>) -> Option<Patience> {
        let patience = hub.admission().wait_on(hub.uptime(), patience)?;
        if !self.is_parked.swap(true, Ordering::Relaxed) {
            hub.admission().park(Arc::clone(self));
        }
        Some(patience)
    }

    /// When memory is short, drops a body that is not whole: its put will be refused.
    fn keep_small(&self, decoder: &mut CommandDecoder, buffer: &mut BytesMut) {
        let is_large = decoder.held_bytes() + buffer.len() > SHORT_READ_BYTES_MAX;
        if is_large && self.memory.connections.is_over() && decoder.refuse_body() {
            // What has arrived goes at once; a request is not whole yet.
            let next = decoder.next_request(buffer);
            assert!(next.is_none(), "the body was not whole");
        }
        give_up_empty(buffer, INPUT_BYTES_KEPT_MAX);
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
        let is_idle = line.pipeline.is_idle() && (line.parked.is_none() || hub.is_stopping());
        input != Input::Open && (is_idle || (hub.is_stopping() && waits))
    }

    /// Waits for something to do, and reads if it is input.
    async fn wait(
        &self,
        buffer: &mut BytesMut,
        input: Input,
        may_speak: bool,
    ) -> io::Result<Woken> {
        let read_max = self.read_bytes_max();
        let (reads, writes, parked) = {
            let mut line = self.line.lock();
            let full = self.is_full(&line);
            line.asleep = !may_speak || full || buffer.len() >= read_max || input != Input::Open;
            // Behind a wait, reading goes on though nothing is taken on: the client may be gone.
            let room = buffer.len() < read_max && (!full || line.pipeline.is_waiting());
            let writes = may_speak && !line.pipeline.output().is_empty();
            (input != Input::Ended && room, writes, line.parked.as_ref().map(|parked| parked.again))
        };
        let woken = async {
            match parked {
                // In the end it has waited in vain.
                Some(again) => drop(tokio::time::timeout(again, self.wake.notified()).await),
                None => self.wake.notified().await,
            }
        };
        let interest = match (reads, writes) {
            (true, true) => Interest::READABLE | Interest::WRITABLE,
            (true, false) => Interest::READABLE,
            (false, true) => Interest::WRITABLE,
            (false, false) => {
                woken.await;
                return Ok(Woken::Other);
            }
        };
        tokio::select! {
            biased;
            ready = self.stream.ready(interest) => ready?,
            () = woken => return Ok(Woken::Other),
        }
        if !reads {
            return Ok(Woken::Other);
        }
        let woken = self.read(buffer, read_max);
        if input == Input::Ignored {
            buffer.clear();
        }
        woken
    }

    fn read_bytes_max(&self) -> usize {
        if self.memory.connections.is_over() { SHORT_READ_BYTES_MAX } else { READ_BYTES_MAX }
    }

    fn read(&self, buffer: &mut BytesMut, bytes_max: usize) -> io::Result<Woken> {
        SCRATCH.with_borrow_mut(|scratch| match self.stream.try_read(&mut scratch[..bytes_max]) {
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

fn body_bytes(put: &Request) -> usize {
    match put {
        Request::Command(Command::Put { body, .. }) => body.len(),
        _ => 0,
    }
}

/// Whether the same call may succeed later.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
