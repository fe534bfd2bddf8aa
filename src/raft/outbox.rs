//! The ops of this member's connections on their way into the log (DESIGN D2).
//!
//! Every op gets the next number of the member's one sequence. What has been proposed is kept until
//! it is seen applied, so that after a refusal everything from the first unapplied op is proposed
//! again: the state applies each number once, in order, so a repeat does no harm.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::state_machine::Signature;
use crate::queue::{Action, Batch, Incarnation, LogicalTime, Op, OpNumber, Part};

/// The most ops in one entry.
const BATCH_OPS_MAX: usize = 512;

/// The most bytes of bodies in one entry that has more than one op.
const BATCH_BYTES_MAX: usize = 256 << 10;

/// Where ops wait to be proposed and proposed ops wait to be applied.
pub struct Outbox {
    signature: Signature,
    lanes: Mutex<Lanes>,
    woken: Notify,
}

struct Lanes {
    waiting: VecDeque<Op>,
    /// The number of the first op that waits.
    next: OpNumber,
    /// Proposed and not yet seen applied, oldest first.
    proposed: VecDeque<Arc<Batch>>,
    /// Refused, to be proposed again before anything else, oldest first.
    again: VecDeque<Arc<Batch>>,
}

impl Outbox {
    /// An empty one; the first thing it proposes opens the member's life.
    pub fn new(signature: Signature) -> Self {
        let Signature { member, incarnation } = signature;
        let open = Part::Open { member, incarnation, grace_millis: 0 };
        let opening = Arc::new(Batch { now: LogicalTime(0), parts: vec![open] });
        let lanes = Lanes {
            waiting: VecDeque::new(),
            next: OpNumber(1),
            proposed: VecDeque::new(),
            again: VecDeque::from([opening]),
        };
        Self { signature, lanes: Mutex::new(lanes), woken: Notify::new() }
    }

    /// Numbers `op` and queues it. The bound on what waits here is that of the connections: each
    /// has a bounded number of commands under way.
    pub fn push(&self, op: Op) {
        let mut lanes = self.lanes.lock();
        let first = lanes.waiting.is_empty();
        lanes.waiting.push_back(op);
        drop(lanes);
        if first {
            self.woken.notify_one();
        }
    }

    /// Wakes the proposer.
    pub fn wake(&self) {
        self.woken.notify_one();
    }

    /// Completes when there may be something to propose.
    pub async fn woken(&self) {
        self.woken.notified().await;
    }

    /// The next batch to propose, stamped with `now`; `None` when nothing waits.
    pub fn take(&self, now: LogicalTime) -> Option<Arc<Batch>> {
        let mut lanes = self.lanes.lock();
        let batch = match lanes.again.pop_front() {
            Some(refused) => Batch { now, parts: refused.parts.clone() },
            None => lanes.take_waiting(self.signature, now)?,
        };
        let batch = Arc::new(batch);
        lanes.proposed.push_back(Arc::clone(&batch));
        Some(batch)
    }

    /// A proposal came to nothing: everything not seen applied is proposed again, in order.
    pub fn restart(&self) {
        let mut lanes = self.lanes.lock();
        let mut proposed = std::mem::take(&mut lanes.proposed);
        proposed.append(&mut lanes.again);
        lanes.again = proposed;
        drop(lanes);
        self.woken.notify_one();
    }

    /// Forgets what the state has applied.
    pub fn applied(&self, last: Option<(Incarnation, OpNumber)>, signature: Signature) {
        let Some((incarnation, number)) = last else { return };
        if incarnation != signature.incarnation {
            return;
        }
        let mut lanes = self.lanes.lock();
        while lanes.proposed.front().is_some_and(|batch| last_number(batch) <= number) {
            lanes.proposed.pop_front();
        }
        while lanes.again.front().is_some_and(|batch| last_number(batch) <= number) {
            lanes.again.pop_front();
        }
    }
}

impl Lanes {
    fn take_waiting(&mut self, signature: Signature, now: LogicalTime) -> Option<Batch> {
        let count = self.fitting();
        if count == 0 {
            return None;
        }
        let ops: Arc<[Op]> = self.waiting.drain(..count).collect();
        let first = self.next;
        self.next = OpNumber(first.0 + count as u64);
        let Signature { member, incarnation } = signature;
        Some(Batch { now, parts: vec![Part::Ops { member, incarnation, first, ops }] })
    }

