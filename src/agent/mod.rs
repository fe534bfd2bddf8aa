//! `beanpole agent`: libraries that know one address, and members of which any may die.
//!
//! It listens where a library expects its server, and gives each connection a session of
//! [`crate::client`], which moves from member to member by itself: the library notices a pause.
//! Nothing is kept here but what is under way; an agent that dies leaves sessions whose leases run
//! out.

mod connection;
mod listener;

pub use listener::{AgentError, run};
