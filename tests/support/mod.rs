//! What all integration tests share: server processes, load and the check of what became of it,
//! time, and from `beanpole_chaos::testbed` clusters, disks, memory groups, a blocking client and
//! seeds. The failover bench stands on it too.
//!
//! Nothing here uses beanpole's own code, so that a mistake there cannot hide itself.

mod agent;
mod alone;
mod cluster;
mod history;
mod host;
mod missing;
mod server;
mod time;
mod traffic;

pub(crate) use agent::{agent_before, agent_before_one};
pub(crate) use alone::alone;
pub(crate) use beanpole_chaos::testbed::{
    Agent, Client, Cluster, ClusterOptions, LoopDisk, MemoryGroup, PATIENCE, Random,
};
pub(crate) use cluster::{cluster_command, cluster_of, cluster_options};
pub(crate) use history::{Event, History, Verdict, What};
pub(crate) use host::{Contender, Host};
pub(crate) use missing::{left_out, number_from_environment};
pub(crate) use server::{Ended, Server, ServerOptions, Target, Transport, run_to_end};
pub(crate) use time::now;
pub(crate) use traffic::{Load, Traffic};
