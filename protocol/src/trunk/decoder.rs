//! How frames are read, in whatever pieces they arrive.
//!
//! What a line says is read in `head`; here a payload is put behind it, and the parts of
//! [`MemberFrame::Resumed`] together.

mod head;

use bytes::{Buf, Bytes, BytesMut};

use self::head::{ClientHead, Head, MemberHead};
use super::{ChannelNumber, ClientFrame, KEPT_REPLIES_MAX, MemberFrame};
use crate::body::IncomingBytes;
use crate::line::{CRLF, LINE_BYTES_MAX, LineScanner, Scan};

/// Reads the frames of a client.
///
/// After an error the connection is of no more use: every later call gives the same error, and
/// takes nothing.
#[derive(Debug)]
pub struct ClientFrameDecoder(Reader<ClientHead>);

/// Reads the frames of a member.
///
/// After an error the connection is of no more use: every later call gives the same error, and
/// takes nothing.
#[derive(Debug)]
pub struct MemberFrameDecoder {
    reader: Reader<MemberHead>,
    resumed: Option<Resumed>,
}

/// A command whose payload is thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedDo {
    /// Of which channel.
    pub channel: ChannelNumber,
    /// Its place in the session.
    pub number: u64,
    /// Up to which command the client knows what they came to.
    pub answered: u64,
}

/// What arrived is no frame.
///
/// Says nothing of what stood there: a token may.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
    /// No CR LF within the longest line.
    #[error("the line of a frame is longer than {LINE_BYTES_MAX} bytes")]
    LineTooLong,
    /// A line begins with no word of a frame.
    #[error("a line begins like no frame")]
    UnknownWord,
    /// What follows the word is not what has to: too few numbers or too many, or one out of its range.
    #[error("a malformed frame `{word}`")]
    Malformed {
        /// Of which kind.
        word: &'static str,
    },
    /// The payload announced is above the limit of this decoder.
    #[error("a payload of {bytes} bytes was announced, the limit is {bytes_max}")]
    PayloadTooBig {
        /// The length announced.
        bytes: u64,
        /// The longest that is accepted.
        bytes_max: usize,
    },
    /// More replies than a session can have are announced.
    #[error("{count} replies were announced, the limit is {KEPT_REPLIES_MAX}")]
    TooManyKept {
        /// How many.
        count: u64,
    },
    /// Another frame stands where a `was` has to.
    #[error("of the replies announced, {missing} are missing")]
    MissingKept {
        /// How many.
        missing: u64,
    },
}

/// Reads lines, and the payloads behind them.
#[derive(Debug)]
struct Reader<H> {
    payload_bytes_max: usize,
    state: State<H>,
}

#[derive(Debug)]
enum State<H> {
    Line(LineScanner),
    Payload(H, IncomingBytes),
    /// So many bytes are still to come of a payload that nobody wants.
    Skipping(usize),
    Failed(FrameError),
}

/// A [`MemberFrame::Resumed`] on its way in.
#[derive(Debug)]
struct Resumed {
    channel: ChannelNumber,
    last: u64,
    waiting: Option<u64>,
    kept: Vec<(u64, Bytes)>,
    missing: u64,
}

impl ClientFrameDecoder {
    /// A decoder at the start of the frames that accepts payloads of 0 to `payload_bytes_max` bytes.
    #[must_use]
    pub fn new(payload_bytes_max: usize) -> Self {
        Self(Reader::new(payload_bytes_max))
    }

    /// Takes the next frame from the front of `input`; `None` when more input is needed.
    ///
    /// # Errors
    ///
    /// [`FrameError`]: what arrived is no frame.
    pub fn next_frame(&mut self, input: &mut BytesMut) -> Result<Option<ClientFrame>, FrameError> {
        let Some((head, payload)) = self.0.next(input)? else { return Ok(None) };
        Ok(Some(match head {
            ClientHead::Whole(frame) => frame,
            ClientHead::Do { channel, number, answered, bytes: _ } => {
                ClientFrame::Do { channel, number, answered, payload }
            }
        }))
    }

    /// Throws a payload away that is not whole: what is in `input` of it at once, what follows as it
    /// arrives. Returns whose it was; `None` when none is on its way.
    pub fn refuse_payload(&mut self, input: &mut BytesMut) -> Option<RefusedDo> {
        match self.0.refuse_payload(input)? {
            ClientHead::Do { channel, number, answered, bytes: _ } => {
                Some(RefusedDo { channel, number, answered })
            }
            ClientHead::Whole(_) => None,
        }
    }

    /// The memory that an unfinished payload holds outside of the input buffer, in bytes: at most
    /// twice what has arrived of it, or [`BODY_BUFFERED_BYTES_MAX`](crate::BODY_BUFFERED_BYTES_MAX)
    /// if that is more.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.0.held_bytes()
    }
}

impl MemberFrameDecoder {
    /// As [`ClientFrameDecoder::new`].
    #[must_use]
    pub fn new(payload_bytes_max: usize) -> Self {
        Self { reader: Reader::new(payload_bytes_max), resumed: None }
    }

    /// Whether a part of a payload has arrived, and the rest is to come.
    #[must_use]
    pub fn is_inside_payload(&self) -> bool {
        matches!(self.reader.state, State::Payload(..))
    }

