//! What a member counts for itself: commands that never become ops, and connections that the log
//! does not know (yet). `stats` adds them to what the state counts.

use std::sync::atomic::{AtomicU64, Ordering};

use beanpole_protocol::CommandName;

/// One more than the greatest discriminant of [`CommandName`].
const COMMANDS: usize = CommandName::Quit as usize + 1;

/// Counters of this member's present life.
#[derive(Debug)]
pub(super) struct LocalCounters {
    commands: [AtomicU64; COMMANDS],
    /// Connections open that have no session in the state.
    pub unopened: AtomicU64,
    /// Connections that came and went without ever having a session.
    pub never_opened: AtomicU64,
    refused_producers: AtomicU64,
}

impl LocalCounters {
    /// All at zero.
    pub(super) fn new() -> Self {
        Self {
            commands: [const { AtomicU64::new(0) }; COMMANDS],
            unopened: AtomicU64::new(0),
            never_opened: AtomicU64::new(0),
            refused_producers: AtomicU64::new(0),
        }
    }

    /// Counts a command that this member answers without the log.
    pub(super) fn count(&self, name: CommandName) {
        self.commands[name as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A connection had its first put refused: beanstalkd counts it as a producer all the same.
    pub(super) fn remember_refused_producer(&self) {
        self.refused_producers.fetch_add(1, Ordering::Relaxed);
    }

    /// Such a connection has left, or the state counts it now because a put was accepted.
    pub(super) fn forget_refused_producer(&self) {
        self.refused_producers.fetch_sub(1, Ordering::Relaxed);
    }

    /// Connections open that had puts refused and none accepted.
    pub(super) fn refused_producers(&self) -> u64 {
        self.refused_producers.load(Ordering::Relaxed)
    }

    /// How often [`count`](Self::count) was called for `name`.
    pub(super) fn counted(&self, name: CommandName) -> u64 {
        self.commands[name as usize].load(Ordering::Relaxed)
    }
}

impl Default for LocalCounters {
    fn default() -> Self {
        Self::new()
    }
}
