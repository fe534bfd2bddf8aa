//! The ops of this member's connections on their way into the log (DESIGN D2).
//!
//! Every op gets the next number of the member's one sequence. What has been sent, to this member's
//! own proposer or to another that leads, is kept until it is seen applied, so that after a refusal
//! or a change of leader everything from the first unapplied op is sent again: the state applies each
//! number once, in order, so a repeat does no harm.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::life::{Life, Signature};
use crate::memory::Memory;
use crate::planted::{self, Bug};
use crate::queue::{Incarnation, Op, OpNumber, Part};

/// The most ops in one entry.
pub(super) const BATCH_OPS_MAX: usize = 512;

/// The most bytes of bodies in one entry that has more than one op.
pub(super) const BATCH_BYTES_MAX: usize = 256 << 10;

/// The most bytes of bodies sent and not seen applied, unless one op alone has more.
const WINDOW_BYTES_MAX: usize = 4 << 20;

/// The most ops sent and not seen applied.
const WINDOW_OPS_MAX: usize = 32 << 10;

/// What an op takes up in memory beside its body, bytes.
const OP_BYTES: u64 = 128;

/// Where ops wait to be sent and sent ops wait to be applied.
pub struct Outbox {
    life: Arc<Life>,
    memory: Arc<Memory>,
    lanes: Mutex<Lanes>,
    woken: Notify,
}

struct Lanes {
    waiting: VecDeque<Op>,
    /// The number of the first op that waits.
    next: OpNumber,
    /// Sent and not yet seen applied, oldest first.
    sent: VecDeque<Part>,
    /// To be sent again before anything else, oldest first.
    again: VecDeque<Part>,
    sent_weight: Weight,
    /// Of all that is here.
    weight: Weight,
}

/// How much a part is, for the limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weight {
    pub(super) ops: usize,
    pub(super) bytes: usize,
}

impl Weight {
    pub(super) fn of(part: &Part) -> Self {
        let Part::Ops { ops, .. } = part else { return Self::default() };
        Self { ops: ops.len(), bytes: ops.iter().map(|op| op.action.body_bytes()).sum() }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.ops += other.ops;
        self.bytes += other.bytes;
    }

    pub(super) fn remove(&mut self, other: Self) {
        self.ops -= other.ops;
        self.bytes -= other.bytes;
    }

    /// Whether an entry that has so much already takes no more.
    pub(super) fn fills_entry(self) -> bool {
        self.ops >= BATCH_OPS_MAX || self.bytes >= BATCH_BYTES_MAX
    }
}

impl Outbox {
    /// An empty one; the first thing it sends opens the member's life.
    pub fn new(life: Arc<Life>, memory: Arc<Memory>) -> Self {
        let lanes = Lanes::new(life.signature());
        Self { life, memory, lanes: Mutex::new(lanes), woken: Notify::new() }
    }

    /// The budget in which it counts what it holds.
    pub(super) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Queues `op`. The bound on what waits here is that of the connections: each has a bounded
    /// number of commands under way.
    pub fn push(&self, op: Op) {
        let mut lanes = self.lanes.lock();
        let first = lanes.waiting.is_empty();
        lanes.weight.add(Weight { ops: 1, bytes: op.action.body_bytes() });
        lanes.waiting.push_back(op);
        self.count(&lanes);
        drop(lanes);
        if first {
            self.woken.notify_one();
        }
    }

    /// Wakes who sends.
    pub fn wake(&self) {
        self.woken.notify_one();
    }

    /// Completes when there may be something to send.
    pub async fn woken(&self) {
        self.woken.notified().await;
    }

    /// The next part to send, at most an entry of it; `None` when nothing waits, or too much is
    /// under way.
    pub(super) fn take(&self) -> Option<Part> {
        let mut lanes = self.lanes.lock();
        let part = match lanes.again.pop_front() {
            Some(part) => part,
            None if lanes.is_window_full() => return None,
            None => lanes.take_waiting(self.life.signature())?,
        };
        lanes.sent_weight.add(Weight::of(&part));
        lanes.sent.push_back(part.clone());
        Some(part)
    }

    /// How many ops wait to be sent for the first time.
    pub(super) fn waiting_ops(&self) -> usize {
        self.lanes.lock().waiting.len()
    }

    /// What was sent came to nothing, or nobody knows: everything not seen applied is sent again.
    pub fn restart(&self) {
        let mut lanes = self.lanes.lock();
        let mut sent = std::mem::take(&mut lanes.sent);
        sent.append(&mut lanes.again);
        lanes.again = sent;
        lanes.sent_weight = Weight::default();
        drop(lanes);
        self.woken.notify_one();
    }

