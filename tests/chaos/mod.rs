//! The faults of `beanpole-chaos`, each by itself: it is there when it says so, and when it is
//! healed all members serve.
//!
//! - Cables, disks, memory groups and clocks need root and what `probe` looks for.

mod disk_tests;
mod member_tests;
mod process_tests;
mod sample_tests;
mod scene;
mod way_tests;
