//! Three members, any of which may be lost: what clients of the others see of it.
//!
//! Each test starts processes of its own and hurts them: SIGKILL, SIGSTOP, SIGTERM, a cable cut
//! both ways or one way, a disk that hangs. Clients of the members that live must see a pause and
//! no error, and what they were told must be true in the end (`tests/support/history.rs`; for the
//! commands that move a job, the ledger of `tests/durability`).
//!
//! - `BEANPOLE_CHANGES`: how many changes of leader (20; 500 by hand).
//! - Cables need root, `ip` and network namespaces, a disk that hangs needs strace.

mod away_tests;
mod change_tests;
mod client_tests;
mod cut_tests;
mod dead_tests;
mod entry_tests;
mod fault_tests;
mod forgery;
mod frozen_tests;
mod full_tests;
mod history_tests;
mod majority_tests;
mod member_tests;
mod odd_tests;
mod overtaking_tests;
mod pipeline_tests;
mod restore_tests;
mod scene;
mod start_tests;
mod time_tests;
