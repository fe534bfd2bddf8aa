//! A trunk: one connection that carries the leased sessions of many clients, each on a channel.
//!
//! The protocol is in docs/PROTOCOL.md. A channel has a connection number of its own in this member's
//! life, and a pipeline, as if it were a connection; what is here is the way between its commands and
//! the one socket. No channel waits for another: a command for which there is no room is dropped, and
//! its client told to bring it again (`later`).

mod channel;
mod line;
mod silence;

use std::sync::Arc;

use beanpole_protocol::trunk::ClientFrameDecoder;
use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::io::Interest;

use super::buffer::give_up_empty;
use super::connection::{Connection, End, INPUT_BYTES_KEPT_MAX, SHORT_READ_BYTES_MAX};
use super::hub::Hub;
use super::reads::ReadContext;
use crate::queue::{ConnectionNumber, Outcome, Queue};
use crate::raft::Ask;
use line::{Breach, TrunkLine};
use silence::Silence;

/// The longest line of a command, with room to spare; a body may come on top.
const LINE_BYTES_MAX: usize = 1 << 10;

/// What a channel takes up that does nothing, bytes.
pub(super) const CHANNEL_BYTES: u64 = 1024;

/// A trunk with this much unsent output is not read from, bytes, and brings no body that it was not
/// asked for before.
pub(super) const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// Why a trunk's task goes on.
enum Event {
    /// The socket was ready. What was to be read of it is read.
    Ready,
    /// The client will send no more.
    InputEnded,
    /// A while has passed.
    Tick,
    /// Somebody wants it to look at everything again.
    Woken,
}

/// A trunk, as its task and the appliers share it.
#[derive(Debug)]
pub(super) struct Trunk {
    /// The connection that has become it: its socket, and whether it is cut.
    transport: Arc<Connection>,
    line: Mutex<TrunkLine>,
}

impl Trunk {
    /// Makes a connection that has been answered nothing a trunk.
    pub(super) fn new(transport: Arc<Connection>, hub: &Hub) -> Self {
        Self { transport, line: Mutex::new(TrunkLine::new(hub)) }
    }

    /// Serves its channels until the other side leaves, or the server stops and all that was asked for
    /// before is answered. What came behind the command that made it a trunk is in `buffer`.
    pub(super) async fn serve(self: Arc<Self>, hub: &Arc<Hub>, mut buffer: BytesMut) -> End {
        let end = self.serve_channels(hub, &mut buffer).await;
        self.line.lock().leave(hub);
        end
    }

    async fn serve_channels(self: &Arc<Self>, hub: &Arc<Hub>, buffer: &mut BytesMut) -> End {
        let payload_bytes_max = hub.job_size_max() as usize + LINE_BYTES_MAX;
        let mut decoder = ClientFrameDecoder::new(payload_bytes_max);
        let mut silence = Silence::new();
        loop {
            if let Some(end) = self.transport.end() {
                return end;
            }
            let held_up = match self.take_frames(hub, &mut decoder, buffer) {
                Ok(held_up) => held_up,
                Err(breach) => return self.is_breached(&breach),
            };
            if let Err(breach) = self.keep_small(hub, &mut decoder, buffer) {
                return self.is_breached(&breach);
            }
            let may_speak = hub.may_speak();
            let (is_idle, is_full, writes) = {
                let mut line = self.line.lock();
                if may_speak {
                    line.send(&self.transport);
                }
                line.input_bytes = decoder.held_bytes() + buffer.capacity();
                line.count(hub);
                let is_full = line.output_bytes() >= OUTPUT_BYTES_MAX;
                // Whoever applies wakes this task only if it has something to do.
                line.asleep = !may_speak || is_full || hub.is_stopping();
                (line.is_idle(), is_full, may_speak && line.output_bytes() > 0)
            };
            if hub.is_stopping() && is_idle {
                return End::Stopped;
            }
            if held_up && !is_full && !hub.is_stopping() {
                continue;
            }
            let reads = !is_full && !hub.is_stopping();
            match self.wait(buffer, &mut silence, reads, writes).await {
                Ok(Event::Ready | Event::Woken) => {}
                Ok(Event::Tick) if self.has_sign(hub) => silence.end(),
                Ok(Event::Tick) if silence.grow() => return End::Silent,
                Ok(Event::Tick) => {}
                Ok(Event::InputEnded) => return End::Left,
                Err(error) => return self.transport.fail(&error),
            }
        }
    }

    /// Whether the silence of the other side says nothing: it is not answered, or not listened to and
    /// takes what is sent.
    fn has_sign(&self, hub: &Hub) -> bool {
        let mut line = self.line.lock();
        let has_sent = std::mem::take(&mut line.has_sent);
        !hub.may_speak() || has_sent && line.output_bytes() >= OUTPUT_BYTES_MAX
    }

    /// Takes on what has arrived. Returns whether it stopped for want of room for what it comes to, so
    /// that there may be more in the buffer.
    fn take_frames(
        self: &Arc<Self>,
        hub: &Hub,
        decoder: &mut ClientFrameDecoder,
        buffer: &mut BytesMut,
    ) -> Result<bool, Breach> {
        let mut line = self.line.lock();
        while !hub.is_stopping() {
            if line.output_bytes() >= OUTPUT_BYTES_MAX {
                return Ok(true);
            }
            let Some(frame) = decoder.next_frame(buffer)? else { break };
            line.take(hub, self, frame)?;
        }
        Ok(false)
    }

