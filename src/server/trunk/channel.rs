//! One channel of a trunk: from the first word about a session to the last.

use std::collections::VecDeque;
use std::time::Duration;

use beanpole_protocol::trunk::ChannelNumber;
use beanpole_protocol::{Command, CommandDecoder, PutKey, Request};
use bytes::{Bytes, BytesMut};

use super::super::admission::Patience;
use super::super::pipeline::Pipeline;
use crate::queue::Numbered;

/// Commands that may be sent before it is known whether their session begins.
pub(super) const EARLY_MAX: usize = 32;

/// What those may have in all, bytes, unless one alone has more.
pub(super) const EARLY_BYTES_MAX: usize = 128 << 10;

/// A command as it came.
#[derive(Debug)]
pub(super) struct Asked {
    /// Its place in the session.
    pub(super) numbered: Numbered,
    /// What a connection of its own would have carried.
    pub(super) payload: Bytes,
}

/// A channel.
#[derive(Debug)]
pub(super) struct Channel {
    /// Its number on the trunk.
    pub(super) channel: ChannelNumber,
    pub(super) stage: Stage,
    /// What is counted for it, bytes.
    pub(super) counted_bytes: u64,
    /// How many bodies it is counted to await.
    pub(super) bodies: usize,
}

/// How far it is.
#[derive(Debug)]
pub(super) enum Stage {
    /// It is not known whether there is a session for it.
    Attaching(Attaching),
    /// It is that of a session.
    Attached(Box<Attached>),
    /// The session's end is under way.
    Closing,
}

/// A channel that was asked for. What is said about its session waits until there is one.
#[derive(Debug)]
pub(super) struct Attaching {
    /// The session begins if there is none.
    pub(super) opens: bool,
    pub(super) early: VecDeque<Asked>,
    /// The library has said all.
    pub(super) has_stopped: bool,
    /// The session is to end.
    pub(super) closes: bool,
    /// There is no memory for what was said, and so no room for a session that begins.
    pub(super) is_refused: bool,
}

/// A channel that has its session.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) pipeline: Pipeline,
    /// The number of the last command that was taken on, or is kept by the state.
    pub(super) last: u64,
    /// The command that was put off: until it comes again, all others are dropped.
    pub(super) put_off: Option<PutOff>,
}

/// A command that is to come again.
#[derive(Clone, Copy, Debug)]
pub(super) struct PutOff {
    pub(super) number: u64,
    /// For how long a put has found no memory.
    pub(super) patience: Option<Patience>,
    /// Since when it is put off, as time since the start.
    pub(super) since: Duration,
}

impl Channel {
    pub(super) fn new(channel: ChannelNumber, opens: bool) -> Self {
        let attaching = Attaching {
            opens,
            early: VecDeque::new(),
            has_stopped: false,
            closes: false,
            is_refused: false,
        };
        let stage = Stage::Attaching(attaching);
        Self { channel, stage, counted_bytes: 0, bodies: 0 }
    }

    pub(super) fn attached(&mut self) -> Option<&mut Attached> {
        match &mut self.stage {
            Stage::Attached(attached) => Some(attached),
            Stage::Attaching(_) | Stage::Closing => None,
        }
    }

    /// Whether the session is to end, and nothing may follow.
    pub(super) fn is_closing(&self) -> bool {
        matches!(self.stage, Stage::Closing)
    }

    /// Whether nothing is to be answered but what waits for something to happen.
    pub(super) fn is_idle(&self) -> bool {
        match &self.stage {
            Stage::Attached(attached) => {
                attached.pipeline.is_idle() || attached.pipeline.is_waiting()
            }
            Stage::Attaching(Attaching { early, .. }) => early.is_empty(),
            Stage::Closing => false,
        }
    }

    /// What is in memory for it beside itself, bytes, with `reply_bytes` for each body that it awaits.
    pub(super) fn held_bytes(&self, reply_bytes: u64) -> u64 {
        match &self.stage {
            Stage::Attached(attached) => {
                let pipeline = &attached.pipeline;
                pipeline.held_bytes(0) + pipeline.bodies_awaited() as u64 * reply_bytes
            }
            Stage::Attaching(Attaching { early, .. }) => {
                early.iter().map(|asked| asked.payload.len() as u64).sum()
            }
            Stage::Closing => 0,
        }
    }
}

impl Attaching {
    /// Nothing is kept of what is said before there is a session.
    pub(super) fn refuse(&mut self) {
        self.early = VecDeque::new();
        self.is_refused = true;
    }
}

impl Attached {
    /// Whether a command is dropped because one before it was put off.
    pub(super) fn drops(&self, number: u64) -> bool {
        self.put_off.is_some_and(|put_off| put_off.number != number)
    }

    /// Whether a command may have this number now.
    pub(super) fn is_next(&self, number: u64) -> bool {
        number > self.last || self.put_off.is_some_and(|put_off| put_off.number == number)
    }
}

/// Whether a request may be answered with a body, or something as long.
pub(super) fn asks_for_body(request: &Request) -> bool {
    let Request::Command(command) = request else { return false };
    matches!(
        command,
        Command::Reserve
            | Command::ReserveWithTimeout(_)
            | Command::ReserveJob(_)
            | Command::Peek(_)
            | Command::PeekReady
            | Command::PeekDelayed
            | Command::PeekBuried
            | Command::Stats
            | Command::StatsJob(_)
            | Command::StatsTube(_)
            | Command::ListTubes
            | Command::ListTubeUsed
            | Command::ListTubesWatched
    )
}

/// The one request that a payload is, with its key if it is a put that has one; `None` if it is no
/// request, or not only one.
pub(super) fn request_of(payload: Bytes, job_size_max: u32) -> Option<(Option<PutKey>, Request)> {
    let mut bytes = payload.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    let mut decoder = CommandDecoder::new(job_size_max);
    let (key, request) = match decoder.next_request(&mut bytes)? {
        Request::Command(Command::Key(key)) => (Some(key), decoder.next_request(&mut bytes)?),
        other => (None, other),
    };
    let is_put = matches!(request, Request::Command(Command::Put { .. }));
    let is_one = bytes.is_empty() && decoder.is_idle() && (key.is_none() || is_put);
    is_one.then_some((key, request))
}
