//! What all integration tests share: server processes, a blocking client, time, seeds.
//!
//! Nothing here uses beanpole's own code, so that a mistake there cannot hide itself.

mod alone;
mod client;
mod loop_disk;
mod missing;
mod random;
mod server;
mod time;

pub(crate) use alone::alone;
pub(crate) use client::{Client, PATIENCE};
pub(crate) use loop_disk::{LoopDisk, run};
pub(crate) use missing::{left_out, number_from_environment};
pub(crate) use random::Random;
pub(crate) use server::{Ended, Server, ServerOptions, Target, Transport, run_to_end};
pub(crate) use time::now;