    /// Takes the next frame from the front of `input`; `None` when more input is needed.
    ///
    /// # Errors
    ///
    /// [`FrameError`]: what arrived is no frame.
    pub fn next_frame(&mut self, input: &mut BytesMut) -> Result<Option<MemberFrame>, FrameError> {
        while let Some((head, payload)) = self.reader.next(input)? {
            match self.add(head, payload) {
                Ok(None) => {}
                Ok(frame) => return Ok(frame),
                Err(error) => return Err(self.reader.fail(error)),
            }
        }
        Ok(None)
    }

    /// As [`ClientFrameDecoder::held_bytes`]; what is held of a [`MemberFrame::Resumed`], less than
    /// 16 KiB, is not in it.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.reader.held_bytes()
    }

    fn add(&mut self, head: MemberHead, payload: Bytes) -> Result<Option<MemberFrame>, FrameError> {
        if let Some(resumed) = &mut self.resumed {
            let MemberHead::Was { number, bytes: _ } = head else {
                return Err(FrameError::MissingKept { missing: resumed.missing });
            };
            resumed.kept.push((number, payload));
            resumed.missing -= 1;
            return Ok(self.finish_resumed());
        }
        match head {
            MemberHead::Whole(frame) => Ok(Some(frame)),
            MemberHead::Reply { channel, number, bytes: _ } => {
                Ok(Some(MemberFrame::Reply { channel, number, payload }))
            }
            MemberHead::Resumed { count, .. } if count > KEPT_REPLIES_MAX => {
                Err(FrameError::TooManyKept { count })
            }
            MemberHead::Resumed { channel, last, waiting, count } => {
                let kept = Vec::new();
                self.resumed = Some(Resumed { channel, last, waiting, kept, missing: count });
                Ok(self.finish_resumed())
            }
            MemberHead::Was { .. } => Err(FrameError::Malformed { word: "was" }),
        }
    }

    fn finish_resumed(&mut self) -> Option<MemberFrame> {
        let Resumed { channel, last, waiting, kept, .. } =
            self.resumed.take_if(|resumed| resumed.missing == 0)?;
        Some(MemberFrame::Resumed { channel, last, waiting, kept })
    }
}

impl<H: Head> Reader<H> {
    fn new(payload_bytes_max: usize) -> Self {
        Self { payload_bytes_max, state: State::start() }
    }

    fn next(&mut self, input: &mut BytesMut) -> Result<Option<(H, Bytes)>, FrameError> {
        if !self.skip(input) {
            return Ok(None);
        }
        match &mut self.state {
            State::Failed(error) => return Err(error.clone()),
            State::Payload(..) | State::Skipping(_) => {}
            State::Line(scanner) => match scanner.scan(input) {
                Scan::Incomplete => return Ok(None),
                Scan::TooLong => return Err(self.fail(FrameError::LineTooLong)),
                Scan::Line(length) => {
                    let line = input.split_to(length);
                    input.advance(CRLF.len());
                    self.state = self.behind(&line).map_err(|error| self.fail(error))?;
                }
            },
        }
        Ok(self.take_payload(input))
    }

    /// The state behind a line.
    fn behind(&self, line: &[u8]) -> Result<State<H>, FrameError> {
        let head = H::parse(line)?;
        let bytes = head.payload_bytes();
        let bytes_max = self.payload_bytes_max;
        let within = usize::try_from(bytes).ok().filter(|bytes| *bytes <= bytes_max);
        let within = within.ok_or(FrameError::PayloadTooBig { bytes, bytes_max })?;
        Ok(State::Payload(head, IncomingBytes::new(within)))
    }

    fn take_payload(&mut self, input: &mut BytesMut) -> Option<(H, Bytes)> {
        let State::Payload(_, incoming) = &mut self.state else { return None };
        let payload = incoming.take(input)?;
        match std::mem::replace(&mut self.state, State::start()) {
            State::Payload(head, _) => Some((head, payload)),
            State::Line(_) | State::Skipping(_) | State::Failed(_) => None,
        }
    }

    fn refuse_payload(&mut self, input: &mut BytesMut) -> Option<H> {
        let State::Payload(_, incoming) = &self.state else { return None };
        let rest = State::Skipping(incoming.missing_bytes());
        let before = std::mem::replace(&mut self.state, rest);
        self.skip(input);
        match before {
            State::Payload(head, _) => Some(head),
            State::Line(_) | State::Skipping(_) | State::Failed(_) => None,
        }
    }

    /// Throws away what is there of a payload that nobody wants. Returns whether nothing more of it
    /// is to come.
    fn skip(&mut self, input: &mut BytesMut) -> bool {
        let State::Skipping(rest_bytes) = &mut self.state else { return true };
        let skipped = input.len().min(*rest_bytes);
        input.advance(skipped);
        *rest_bytes -= skipped;
        let is_over = *rest_bytes == 0;
        if is_over {
            self.state = State::start();
        }
        is_over
    }

    fn held_bytes(&self) -> usize {
        match &self.state {
            State::Payload(_, incoming) => incoming.held_bytes(),
            State::Line(_) | State::Skipping(_) | State::Failed(_) => 0,
        }
    }

    fn fail(&mut self, error: FrameError) -> FrameError {
        self.state = State::Failed(error.clone());
        error
    }
}

impl<H> State<H> {
    fn start() -> Self {
        Self::Line(LineScanner::default())
    }
}

#[cfg(test)]
mod tests;
