//! The replicated log: the only folder that names openraft (DESIGN D11).
//!
//! The way of an op: `outbox` numbers it, `proposer` packs it into an entry, `log_store` keeps the
//! entry, `state_machine` applies it and tells the `Owner` of the connection. `cold` joins the queue
//! to run files. `upkeep` makes the files from which a restart begins, `opening` and `restoring` begin
//! from them, `snapshot` sends them to other members. `reads` confirms that the queue is up to date,
//! `node` starts and stops it all. `encoding` has the bytes, `cluster` the way to other members.

mod cluster;
mod cold;
mod disk_upkeep;
mod encoding;
mod gauges;
mod lanes;
mod life;
mod listed;
mod log_store;
mod node;
mod opening;
mod outbox;
mod patience;
mod proposer;
mod reads;
mod restoring;
mod runtime;
mod snapshot;
mod state_machine;
mod tending;
#[cfg(test)]
mod tests;
mod types;
mod upkeep;

pub use crate::storage::wal::SyncPolicy;
pub use cluster::join::invited;
pub use cluster::{Administration, Lease, Standing, Timing};
pub use encoding::{DecodeError, recode_entry};
pub use gauges::{LogFigures, StorageGauges};
pub use life::{Life, Signature};
pub use node::{Ended, Meeting, Node, Opened, StartError};
pub use opening::{Durability, FIRST_MEMBER, OpenError, OpenOptions};
pub use outbox::Outbox;
pub use proposer::Stopped;
pub use reads::{Ask, ReadRequests};
pub use state_machine::Owner;
pub use upkeep::CheckpointLimits;
