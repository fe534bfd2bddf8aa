//! From the bytes of a server to [`Reply`]s, for clients, benchmarks and checkers.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio_util::codec::Decoder;

use crate::body::{IncomingBody, MissingCrlf};
use crate::line::{CRLF, LINE_BYTES_MAX, LineScanner, Scan};
use crate::number::Numbers;
use crate::trunk::TRUNK_VERSION;
use crate::{Reply, TubeName};

/// The longest body that a [`ReplyDecoder`] accepts unless told otherwise, in bytes, itself
/// included: beanstalkd's upper end of `-z`.
pub const REPLY_BODY_BYTES_MAX: u32 = 1 << 30;

/// Reads the replies on one connection, in whatever pieces they arrive.
///
/// After an error the stream is out of step and the connection of no more use.
#[derive(Debug)]
pub struct ReplyDecoder {
    body_bytes_max: u32,
    state: State,
}

/// What arrived is not a reply of the protocol.
#[derive(Debug, thiserror::Error)]
pub enum ReplyDecodeError {
    /// The connection failed, or ended in the middle of a reply.
    #[error("reading a reply failed")]
    Io(#[from] io::Error),
    /// No CR LF within the longest line.
    #[error("a reply line is longer than {LINE_BYTES_MAX} bytes")]
    LineTooLong,
    /// A line that no server of this protocol sends.
    #[error("not a reply: {line:?}")]
    NotAReply {
        /// The line without its CR LF; what is not UTF-8 is replaced.
        line: String,
    },
    /// The body announced is above the limit of this decoder.
    #[error("a body of {bytes} bytes was announced, the limit is {bytes_max}")]
    BodyTooBig {
        /// The length announced.
        bytes: u64,
        /// The longest that is accepted.
        bytes_max: u32,
    },
    /// A body was not followed by CR LF.
    #[error("the body of {bytes} bytes is not followed by CR LF")]
    MissingCrlf {
        /// The length announced.
        bytes: u64,
    },
}

#[derive(Debug)]
enum State {
    Line(LineScanner),
    Body(BodyLine, IncomingBody),
}

/// A first line that a body follows.
#[derive(Clone, Copy, Debug)]
struct BodyLine {
    kind: BodyKind,
    bytes: u64,
}

#[derive(Clone, Copy, Debug)]
enum BodyKind {
    Reserved { id: u64 },
    Found { id: u64 },
    Ok,
}

#[derive(Debug)]
enum Line {
    Reply(Reply),
    Body(BodyLine),
}

impl ReplyDecoder {
    /// A decoder at the start of a connection that accepts bodies of 0 to `body_bytes_max` bytes.
    #[must_use]
    pub fn new(body_bytes_max: u32) -> Self {
        Self { body_bytes_max, state: State::start() }
    }

    /// Takes the next reply from the front of `input`; `None` when more input is needed.
    ///
    /// # Errors
    ///
    /// Everything in [`ReplyDecodeError`] but I/O.
    pub fn next_reply(&mut self, input: &mut BytesMut) -> Result<Option<Reply>, ReplyDecodeError> {
        loop {
            match &mut self.state {
                State::Line(scanner) => match scanner.scan(input) {
                    Scan::Incomplete => return Ok(None),
                    Scan::TooLong => return Err(ReplyDecodeError::LineTooLong),
                    Scan::Line(length) => match self.read_line(length, input)? {
                        Some(reply) => return Ok(Some(reply)),
                        None => continue,
                    },
                },
                State::Body(line, body) => {
                    let line = *line;
                    let Some(body) = body.take(input) else { return Ok(None) };
                    self.state = State::start();
                    return line.reply(body).map(Some);
                }
            }
        }
    }

    /// True between two replies: what was consumed so far has been given out whole.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(&self.state, State::Line(scanner) if scanner.is_at_start())
    }

    /// Takes a line; gives a reply unless a body has to come first.
    fn read_line(
        &mut self,
        length: usize,
        input: &mut BytesMut,
    ) -> Result<Option<Reply>, ReplyDecodeError> {
        let text = &input[..length];
        let Some(line) = parse(text) else {
            let line = String::from_utf8_lossy(text).into_owned();
            return Err(ReplyDecodeError::NotAReply { line });
        };
        input.advance(length + CRLF.len());
        match line {
            Line::Reply(reply) => Ok(Some(reply)),
            Line::Body(line) => {
                self.state = State::Body(line, self.body_of(line.bytes)?);
                Ok(None)
            }
        }
    }

    fn body_of(&self, bytes: u64) -> Result<IncomingBody, ReplyDecodeError> {
        let bytes_max = self.body_bytes_max;
        let within = u32::try_from(bytes).ok().filter(|bytes| *bytes <= bytes_max);
        within.map(IncomingBody::new).ok_or(ReplyDecodeError::BodyTooBig { bytes, bytes_max })
    }
}

