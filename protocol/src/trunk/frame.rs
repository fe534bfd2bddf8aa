//! The frames of both directions.

use std::fmt;

use bytes::Bytes;

use super::Token;

/// Which of the sessions on a connection a frame is about: 1 to 4294967295, chosen by the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelNumber(pub u32);

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientFrame {
    /// `open <channel> <token> <lease>`: begins a session, or finds it again. Commands may follow
    /// at once.
    Open {
        /// Not in use on this connection.
        channel: ChannelNumber,
        /// Names the session from now on.
        token: Token,
        /// How long the session lasts without a connection, in milliseconds:
        /// [`LEASE_MILLIS_MIN`](super::LEASE_MILLIS_MIN) to
        /// [`LEASE_MILLIS_MAX`](super::LEASE_MILLIS_MAX).
        lease_millis: u32,
    },
    /// `resume <channel> <token> <lease> <answered>`: goes on with a session. No command may follow
    /// before the answer.
    Resume {
        /// Not in use on this connection.
        channel: ChannelNumber,
        /// The token of the session.
        token: Token,
        /// As in [`ClientFrame::Open`].
        lease_millis: u32,
        /// The client knows what came of all commands up to this number; 0 if of none.
        answered: u64,
    },
    /// `do <channel> <number> <answered> <bytes>` and the payload: one command.
    Do {
        /// The session's.
        channel: ChannelNumber,
        /// Counted by the client for each session, from 1, upwards.
        number: u64,
        /// As in [`ClientFrame::Resume`].
        answered: u64,
        /// What a plain connection would carry: the line with its CR LF, and the body of a put with
        /// its.
        payload: Bytes,
    },
    /// `stop <channel>`: no more commands will come; who waits for a job need not any longer.
    Stop {
        /// The session's.
        channel: ChannelNumber,
    },
    /// `close <channel>`: ends the session. The number is free again with the answer.
    Close {
        /// The session's.
        channel: ChannelNumber,
    },
    /// `ping <number>`: asks whether the member is there.
    Ping(u64),
}

/// What a member says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberFrame {
    /// `opened <channel>`.
    Opened {
        /// The session's.
        channel: ChannelNumber,
    },
    /// `resumed <channel> <last> <waiting> <count>`, and so many times `was <number> <bytes>` and a
    /// line.
    Resumed {
        /// The session's.
        channel: ChannelNumber,
        /// The greatest number of a command that was carried out; 0 if none was.
        last: u64,
        /// The command that waits: its reply is still to come.
        waiting: Option<u64>,
        /// What others came to, at most [`KEPT_REPLIES_MAX`](super::KEPT_REPLIES_MAX): a command's
        /// number and the first line of its reply, or `GONE` and CR LF.
        kept: Vec<(u64, Bytes)>,
    },
    /// `lapsed <channel>`: there is no such session any more. The number is free again.
    Lapsed {
        /// That of the question.
        channel: ChannelNumber,
    },
    /// `refused <channel>`: a limit is reached. The number is free again.
    Refused {
        /// That of the question.
        channel: ChannelNumber,
    },
    /// `moved <channel>`: the session is somebody else's. The number is free again.
    Moved {
        /// That the session had.
        channel: ChannelNumber,
    },
    /// `closed <channel>`: the session has ended. The number is free again.
    Closed {
        /// That the session had.
        channel: ChannelNumber,
    },
    /// `re <channel> <number> <bytes>` and the payload: what a command came to.
    Reply {
        /// The session's.
        channel: ChannelNumber,
        /// The command's.
        number: u64,
        /// As on a plain connection, all of it.
        payload: Bytes,
    },
    /// `later <channel> <number> <millis>`: there is no room for the command, which was dropped
    /// with all behind it until it comes again.
    Later {
        /// The session's.
        channel: ChannelNumber,
        /// The command's.
        number: u64,
        /// How long the client has to wait at least, in milliseconds.
        millis: u32,
    },
    /// `pong <number>`: the answer to that ping, while the member may speak for its cluster.
    Pong(u64),
}

impl fmt::Display for ChannelNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
