//! The replicated log: the only folder that names openraft (DESIGN D11).
//!
//! The way of an op: `outbox` numbers it, `proposer` packs it into an entry, `log_store` keeps the
//! entry, `state_machine` applies it and tells the `Owner` of the connection. `upkeep` makes
//! the files from which a restart begins, `reads` confirms that the queue is up to date, `node`
//! starts and stops it all. `encoding` has the bytes, `transport` the way to other members.

mod encoding;
mod gauges;
mod log_store;
mod node;
mod opening;
mod outbox;
mod proposer;
mod reads;
mod runtime;
mod state_machine;
#[cfg(test)]
mod tests;
mod transport;
mod types;
mod upkeep;

pub use crate::storage::wal::SyncPolicy;
pub use encoding::{DecodeError, recode_entry};
pub use gauges::{LogFigures, StorageGauges};
pub use node::{Node, Opened, StartError};
pub use opening::{Durability, OpenError, OpenOptions};
pub use outbox::Outbox;
pub use proposer::Stopped;
pub use reads::ReadRequests;
pub use state_machine::{Owner, Signature};
pub use upkeep::CheckpointLimits;
