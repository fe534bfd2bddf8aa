//! The hand-over from the callers to the log thread.
//!
//! One lock, held for a push or a swap; the thread takes all that waits at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::{Done, EntryId, Payload, QUEUE_OPS_MAX};

/// One call.
pub(super) enum Op {
    Append { entries: Vec<(EntryId, Arc<dyn Payload>)>, done: Done },
    Vote { vote: Bytes, done: Done },
    Truncate { last: Option<EntryId> },
    Purge { upto: EntryId },
}

/// What the log thread finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// There are ops.
    Ops,
    /// Nothing for as long as it wanted to wait, or [`Queue::nudge`].
    Nothing,
    /// Nothing, and there will be no more.
    Stop,
}

#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    has_room: Condvar,
}

#[derive(Default)]
struct State {
    ops: Vec<Op>,
    note: Option<Bytes>,
    /// How many ops were ever pushed: the ticket of the last one.
    tickets: u64,
    /// The index that the next entry must have.
    next_index: u64,
    purged_next: u64,
    nudged: bool,
    stopped: bool,
    failed: bool,
}

impl Queue {
    /// The next entry has this index, and entries below `purged_next` are purged. Before any push.
    pub(super) fn set_start(&self, next_index: u64, purged_next: u64) {
        let mut state = self.state.lock();
        state.next_index = next_index;
        state.purged_next = purged_next;
    }

    pub(super) fn push(&self, op: Op) {
        self.push_and(op, |_| {});
    }

    /// Pushes `op`, and calls `then` with its ticket before any later op can have one.
    pub(super) fn push_and(&self, op: Op, then: impl FnOnce(u64)) {
        let mut state = self.state.lock();
        while state.ops.len() >= QUEUE_OPS_MAX && !state.failed {
            self.has_room.wait(&mut state);
        }
        if state.failed {
            return;
        }
        state.follow(&op);
        state.tickets += 1;
        then(state.tickets);
        let was_empty = state.ops.is_empty();
        state.ops.push(op);
        drop(state);
        if was_empty {
            self.changed.notify_one();
        }
    }

    pub(super) fn set_note(&self, note: Bytes) {
        self.state.lock().note = Some(note);
    }

    pub(super) fn take_note(&self) -> Option<Bytes> {
        self.state.lock().note.take()
    }

    /// Wakes the log thread, without an op for it.
    pub(super) fn nudge(&self) {
        self.state.lock().nudged = true;
        self.changed.notify_one();
    }

    /// No more ops will be pushed.
    pub(super) fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_one();
    }

    /// Ops are dropped from now on: those that wait, and those to come.
    pub(super) fn fail(&self) {
        let mut state = self.state.lock();
        state.failed = true;
        let dropped = std::mem::take(&mut state.ops);
        drop(state);
        self.has_room.notify_all();
        // Outside of the lock: what they hold may do anything when it is dropped.
        drop(dropped);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.state.lock().stopped
    }

    /// Waits, at most for so long if it is given, and takes all ops, into an empty `ops`, and the
    /// note.
    pub(super) fn take(
        &self,
        ops: &mut Vec<Op>,
        note: &mut Option<Bytes>,
        wait_max: Option<Duration>,
    ) -> Wake {
        let mut state = self.state.lock();
        let mut is_late = false;
        while state.ops.is_empty() {
            if state.stopped {
                return Wake::Stop;
            }
            if std::mem::take(&mut state.nudged) || is_late {
                return Wake::Nothing;
            }
            match wait_max {
                None => self.changed.wait(&mut state),
                Some(wait) => is_late = self.changed.wait_for(&mut state, wait).timed_out(),
            }
        }
        std::mem::swap(&mut state.ops, ops);
        *note = state.note.take();
        let was_full = ops.len() >= QUEUE_OPS_MAX;
        drop(state);
        if was_full {
            self.has_room.notify_all();
        }
        Wake::Ops
    }

    /// Waits for a nudge or the end, at most for so long, and leaves the ops.
    pub(super) fn wait_for_nudge(&self, wait_max: Duration) {
        let mut state = self.state.lock();
        if !state.stopped && !state.nudged {
            self.changed.wait_for(&mut state, wait_max);
        }
        state.nudged = false;
    }
}

impl State {
    /// Checks that the op follows those before it.
    fn follow(&mut self, op: &Op) {
        match op {
            Op::Append { entries, .. } => {
                for (id, _) in entries {
                    let expected = self.next_index;
                    assert!(id.index == expected, "entry {} after {expected}", id.index);
                    self.next_index += 1;
                }
            }
            Op::Vote { .. } => {}
            Op::Truncate { last } => {
                let next = next_after(*last);
                assert!(next <= self.next_index, "truncate to {next} of {}", self.next_index);
                self.next_index = next.max(self.purged_next);
            }
            Op::Purge { upto } => {
                self.purged_next = self.purged_next.max(upto.index + 1);
                self.next_index = self.next_index.max(self.purged_next);
            }
        }
    }
}

/// The index after an entry, or the first one.
pub(super) fn next_after(last: Option<EntryId>) -> u64 {
    last.map_or(0, |id| id.index + 1)
}
