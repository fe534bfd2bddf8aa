//! What all integration tests share: server processes, clusters of them, a blocking client, load
//! and the check of what became of it, time, seeds. The failover bench stands on it too.
//!
//! Nothing here uses beanpole's own code, so that a mistake there cannot hide itself.

mod alone;
mod cgroup;
mod client;
mod cluster;
mod history;
mod host;
mod loop_disk;
mod missing;
mod random;
mod server;
mod time;
mod traffic;

pub(crate) use alone::alone;
pub(crate) use cgroup::MemoryGroup;
pub(crate) use client::{Client, PATIENCE};
pub(crate) use cluster::{Cluster, ClusterOptions, cluster_command};
pub(crate) use history::{Event, History, Verdict, What};
pub(crate) use host::{Contender, Host};
pub(crate) use loop_disk::{LoopDisk, run};
pub(crate) use missing::{left_out, number_from_environment};
pub(crate) use random::Random;
pub(crate) use server::{Ended, Server, ServerOptions, Target, Transport, run_to_end};
pub(crate) use time::now;
pub(crate) use traffic::{Load, Traffic};
