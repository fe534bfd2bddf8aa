//! What both benches stand on: clocks, the servers under test, a small client, and the words about
//! the machine.
//!
//! Nothing here measures. `side_by_side` compares servers under load, `size` looks at one server
//! that holds much.

pub(crate) mod client;
pub(crate) mod clock;
pub(crate) mod machine;
pub(crate) mod server;
pub(crate) mod wire;
