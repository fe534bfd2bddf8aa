//! The search for an order (Wing and Gong, with a memory of what was tried).
//!
//! Each command takes effect at the earliest moment that its place in the order allows. That is no
//! restriction: time only ever opens ways (delays and leases that may have ended), so earlier is
//! never worse.

use std::collections::HashSet;

use super::super::fate::NEVER;
use super::super::index::Connection;
use super::model::{Env, Op, State};
use crate::clock::Moment;

/// How far behind the first command without a place others can have theirs.
const WINDOW: usize = 128;

/// What a search comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is an order.
    Ordered,
    /// There is none. The farthest attempt found no place for the record there.
    Impossible { stuck: usize },
    /// It took too long, or too much was under way at once.
    Undecided,
}

/// Where a search stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Node {
    /// All commands before this one have their place.
    first: usize,
    /// Of those from `first` on, which have theirs.
    placed: u128,
    state: State,
    now: Moment,
}

/// What a search needs, kept from one to the next.
#[derive(Debug, Default)]
pub(super) struct Search {
    tried: HashSet<Node>,
    to_try: Vec<Node>,
}

impl Search {
    /// Looks for an order of `ops`, which are sorted by `invoked`; tells the steps it took too.
    pub(super) fn run(&mut self, ops: &[Op], env: &Env<'_, '_>, steps_max: u64) -> (Verdict, u64) {
        self.tried.clear();
        self.to_try.clear();
        self.to_try.push(Node { first: 0, placed: 0, state: State::Absent, now: Moment(0) });
        let mut steps = 0;
        let mut farthest = (0, ops.first().map_or(0, |op| op.place));
        let mut is_cut = false;
        while let Some(node) = self.to_try.pop() {
            if node.first == ops.len() {
                return (Verdict::Ordered, steps);
            }
            if !self.tried.insert(node) {
                continue;
            }
            steps += 1;
            if steps > steps_max {
                return (Verdict::Undecided, steps);
            }
            let next = Next::of(&node, ops);
            is_cut |= next.is_cut;
            let placed = node.first + node.placed.count_ones() as usize;
            if placed >= farthest.0 {
                farthest = (placed, next.most_urgent);
            }
            if let Some(looked) = look(&node, next.limit, ops, env) {
                self.to_try.push(looked);
                continue;
            }
            self.push_steps(&node, next.limit, ops, env);
            self.push_ops(&node, next.limit, ops, env);
        }
        let verdict =
            if is_cut { Verdict::Undecided } else { Verdict::Impossible { stuck: farthest.1 } };
        (verdict, steps)
    }

    /// What happens without a command. Tried after all commands, since it seldom is needed.
    fn push_steps(&mut self, node: &Node, limit: Moment, ops: &[Op], env: &Env<'_, '_>) {
        let is_busy = |by: Connection| {
            let mut own = ops[node.first..].iter().enumerate().filter(|(_, op)| op.by == by);
            own.next_back().is_some_and(|(ahead, _)| !node.is_placed(ahead))
        };
        env.steps(node.state, node.now, is_busy, |state, now| {
            if now <= limit {
                self.to_try.push(Node { state, now, ..*node });
            }
        });
    }

    /// Commands that can be the next. The one that was sent first is tried first.
    fn push_ops(&mut self, node: &Node, limit: Moment, ops: &[Op], env: &Env<'_, '_>) {
        let begun = ops[node.first..].iter().take_while(|op| op.invoked <= limit).take(WINDOW);
        let until = begun.count();
        for ahead in (0..until).rev() {
            if node.is_placed(ahead) {
                continue;
            }
            let op = &ops[node.first + ahead];
            let now = node.now.max(op.invoked);
            let Some(state) = op.kind.apply(node.state, op.by, op.invoked, env.ttr) else {
                continue;
            };
            if now <= limit {
                self.to_try.push(node.with(ahead, state, now));
            }
        }
    }
}

/// Places a command that changes nothing and takes no time, if there is one: whatever order there
/// is, there is one with this command here. So many looks at once need no search.
fn look(node: &Node, limit: Moment, ops: &[Op], env: &Env<'_, '_>) -> Option<Node> {
    let begun = ops[node.first..].iter().take_while(|op| op.invoked <= node.now.min(limit));
    let mut free = begun.take(WINDOW).enumerate().filter(|(ahead, _)| !node.is_placed(*ahead));
    let (ahead, _) = free.find(|(_, op)| {
        op.kind.apply(node.state, op.by, op.invoked, env.ttr) == Some(node.state)
    })?;
    Some(node.with(ahead, node.state, node.now))
}

impl Node {
    /// Whether the command so far ahead of the first one without a place has its place.
    fn is_placed(&self, ahead: usize) -> bool {
        ahead < WINDOW && self.placed >> ahead & 1 == 1
    }

    fn with(&self, ahead: usize, state: State, now: Moment) -> Self {
        let placed = self.placed | 1 << ahead;
        let done = placed.trailing_ones() as usize;
        let placed = if done == WINDOW { 0 } else { placed >> done };
        Self { first: self.first + done, placed, state, now }
    }
}

/// What the commands without a place allow.
struct Next {
    /// The first moment at which one of them must have had its effect.
    limit: Moment,
    /// The place of that one's record.
    most_urgent: usize,
    /// There are more at once than the window holds.
    is_cut: bool,
}

impl Next {
    fn of(node: &Node, ops: &[Op]) -> Self {
        let mut next = Self { limit: NEVER, most_urgent: ops[node.first].place, is_cut: false };
        for (ahead, op) in ops[node.first..].iter().enumerate() {
            if op.invoked > next.limit {
                break;
            }
            if ahead >= WINDOW {
                next.is_cut = true;
                break;
            }
            if !node.is_placed(ahead) && op.latest < next.limit {
                next.limit = op.latest;
                next.most_urgent = op.place;
            }
        }
        next
    }
}
