//! What is known of the ways to the other members.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// Whose port refuses connections, since when.
#[derive(Debug, Default)]
pub(in super::super) struct Peers {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    tick: u64,
    refused_since: BTreeMap<u64, u64>,
}

impl Peers {
    /// Time goes on.
    pub(super) fn tick(&self, tick: u64) {
        self.inner.lock().tick = tick;
    }

    /// A connection was made.
    pub(super) fn reached(&self, member: u64) {
        self.inner.lock().refused_since.remove(&member);
    }

    /// A connection failed in a way that says nothing of the process there: what was known before
    /// may be old.
    pub(super) fn unclear(&self, member: u64) {
        self.inner.lock().refused_since.remove(&member);
    }

    /// Forgets everything: this member begins to lead, and will find out by itself.
    pub(super) fn begin(&self) {
        self.inner.lock().refused_since.clear();
    }

    /// A connection was refused: no process listens there.
    pub(super) fn refused(&self, member: u64) {
        let mut inner = self.inner.lock();
        let tick = inner.tick;
        inner.refused_since.entry(member).or_insert(tick);
    }

    /// For how many ticks every connection has been refused; `None` when the last was not, or none was
    /// tried.
    pub(super) fn refused_for(&self, member: u64) -> Option<u64> {
        let inner = self.inner.lock();
        inner.refused_since.get(&member).map(|since| inner.tick - since)
    }
}