impl Default for ReplyDecoder {
    fn default() -> Self {
        Self::new(REPLY_BODY_BYTES_MAX)
    }
}

impl State {
    fn start() -> Self {
        Self::Line(LineScanner::default())
    }
}

impl Decoder for ReplyDecoder {
    type Item = Reply;
    type Error = ReplyDecodeError;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Reply>, ReplyDecodeError> {
        self.next_reply(input)
    }

    fn decode_eof(&mut self, input: &mut BytesMut) -> Result<Option<Reply>, ReplyDecodeError> {
        match self.next_reply(input)? {
            None if !self.is_idle() => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            reply => Ok(reply),
        }
    }
}

impl BodyLine {
    fn reply(self, body: Result<Bytes, MissingCrlf>) -> Result<Reply, ReplyDecodeError> {
        let body =
            body.map_err(|MissingCrlf| ReplyDecodeError::MissingCrlf { bytes: self.bytes })?;
        Ok(match self.kind {
            BodyKind::Reserved { id } => Reply::Reserved { id, body },
            BodyKind::Found { id } => Reply::Found { id, body },
            BodyKind::Ok => Reply::Ok(body),
        })
    }
}

/// Reads `line`, given without its CR LF.
fn parse(line: &[u8]) -> Option<Line> {
    match line.iter().position(|byte| *byte == b' ') {
        Some(space) => parse_with_arguments(&line[..space], &line[space + 1..]),
        None => parse_word(line).map(Line::Reply),
    }
}

fn parse_word(word: &[u8]) -> Option<Reply> {
    Some(match word {
        b"DEADLINE_SOON" => Reply::DeadlineSoon,
        b"TIMED_OUT" => Reply::TimedOut,
        b"DELETED" => Reply::Deleted,
        b"RELEASED" => Reply::Released,
        b"BURIED" => Reply::Buried,
        b"TOUCHED" => Reply::Touched,
        b"NOT_IGNORED" => Reply::NotIgnored,
        b"KICKED" => Reply::JobKicked,
        b"PAUSED" => Reply::Paused,
        b"KEYED" => Reply::Keyed,
        b"KEY_IN_USE" => Reply::KeyInUse,
        b"NOT_FOUND" => Reply::NotFound,
        b"OUT_OF_MEMORY" => Reply::OutOfMemory,
        b"INTERNAL_ERROR" => Reply::InternalError,
        b"DRAINING" => Reply::Draining,
        b"BAD_FORMAT" => Reply::BadFormat,
        b"UNKNOWN_COMMAND" => Reply::UnknownCommand,
        b"EXPECTED_CRLF" => Reply::ExpectedCrlf,
        b"JOB_TOO_BIG" => Reply::JobTooBig,
        _ => return None,
    })
}

fn parse_with_arguments(word: &[u8], arguments: &[u8]) -> Option<Line> {
    let body = |kind, bytes| Line::Body(BodyLine { kind, bytes });
    Some(match word {
        b"INSERTED" => Line::Reply(Reply::Inserted(number(arguments)?)),
        b"BURIED" => Line::Reply(Reply::PutBuried(number(arguments)?)),
        b"USING" => Line::Reply(Reply::Using(TubeName::new(arguments).ok()?)),
        b"RESERVED" => {
            let (id, bytes) = two_numbers(arguments)?;
            body(BodyKind::Reserved { id }, bytes)
        }
        b"WATCHING" => Line::Reply(Reply::Watching(number(arguments)?)),
        b"FOUND" => {
            let (id, bytes) = two_numbers(arguments)?;
            body(BodyKind::Found { id }, bytes)
        }
        b"KICKED" => Line::Reply(Reply::Kicked(number(arguments)?)),
        b"TRUNK" => Line::Reply(trunk(arguments)?),
        b"OK" => body(BodyKind::Ok, number(arguments)?),
        _ => return None,
    })
}

fn number(arguments: &[u8]) -> Option<u64> {
    let mut numbers = Numbers::new(arguments);
    numbers.u64().filter(|_| numbers.is_at_end())
}

fn two_numbers(arguments: &[u8]) -> Option<(u64, u64)> {
    let mut numbers = Numbers::new(arguments);
    let both = (numbers.u64()?, numbers.u64()?);
    numbers.is_at_end().then_some(both)
}

fn trunk(arguments: &[u8]) -> Option<Reply> {
    let mut numbers = Numbers::new(arguments);
    let (version, member, job_size_max) = (numbers.u32()?, numbers.u64()?, numbers.u32()?);
    let is_known = version == TRUNK_VERSION && numbers.is_at_end();
    is_known.then_some(Reply::Trunk { member, job_size_max })
}

#[cfg(test)]
mod tests;
