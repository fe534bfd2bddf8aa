//! A connection to one member, which carries many sessions.
//!
//! Whoever has something to say appends it to the output and writes it out, as far as the socket
//! takes it; the connection's own task writes the rest, reads, and asks whether the member is
//! there.
//!
//! Locks: that of a session may be held when one of those here is taken, never the other way round.

mod dial;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use beanpole_protocol::trunk::{
    ChannelNumber, ClientFrame, FrameError, MemberFrame, MemberFrameDecoder,
};
use beanpole_protocol::{LINE_BYTES_MAX, REPLY_BODY_BYTES_MAX};
use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::time::sleep;

pub(super) use self::dial::dial;
use super::carried::Carried;
use super::members::Members;
use super::pace::jittered;

/// With this much unsent output no session sends more, bytes. One frame may come on top.
const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// What an output buffer may keep of its memory when it is empty, bytes.
const OUTPUT_BYTES_KEPT_MAX: usize = 64 << 10;

/// How much is read at once, bytes.
const READ_BYTES: usize = 64 << 10;

/// The longest payload that a member may send, bytes: memory is taken as it arrives.
const PAYLOAD_BYTES_MAX: usize = REPLY_BODY_BYTES_MAX as usize + 2 * LINE_BYTES_MAX;

/// How often a member is asked in the time that it has to answer, at least.
const PINGS_PER_LIMIT: u32 = 4;

/// The longest that a member hears nothing, seconds: after 5 s it would close the connection.
const PING_INTERVAL_MAX_SECS: u64 = 2;

/// How many times the limit of an answer a member has if no other answers either.
const LIMITS_WITHOUT_OTHERS: u32 = 10;

/// A connection that carries sessions.
#[derive(Debug)]
pub(super) struct Trunk {
    /// Which of the client's members it leads to.
    member: usize,
    job_size_max: u32,
    stream: OwnedWriteHalf,
    output: Mutex<Output>,
    /// There is output that the socket did not take, or room for those who wait for it.
    writer: Notify,
    channels: Mutex<Channels>,
    /// How many sessions it carries.
    sessions: AtomicUsize,
    /// Of those, how many have not been answered whether it may.
    asking: AtomicUsize,
    /// The number of the last ping that was answered.
    last_pong: AtomicU64,
    /// Counts the pieces of what is larger than the way takes at once: pings and their answers wait
    /// behind it.
    pieces: AtomicU64,
    /// The member does not answer in time.
    is_silent: AtomicBool,
    /// In this round of the client's watch, the member has refused a session.
    is_refusing: AtomicBool,
    /// For how many rounds of the client's watch it has been there.
    rounds: AtomicU32,
}

#[derive(Debug, Default)]
struct Output {
    buffer: BytesMut,
    /// Sessions that have more to send than there was room for.
    waiting: Vec<Arc<Carried>>,
}

#[derive(Debug, Default)]
struct Channels {
    by_number: HashMap<ChannelNumber, Arc<Carried>>,
    /// No number is used twice, so that what comes late is known as such.
    last: u32,
    is_closed: bool,
}

