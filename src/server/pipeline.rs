//! One connection's commands in their order, from the wire to the reply. No I/O.
//!
//! Commands are answered strictly in order (reference 1.1), while as many ops as possible are under
//! way in the log. A read is a place in that order both ways (DESIGN D6): it sees every earlier op
//! of its connection and no later one. An op behind a reserve that turns out to wait comes back
//! deferred and is sent again when the wait is over (see [`Turn`]).

use std::collections::VecDeque;

use beanpole_protocol::{CommandName, Reply};
use bytes::{Buf, BytesMut};

use super::buffer::give_up_empty;
use super::counters::LocalCounters;
use super::lists::ListPass;
use super::reads::{Query, ReadContext};
use crate::planted::{self, Bug};
use crate::queue::{Action, ConnectionNumber, Op, Outcome, Queue, Turn};
use crate::raft::Ask;

/// The most commands of one connection that are under way at once.
pub(super) const PENDING_MAX: usize = 256;

/// The most reads among them: a few bytes can ask for a whole body. Behind one that asks for a list of
/// tubes nothing is taken on until that is answered.
const READS_MAX: usize = 8;

/// The most reserves (and kicks) among them: each can bring a body.
const RESERVES_MAX: usize = 64;

/// A connection with this much unsent output is not read from, bytes.
pub(super) const OUTPUT_BYTES_MAX: usize = 64 << 10;

/// The most bytes of bodies of one connection under way in the log.
pub(super) const BODY_BYTES_MAX: usize = 256 << 10;

/// What an output buffer may keep of its memory when it is empty, bytes.
const OUTPUT_BYTES_KEPT_MAX: usize = 4 << 10;

/// For how many commands the room is kept when none is under way.
const PENDING_KEPT_MAX: usize = 16;

/// What waits for its turn to be answered.
#[derive(Debug)]
enum Pending {
    /// A change.
    Op(PendingOp),
    /// A read.
    Read(Query),
    /// An answer that is known, behind others that are not.
    Answer { reply: Reply, counts: Option<CommandName> },
    /// A put that is refused.
    RefusedPut { reply: Reply },
}

#[derive(Debug)]
struct PendingOp {
    stage: Stage,
    /// Kept while the op may have to be sent (again).
    action: Option<Action>,
    may_wait: bool,
    body_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Numbered and on its way.
    Sent,
    /// Its wait has begun: a second outcome follows.
    Waiting,
    /// To be sent when the wait before it is over.
    Held,
}

/// The commands of one connection.
#[derive(Debug)]
pub(super) struct Pipeline {
    connection: ConnectionNumber,
    turn: Turn,
    pending: VecDeque<Pending>,
    output: BytesMut,
    body_bytes: usize,
    /// Ops sent and not answered that may turn out to wait.
    blockers: usize,
    /// Ops sent behind one that waits, in an old turn: each comes back deferred.
    stale: usize,
    held: usize,
    /// Reads not answered.
    reads: usize,
    /// The last command is a read that brings a list.
    ends_in_list: bool,
    /// A list is in the output.
    list: Option<ListPass>,
    /// Reads at the front for which the leader's word has been asked.
    reads_asked: usize,
    /// The last asking for the leader's word.
    ask: Ask,
    waiting: bool,
    half_closed: bool,
    /// A put was accepted: the state counts this connection as a producer.
    has_put: bool,
    /// A put was refused, and none accepted.
    refused_producer: bool,
}

impl Pipeline {
    /// The pipeline of a new connection.
    pub(super) fn new(connection: ConnectionNumber) -> Self {
        Self {
            connection,
            turn: Turn(0),
            pending: VecDeque::new(),
            output: BytesMut::new(),
            body_bytes: 0,
            blockers: 0,
            stale: 0,
            held: 0,
            reads: 0,
            ends_in_list: false,
            list: None,
            reads_asked: 0,
            ask: Ask(0),
            waiting: false,
            half_closed: false,
            has_put: false,
            refused_producer: false,
        }
    }

    /// Whether no more commands should be taken on for now; when memory `is_short`, as soon as there
    /// is anything that can bring a body, or one was not taken yet.
    pub(super) fn is_full(&self, is_short: bool) -> bool {
        self.ends_in_list
            || self.list.is_some()
            || self.pending.len() >= PENDING_MAX
            || self.reads >= READS_MAX
            || self.blockers >= RESERVES_MAX
            || self.output.len() >= OUTPUT_BYTES_MAX
            || self.body_bytes >= BODY_BYTES_MAX
            || is_short && (self.reads + self.blockers > 0 || !self.output.is_empty())
    }

