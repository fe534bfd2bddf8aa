//! Drives real members through faults and proves that nothing was lost.

fn main() {}