    /// Forgets what the state has applied.
    pub fn applied(&self, incarnation: Incarnation, number: OpNumber) {
        if incarnation != self.life.signature().incarnation {
            return;
        }
        let mut lanes = self.lanes.lock();
        let was_full = lanes.is_window_full();
        while is_first_applied(&lanes.sent, number) {
            let part = lanes.sent.pop_front().expect("there is a first one");
            lanes.sent_weight.remove(Weight::of(&part));
            lanes.weight.remove(Weight::of(&part));
        }
        while is_first_applied(&lanes.again, number) {
            let part = lanes.again.pop_front().expect("there is a first one");
            lanes.weight.remove(Weight::of(&part));
        }
        self.count(&lanes);
        drop(lanes);
        if was_full {
            self.woken.notify_one();
        }
    }

    /// Drops everything and goes on under the present life: that of what was here is over, and its
    /// connections are closed.
    pub(super) fn begin_life(&self) {
        let mut lanes = self.lanes.lock();
        *lanes = Lanes::new(self.life.signature());
        self.count(&lanes);
        drop(lanes);
        self.woken.notify_one();
    }

    fn count(&self, lanes: &Lanes) {
        let Weight { ops, bytes } = lanes.weight;
        self.memory.queued.set(ops as u64 * OP_BYTES + bytes as u64);
    }
}

impl Lanes {
    fn new(signature: Signature) -> Self {
        let Signature { member, incarnation } = signature;
        let open = Part::Open { member, incarnation, grace_millis: 0 };
        Self {
            waiting: VecDeque::new(),
            next: OpNumber(1),
            sent: VecDeque::new(),
            again: VecDeque::from([open]),
            sent_weight: Weight::default(),
            weight: Weight::default(),
        }
    }

    fn is_window_full(&self) -> bool {
        self.sent_weight.ops >= WINDOW_OPS_MAX || self.sent_weight.bytes >= WINDOW_BYTES_MAX
    }

    fn take_waiting(&mut self, signature: Signature) -> Option<Part> {
        let count = self.fitting();
        if count == 0 {
            return None;
        }
        let ops: Arc<[Op]> = self.waiting.drain(..count).collect();
        let first = self.next;
        self.next = OpNumber(first.0 + count as u64);
        let Signature { member, incarnation } = signature;
        Some(Part::Ops { member, incarnation, first, ops })
    }

    /// How many of the waiting ops go into one batch.
    fn fitting(&self) -> usize {
        let mut bytes = 0;
        let within = |op: &&Op| {
            bytes += op.action.body_bytes();
            bytes <= BATCH_BYTES_MAX
        };
        let count = self.waiting.iter().take(BATCH_OPS_MAX).take_while(within).count();
        count.max(1).min(self.waiting.len())
    }
}

/// Whether the first of the parts needs not be sent again, now that `number` is applied.
fn is_first_applied(parts: &VecDeque<Part>, number: OpNumber) -> bool {
    let is_kept = planted::is(Bug::ResendApplied) && parts.len() == 1;
    !is_kept && parts.front().is_some_and(|part| last_number(part) <= number)
}