    /// How many of the waiting ops go into one batch.
    fn fitting(&self) -> usize {
        let mut bytes = 0;
        let within = |op: &&Op| {
            bytes += body_bytes(op);
            bytes <= BATCH_BYTES_MAX
        };
        let count = self.waiting.iter().take(BATCH_OPS_MAX).take_while(within).count();
        count.max(1).min(self.waiting.len())
    }
}

fn body_bytes(op: &Op) -> usize {
    match &op.action {
        Action::Put { body, .. } => body.len(),
        _ => 0,
    }
}

/// The number of the last op of a batch of ours; 0 for the one that opens the life.
fn last_number(batch: &Batch) -> OpNumber {
    match batch.parts.first() {
        Some(Part::Ops { first, ops, .. }) => OpNumber(first.0 + ops.len() as u64 - 1),
        Some(_) | None => OpNumber(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{ConnectionNumber, JobId, MemberId, Turn};

    const SIGNATURE: Signature = Signature { member: MemberId(1), incarnation: Incarnation(3) };

    fn delete(job: u64) -> Op {
        let action = Action::Delete { job: JobId(job) };
        Op { connection: ConnectionNumber(1), turn: Turn(0), action }
    }

    fn numbers(batch: &Batch) -> (u64, usize) {
        match &batch.parts[0] {
            Part::Ops { first, ops, .. } => (first.0, ops.len()),
            _ => (0, 0),
        }
    }

    fn opened() -> Outbox {
        let outbox = Outbox::new(SIGNATURE);
        let opening = outbox.take(LogicalTime(1)).expect("the opening comes first");
        assert_eq!(numbers(&opening), (0, 0));
        outbox.applied(Some((Incarnation(3), OpNumber(0))), SIGNATURE);
        outbox
    }

    #[test]
    fn ops_are_numbered_without_gaps_and_split_at_the_limit() {
        let outbox = opened();
        (0..BATCH_OPS_MAX as u64 + 5).for_each(|job| outbox.push(delete(job)));
        let first = outbox.take(LogicalTime(2)).expect("a full batch");
        let second = outbox.take(LogicalTime(2)).expect("the rest");
        assert_eq!(numbers(&first), (1, BATCH_OPS_MAX));
        assert_eq!(numbers(&second), (1 + BATCH_OPS_MAX as u64, 5));
        assert!(outbox.take(LogicalTime(2)).is_none());
    }

    #[test]
    fn a_big_body_goes_alone() {
        let outbox = opened();
        let body = bytes::Bytes::from(vec![0; BATCH_BYTES_MAX + 1]);
        let action = Action::Put { priority: 0, delay: 0, ttr: 1, body };
        outbox.push(Op { connection: ConnectionNumber(1), turn: Turn(0), action });
        outbox.push(delete(1));
        assert_eq!(numbers(&outbox.take(LogicalTime(1)).expect("the put")), (1, 1));
        assert_eq!(numbers(&outbox.take(LogicalTime(1)).expect("the delete")), (2, 1));
    }

    #[test]
    fn a_refusal_proposes_everything_unapplied_again_under_the_same_numbers() {
        let outbox = opened();
        outbox.push(delete(1));
        outbox.take(LogicalTime(1)).expect("first");
        outbox.push(delete(2));
        outbox.take(LogicalTime(1)).expect("second");
        outbox.applied(Some((Incarnation(3), OpNumber(1))), SIGNATURE);
        outbox.push(delete(3));
        outbox.restart();
        assert_eq!(numbers(&outbox.take(LogicalTime(9)).expect("the refused one")), (2, 1));
        assert_eq!(numbers(&outbox.take(LogicalTime(9)).expect("the new one")), (3, 1));
    }

    #[test]
    fn what_was_applied_after_all_is_not_proposed_again() {
        let outbox = opened();
        outbox.push(delete(1));
        outbox.take(LogicalTime(1)).expect("proposed");
        outbox.restart();
        outbox.applied(Some((Incarnation(3), OpNumber(1))), SIGNATURE);
        assert!(outbox.take(LogicalTime(1)).is_none());
    }
}
