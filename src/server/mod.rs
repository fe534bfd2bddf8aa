//! Clients: who connects, what they ask, what they are told.
//!
//! A command's way: `listener` accepts as long as there are `slots`, `connection` reads and decodes, `dispatch` decides what
//! becomes of it, `admission` whether there is memory for it, `pipeline` keeps the order, `hub` meets
//! the replicated queue, `reads` answers questions, `lists` bounds the long
//! answers. `facts` and `counters` are what a member knows of
//! itself.

mod admission;
mod buffer;
mod client;
mod connection;
mod counters;
mod dispatch;
mod door;
mod facts;
mod hub;
mod listener;
mod lists;
mod pipeline;
mod reads;
mod run;
mod slots;
mod stream;
mod trunk;
mod waiting;
mod wire;

pub use listener::{Address, BindError};
pub use run::{RunError, run};
