//! The words of the beanstalkd wire, for both ends of a connection.
//!
//! Sans I/O: bytes in, [`Request`]s or [`Reply`]s out, and the other way round. This crate opens no
//! socket, reads no clock and knows nothing of the state of a job.
//!
//! A server reads with [`CommandDecoder`] and writes with [`Reply::encode`]; a client writes with
//! [`Command::encode`] and reads with [`ReplyDecoder`]. What a connection carries that many share is
//! in [`trunk`].

mod body;
mod command;
mod command_decoder;
mod command_line;
mod line;
mod number;
mod put_key;
mod reply;
mod reply_decoder;
#[cfg(test)]
mod samples;
pub mod trunk;
mod tube_name;

pub use body::BODY_BUFFERED_BYTES_MAX;
pub use command::{Command, CommandName, Refusal, Request};
pub use command_decoder::CommandDecoder;
pub use line::LINE_BYTES_MAX;
pub use put_key::{InvalidPutKey, PUT_KEY_LENGTH_MAX, PutKey};
pub use reply::Reply;
pub use reply_decoder::{REPLY_BODY_BYTES_MAX, ReplyDecodeError, ReplyDecoder};
pub use tube_name::{InvalidTubeName, TUBE_NAME_LENGTH_MAX, TubeName};
