//! What the members send to the leader, in the order of each one's numbers (DESIGN D2).
//!
//! The leader takes from each member only the number that comes next. What it refuses, or what a
//! refused proposal has lost, it answers with a new *round*: the member sends everything again that
//! it has not seen applied, and what is still on its way of earlier rounds is thrown away.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::outbox::Weight;
use crate::planted::{self, Bug};
use crate::queue::{Incarnation, MemberId, OpNumber, Part, Queue};

/// The most a member may have waiting here: twice its own window, so that a member that keeps to it
/// is never held up.
const LANE_BYTES_MAX: usize = 8 << 20;
const LANE_OPS_MAX: usize = 64 << 10;

/// The most parts of the leader's own that may wait: a few words on each member.
const OWN_PARTS_MAX: usize = 1024;

/// What waits for the leader's proposer. Closed while this member does not lead.
#[derive(Default)]
pub(super) struct Lanes {
    inner: Mutex<Inner>,
    /// Something has come, or there is room again, or a round has begun.
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    is_open: bool,
    own: VecDeque<Part>,
    lanes: BTreeMap<MemberId, Lane>,
    /// Whose turn it is to be first.
    turn: MemberId,
}

#[derive(Default)]
struct Lane {
    incarnation: Incarnation,
    /// The number that comes next.
    next: u64,
    round: u64,
    parts: VecDeque<Part>,
    weight: Weight,
}

/// What has become of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// It will be proposed, or is known already.
    Taken,
    /// It does not come next: everything unapplied is wanted again, as of this round.
    Restart(u64),
    /// There is no room for it now.
    Full,
    /// This member does not lead.
    Closed,
}

impl Lanes {
    /// Begins to take parts, as of what `queue` has applied, which must be all that was accepted
    /// before. Called again after a refused proposal: then every member begins a new round.
    pub(super) fn open(&self, queue: &Queue) {
        let mut inner = self.inner.lock();
        inner.is_open = true;
        for (member, lane) in &mut inner.lanes {
            lane.reset(*member, queue);
        }
        drop(inner);
        self.changed.notify_waiters();
    }

    /// Whether parts are taken: this member leads and has taken over.
    pub(super) fn is_open(&self) -> bool {
        self.inner.lock().is_open
    }

    /// Takes no more: another leads, or nobody.
    pub(super) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.is_open = false;
        inner.own.clear();
        for lane in inner.lanes.values_mut() {
            lane.clear();
        }
        drop(inner);
        self.changed.notify_waiters();
    }

    /// Begins a round with a member that has just connected; `None` while closed.
    pub(super) fn connect(&self, member: MemberId, queue: &Queue) -> Option<u64> {
        let mut inner = self.inner.lock();
        if !inner.is_open {
            return None;
        }
        let lane = inner.lanes.entry(member).or_insert_with(|| Lane::new(member, queue));
        lane.round += 1;
        Some(lane.round)
    }

    /// The round that a member is in; `None` while closed.
    pub(super) fn round(&self, member: MemberId) -> Option<u64> {
        let inner = self.inner.lock();
        inner.is_open.then(|| inner.lanes.get(&member).map_or(0, |lane| lane.round))
    }

    /// Completes at the next change.
    pub(super) fn changed(&self) -> impl Future<Output = ()> {
        self.changed.notified()
    }

    /// Offers a part of `member`, sent in `round`.
    pub(super) fn offer(&self, member: MemberId, round: u64, part: &Part) -> Offer {
        let mut inner = self.inner.lock();
        if !inner.is_open {
            return Offer::Closed;
        }
        let Some(lane) = inner.lanes.get_mut(&member) else { return Offer::Closed };
        if round != lane.round {
            return Offer::Taken;
        }
        lane.offer(part)
    }

    /// Adds a word of the leader's own, and says whether it was taken: not while this member does not
    /// lead, or has not taken over yet. Who wanted it looks again.
    pub(super) fn push_own(&self, part: Part) -> bool {
        let mut inner = self.inner.lock();
        let is_taken = inner.is_open && inner.own.len() < OWN_PARTS_MAX;
        if is_taken {
            inner.own.push_back(part);
        }
        is_taken
    }

    /// How many ops wait here.
    pub(super) fn waiting_ops(&self) -> usize {
        self.inner.lock().lanes.values().map(|lane| lane.weight.ops).sum()
    }

    /// What waits here, bytes.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.inner.lock().lanes.values().map(|lane| lane.weight.bytes).sum()
    }

    /// Adds parts to an entry that holds `weight` already, until it is full.
    pub(super) fn fill(&self, parts: &mut Vec<Part>, weight: &mut Weight) {
        let mut inner = self.inner.lock();
        parts.extend(inner.own.drain(..));
        let turn = inner.turn;
        let order: Vec<MemberId> = inner
            .lanes
            .range(turn..)
            .chain(inner.lanes.range(..turn))
            .map(|(member, _)| *member)
            .collect();
        for member in order {
            let lane = inner.lanes.get_mut(&member).expect("it was just listed");
            while !weight.fills_entry()
                && let Some(part) = lane.take()
            {
                weight.add(Weight::of(&part));
                parts.push(part);
            }
            if weight.fills_entry() {
                inner.turn = MemberId(member.0 + 1);
                break;
            }
        }
        drop(inner);
        self.changed.notify_waiters();
    }
}

