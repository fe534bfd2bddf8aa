//! beanpole: a durable work queue that beanstalkd clients use unchanged.
//!
//! The map of the house. Imports go downwards only: `server` (clients) uses `raft` (the replicated
//! log), which uses `queue` (the pure state machine), `storage` (bytes on disk) and `link` (the way
//! between members); those three do not know each other. `beanpole-protocol` has the words of the
//! wire, and `client` the other side of it, which knows nothing of the server. A test holds this
//! fence.

pub mod admin;
pub mod agent;
pub mod chain;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod demo;
pub mod link;
pub mod memory;
mod open_files;
pub mod planted;
pub mod queue;
pub mod raft;
pub mod random;
pub mod server;
pub mod storage;