    /// Whether more than one command under way can bring a body.
    pub(super) fn awaits_bodies(&self) -> bool {
        self.reads + self.blockers > 1
    }

    /// What is in memory for it, bytes: commands, replies, and for each further reserve that is under
    /// way `reply_bytes`. Bodies of puts that are under way are counted there.
    pub(super) fn held_bytes(&self, reply_bytes: u64) -> u64 {
        let held_bodies = if self.held > 0 { self.body_bytes } else { 0 };
        let pending = self.pending.capacity() * size_of::<Pending>();
        let bytes = pending + self.output.capacity() + held_bodies;
        bytes as u64 + (self.reads + self.blockers).saturating_sub(1) as u64 * reply_bytes
    }

    /// Whether everything taken on has been answered, and the answers sent.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.output.is_empty()
    }

    /// Whether the first command not answered is one that waits for something to happen.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// Replies ready to be sent.
    pub(super) fn output(&self) -> &[u8] {
        &self.output
    }

    /// Forgets the first `count` bytes of the output: they have been sent.
    pub(super) fn sent(&mut self, count: usize) {
        self.output.advance(count);
        if !self.output.is_empty() {
            return;
        }
        give_up_empty(&mut self.output, OUTPUT_BYTES_KEPT_MAX);
        if self.pending.is_empty() && self.pending.capacity() > PENDING_KEPT_MAX {
            self.pending = VecDeque::new();
        }
        self.list = None;
    }

    /// Takes on an op. Returns it when it can go now, or nothing when it has to wait its turn.
    pub(super) fn op(&mut self, action: Action) -> Option<Op> {
        let body_bytes = body_bytes(&action);
        let may_wait = may_wait(&action);
        self.body_bytes += body_bytes;
        if self.waiting || self.stale > 0 || self.held > 0 {
            self.held += 1;
            let (stage, action) = (Stage::Held, Some(action));
            self.pending.push_back(Pending::Op(PendingOp { stage, action, may_wait, body_bytes }));
            return None;
        }
        let (stage, kept) = (Stage::Sent, (self.blockers > 0).then(|| action.clone()));
        let pending = PendingOp { stage, action: kept, may_wait, body_bytes };
        self.pending.push_back(Pending::Op(pending));
        Some(self.sign(action))
    }

    /// Takes on a read.
    pub(super) fn read(&mut self, query: Query) {
        self.reads += 1;
        self.ends_in_list = query.is_list();
        self.pending.push_back(Pending::Read(query));
    }

    /// Takes on an answer that needs nobody; `counts` is counted when its turn comes.
    pub(super) fn answer(
        &mut self,
        reply: Reply,
        counts: Option<CommandName>,
        local: &LocalCounters,
    ) {
        self.pending.push_back(Pending::Answer { reply, counts });
        self.settle_answers(local);
    }

    /// Takes on a put that is refused. When its turn comes it is counted, and its client with it, as
    /// beanstalkd does: it is a producer all the same.
    pub(super) fn refused_put(&mut self, reply: Reply, local: &LocalCounters) {
        self.pending.push_back(Pending::RefusedPut { reply });
        self.settle_answers(local);
    }

    /// The connection ends, or the state counts it as a producer now.
    pub(super) fn forget_refused(&mut self, local: &LocalCounters) {
        if std::mem::take(&mut self.refused_producer) {
            local.forget_refused_producer();
        }
    }

    /// The client will send no more. Returns the op that ends a wait, if one is on.
    pub(super) fn half_close(&mut self) -> Option<Op> {
        self.half_closed = true;
        self.waiting.then(|| self.sign(Action::StopWaiting))
    }

    /// Whether the leader's word is wanted now: reads are first in line, no op behind them will
    /// bring their answer, and it has not been asked for. The caller asks under the number returned.
    pub(super) fn ask_reads(&mut self) -> Option<Ask> {
        let first_op = self.pending.iter().find_map(|pending| match pending {
            Pending::Op(op) => Some(op.stage),
            Pending::Read(_) | Pending::Answer { .. } | Pending::RefusedPut { .. } => None,
        });
        let wanted = matches!(self.pending.front(), Some(Pending::Read(_)))
            && first_op != Some(Stage::Sent)
            && self.reads_asked == 0;
        if wanted {
            let in_front =
                self.pending.iter().take_while(|pending| !matches!(pending, Pending::Op(_)));
            self.reads_asked =
                in_front.filter(|pending| matches!(pending, Pending::Read(_))).count();
            self.ask.0 += 1;
        }
        wanted.then_some(self.ask)
    }

    /// Answers all reads at the front: the op behind them is about to be applied. There is no list among
    /// them: behind one, no op is taken on.
    pub(super) fn settle(&mut self, queue: &Queue, context: &ReadContext<'_>) {
        while self.settle_first(queue, context) {}
    }

    /// Answers the reads for which the leader was asked: it has confirmed that `queue` is up to
    /// date with the moment of the asking, which says nothing of reads that came later. Returns false
    /// when one brings a list that has to wait, and to be asked for again.
    pub(super) fn settle_asked(
        &mut self,
        queue: &Queue,
        context: &ReadContext<'_>,
        ask: Ask,
    ) -> bool {
        // What was asked for earlier has been answered meanwhile, by an op behind it.
        if ask != self.ask {
            return true;
        }
        while self.reads_asked > 0 {
            if !self.admit_list(queue, context) {
                self.reads_asked = 0;
                return false;
            }
            assert!(self.settle_first(queue, context), "what was asked for is still in front");
        }
        true
    }

    /// Whether the first in line can go as far as it brings a list: then there is room for that.
    fn admit_list(&mut self, queue: &Queue, context: &ReadContext<'_>) -> bool {
        let Some(Pending::Read(query)) = self.pending.front() else { return true };
        if !query.is_list() {
            return true;
        }
        assert!(self.list.is_none(), "behind a list nothing is taken on until it is sent");
        let measure = || query.list_bytes(queue, context.session);
        self.list = context.lists.admit(measure);
        self.ends_in_list = self.list.is_none();
        self.list.is_some()
    }

    /// Answers the first in line if it is a read, and the known answers behind it. Returns whether.
    fn settle_first(&mut self, queue: &Queue, context: &ReadContext<'_>) -> bool {
        let Some(Pending::Read(query)) = self.pending.front() else { return false };
        query.answer(queue, context).encode(&mut self.output);
        self.pending.pop_front();
        self.reads -= 1;
        self.reads_asked = self.reads_asked.saturating_sub(1);
        self.settle_answers(context.local);
        true
    }

    /// Takes in what an op came to. Returns the ops that can go now because of it.
    pub(super) fn outcome(&mut self, outcome: Outcome, local: &LocalCounters) -> Vec<Op> {
        match outcome {
            Outcome::Waiting => return self.wait_begins(),
            Outcome::Deferred => self.deferred(),
            outcome => {
                if matches!(outcome, Outcome::Inserted { .. }) {
                    self.has_put = true;
                    self.forget_refused(local);
                }
                self.answered(outcome);
                self.settle_answers(local);
            }
        }
        self.release_held()
    }

    fn sign(&mut self, action: Action) -> Op {
        let action = match action {
            Action::Reserve { wait, .. } => Action::Reserve { wait, half_closed: self.half_closed },
            other => other,
        };
        self.blockers += usize::from(may_wait(&action));
        Op { connection: self.connection, turn: self.turn, action }
    }

    fn wait_begins(&mut self) -> Vec<Op> {
        let Some(Pending::Op(first)) = self.pending.front_mut() else {
            unreachable!("an op that waits is the first of its connection");
        };
        assert_eq!(first.stage, Stage::Sent, "an op waits once");
        first.stage = Stage::Waiting;
        self.waiting = true;
        self.turn.0 = self.turn.0.wrapping_add(1);
        let is_sent =
            |pending: &&Pending| matches!(pending, Pending::Op(op) if op.stage == Stage::Sent);
        self.stale = self.pending.iter().filter(is_sent).count();
        if self.half_closed { vec![self.sign(Action::StopWaiting)] } else { Vec::new() }
    }

    fn deferred(&mut self) {
        let sent = self.pending.iter_mut().find_map(|pending| match pending {
            Pending::Op(op) if op.stage == Stage::Sent => Some(op),
            _ => None,
        });
        let op = sent.expect("what comes back deferred was sent");
        assert!(op.action.is_some(), "an op behind one that may wait is kept");
        op.stage = Stage::Held;
        self.blockers -= usize::from(op.may_wait);
        self.stale -= 1;
        self.held += 1;
    }

    fn answered(&mut self, outcome: Outcome) {
        let Some(Pending::Op(op)) = self.pending.pop_front() else {
            unreachable!("an outcome is that of the first op: {outcome:?}");
        };
        assert_ne!(op.stage, Stage::Held, "what has an outcome was sent");
        self.body_bytes -= op.body_bytes;
        self.blockers -= usize::from(op.may_wait);
        self.waiting = false;
        reply_of(outcome).encode(&mut self.output);
    }

    /// Sends what was held, once the wait is over and all that was under way behind it is back.
    fn release_held(&mut self) -> Vec<Op> {
        if self.held == 0 || self.waiting || self.stale > 0 {
            return Vec::new();
        }
        self.held = 0;
        let mut actions = Vec::new();
        let mut blocked = false;
        for pending in &mut self.pending {
            let Pending::Op(op) = pending else { continue };
            assert_eq!(op.stage, Stage::Held, "nothing is under way while ops are held");
            op.stage = Stage::Sent;
            let action = op.action.take().expect("a held op is kept");
            op.action = blocked.then(|| action.clone());
            blocked |= op.may_wait;
            actions.push(action);
        }
        actions.into_iter().map(|action| self.sign(action)).collect()
    }

    fn settle_answers(&mut self, local: &LocalCounters) {
        loop {
            match self.pending.front() {
                Some(Pending::Answer { reply, counts }) => {
                    if let Some(name) = counts {
                        local.count(*name);
                    }
                    reply.encode(&mut self.output);
                }
                Some(Pending::RefusedPut { reply }) => {
                    local.count(CommandName::Put);
                    if !self.has_put && !std::mem::replace(&mut self.refused_producer, true) {
                        local.remember_refused_producer();
                    }
                    reply.encode(&mut self.output);
                }
                Some(Pending::Op(_) | Pending::Read(_)) | None => return,
            }
            self.pending.pop_front();
        }
    }
}

