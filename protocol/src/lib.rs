//! The words of the beanstalkd wire, for both ends of a connection.
//!
//! Sans I/O: bytes in, [`Request`]s or [`Reply`]s out, and the other way round. This crate opens no
//! socket, reads no clock and knows nothing of the state of a job.

mod command;
mod reply;
mod tube_name;

pub use command::{Command, CommandName, Refusal, Request};
pub use reply::Reply;
pub use tube_name::{InvalidTubeName, TUBE_NAME_LENGTH_MAX, TubeName};
