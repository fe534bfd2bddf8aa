//! Tests that keep the machine busy, or that mind when others do, run one after the other.

use std::sync::{Mutex, MutexGuard, PoisonError};

static MACHINE: Mutex<()> = Mutex::new(());

/// Waits until no other such test runs. Hold what is returned until the test is over.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    // A test that failed has left nothing behind that another could stumble over.
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}
