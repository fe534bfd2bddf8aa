//! One session as its client keeps it: which commands are under way, what has to be sent, and what came
//! of them, wherever the session is carried on.
//!
//! Pure: no I/O, no clock. Frames go in by [`SessionCore::receive`] and come out by
//! [`SessionCore::next_frame`]; replies come out in the order of their commands by
//! [`SessionCore::take_reply`]. What a command is, is in `entry`; what a member says of the commands
//! before a move is read in `resumption`.
//!
//! The promise: each command is carried out once, whatever becomes of connections and members, as
//! long as the session does not lapse. It rests on the numbers: a member tells the greatest that
//! was carried out, and what came of those that are not known to be answered.

mod entry;
mod resumption;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use beanpole_protocol::PutKey;
use beanpole_protocol::trunk::{ChannelNumber, ClientFrame, MemberFrame, Token};
use bytes::Bytes;

pub(super) use self::entry::Ask;
use self::entry::{Entry, Progress};

/// The most commands of a session that are sent and not answered: a member keeps what came of as many.
pub(super) const UNDER_WAY_MAX: usize = 32;

/// The most payload under way beside that of the first command under way, in bytes.
pub(super) const UNDER_WAY_BYTES_MAX: usize = 128 << 10;

/// A session.
#[derive(Debug)]
pub(super) struct SessionCore {
    token: Token,
    lease_millis: u32,
    stage: Stage,
    /// A member has said that the session is there.
    is_begun: bool,
    /// Commands whose replies were not taken, in order.
    entries: VecDeque<Entry>,
    /// That of the next put.
    key: Option<PutKey>,
    /// No number is used twice, but for a command that was put off.
    next_number: u64,
    /// The longest body that the member takes, in bytes.
    job_size_max: u32,
    /// A command was put off: nothing is sent until [`SessionCore::resend`].
    is_put_off: bool,
    input: Input,
    is_closing: bool,
}

/// Where the session is carried on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nowhere.
    Homeless,
    /// A member was asked for it.
    Asking(ChannelNumber),
    /// On this channel.
    Attached(ChannelNumber),
    /// Its end was sent.
    Leaving(ChannelNumber),
    /// Nowhere any more.
    Over,
}

/// Whether more commands come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    Open,
    /// None, which the member is to be told behind those that can be sent.
    Ended,
    /// The member was told.
    Told,
}

/// What a frame came to, beside replies that can be taken and frames that can be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Nothing.
    None,
    /// The session is carried on here.
    Attached,
    /// Nothing is to be sent for so many milliseconds; then [`SessionCore::resend`].
    PutOff { millis: u32 },
    /// The session is homeless: the member has no room for it.
    Refused,
    /// The session is homeless: it is not this connection's any more.
    Moved,
    /// The session is over: its lease has run out.
    Lapsed,
    /// The session is over, as was asked for.
    Closed,
}

/// The member does not keep to the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// The frame has no place here.
    #[error("a frame that nothing asked for")]
    Unasked,
    /// It is about a command that is not under way.
    #[error("command {number} is not under way")]
    UnknownNumber {
        /// Its number.
        number: u64,
    },
    /// Commands were carried out that were never sent.
    #[error("command {last} was carried out, but {sent} is the last that was sent")]
    FromTheFuture {
        /// The member's.
        last: u64,
        /// Ours.
        sent: u64,
    },
    /// It was carried out, and the member does not say what came of it.
    #[error("nothing is told of command {number}")]
    Untold {
        /// Its number.
        number: u64,
    },
    /// What is told of a command is nothing that can be told.
    #[error("what is told of command {number} is no reply to it")]
    NoReply {
        /// Its number.
        number: u64,
    },
}

impl SessionCore {
    /// A session that is to begin.
    pub(super) fn new(token: Token, lease_millis: u32) -> Self {
        Self {
            token,
            lease_millis,
            stage: Stage::Homeless,
            is_begun: false,
            entries: VecDeque::new(),
            key: None,
            next_number: 1,
            job_size_max: 0,
            is_put_off: false,
            input: Input::Open,
            is_closing: false,
        }
    }

    /// Takes on a command.
    ///
    /// The caller bounds how many there are.
    pub(super) fn push(&mut self, mut ask: Ask) {
        if let Some(key) = ask.key() {
            self.key = Some(key.clone());
        } else if ask.takes_key()
            && let Some(key) = self.key.take()
        {
            // One command, so that the key cannot be lost on the way to another member.
            ask.set_key(key);
        }
        self.entries.push_back(Entry::new(ask));
    }

