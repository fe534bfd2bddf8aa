//! From the bytes of a client to [`Request`]s.
//!
//! Only the framing is here; what a line says is read in `command_line`. Two faults of the line
//! reader of beanstalkd are not copied: a CR without LF hides no line end, and a too long line
//! always ends at its own CR LF.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio_util::codec::Decoder;

use crate::body::{BODY_BUFFERED_BYTES_MAX, IncomingBody, MissingCrlf};
use crate::command_line::{self, Line, PutLine};
use crate::line::{CRLF, LINE_BYTES_MAX, LineScanner, Scan, discard_line};
use crate::{Command, Refusal, Request};

/// Reads the requests of one connection, in whatever pieces they arrive.
///
/// It never fails: input that is not a command becomes [`Request::Refused`], and reading goes on
/// where beanstalkd would go on. No byte is searched for a line end twice.
///
/// What is left in the input buffer between calls is the start of something unfinished; the caller
/// adds to its end and takes nothing away.
#[derive(Debug)]
pub struct CommandDecoder {
    max_job_size: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    Line(LineScanner),
    Body(PutLine, IncomingBody),
    /// Dropping the body of a put that is refused.
    SkippingBody {
        rest_bytes: u64,
        refusal: Refusal,
    },
    /// Dropping what is left of a line that is too long.
    SkippingLine,
}

impl CommandDecoder {
    /// The most that an input buffer holds after [`Self::next_request`] gave `None`, in bytes.
    ///
    /// A read buffer of a fixed size must have room for more than this.
    pub const UNREAD_BYTES_MAX: usize = BODY_BUFFERED_BYTES_MAX + CRLF.len() - 1;

    /// A decoder at the start of a connection that accepts bodies of 0 to `max_job_size` bytes.
    #[must_use]
    pub fn new(max_job_size: u32) -> Self {
        Self { max_job_size, state: State::start() }
    }

    /// Takes the next request from the front of `input`; `None` when more input is needed.
    pub fn next_request(&mut self, input: &mut BytesMut) -> Option<Request> {
        loop {
            match &mut self.state {
                State::Line(scanner) => match scanner.scan(input) {
                    Scan::Incomplete => return None,
                    Scan::TooLong => self.start_skipping_line(input),
                    Scan::Line(length) => match self.read_line(length, input) {
                        Some(request) => return Some(request),
                        None => continue,
                    },
                },
                State::Body(line, body) => {
                    let request = put_request(*line, body.take(input)?);
                    return Some(self.finish(request));
                }
                State::SkippingBody { rest_bytes, refusal } => {
                    skip(rest_bytes, input)?;
                    let request = Request::Refused(*refusal);
                    return Some(self.finish(request));
                }
                State::SkippingLine => {
                    discard_line(input)?;
                    let refusal = Refusal::BadFormat { counts: None };
                    return Some(self.finish(Request::Refused(refusal)));
                }
            }
        }
    }

    /// True between two requests: what was consumed so far has been given out whole.
    ///
    /// Bytes that no call has looked at yet do not count.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(&self.state, State::Line(scanner) if scanner.is_at_start())
    }

    /// The memory that an unfinished body holds outside of the input buffer, in bytes.
    ///
    /// At most twice what has arrived of the body, or [`BODY_BUFFERED_BYTES_MAX`] if that is more.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        match &self.state {
            State::Body(_, body) => body.held_bytes(),
            _ => 0,
        }
    }

    /// There is no room for the body that is on its way, if one is: what has arrived of it is dropped
    /// at once and the rest as it comes, and the put becomes a refused request. Returns whether.
    pub fn refuse_body(&mut self) -> bool {
        let State::Body(_, body) = &self.state else { return false };
        let rest_bytes = (body.missing_bytes() + CRLF.len()) as u64;
        self.state = State::SkippingBody { rest_bytes, refusal: Refusal::OutOfMemory };
        true
    }

    /// Takes a line; gives a request unless a body has to come first.
    fn read_line(&mut self, length: usize, input: &mut BytesMut) -> Option<Request> {
        let line = command_line::parse(&input[..length], self.max_job_size);
        input.advance(length + CRLF.len());
        match line {
            Ok(Line::Command(command)) => return Some(Request::Command(command)),
            Err(refusal) => return Some(Request::Refused(refusal)),
            Ok(Line::Put(line)) => {
                self.state = State::Body(line, IncomingBody::new(line.size_bytes));
            }
            Ok(Line::PutTooBig { size_bytes }) => {
                let rest_bytes = u64::from(size_bytes) + CRLF.len() as u64;
                self.state = State::SkippingBody { rest_bytes, refusal: Refusal::JobTooBig };
            }
        }
        None
    }

    fn start_skipping_line(&mut self, input: &mut BytesMut) {
        // The last byte stays: it may be the CR that ends the line.
        input.advance(LINE_BYTES_MAX - 1);
        self.state = State::SkippingLine;
    }

    fn finish(&mut self, request: Request) -> Request {
        self.state = State::start();
        request
    }
}

impl State {
    fn start() -> Self {
        Self::Line(LineScanner::default())
    }
}

impl Decoder for CommandDecoder {
    type Item = Request;
    /// Never made: the trait asks for a type that holds I/O errors.
    type Error = io::Error;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Request>, io::Error> {
        Ok(self.next_request(input))
    }

    /// What a client left unfinished is dropped without an error, as beanstalkd does.
    fn decode_eof(&mut self, input: &mut BytesMut) -> Result<Option<Request>, io::Error> {
        let request = self.next_request(input);
        if request.is_none() {
            input.clear();
            self.state = State::start();
        }
        Ok(request)
    }
}

fn put_request(line: PutLine, body: Result<Bytes, MissingCrlf>) -> Request {
    let PutLine { priority, delay, ttr, size_bytes: _ } = line;
    match body {
        Ok(body) => Request::Command(Command::Put { priority, delay, ttr, body }),
        Err(MissingCrlf) => Request::Refused(Refusal::ExpectedCrlf),
    }
}

/// Drops up to `rest_bytes` of `input`; `Some` once nothing is left to drop.
fn skip(rest_bytes: &mut u64, input: &mut BytesMut) -> Option<()> {
    let skipped = usize::try_from(*rest_bytes).map_or(input.len(), |rest| rest.min(input.len()));
    input.advance(skipped);
    *rest_bytes -= skipped as u64;
    (*rest_bytes == 0).then_some(())
}

#[cfg(test)]
mod tests;
