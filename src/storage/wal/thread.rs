//! The log thread: takes what waits, has it written and synced as one group, and tells the callers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;

use super::error::Context;
use super::queue::{Op, Wake};
use super::shared::Shared;
use super::writer::{Room, Writer};
use super::{Done, SyncPolicy, WalError};
use crate::planted::{self, Bug};

/// How long after the last group a mark is written: the evidence that the group was synced.
const IDLE_MARK_AFTER: Duration = Duration::from_millis(10);

/// How often, at most, the floor is raised while nothing else asks for it.
const FLOOR_EVERY: Duration = Duration::from_secs(1);

/// How often room is looked for on a full disk.
const ROOM_RETRY_EVERY: Duration = Duration::from_millis(100);

/// Starts the thread that writes with `writer`.
pub(super) fn start(shared: Arc<Shared>, writer: Writer) -> Result<JoinHandle<()>, WalError> {
    let dir = shared.dir.clone();
    let run = move || {
        let mut log = Log::new(shared.clone(), writer);
        let mut guard = PanicGuard { shared: &shared, is_armed: true };
        let result = log.run();
        guard.is_armed = false;
        if let Err(error) = result {
            shared.queue.fail();
            // What belongs to the failed group is dropped with it, and never called.
            (shared.fatal)(error);
        }
    };
    thread::Builder::new().name("log".to_owned()).spawn(run).context("start a thread for", &dir)
}

/// Reports a panic of the thread: without it the log would stop in silence.
struct PanicGuard<'a> {
    shared: &'a Shared,
    is_armed: bool,
}

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if self.is_armed {
            self.shared.queue.fail();
            (self.shared.fatal)(WalError::Panicked);
        }
    }
}

struct Log {
    shared: Arc<Shared>,
    writer: Writer,
    /// Of the group that is being written.
    dones: Vec<Done>,
    group: Group,
    /// The ticket of the last op that was begun.
    ticket: u64,
    /// The mark that says that the last group was synced is written.
    is_marked: bool,
    synced_at: Duration,
    floor_at: Duration,
}

/// What the group being written asks for.
#[derive(Clone, Copy, Default)]
struct Group {
    has_vote: bool,
    has_purge: bool,
}

impl Log {
    fn new(shared: Arc<Shared>, writer: Writer) -> Self {
        let now = (shared.options.now)();
        Self {
            shared,
            writer,
            dones: Vec::new(),
            group: Group::default(),
            ticket: 0,
            is_marked: true,
            synced_at: now,
            floor_at: now,
        }
    }

    fn run(&mut self) -> Result<(), WalError> {
        let (mut ops, mut note) = (Vec::new(), None);
        loop {
            match self.shared.queue.take(&mut ops, &mut note, self.wait_max()) {
                Wake::Ops => {
                    if !self.write_group(&mut ops, note.take())? {
                        return Ok(());
                    }
                }
                Wake::Nothing => {}
                Wake::Stop => return self.finish(),
            }
            self.catch_up()?;
        }
    }

    /// How long to wait for ops before there is something else to do.
    fn wait_max(&self) -> Option<Duration> {
        let now = || (self.shared.options.now)();
        let mut wait = None;
        let mut at_most = |limit: Duration| wait = Some(wait.map_or(limit, |was| limit.min(was)));
        if self.shared.full.load(Ordering::Relaxed) {
            at_most(ROOM_RETRY_EVERY);
        }
        if !self.writer.is_synced() {
            if let SyncPolicy::Every(interval) = self.sync_policy() {
                at_most((self.synced_at + interval).saturating_sub(now()));
            }
        } else if !self.is_marked {
            at_most(IDLE_MARK_AFTER);
        } else if self.writer.is_floor_behind() {
            at_most((self.floor_at + FLOOR_EVERY).saturating_sub(now()));
        }
        wait
    }

    /// Returns false when the log is to end while it waits for room.
    fn write_group(&mut self, ops: &mut Vec<Op>, note: Option<Bytes>) -> Result<bool, WalError> {
        self.is_marked = false;
        if let Some(note) = note
            && !self.until_room(|writer| writer.push_note(&note))?
        {
            return Ok(false);
        }
        for op in ops.drain(..) {
            self.ticket += 1;
            if !self.write_op(op)? {
                return Ok(false);
            }
        }
        self.finish_group(self.ticket)?;
        Ok(true)
    }