/// Whether an op can hold its session up (see [`Turn`]).
fn may_wait(action: &Action) -> bool {
    matches!(action, Action::Reserve { .. } | Action::Kick { .. })
}

fn body_bytes(action: &Action) -> usize {
    match action {
        Action::Put { body, .. } => body.len(),
        _ => 0,
    }
}

fn reply_of(outcome: Outcome) -> Reply {
    match outcome {
        Outcome::Inserted { job }
            if planted::is(Bug::RefusedButDone) && job.0.is_multiple_of(64) =>
        {
            Reply::OutOfMemory
        }
        Outcome::Inserted { job } => Reply::Inserted(job.0),
        Outcome::Using { tube } => Reply::Using(tube),
        Outcome::Watching { count } => Reply::Watching(count),
        Outcome::NotIgnored => Reply::NotIgnored,
        Outcome::Reserved { job, body } => Reply::Reserved { id: job.0, body: body.here() },
        Outcome::TimedOut => Reply::TimedOut,
        Outcome::DeadlineSoon => Reply::DeadlineSoon,
        Outcome::Deleted => Reply::Deleted,
        Outcome::Released => Reply::Released,
        Outcome::Buried => Reply::Buried,
        Outcome::Touched => Reply::Touched,
        Outcome::Kicked { count } => Reply::Kicked(count),
        Outcome::JobKicked => Reply::JobKicked,
        Outcome::Paused => Reply::Paused,
        Outcome::NotFound => Reply::NotFound,
        Outcome::OutOfMemory => Reply::OutOfMemory,
        Outcome::Waiting | Outcome::Deferred => {
            unreachable!("neither ends a command")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::JobId;

    #[test]
    fn a_burst_leaves_nothing_behind_that_is_not_counted_or_large() {
        let mut pipeline = Pipeline::new(ConnectionNumber(1));
        let local = LocalCounters::new();
        let before = pipeline.held_bytes(0);
        for id in 0..PENDING_MAX as u64 {
            assert!(pipeline.op(Action::Delete { job: JobId(id) }).is_some());
        }
        assert!(pipeline.is_full(false));
        let during = pipeline.held_bytes(0);
        assert!(during >= (PENDING_MAX * size_of::<Pending>()) as u64, "{during} bytes");
        for _ in 0..PENDING_MAX {
            assert_eq!(pipeline.outcome(Outcome::Deleted, &local), []);
        }
        pipeline.sent(pipeline.output().len());
        assert!(pipeline.is_idle());
        let kept = pipeline.held_bytes(0) - before;
        assert!(kept <= OUTPUT_BYTES_KEPT_MAX as u64, "{kept} bytes");
        assert!(pipeline.pending.capacity() <= PENDING_KEPT_MAX);
    }
}
