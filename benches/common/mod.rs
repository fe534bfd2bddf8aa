//! What all benches stand on: clocks, the servers under test, a small client, and the words about
//! the machine. Clusters are started as the tests start them (`tests/support`).
//!
//! Nothing here measures. `side_by_side` compares servers under load, `size` looks at one server
//! that holds much, `failover` at three members of which one is lost, `backlog` at one that holds a
//! hundred times its memory, `adversaries` at one of which too much is wanted, `refill` at three of
//! which an empty one is filled, `agent` at what is between libraries and members.

pub(crate) mod client;
pub(crate) mod clock;
pub(crate) mod confined;
pub(crate) mod machine;
pub(crate) mod section;
pub(crate) mod server;
#[path = "../../tests/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "each bench needs a part of what the tests need")]
pub(crate) mod support;
pub(crate) mod watch;
pub(crate) mod wire;

/// What a part of a bench brings, or why it could not go on.
pub(crate) type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