impl Lane {
    fn new(member: MemberId, queue: &Queue) -> Self {
        let mut lane = Self::default();
        lane.expect(member, queue);
        lane
    }

    fn reset(&mut self, member: MemberId, queue: &Queue) {
        self.clear();
        self.expect(member, queue);
        self.round += 1;
    }

    fn clear(&mut self) {
        self.parts.clear();
        self.weight = Weight::default();
    }

    fn expect(&mut self, member: MemberId, queue: &Queue) {
        let life = queue.life(member);
        self.incarnation = life.map_or(Incarnation(0), |life| life.incarnation);
        self.next = life.map_or(0, |life| life.last.0) + 1;
    }

    fn offer(&mut self, part: &Part) -> Offer {
        if self.weight.bytes >= LANE_BYTES_MAX || self.weight.ops >= LANE_OPS_MAX {
            return Offer::Full;
        }
        match part {
            Part::Open { incarnation, .. } if *incarnation <= self.incarnation => Offer::Taken,
            Part::Open { incarnation, .. } => {
                (self.incarnation, self.next) = (*incarnation, 1);
                self.push(part)
            }
            Part::Ops { incarnation, first, ops, .. } => {
                self.offer_ops(part, (*incarnation, *first), ops.len() as u64)
            }
            // Only the leader says such things, and of its own accord.
            _ => Offer::Taken,
        }
    }

    fn offer_ops(&mut self, part: &Part, at: (Incarnation, OpNumber), count: u64) -> Offer {
        let (incarnation, first) = at;
        if incarnation < self.incarnation {
            return Offer::Taken;
        }
        if incarnation > self.incarnation || first.0 > self.next {
            self.round += 1;
            return Offer::Restart(self.round);
        }
        if first.0 + count <= self.next && !planted::is(Bug::ResendApplied) {
            return Offer::Taken;
        }
        self.next = self.next.max(first.0 + count);
        self.push(part)
    }

    fn push(&mut self, part: &Part) -> Offer {
        self.weight.add(Weight::of(part));
        self.parts.push_back(part.clone());
        Offer::Taken
    }

