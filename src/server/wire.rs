//! How a pipeline's replies go out, and how its ops are signed: on a connection of its own, or on
//! one of many channels of a trunk.

use beanpole_protocol::Reply;
use beanpole_protocol::trunk::{ChannelNumber, encode_reply_head};
use bytes::BytesMut;

use crate::planted::{self, Bug};
use crate::queue::{Numbered, Outcome};

/// The ends of lines.
const CRLF: &[u8] = b"\r\n";

/// What comes before a reply on a trunk is no longer than this, bytes.
const FRAME_HEAD_BYTES: usize = 64;

/// Where replies go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    /// A connection of its own.
    Plain,
    /// One of many on a trunk: commands have numbers, and replies say whose they are.
    Channel {
        /// Which.
        channel: ChannelNumber,
        /// That of the command which is taken on.
        next: Numbered,
    },
}

impl Wire {
    /// That of a channel.
    pub(super) fn of_channel(channel: ChannelNumber) -> Self {
        Self::Channel { channel, next: Numbered::default() }
    }

    /// What is taken on next is a channel's command in this place.
    pub(super) fn begin_command(&mut self, command: Numbered) {
        if let Self::Channel { next, .. } = self {
            *next = command;
        }
    }

    /// The number of the command that is taken on; 0 on a connection of its own.
    pub(super) fn number(self) -> u64 {
        match self {
            Self::Plain => 0,
            Self::Channel { next, .. } => next.number,
        }
    }

    /// The place in which an op of the command of this number is sent.
    pub(super) fn place_of(self, number: u64) -> Option<Numbered> {
        match self {
            Self::Plain => None,
            Self::Channel { next, .. } => Some(Numbered { number, ..next }),
        }
    }

    /// Appends the reply to a command.
    pub(super) fn push_reply(self, number: u64, reply: &Reply, output: &mut BytesMut) {
        let Self::Channel { channel, .. } = self else { return reply.encode(output) };
        let mut line = BytesMut::new();
        let body = reply.encode_line(&mut line);
        let payload = line.len() + body.map_or(0, |body| body.len() + CRLF.len());
        output.reserve(payload + FRAME_HEAD_BYTES);
        encode_reply_head(channel, number, payload, output);
        output.extend_from_slice(&line);
        if let Some(body) = body {
            output.extend_from_slice(body);
            output.extend_from_slice(CRLF);
        }
    }
}

/// What a client is answered.
pub(super) fn reply_of(outcome: Outcome) -> Reply {
    match outcome {
        Outcome::Inserted { job }
            if planted::is(Bug::RefusedButDone) && job.0.is_multiple_of(64) =>
        {
            Reply::OutOfMemory
        }
        Outcome::Inserted { job } => Reply::Inserted(job.0),
        Outcome::Using { tube } => Reply::Using(tube),
        Outcome::Watching { count } => Reply::Watching(count),
        Outcome::NotIgnored => Reply::NotIgnored,
        Outcome::Reserved { job, body } => Reply::Reserved { id: job.0, body: body.here() },
        Outcome::TimedOut => Reply::TimedOut,
        Outcome::DeadlineSoon => Reply::DeadlineSoon,
        Outcome::Deleted => Reply::Deleted,
        Outcome::Released => Reply::Released,
        Outcome::Buried => Reply::Buried,
        Outcome::Touched => Reply::Touched,
        Outcome::Kicked { count } => Reply::Kicked(count),
        Outcome::JobKicked => Reply::JobKicked,
        Outcome::Paused => Reply::Paused,
        Outcome::NotFound => Reply::NotFound,
        Outcome::OutOfMemory => Reply::OutOfMemory,
        Outcome::KeyInUse => Reply::KeyInUse,
        Outcome::Waiting
        | Outcome::Deferred
        | Outcome::Attached(_)
        | Outcome::Detached
        | Outcome::Closed => {
            unreachable!("none of these ends a command")
        }
    }
}
