//! What was acknowledged is there after a crash, and what was deleted stays deleted.
//!
//! Workers put, reserve, release, bury, kick and delete under load and write into a ledger what
//! was sent and what was acknowledged. The server dies at a random moment and is started again on
//! the same directory; then every job is looked at and held against the ledger. The next round
//! goes on from there.
//!
//! - `BEANPOLE_ROUNDS`: how many crashes.
//! - `BEANPOLE_SEED`: the seed of the workload and of the moments; the schedule of threads is not
//!   repeated by it.

mod audit;
mod crash_tests;
mod disk;
mod ledger;
mod rounds;
mod worker;

pub(crate) use audit::audit;
pub(crate) use worker::Worker;
