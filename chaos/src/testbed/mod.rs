//! What a test bed is made of: clusters of real processes, networks that can be cut, disks that
//! lose power or room, memory that has a limit, a blocking client, and random numbers with a seed.
//!
//! The integration tests and the benches of the server stand on it as much as the chaos runs do.
//! Nothing here uses the server's own code, so that a mistake there cannot hide itself; all that
//! was made is taken away again when its handle is dropped.

mod agent;
mod cgroup;
mod client;
mod cluster;
mod command;
mod glutton;
mod loop_disk;
pub mod owner;
mod random;

pub use agent::Agent;
pub use cgroup::MemoryGroup;
pub use client::{Client, PATIENCE};
pub use cluster::{
    AppliedView, Cluster, ClusterOptions, MemberView, Status, SyncFault, Watch, Way,
    can_have_cables, can_have_clocks, can_worsen,
};
pub use command::run;
pub use glutton::Glutton;
pub use loop_disk::LoopDisk;
pub use random::Random;
