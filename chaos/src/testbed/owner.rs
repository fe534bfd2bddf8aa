//! Whose something is that outlives processes which are killed: its name has the id of its owner, so
//! that others can see whether it is needed.

use std::path::Path;
use std::process;

/// Names the owner, for a process that runs in a pid namespace, where ids mean nothing to others. Not
/// called after beanpole: a server would say that it does not know such a setting.
pub const VARIABLE: &str = "CHAOS_RUN_OWNER";

/// The id by which others know this process, or the one that has started it in a namespace.
pub fn id() -> u32 {
    named().unwrap_or_else(process::id)
}

/// Whether this process runs in a pid namespace: others, and whether they live, cannot be seen.
pub fn is_elsewhere() -> bool {
    named().is_some()
}

/// Whether an owner has ended. Only where all of them can be seen.
pub fn has_gone(id: &str) -> bool {
    !is_elsewhere() && !Path::new("/proc").join(id).exists()
}

fn named() -> Option<u32> {
    std::env::var(VARIABLE).ok()?.parse().ok()
}