/// Why a connection has ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum TrunkEnd {
    #[error("the member has closed it")]
    Left,
    #[error("it failed: {0}")]
    Io(#[from] io::Error),
    #[error("the member sends what is no frame: {0}")]
    Frame(#[from] FrameError),
    #[error("the member does not answer")]
    Silent,
}

impl Trunk {
    /// A connection to a member that has said that it carries sessions.
    pub(super) fn new(member: usize, stream: OwnedWriteHalf, job_size_max: u32) -> Arc<Self> {
        Arc::new(Self {
            member,
            job_size_max,
            stream,
            output: Mutex::default(),
            writer: Notify::new(),
            channels: Mutex::default(),
            sessions: AtomicUsize::new(0),
            asking: AtomicUsize::new(0),
            last_pong: AtomicU64::new(0),
            pieces: AtomicU64::new(0),
            is_silent: AtomicBool::new(false),
            is_refusing: AtomicBool::new(false),
            rounds: AtomicU32::new(0),
        })
    }

    pub(super) fn member(&self) -> usize {
        self.member
    }

    pub(super) fn job_size_max(&self) -> u32 {
        self.job_size_max
    }

    pub(super) fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    pub(super) fn asking(&self) -> usize {
        self.asking.load(Ordering::Relaxed)
    }

    pub(super) fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::Relaxed)
    }

    /// The member has refused a session: others are to be asked first for a while.
    pub(super) fn note_refusal(&self) {
        self.is_refusing.store(true, Ordering::Relaxed);
    }

    /// Whether a session is better carried by another.
    pub(super) fn is_in_trouble(&self) -> bool {
        self.is_silent() || self.is_refusing.load(Ordering::Relaxed)
    }

    /// Counts a round of the client's watch. Returns how many there were before.
    pub(super) fn next_round(&self) -> u32 {
        self.is_refusing.store(false, Ordering::Relaxed);
        self.rounds.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes a channel for a session; `None` if the connection has ended.
    pub(super) fn add(&self, session: &Arc<Carried>) -> Option<ChannelNumber> {
        let mut channels = self.channels.lock();
        if channels.is_closed {
            return None;
        }
        channels.last = channels.last.checked_add(1)?;
        let channel = ChannelNumber(channels.last);
        channels.by_number.insert(channel, Arc::clone(session));
        self.sessions.store(channels.by_number.len(), Ordering::Relaxed);
        self.asking.fetch_add(1, Ordering::Relaxed);
        Some(channel)
    }

    /// The session is not carried here any more.
    pub(super) fn remove(&self, channel: ChannelNumber) {
        let mut channels = self.channels.lock();
        channels.by_number.remove(&channel);
        self.sessions.store(channels.by_number.len(), Ordering::Relaxed);
    }

    /// One that asked was answered, or asks no more.
    pub(super) fn stop_asking(&self) {
        self.asking.fetch_sub(1, Ordering::Relaxed);
    }

    /// Up to `count` of the sessions that it carries.
    pub(super) fn some_sessions(&self, count: usize) -> Vec<Arc<Carried>> {
        self.channels.lock().by_number.values().take(count).cloned().collect()
    }

    /// Takes no more sessions. Returns those that it carried.
    pub(super) fn close(&self) -> Vec<Arc<Carried>> {
        let mut channels = self.channels.lock();
        channels.is_closed = true;
        self.sessions.store(0, Ordering::Relaxed);
        let orphans = channels.by_number.drain().map(|(_, session)| session).collect();
        drop(channels);
        self.output.lock().waiting.clear();
        orphans
    }

    /// Whether a session may send one more frame; if not, it is told when it may.
    pub(super) fn has_room(&self, session: &Arc<Carried>) -> bool {
        let mut output = self.output.lock();
        if output.buffer.len() < OUTPUT_BYTES_MAX {
            return true;
        }
        output.waiting.push(Arc::clone(session));
        false
    }

    /// Appends a frame to the output; [`Self::flush`] sends it.
    pub(super) fn push(&self, frame: &ClientFrame) {
        frame.encode(&mut self.output.lock().buffer);
    }

    /// Sends what there is, as far as the socket takes it; the connection's task sends the rest,
    /// and finds out when it cannot.
    pub(super) fn flush(&self) {
        let is_all = matches!(self.write_some(), Ok(true));
        if !is_all || !self.output.lock().waiting.is_empty() {
            self.writer.notify_one();
        }
    }

    /// Carries sessions until the connection ends.
    pub(super) async fn serve(
        self: &Arc<Self>,
        members: &Arc<Members>,
        reader: OwnedReadHalf,
        rest: BytesMut,
    ) -> TrunkEnd {
        tokio::select! {
            end = self.read(members, reader, rest) => end,
            end = self.write() => end,
            end = self.watch(members) => end,
        }
    }

    async fn read(
        self: &Arc<Self>,
        members: &Arc<Members>,
        mut reader: OwnedReadHalf,
        mut input: BytesMut,
    ) -> TrunkEnd {
        let mut decoder = MemberFrameDecoder::new(PAYLOAD_BYTES_MAX);
        loop {
            if let Err(error) = self.take_frames(members, &mut decoder, &mut input) {
                return error.into();
            }
            input.reserve(READ_BYTES);
            match reader.read_buf(&mut input).await {
                Ok(0) => return TrunkEnd::Left,
                Ok(_) if decoder.is_inside_payload() => self.note_piece(),
                Ok(_) => {}
                Err(error) => return error.into(),
            }
        }
    }

    fn take_frames(
        self: &Arc<Self>,
        members: &Arc<Members>,
        decoder: &mut MemberFrameDecoder,
        input: &mut BytesMut,
    ) -> Result<(), FrameError> {
        while let Some(frame) = decoder.next_frame(input)? {
            self.take(members, frame);
        }
        self.flush();
        Ok(())
    }

    fn take(self: &Arc<Self>, members: &Arc<Members>, frame: MemberFrame) {
        let channel = match &frame {
            MemberFrame::Pong(number) => return self.last_pong.store(*number, Ordering::Relaxed),
            MemberFrame::Opened { channel }
            | MemberFrame::Resumed { channel, .. }
            | MemberFrame::Lapsed { channel }
            | MemberFrame::Refused { channel }
            | MemberFrame::Moved { channel }
            | MemberFrame::Closed { channel }
            | MemberFrame::Reply { channel, .. }
            | MemberFrame::Later { channel, .. } => *channel,
        };
        let session = self.channels.lock().by_number.get(&channel).cloned();
        // A session that was moved on purpose is none of this connection's.
        if let Some(session) = session {
            session.receive(members, self, channel, frame);
        }
    }

    async fn write(&self) -> TrunkEnd {
        loop {
            self.writer.notified().await;
            if let Err(error) = self.write_all().await {
                return error.into();
            }
        }
    }

    /// Writes all there is, and what sessions have to send for which there was no room.
    async fn write_all(&self) -> io::Result<()> {
        loop {
            while !self.write_some()? {
                self.stream.writable().await?;
            }
            let waiting = std::mem::take(&mut self.output.lock().waiting);
            if waiting.is_empty() {
                return Ok(());
            }
            for session in waiting {
                session.send_more(self);
            }
        }
    }

    /// Writes what the socket takes. Returns whether that is all.
    fn write_some(&self) -> io::Result<bool> {
        let mut output = self.output.lock();
        let mut is_taken = false;
        while !output.buffer.is_empty() {
            match self.stream.try_write(&output.buffer) {
                Ok(bytes) => {
                    output.buffer.advance(bytes);
                    is_taken = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if is_taken {
                        self.note_piece();
                    }
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        if output.buffer.capacity() > OUTPUT_BYTES_KEPT_MAX {
            output.buffer = BytesMut::new();
        }
        Ok(true)
    }

    /// A part of something large is through. A member that is frozen takes no more than its kernel
    /// has room for, and says nothing.
    fn note_piece(&self) {
        self.pieces.fetch_add(1, Ordering::Relaxed);
    }

    /// Asks again and again whether the member is there. Ends when it is not.
    async fn watch(&self, members: &Members) -> TrunkEnd {
        let limit = members.options().ping_limit;
        let rounds = limit.as_secs().div_ceil(PING_INTERVAL_MAX_SECS);
        let rounds = u32::try_from(rounds).unwrap_or(u32::MAX).max(PINGS_PER_LIMIT);
        let pause = limit / rounds;
        let (mut asked, mut answered, mut unanswered, mut seen) = (0, 0, 0, 0);
        loop {
            let pieces = self.pieces.load(Ordering::Relaxed);
            if std::mem::replace(&mut seen, pieces) != pieces {
                unanswered = 0;
            }
            let last = self.last_pong.load(Ordering::Relaxed);
            if last != answered {
                (answered, unanswered) = (last, 0);
                self.is_silent.store(false, Ordering::Relaxed);
            } else if unanswered >= rounds {
                self.is_silent.store(true, Ordering::Relaxed);
                let is_hopeless = unanswered >= rounds.saturating_mul(LIMITS_WITHOUT_OTHERS);
                if is_hopeless || members.has_answering() {
                    return TrunkEnd::Silent;
                }
            }
            // Again, answered or not: a member that does not keep up lets a ping drop.
            asked += 1;
            self.push(&ClientFrame::Ping(asked));
            self.flush();
            sleep(pause.max(Duration::from_millis(1))).await;
            unanswered += 1;
        }
    }
}

/// A pause before something is tried again that all sessions of a connection may try.
pub(super) fn retry_pause() -> Duration {
    jittered(Duration::from_millis(200))
}
