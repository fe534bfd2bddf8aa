//! Real members under faults, and the proof that nothing was lost.
//!
//! `testbed` makes members, networks, disks and memory limits; `faults` break them; `workload` are
//! seeded clients that speak the protocol and know nothing of the inside; `history` is what they
//! were told; `invariants` hold it against the promises Q1 to Q16; `report` shows it; `runs` put
//! all that together, in `namespaces` that the kernel takes away with them. Nothing here uses the
//! server's own code, so that a mistake there cannot hide itself.

pub mod check;
pub mod clock;
pub mod command_line;
pub mod faults;
pub mod history;
pub mod invariants;
pub mod namespaces;
pub mod program;
pub mod progress;
pub mod report;
pub mod runs;
pub mod testbed;
pub mod workload;