/// The number of the last op of a part of ours; 0 for the one that opens the life.
fn last_number(part: &Part) -> OpNumber {
    match part {
        Part::Ops { first, ops, .. } => OpNumber(first.0 + ops.len() as u64 - 1),
        _ => OpNumber(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{Action, ConnectionNumber, JobId, MemberId, Turn};

    const SIGNATURE: Signature = Signature { member: MemberId(1), incarnation: Incarnation(3) };

    fn memory() -> Arc<Memory> {
        Arc::new(Memory::new(crate::memory::BUDGET_FLOOR_BYTES, true))
    }

    fn delete(job: u64) -> Op {
        let action = Action::Delete { job: JobId(job) };
        Op::plain(ConnectionNumber(1), Turn(0), action)
    }

    fn numbers(part: &Part) -> (u64, usize) {
        match part {
            Part::Ops { first, ops, .. } => (first.0, ops.len()),
            _ => (0, 0),
        }
    }

    fn opened() -> Outbox {
        let outbox = Outbox::new(Arc::new(Life::new(SIGNATURE)), memory());
        let opening = outbox.take().expect("the opening comes first");
        assert_eq!(numbers(&opening), (0, 0));
        outbox.applied(Incarnation(3), OpNumber(0));
        outbox
    }

    #[test]
    fn ops_are_numbered_without_gaps_and_split_at_the_limit() {
        let outbox = opened();
        (0..BATCH_OPS_MAX as u64 + 5).for_each(|job| outbox.push(delete(job)));
        let first = outbox.take().expect("a full batch");
        let second = outbox.take().expect("the rest");
        assert_eq!(numbers(&first), (1, BATCH_OPS_MAX));
        assert_eq!(numbers(&second), (1 + BATCH_OPS_MAX as u64, 5));
        assert!(outbox.take().is_none());
    }

    #[test]
    fn a_big_body_goes_alone() {
        let outbox = opened();
        let body = bytes::Bytes::from(vec![0; BATCH_BYTES_MAX + 1]);
        let action = Action::Put { priority: 0, delay: 0, ttr: 1, body, key: None };
        outbox.push(Op::plain(ConnectionNumber(1), Turn(0), action));
        outbox.push(delete(1));
        assert_eq!(numbers(&outbox.take().expect("the put")), (1, 1));
        assert_eq!(numbers(&outbox.take().expect("the delete")), (2, 1));
    }

    #[test]
    fn a_refusal_proposes_everything_unapplied_again_under_the_same_numbers() {
        let outbox = opened();
        outbox.push(delete(1));
        outbox.take().expect("first");
        outbox.push(delete(2));
        outbox.take().expect("second");
        outbox.applied(Incarnation(3), OpNumber(1));
        outbox.push(delete(3));
        outbox.restart();
        assert_eq!(numbers(&outbox.take().expect("the refused one")), (2, 1));
        assert_eq!(numbers(&outbox.take().expect("the new one")), (3, 1));
    }

    #[test]
    fn no_more_is_under_way_than_the_window() {
        let outbox = opened();
        let body = bytes::Bytes::from(vec![0; BATCH_BYTES_MAX]);
        for _ in 0..40 {
            let action =
                Action::Put { priority: 0, delay: 0, ttr: 1, body: body.clone(), key: None };
            outbox.push(Op::plain(ConnectionNumber(1), Turn(0), action));
        }
        let taken = std::iter::from_fn(|| outbox.take()).count();
        assert_eq!(taken, WINDOW_BYTES_MAX / BATCH_BYTES_MAX);
        outbox.applied(Incarnation(3), OpNumber(1));
        assert_eq!(outbox.take().map(|part| numbers(&part)), Some((taken as u64 + 1, 1)));
        outbox.restart();
        assert_eq!(outbox.take().map(|part| numbers(&part)), Some((2, 1)));
    }

    #[test]
    fn a_new_life_begins_with_its_opening_and_with_nothing_of_the_old_one() {
        let life = Arc::new(Life::new(SIGNATURE));
        let outbox = Outbox::new(Arc::clone(&life), memory());
        outbox.take().expect("the opening");
        outbox.push(delete(1));
        life.begin(Incarnation(4));
        outbox.begin_life();
        let open = Part::Open { member: MemberId(1), incarnation: Incarnation(4), grace_millis: 0 };
        assert_eq!(outbox.take(), Some(open));
        outbox.push(delete(2));
        assert_eq!(outbox.take().map(|part| numbers(&part)), Some((1, 1)));
    }

    #[test]
    fn what_is_here_is_counted_until_it_is_applied() {
        let memory = memory();
        let outbox = Outbox::new(Arc::new(Life::new(SIGNATURE)), Arc::clone(&memory));
        outbox.take().expect("the opening");
        outbox.applied(Incarnation(3), OpNumber(0));
        let action =
            Action::Put { priority: 0, delay: 0, ttr: 1, body: vec![0; 1000].into(), key: None };
        outbox.push(Op::plain(ConnectionNumber(1), Turn(0), action));
        outbox.push(delete(1));
        let both = 2 * OP_BYTES + 1000;
        assert_eq!(memory.queued.used(), both);
        outbox.take().expect("proposed");
        outbox.restart();
        assert_eq!(memory.queued.used(), both);
        outbox.applied(Incarnation(3), OpNumber(2));
        assert_eq!(memory.queued.used(), 0);
    }

    #[test]
    fn what_was_applied_after_all_is_not_proposed_again() {
        let outbox = opened();
        outbox.push(delete(1));
        outbox.take().expect("proposed");
        outbox.restart();
        outbox.applied(Incarnation(3), OpNumber(1));
        assert!(outbox.take().is_none());
    }
}
