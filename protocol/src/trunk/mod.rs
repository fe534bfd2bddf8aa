//! What a connection carries that many share: frames of many channels, each of which is a session
//! that outlives the connection.
//!
//! A client begins with the line `trunk 1`. A member answers `TRUNK 1 <member> <bytes>`, any other
//! server `UNKNOWN_COMMAND`. Behind that both directions carry frames: a line, and behind some as
//! many bytes as the line says. Numbers are decimal, without sign or leading zeros; words are one
//! space apart. What the frames mean is in docs/PROTOCOL.md.
//!
//! Unlike a connection of beanstalkd's protocol, one that carries frames is strict: there is a
//! program at either end, so that what is malformed is an error, and nothing behind it is read.

mod decoder;
mod encode;
mod frame;
mod token;

pub use decoder::{ClientFrameDecoder, FrameError, MemberFrameDecoder, RefusedDo};
pub use encode::encode_reply_head;
pub use frame::{ChannelNumber, ClientFrame, MemberFrame};
pub use token::Token;

/// The only version of the frames.
pub const TRUNK_VERSION: u32 = 1;

/// The shortest lease that a client can ask for, in milliseconds.
pub const LEASE_MILLIS_MIN: u32 = 1_000;

/// The longest lease that a client can ask for, in milliseconds.
pub const LEASE_MILLIS_MAX: u32 = 60_000;

/// The greatest number of a command: a million a second reach it after 146,000 years.
pub const COMMAND_NUMBER_MAX: u64 = 1 << 62;

/// The most replies that [`MemberFrame::Resumed`] tells of.
pub const KEPT_REPLIES_MAX: u64 = 64;
