//! How frames are written.
//!
//! Values are written as they are, also those that the other end refuses.

use bytes::BytesMut;

use super::{ChannelNumber, ClientFrame, MemberFrame, Token};
use crate::line::CRLF;
use crate::number::push_number;

impl ClientFrame {
    /// Appends the frame to `output`, a payload with it.
    pub fn encode(&self, output: &mut BytesMut) {
        match self {
            Self::Open { channel, token, lease_millis } => {
                push_claim(output, b"open", *channel, token, *lease_millis);
                output.extend_from_slice(CRLF);
            }
            Self::Resume { channel, token, lease_millis, answered } => {
                push_claim(output, b"resume", *channel, token, *lease_millis);
                push_next(output, *answered);
                output.extend_from_slice(CRLF);
            }
            Self::Do { channel, number, answered, payload } => {
                let bytes = payload.len() as u64;
                output.reserve(payload.len());
                push_line(output, b"do", [u64::from(channel.0), *number, *answered, bytes]);
                output.extend_from_slice(payload);
            }
            Self::Stop { channel } => push_line(output, b"stop", [u64::from(channel.0)]),
            Self::Close { channel } => push_line(output, b"close", [u64::from(channel.0)]),
            Self::Ping(number) => push_line(output, b"ping", [*number]),
        }
    }
}

impl MemberFrame {
    /// Appends the frame to `output`, with all that belongs to it.
    pub fn encode(&self, output: &mut BytesMut) {
        match self {
            Self::Opened { channel } => push_line(output, b"opened", [u64::from(channel.0)]),
            Self::Resumed { channel, last, waiting, kept } => {
                let (waiting, count) = (waiting.unwrap_or(0), kept.len() as u64);
                push_line(output, b"resumed", [u64::from(channel.0), *last, waiting, count]);
                for (number, line) in kept {
                    push_line(output, b"was", [*number, line.len() as u64]);
                    output.extend_from_slice(line);
                }
            }
            Self::Lapsed { channel } => push_line(output, b"lapsed", [u64::from(channel.0)]),
            Self::Refused { channel } => push_line(output, b"refused", [u64::from(channel.0)]),
            Self::Moved { channel } => push_line(output, b"moved", [u64::from(channel.0)]),
            Self::Closed { channel } => push_line(output, b"closed", [u64::from(channel.0)]),
            Self::Reply { channel, number, payload } => {
                encode_reply_head(*channel, *number, payload.len(), output);
                output.extend_from_slice(payload);
            }
            Self::Later { channel, number, millis } => {
                push_line(output, b"later", [u64::from(channel.0), *number, u64::from(*millis)]);
            }
            Self::Pong(number) => push_line(output, b"pong", [*number]),
        }
    }
}

/// Appends the line of a [`MemberFrame::Reply`] to `output`: `payload_bytes` of payload have to
/// follow it.
pub fn encode_reply_head(
    channel: ChannelNumber,
    number: u64,
    payload_bytes: usize,
    output: &mut BytesMut,
) {
    push_line(output, b"re", [u64::from(channel.0), number, payload_bytes as u64]);
}

fn push_claim(
    output: &mut BytesMut,
    word: &[u8],
    channel: ChannelNumber,
    token: &Token,
    lease_millis: u32,
) {
    output.extend_from_slice(word);
    push_next(output, u64::from(channel.0));
    output.extend_from_slice(b" ");
    token.push_hex(output);
    push_next(output, u64::from(lease_millis));
}

/// Appends a line of a word and numbers.
fn push_line<const N: usize>(output: &mut BytesMut, word: &[u8], numbers: [u64; N]) {
    output.extend_from_slice(word);
    for number in numbers {
        push_next(output, number);
    }
    output.extend_from_slice(CRLF);
}

fn push_next(output: &mut BytesMut, number: u64) {
    output.extend_from_slice(b" ");
    push_number(output, number);
}