    fn write_op(&mut self, op: Op) -> Result<bool, WalError> {
        match op {
            Op::Append { entries, done } => {
                for (id, payload) in &entries {
                    if !self.until_room(|writer| writer.push_entry(*id, &**payload))? {
                        return Ok(false);
                    }
                }
                self.dones.push(done);
            }
            Op::Vote { vote, done } => {
                if !self.until_room(|writer| writer.push_vote(&vote))? {
                    return Ok(false);
                }
                self.group.has_vote = true;
                self.dones.push(done);
            }
            Op::Truncate { last } => return self.until_room(|writer| writer.push_truncate(last)),
            Op::Purge { upto } => {
                self.group.has_purge = true;
                return self.until_room(|writer| writer.push_purge(upto));
            }
        }
        Ok(true)
    }

    /// Pushes a record, and waits for room first if need be. Returns false when the log is to end
    /// while it waits.
    fn until_room(
        &mut self,
        mut push: impl FnMut(&mut Writer) -> Result<Room, WalError>,
    ) -> Result<bool, WalError> {
        while push(&mut self.writer)? == Room::Missing {
            // What came before need not wait. Its last op is the one before this.
            self.finish_group(self.ticket.saturating_sub(1))?;
            if self.shared.queue.is_stopped() {
                return Ok(false);
            }
            self.shared.stalled.store(true, Ordering::Relaxed);
            self.shared.queue.wait_for_nudge(ROOM_RETRY_EVERY);
            // A purge behind this record cannot be written, but what it frees can be used.
            self.writer.recycle()?;
        }
        self.shared.stalled.store(false, Ordering::Relaxed);
        Ok(true)
    }

    /// Makes the group durable and tells its callers.
    fn finish_group(&mut self, ticket: u64) -> Result<(), WalError> {
        if planted::is(Bug::AckBeforeWrite) {
            self.dones.drain(..).for_each(|done| done());
            thread::sleep(Duration::from_millis(50));
        }
        self.writer.write()?;
        self.writer.publish(ticket);
        let group = std::mem::take(&mut self.group);
        if group.has_vote || self.is_sync_due() {
            self.sync()?;
        }
        if group.has_vote {
            // A vote that is lost is given twice: not even the last one may go unnoticed.
            self.raise_floor()?;
        }
        for done in self.dones.drain(..) {
            done();
        }
        if group.has_purge {
            self.writer.recycle()?;
        }
        Ok(())
    }

    fn sync_policy(&self) -> SyncPolicy {
        match planted::is(Bug::AckBeforeSync) {
            true => SyncPolicy::Every(Duration::from_secs(1)),
            false => self.shared.options.sync,
        }
    }

    fn is_sync_due(&self) -> bool {
        match self.sync_policy() {
            SyncPolicy::Always => true,
            SyncPolicy::Every(interval) => (self.shared.options.now)() >= self.synced_at + interval,
            SyncPolicy::Never => false,
        }
    }

    /// Does what became due, after a group or when there was none for a while.
    fn catch_up(&mut self) -> Result<(), WalError> {
        self.writer.prepare_next();
        if !self.writer.is_synced() {
            let is_never = self.sync_policy() == SyncPolicy::Never;
            if !is_never && self.is_sync_due() {
                self.sync()?;
            }
            return Ok(());
        }
        let now = (self.shared.options.now)();
        if !self.is_marked && now >= self.synced_at + IDLE_MARK_AFTER {
            self.mark()?;
        }
        if self.writer.is_floor_behind() && now >= self.floor_at + FLOOR_EVERY {
            self.raise_floor()?;
        }
        Ok(())
    }

    fn mark(&mut self) -> Result<(), WalError> {
        self.is_marked = true;
        self.writer.push_mark()?;
        self.writer.write()?;
        self.writer.publish(self.ticket);
        self.sync()
    }

    fn sync(&mut self) -> Result<(), WalError> {
        self.writer.sync()?;
        self.synced_at = (self.shared.options.now)();
        Ok(())
    }

    fn raise_floor(&mut self) -> Result<(), WalError> {
        self.writer.raise_floor()?;
        self.floor_at = (self.shared.options.now)();
        Ok(())
    }

    /// The end in good order.
    fn finish(&mut self) -> Result<(), WalError> {
        if let Some(note) = self.shared.queue.take_note()
            && self.writer.push_note(&note)? == Room::Taken
        {
            self.writer.write()?;
        }
        self.writer.sync()?;
        self.raise_floor()
    }
}
