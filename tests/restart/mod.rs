//! Restarts of a real server: what comes back, what is refused, and that the log is kept short.
//! Crashes under load are in `durability`; moments that cannot be timed from outside are tested
//! next to the code, with a disk in memory.

mod checkpoint_tests;
mod refusal_tests;
mod state_tests;
