//! Clients: who connects, what they ask, what they are told.
//!
//! A command's way: `listener` accepts, `connection` reads and decodes, `dispatch` decides what
//! becomes of it, `admission` whether there is memory for it, `pipeline` keeps the order, `hub` meets
//! the replicated queue, `reads` answers questions. `facts` and `counters` are what a member knows of
//! itself.

mod admission;
mod buffer;
mod connection;
mod counters;
mod dispatch;
mod door;
mod facts;
mod hub;
mod listener;
mod pipeline;
mod reads;
mod run;
mod stream;
mod waiting;

pub use listener::{Address, BindError};
pub use run::{RunError, run};