    /// The user has said all: a command that waits for a job, or would, need not wait.
    pub(super) fn end_input(&mut self) {
        if self.input == Input::Open {
            self.input = Input::Ended;
        }
    }

    /// The session is to end; what is under way is not to be answered any more.
    pub(super) fn close(&mut self) {
        self.is_closing = true;
        self.entries.clear();
        if self.stage == Stage::Homeless {
            self.detach();
        }
    }

    /// Asks a member for a session that is homeless, on a channel of a connection to it.
    pub(super) fn attach(&mut self, channel: ChannelNumber, job_size_max: u32) -> ClientFrame {
        assert_eq!(self.stage, Stage::Homeless, "who has a member asks for none");
        self.stage = Stage::Asking(channel);
        self.job_size_max = job_size_max;
        let (token, lease_millis) = (self.token, self.lease_millis);
        if self.is_begun {
            ClientFrame::Resume { channel, token, lease_millis, answered: self.answered() }
        } else {
            ClientFrame::Open { channel, token, lease_millis }
        }
    }

    /// The connection has ended, or is not to be used for this session any more.
    pub(super) fn detach(&mut self) {
        if self.stage == Stage::Over {
            return;
        }
        // One that has done nothing may as well end with its lease, if it has begun at all.
        let is_done = self.is_closing && !self.is_begun;
        self.stage = if is_done { Stage::Over } else { Stage::Homeless };
        self.is_put_off = false;
        if self.input == Input::Told {
            self.input = Input::Ended;
        }
    }

    /// What was put off may be sent.
    pub(super) fn resend(&mut self) {
        self.is_put_off = false;
    }

    /// Takes in a frame about this session.
    ///
    /// # Errors
    ///
    /// [`Breach`]: the connection is of no more use, and what is under way cannot be told.
    pub(super) fn receive(&mut self, frame: MemberFrame) -> Result<Event, Breach> {
        match (frame, self.stage) {
            (
                MemberFrame::Moved { .. },
                Stage::Asking(_) | Stage::Attached(_) | Stage::Leaving(_),
            ) => {
                self.detach();
                Ok(Event::Moved)
            }
            (MemberFrame::Closed { .. }, Stage::Leaving(_)) => {
                self.stage = Stage::Over;
                Ok(Event::Closed)
            }
            (_, Stage::Leaving(_)) => Ok(Event::None),
            // Its end could not be sent yet.
            (MemberFrame::Reply { .. } | MemberFrame::Later { .. }, Stage::Attached(_))
                if self.is_closing =>
            {
                Ok(Event::None)
            }
            (MemberFrame::Opened { .. }, Stage::Asking(channel)) if !self.is_begun => {
                self.is_begun = true;
                self.stage = Stage::Attached(channel);
                Ok(Event::Attached)
            }
            (MemberFrame::Resumed { last, waiting, kept, .. }, Stage::Asking(channel))
                if self.is_begun =>
            {
                self.settle(last, waiting, &kept)?;
                self.stage = Stage::Attached(channel);
                Ok(Event::Attached)
            }
            (MemberFrame::Lapsed { .. }, Stage::Asking(_)) if self.is_begun => {
                self.stage = Stage::Over;
                Ok(Event::Lapsed)
            }
            (MemberFrame::Refused { .. }, Stage::Asking(_)) => {
                self.detach();
                Ok(Event::Refused)
            }
            (MemberFrame::Reply { number, payload, .. }, Stage::Attached(_)) => {
                self.reply(number, payload)
            }
            (MemberFrame::Later { number, millis, .. }, Stage::Attached(_)) => {
                self.put_off(number, millis)
            }
            _ => Err(Breach::Unasked),
        }
    }

    /// What is to be sent now; to be called until there is nothing more.
    pub(super) fn next_frame(&mut self) -> Option<ClientFrame> {
        let Stage::Attached(channel) = self.stage else { return None };
        if self.is_closing {
            self.stage = Stage::Leaving(channel);
            return Some(ClientFrame::Close { channel });
        }
        if self.is_put_off {
            return None;
        }
        self.next_command(channel).or_else(|| self.next_stop(channel))
    }