    /// When memory is short, drops a payload that is not whole: its put is refused.
    fn keep_small(
        &self,
        hub: &Hub,
        decoder: &mut ClientFrameDecoder,
        buffer: &mut BytesMut,
    ) -> Result<(), Breach> {
        let is_large = decoder.held_bytes() + buffer.len() > SHORT_READ_BYTES_MAX;
        if is_large
            && hub.is_short_of_memory()
            && let Some(refused) = decoder.refuse_payload(buffer)
        {
            self.line.lock().refuse(hub, refused)?;
        }
        give_up_empty(buffer, INPUT_BYTES_KEPT_MAX);
        Ok(())
    }

    fn is_breached(&self, breach: &Breach) -> End {
        tracing::debug!(connection = self.transport.number().0, %breach, "a trunk is closed");
        End::Broken
    }

    /// Waits for something to do, and reads if it is input. What has arrived goes before a tick, so
    /// that a member that was frozen itself hears first.
    async fn wait(
        &self,
        buffer: &mut BytesMut,
        silence: &mut Silence,
        reads: bool,
        writes: bool,
    ) -> std::io::Result<Event> {
        tokio::select! {
            biased;
            ready = self.ready(reads, writes) => ready?,
            () = silence.tick() => return Ok(Event::Tick),
            () = self.transport.woken() => return Ok(Event::Woken),
        }
        if !reads {
            return Ok(Event::Ready);
        }
        let before = buffer.len();
        if self.transport.read_some(buffer)? {
            return Ok(Event::InputEnded);
        }
        if buffer.len() > before {
            silence.end();
        }
        Ok(Event::Ready)
    }

    /// Completes when the socket is ready for that; never if for neither.
    async fn ready(&self, reads: bool, writes: bool) -> std::io::Result<()> {
        let interest = match (reads, writes) {
            (true, true) => Interest::READABLE | Interest::WRITABLE,
            (true, false) => Interest::READABLE,
            (false, true) => Interest::WRITABLE,
            (false, false) => std::future::pending().await,
        };
        self.transport.ready(interest).await
    }

    /// Wakes the task.
    pub(super) fn wake(&self) {
        self.transport.wake();
    }

    /// Ends the trunk without another word.
    pub(super) fn cut(&self) {
        self.transport.cut();
    }

    /// Answers the reads of a channel that stand before its op that is about to be applied.
    pub(super) fn before_op(&self, hub: &Hub, queue: &Queue, context: &ReadContext<'_>) {
        let mut line = self.line.lock();
        if self.has_room(hub, &mut line) {
            line.settle(hub, queue, context);
        }
    }

    /// Takes in what an op of a channel came to. Returns whether there is something to send that was
    /// not known of.
    pub(super) fn outcome(
        self: &Arc<Self>,
        hub: &Hub,
        number: ConnectionNumber,
        outcome: Outcome,
    ) -> bool {
        let mut line = self.line.lock();
        if !self.has_room(hub, &mut line) {
            return false;
        }
        if let Err(breach) = line.outcome(hub, number, outcome) {
            tracing::debug!(connection = self.transport.number().0, %breach, "a trunk is closed");
            self.transport.cut();
        }
        !std::mem::replace(&mut line.touched, true)
    }

    /// Answers the reads of a channel for which the leader was asked. Returns as [`Self::outcome`].
    pub(super) fn answer_reads(
        &self,
        hub: &Hub,
        queue: &Queue,
        context: &ReadContext<'_>,
        ask: Ask,
    ) -> bool {
        let mut line = self.line.lock();
        if !self.has_room(hub, &mut line) {
            return false;
        }
        line.settle_asked(hub, queue, context, ask);
        !std::mem::replace(&mut line.touched, true)
    }

    /// Whether there is room for one more reply. A trunk whose replies pile up is cut: its jobs are
    /// those of its sessions, which find them elsewhere when they go on.
    fn has_room(&self, hub: &Hub, line: &mut TrunkLine) -> bool {
        if self.transport.is_broken() {
            return false;
        }
        if line.output_bytes() >= OUTPUT_BYTES_MAX && hub.may_speak() {
            line.send(&self.transport);
        }
        if line.output_bytes() <= hub.trunk_output_bytes_max() {
            return true;
        }
        tracing::debug!(
            connection = self.transport.number().0,
            "a trunk does not take its replies"
        );
        self.transport.cut();
        false
    }

    /// Sends what there is, and wakes the task if the rest is up to it.
    pub(super) fn flush(&self, hub: &Hub) {
        let mut line = self.line.lock();
        line.touched = false;
        if !self.transport.is_broken() {
            line.send(&self.transport);
        }
        line.count(hub);
        if line.asleep || self.transport.is_broken() || line.output_bytes() > 0 {
            line.asleep = false;
            self.transport.wake();
        }
    }
}