    fn take(&mut self) -> Option<Part> {
        let part = self.parts.pop_front()?;
        self.weight.remove(Weight::of(&part));
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{Action, Batch, ConnectionNumber, JobId, LogicalTime, Op, Outcome, Turn};
    use crate::queue::{Observer, SessionId};

    const MEMBER: MemberId = MemberId(2);
    const LIFE: Incarnation = Incarnation(3);

    struct Nobody;

    impl Observer for Nobody {
        fn before_op(&mut self, _: &Queue, _: SessionId) {}
        fn outcome(&mut self, _: SessionId, _: Outcome) {}
    }

    fn open(incarnation: u64) -> Part {
        Part::Open { member: MEMBER, incarnation: Incarnation(incarnation), grace_millis: 0 }
    }

    fn ops(first: u64, count: usize) -> Part {
        let action = Action::Delete { job: JobId(1) };
        let op = Op::plain(ConnectionNumber(1), Turn(0), action);
        let ops = vec![op; count].into();
        Part::Ops { member: MEMBER, incarnation: LIFE, first: OpNumber(first), ops }
    }

    fn taken(lanes: &Lanes) -> Vec<Part> {
        let (mut parts, mut weight) = (Vec::new(), Weight::default());
        lanes.fill(&mut parts, &mut weight);
        parts
    }

    /// Lanes that lead, and the first round of a member.
    fn opened(queue: &Queue) -> (Lanes, u64) {
        let lanes = Lanes::default();
        lanes.open(queue);
        let round = lanes.connect(MEMBER, queue).expect("it leads");
        (lanes, round)
    }

    #[test]
    fn a_word_is_taken_when_the_leader_has_taken_over_and_not_before() {
        let (lanes, queue) = (Lanes::default(), Queue::new());
        let word = Part::Enrol { member: MEMBER };
        assert!(!lanes.push_own(word.clone()));
        lanes.open(&queue);
        assert!(taken(&lanes).is_empty());
        assert!(lanes.push_own(word.clone()));
        assert_eq!(taken(&lanes), std::slice::from_ref(&word));
        lanes.close();
        assert!(!lanes.push_own(word));
    }

    #[test]
    fn only_the_next_number_is_taken_and_repeats_are_dropped() {
        let queue = Queue::new();
        let (lanes, round) = opened(&queue);
        assert_eq!(lanes.offer(MEMBER, round, &open(3)), Offer::Taken);
        assert_eq!(lanes.offer(MEMBER, round, &ops(1, 5)), Offer::Taken);
        assert_eq!(lanes.offer(MEMBER, round, &ops(1, 5)), Offer::Taken);
        assert_eq!(lanes.offer(MEMBER, round, &open(3)), Offer::Taken);
        assert_eq!(lanes.offer(MEMBER, round, &ops(6, 1)), Offer::Taken);
        assert_eq!(taken(&lanes), [open(3), ops(1, 5), ops(6, 1)]);
    }

    #[test]
    fn a_gap_begins_a_round_and_what_is_late_of_the_old_one_is_dropped() {
        let queue = Queue::new();
        let (lanes, round) = opened(&queue);
        lanes.offer(MEMBER, round, &open(3));
        let Offer::Restart(next) = lanes.offer(MEMBER, round, &ops(2, 1)) else {
            panic!("a gap was taken")
        };
        assert!(next > round);
        assert_eq!(lanes.offer(MEMBER, round, &ops(1, 1)), Offer::Taken);
        assert_eq!(taken(&lanes), [open(3)]);
        assert_eq!(lanes.offer(MEMBER, next, &ops(1, 1)), Offer::Taken);
        assert_eq!(taken(&lanes), [ops(1, 1)]);
    }

    #[test]
    fn after_a_refusal_what_the_state_has_not_applied_is_wanted_again() {
        let mut queue = Queue::new();
        let (lanes, round) = opened(&queue);
        lanes.offer(MEMBER, round, &open(3));
        lanes.offer(MEMBER, round, &ops(1, 2));
        lanes.offer(MEMBER, round, &ops(3, 1));
        taken(&lanes);
        let batch = Batch { now: LogicalTime(1), parts: vec![open(3), ops(1, 2)] };
        queue.apply(&batch, &mut Nobody);
        lanes.open(&queue);
        let next = lanes.round(MEMBER).expect("it leads");
        assert!(next > round);
        assert_eq!(lanes.offer(MEMBER, next, &open(3)), Offer::Taken);
        assert_eq!(lanes.offer(MEMBER, next, &ops(3, 1)), Offer::Taken);
        assert_eq!(taken(&lanes), [ops(3, 1)]);
    }

    #[test]
    fn who_does_not_lead_takes_nothing() {
        let queue = Queue::new();
        let (lanes, round) = opened(&queue);
        lanes.offer(MEMBER, round, &open(3));
        lanes.close();
        assert_eq!(lanes.offer(MEMBER, round, &ops(1, 1)), Offer::Closed);
        assert_eq!(lanes.connect(MEMBER, &queue), None);
        assert_eq!(taken(&lanes), []);
    }

    #[test]
    fn members_take_turns_at_a_full_entry() {
        let queue = Queue::new();
        let (lanes, round) = opened(&queue);
        let other = MemberId(5);
        let other_round = lanes.connect(other, &queue).expect("it leads");
        let big = |member| Part::Ops {
            member,
            incarnation: LIFE,
            first: OpNumber(1),
            ops: match ops(1, super::super::outbox::BATCH_OPS_MAX) {
                Part::Ops { ops, .. } => ops,
                _ => unreachable!("it was made of ops"),
            },
        };
        lanes.offer(MEMBER, round, &open(3));
        lanes.offer(MEMBER, round, &big(MEMBER));
        let opening = Part::Open { member: other, incarnation: LIFE, grace_millis: 0 };
        lanes.offer(other, other_round, &opening);
        lanes.offer(other, other_round, &big(other));
        assert_eq!(taken(&lanes), [open(3), big(MEMBER)]);
        assert_eq!(taken(&lanes), [opening, big(other)]);
    }

    #[test]
    fn a_member_that_floods_is_told_to_wait() {
        let queue = Queue::new();
        let (lanes, round) = opened(&queue);
        lanes.offer(MEMBER, round, &open(3));
        let mut first = 1;
        while lanes.offer(MEMBER, round, &ops(first, 512)) == Offer::Taken {
            first += 512;
            assert!(first < 1 << 20, "no bound");
        }
        assert_eq!(lanes.offer(MEMBER, round, &ops(first, 512)), Offer::Full);
        taken(&lanes);
        assert_eq!(lanes.offer(MEMBER, round, &ops(first, 512)), Offer::Taken);
    }
}