    /// The next reply in the order of the commands, as a plain connection carries it.
    pub(super) fn take_reply(&mut self) -> Option<Bytes> {
        let Progress::Answered(_) = self.entries.front()?.progress else { return None };
        let entry = self.entries.pop_front()?;
        if self.entries.is_empty() {
            // Most sessions do nothing most of the time.
            self.entries.shrink_to(1);
        }
        match entry.progress {
            Progress::Answered(reply) => Some(reply),
            Progress::Unsent(_) | Progress::Sent(_) | Progress::Waiting(_) => None,
        }
    }

    /// Nothing is to come of the session any more.
    pub(super) fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// No member was asked for it, or none has it.
    pub(super) fn is_homeless(&self) -> bool {
        self.stage == Stage::Homeless
    }

    /// Nothing is asked of the session but what waits for a job.
    pub(super) fn is_quiet(&self) -> bool {
        matches!(self.stage, Stage::Attached(_)) && self.entries.iter().all(Entry::is_reserving)
    }

    /// Whether the first command whose reply was not taken is with a member, and one that waits for a
    /// job.
    pub(super) fn waits(&self) -> bool {
        matches!(self.stage, Stage::Attached(_))
            && self.entries.front().is_some_and(Entry::is_reserving)
    }

    /// All commands up to this number are known to be answered.
    fn answered(&self) -> u64 {
        let under_way = self.entries.iter().take(UNDER_WAY_MAX);
        let unanswered = under_way.filter_map(Entry::unanswered_number).min();
        unanswered.unwrap_or(self.next_number) - 1
    }

    fn next_command(&mut self, channel: ChannelNumber) -> Option<ClientFrame> {
        self.refuse_too_big();
        let (at, payload) = self.next_to_send()?;
        let number = match self.entries[at].progress {
            Progress::Unsent(Some(number)) => number,
            _ => {
                self.next_number += 1;
                self.next_number - 1
            }
        };
        self.entries[at].progress = Progress::Sent(number);
        Some(ClientFrame::Do { channel, number, answered: self.answered(), payload })
    }

    /// The first command that was not sent, if it may be.
    fn next_to_send(&self) -> Option<(usize, Bytes)> {
        let mut bytes_beside_first = None;
        for (at, entry) in self.entries.iter().take(UNDER_WAY_MAX).enumerate() {
            match entry.progress {
                Progress::Answered(_) => {}
                Progress::Sent(_) if entry.is_read() => return None,
                Progress::Sent(_) | Progress::Waiting(_) => {
                    bytes_beside_first =
                        Some(bytes_beside_first.map_or(0, |bytes| bytes + entry.bytes()));
                }
                Progress::Unsent(_) => {
                    let bytes = bytes_beside_first.map_or(0, |bytes| bytes + entry.bytes());
                    return (bytes <= UNDER_WAY_BYTES_MAX).then(|| (at, entry.payload()));
                }
            }
        }
        None
    }

    /// A member closes a connection that brings it more than it takes.
    fn refuse_too_big(&mut self) {
        let size_max = self.job_size_max;
        for entry in self.entries.iter_mut().take(UNDER_WAY_MAX) {
            entry.refuse_above(size_max);
        }
    }

    fn next_stop(&mut self, channel: ChannelNumber) -> Option<ClientFrame> {
        // Commands may be left that cannot be sent before one is answered that waits, and it would wait
        // for ever.
        (self.input == Input::Ended).then(|| {
            self.input = Input::Told;
            ClientFrame::Stop { channel }
        })
    }

    fn reply(&mut self, number: u64, payload: Bytes) -> Result<Event, Breach> {
        let mut under_way = self.entries.iter_mut().take(UNDER_WAY_MAX);
        let entry = under_way.find(|entry| entry.is_sent_as(number));
        entry.ok_or(Breach::UnknownNumber { number })?.answer(payload);
        Ok(Event::None)
    }

    fn put_off(&mut self, number: u64, millis: u32) -> Result<Event, Breach> {
        if !self.entries.iter().any(|entry| entry.is_sent_as(number)) {
            return Err(Breach::UnknownNumber { number });
        }
        for entry in self.entries.iter_mut().take(UNDER_WAY_MAX) {
            entry.put_off(number);
        }
        self.is_put_off = true;
        if self.input == Input::Told {
            self.input = Input::Ended;
        }
        Ok(Event::PutOff { millis })
    }
}
