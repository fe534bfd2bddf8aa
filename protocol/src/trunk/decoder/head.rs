//! What the line of a frame says.

use crate::LINE_BYTES_MAX;
use crate::number::plain_number;
use crate::trunk::{
    COMMAND_NUMBER_MAX, ChannelNumber, ClientFrame, FrameError, LEASE_MILLIS_MAX, LEASE_MILLIS_MIN,
    MemberFrame, Token,
};

/// A frame without its payload.
pub(super) trait Head: Sized {
    /// Reads a line, given without its CR LF.
    fn parse(line: &[u8]) -> Result<Self, FrameError>;

    /// How many bytes follow the line.
    fn payload_bytes(&self) -> u64;
}

/// Of a client.
#[derive(Debug)]
pub(super) enum ClientHead {
    Whole(ClientFrame),
    Do { channel: ChannelNumber, number: u64, answered: u64, bytes: u64 },
}

/// Of a member.
#[derive(Debug)]
pub(super) enum MemberHead {
    Whole(MemberFrame),
    Resumed { channel: ChannelNumber, last: u64, waiting: Option<u64>, count: u64 },
    Was { number: u64, bytes: u64 },
    Reply { channel: ChannelNumber, number: u64, bytes: u64 },
}

/// The words of a line, from the left. Each is there and in its range, or all is malformed.
struct Words<'a> {
    /// What was not read yet, behind a space; `None` at the end of the line.
    rest: Option<&'a [u8]>,
    /// Which frame it is.
    word: &'static str,
}

impl Head for ClientHead {
    fn parse(line: &[u8]) -> Result<Self, FrameError> {
        let known = ["open", "resume", "do", "stop", "close", "ping"];
        let mut words = Words::new(line, &known)?;
        let head = match words.word {
            "open" => Self::Whole(words.open()?),
            "resume" => Self::Whole(words.resume()?),
            "do" => Self::Do {
                channel: words.channel()?,
                number: words.command_number()?,
                answered: words.number()?,
                bytes: words.number()?,
            },
            "stop" => Self::Whole(ClientFrame::Stop { channel: words.channel()? }),
            "close" => Self::Whole(ClientFrame::Close { channel: words.channel()? }),
            "ping" => Self::Whole(ClientFrame::Ping(words.number()?)),
            _ => return Err(FrameError::UnknownWord),
        };
        words.end(head)
    }

    fn payload_bytes(&self) -> u64 {
        match self {
            Self::Whole(_) => 0,
            Self::Do { bytes, .. } => *bytes,
        }
    }
}

impl Head for MemberHead {
    fn parse(line: &[u8]) -> Result<Self, FrameError> {
        let known = [
            "opened", "resumed", "was", "lapsed", "refused", "moved", "closed", "re", "later",
            "pong",
        ];
        let mut words = Words::new(line, &known)?;
        let head = match words.word {
            "opened" => Self::Whole(MemberFrame::Opened { channel: words.channel()? }),
            "resumed" => Self::Resumed {
                channel: words.channel()?,
                last: words.number()?,
                waiting: Some(words.number()?).filter(|waiting| *waiting > 0),
                count: words.number()?,
            },
            "was" => Self::Was { number: words.command_number()?, bytes: words.bytes_of_a_line()? },
            "lapsed" => Self::Whole(MemberFrame::Lapsed { channel: words.channel()? }),
            "refused" => Self::Whole(MemberFrame::Refused { channel: words.channel()? }),
            "moved" => Self::Whole(MemberFrame::Moved { channel: words.channel()? }),
            "closed" => Self::Whole(MemberFrame::Closed { channel: words.channel()? }),
            "re" => Self::Reply {
                channel: words.channel()?,
                number: words.command_number()?,
                bytes: words.number()?,
            },
            "later" => Self::Whole(MemberFrame::Later {
                channel: words.channel()?,
                number: words.command_number()?,
                millis: words.number_of_32_bits()?,
            }),
            "pong" => Self::Whole(MemberFrame::Pong(words.number()?)),
            _ => return Err(FrameError::UnknownWord),
        };
        words.end(head)
    }

    fn payload_bytes(&self) -> u64 {
        match self {
            Self::Whole(_) | Self::Resumed { .. } => 0,
            Self::Was { bytes, .. } | Self::Reply { bytes, .. } => *bytes,
        }
    }
}

impl<'a> Words<'a> {
    fn new(line: &'a [u8], known: &[&'static str]) -> Result<Self, FrameError> {
        let (first, rest) = split(line);
        let word = known.iter().find(|word| word.as_bytes() == first);
        let word = word.copied().ok_or(FrameError::UnknownWord)?;
        Ok(Self { rest, word })
    }

    fn open(&mut self) -> Result<ClientFrame, FrameError> {
        let (channel, token, lease_millis) = (self.channel()?, self.token()?, self.lease()?);
        Ok(ClientFrame::Open { channel, token, lease_millis })
    }

    fn resume(&mut self) -> Result<ClientFrame, FrameError> {
        let (channel, token, lease_millis) = (self.channel()?, self.token()?, self.lease()?);
        Ok(ClientFrame::Resume { channel, token, lease_millis, answered: self.number()? })
    }

    fn channel(&mut self) -> Result<ChannelNumber, FrameError> {
        let number = self.number_of_32_bits()?;
        self.check((number > 0).then_some(ChannelNumber(number)))
    }

    fn token(&mut self) -> Result<Token, FrameError> {
        let token = self.next().and_then(Token::from_hex);
        self.check(token)
    }

    fn lease(&mut self) -> Result<u32, FrameError> {
        let millis = self.number_of_32_bits()?;
        self.check((LEASE_MILLIS_MIN..=LEASE_MILLIS_MAX).contains(&millis).then_some(millis))
    }

    fn command_number(&mut self) -> Result<u64, FrameError> {
        let number = self.number()?;
        self.check((1..=COMMAND_NUMBER_MAX).contains(&number).then_some(number))
    }

    fn bytes_of_a_line(&mut self) -> Result<u64, FrameError> {
        let bytes = self.number()?;
        self.check((bytes <= LINE_BYTES_MAX as u64).then_some(bytes))
    }

    fn number_of_32_bits(&mut self) -> Result<u32, FrameError> {
        let number = self.number()?;
        self.check(number.try_into().ok())
    }

    fn number(&mut self) -> Result<u64, FrameError> {
        let number = self.next().and_then(plain_number);
        self.check(number)
    }

    fn end<T>(self, head: T) -> Result<T, FrameError> {
        let head = self.rest.is_none().then_some(head);
        self.check(head)
    }

    fn next(&mut self) -> Option<&'a [u8]> {
        let (next, rest) = split(self.rest?);
        self.rest = rest;
        Some(next)
    }

    fn check<T>(&self, value: Option<T>) -> Result<T, FrameError> {
        value.ok_or(FrameError::Malformed { word: self.word })
    }
}

/// The first word, and what is behind the space that ends it.
fn split(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|byte| *byte == b' ') {
        Some(space) => (&text[..space], Some(&text[space + 1..])),
        None => (text, None),
    }
}
