//! One connection's commands in their order, from the wire to the reply. No I/O.
//!
//! Commands are answered strictly in order (reference 1.1), while as many ops as possible are under
//! way in the log. A read is a place in that order both ways (DESIGN D6): it sees every earlier op
//! of its connection and no later one. An op behind a reserve that turns out to wait comes back
//! deferred and is sent again when the wait is over (see [`Turn`]).

use std::collections::VecDeque;

use beanpole_protocol::trunk::ChannelNumber;
use beanpole_protocol::{CommandName, PutKey, Reply};
use bytes::{Buf, BytesMut};

use super::buffer::give_up_empty;
use super::counters::LocalCounters;
use super::lists::ListPass;
use super::reads::{Query, ReadContext};
use super::wire::{Wire, reply_of};
use crate::queue::{Action, ConnectionNumber, Numbered, Op, Outcome, Queue, Turn};
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
    Read { number: u64, query: Query },
    /// An answer that is known, behind others that are not.
    Answer { number: u64, reply: Reply, counts: Option<CommandName> },
    /// A put that is refused.
    RefusedPut { number: u64, reply: Reply },
}

#[derive(Debug)]
struct PendingOp {
    stage: Stage,
    /// Of the command, for a channel; see [`Numbered`].
    number: u64,
    /// Kept while the op may have to be sent (again).
    action: Option<Action>,
    may_wait: bool,
    /// It is one of `bodies`.
    brings_body: bool,
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

impl PendingOp {
    /// Whether it waits, and was asked for after the command of this number.
    fn waits_behind(&self, number: u64) -> bool {
        self.stage == Stage::Waiting && self.number > number
    }
}

/// The commands of one connection, or of one channel of a trunk.
#[derive(Debug)]
pub(super) struct Pipeline {
    connection: ConnectionNumber,
    wire: Wire,
    /// The log has been sent an op.
    is_numbered: bool,
    has_answered: bool,
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
    /// Reads and ops that may bring a body.
    bodies: usize,
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
    /// That of the next put.
    key: Option<PutKey>,
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
            wire: Wire::Plain,
            is_numbered: false,
            has_answered: false,
            turn: Turn(0),
            pending: VecDeque::new(),
            output: BytesMut::new(),
            body_bytes: 0,
            blockers: 0,
            stale: 0,
            held: 0,
            reads: 0,
            bodies: 0,
            ends_in_list: false,
            list: None,
            reads_asked: 0,
            ask: Ask(0),
            waiting: false,
            half_closed: false,
            key: None,
            has_put: false,
            refused_producer: false,
        }
    }

    /// The pipeline of a channel whose session stands so: what waits goes on.
    pub(super) fn of_channel(
        connection: ConnectionNumber,
        channel: ChannelNumber,
        turn: Turn,
        waiting: Option<u64>,
    ) -> Self {
        let wire = Wire::of_channel(channel);
        let mut pipeline = Self { wire, turn, is_numbered: true, ..Self::new(connection) };
        if let Some(number) = waiting {
            let (stage, action) = (Stage::Waiting, None);
            let (may_wait, brings_body) = (true, false);
            let op = PendingOp { stage, number, action, may_wait, brings_body, body_bytes: 0 };
            pipeline.pending.push_back(Pending::Op(op));
            (pipeline.waiting, pipeline.blockers) = (true, 1);
        }
        pipeline
    }

    /// What is taken on next is a channel's command of this number.
    pub(super) fn begin_command(&mut self, next: Numbered) {
        self.wire.begin_command(next);
    }

    /// Whether the log has been sent an op of this connection.
    pub(super) fn is_numbered(&self) -> bool {
        self.is_numbered
    }

    /// Takes out what was answered, with what counts lists on their way until it is sent.
    pub(super) fn take_output(&mut self) -> (BytesMut, Option<ListPass>) {
        let output = self.output.split();
        let list = self.list.take();
        self.sent(0);
        (output, list)
    }

    /// Gives up the read at the front, whose list has no room: it will be asked for again. Returns the
    /// number of its command.
    pub(super) fn give_up_list(&mut self) -> u64 {
        let Some(Pending::Read { number, .. }) = self.pending.pop_front() else {
            unreachable!("a list that has no room is the first in line");
        };
        self.reads -= 1;
        self.bodies -= 1;
        self.ends_in_list = false;
        number
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

    /// How many bodies may come of what is under way: while it waits for one, which can be for ever,
    /// only those in front of that.
    pub(super) fn bodies_awaited(&self) -> usize {
        if self.waiting { self.in_front().count() } else { self.bodies }
    }

    /// What comes before the first op.
    fn in_front(&self) -> impl Iterator<Item = &Pending> {
        self.pending.iter().take_while(|pending| !matches!(pending, Pending::Op(_)))
    }

    /// What is in memory for it, bytes: commands, replies, and for each further reserve that is under
    /// way `reply_bytes`. Bodies of puts that are under way are counted there.
    pub(super) fn held_bytes(&self, reply_bytes: u64) -> u64 {
        let held_bodies = if self.held > 0 { self.body_bytes } else { 0 };
        let pending = self.pending.capacity() * size_of::<Pending>();
        let bytes = pending + self.output.capacity() + held_bodies;
        bytes as u64 + (self.reads + self.blockers).saturating_sub(1) as u64 * reply_bytes
    }

    /// Whether nothing was taken on yet.
    pub(super) fn is_fresh(&self) -> bool {
        !self.is_numbered && self.is_idle() && self.wire == Wire::Plain && !self.has_answered
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
        let body_bytes = action.body_bytes();
        let (may_wait, brings_body) = (may_wait(&action), brings_body(&action));
        self.body_bytes += body_bytes;
        self.bodies += usize::from(brings_body);
        self.is_numbered = true;
        let number = self.wire.number();
        if self.waiting || self.stale > 0 || self.held > 0 {
            self.held += 1;
            let (stage, action) = (Stage::Held, Some(action));
            let pending = PendingOp { stage, number, action, may_wait, brings_body, body_bytes };
            self.pending.push_back(Pending::Op(pending));
            return None;
        }
        let kept = (self.blockers > 0).then(|| action.clone());
        let stage = Stage::Sent;
        let pending = PendingOp { stage, number, action: kept, may_wait, brings_body, body_bytes };
        self.pending.push_back(Pending::Op(pending));
        Some(self.sign(number, action))
    }

    /// Takes on a read.
    pub(super) fn read(&mut self, query: Query) {
        self.reads += 1;
        self.bodies += 1;
        self.ends_in_list = query.is_list();
        let number = self.wire.number();
        let read = Pending::Read { number, query };
        // What is asked for again after a move goes before what has waited since.
        let is_later =
            |pending: &Pending| matches!(pending, Pending::Op(op) if op.waits_behind(number));
        match self.pending.iter().position(is_later) {
            Some(place) => self.pending.insert(place, read),
            None => self.pending.push_back(read),
        }
    }

    /// Takes on an answer that needs nobody; `counts` is counted when its turn comes.
    pub(super) fn answer(
        &mut self,
        reply: Reply,
        counts: Option<CommandName>,
        local: &LocalCounters,
    ) {
        let number = self.wire.number();
        self.pending.push_back(Pending::Answer { number, reply, counts });
        self.settle_answers(local);
    }

    /// The next put has a key.
    pub(super) fn set_key(&mut self, key: PutKey) {
        self.key = Some(key);
    }

    /// The key of the put that is taken on.
    pub(super) fn take_key(&mut self) -> Option<PutKey> {
        self.key.take()
    }

    /// Takes on a put that is refused. When its turn comes it is counted, and its client with it, as
    /// beanstalkd does: it is a producer all the same.
    pub(super) fn refused_put(&mut self, reply: Reply, local: &LocalCounters) {
        let number = self.wire.number();
        self.key = None;
        self.pending.push_back(Pending::RefusedPut { number, reply });
        self.settle_answers(local);
    }

    /// The connection ends, or the state counts it as a producer now.
    pub(super) fn forget_refused(&mut self, local: &LocalCounters) {
        if std::mem::take(&mut self.refused_producer) {
            local.forget_refused_producer();
        }
    }

    /// The client will send no more. Returns the op that ends a wait, if one is on: once, so that who
    /// says it again and again makes no more of it.
    pub(super) fn half_close(&mut self) -> Option<Op> {
        if std::mem::replace(&mut self.half_closed, true) {
            return None;
        }
        self.waiting.then(|| self.sign_plain(Action::StopWaiting))
    }

    /// Whether the leader's word is wanted now: reads are first in line, no op behind them will
    /// bring their answer, and it has not been asked for. The caller asks under the number returned.
    pub(super) fn ask_reads(&mut self) -> Option<Ask> {
        let first_op = self.pending.iter().find_map(|pending| match pending {
            Pending::Op(op) => Some(op.stage),
            Pending::Read { .. } | Pending::Answer { .. } | Pending::RefusedPut { .. } => None,
        });
        let wanted = matches!(self.pending.front(), Some(Pending::Read { .. }))
            && first_op != Some(Stage::Sent)
            && self.reads_asked == 0;
        if wanted {
            let is_read = |pending: &&Pending| matches!(pending, Pending::Read { .. });
            self.reads_asked = self.in_front().filter(is_read).count();
            self.ask.0 += 1;
        }
        wanted.then_some(self.ask)
    }

    /// Answers all reads at the front: the op behind them is about to be applied. Behind a list no op is
    /// taken on, but one that ends a wait may come when that is over, and has nothing to do with it.
    pub(super) fn settle(&mut self, queue: &Queue, context: &ReadContext<'_>) {
        while !self.begins_with_list() && self.settle_first(queue, context) {}
    }

    fn begins_with_list(&self) -> bool {
        matches!(self.pending.front(), Some(Pending::Read { query, .. }) if query.is_list())
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
        let Some(Pending::Read { query, .. }) = self.pending.front() else { return true };
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
        let Some(Pending::Read { number, query }) = self.pending.front() else { return false };
        let (number, reply) = (*number, query.answer(queue, context));
        self.push_reply(number, &reply);
        self.pending.pop_front();
        self.reads -= 1;
        self.bodies -= 1;
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

    fn sign(&mut self, number: u64, action: Action) -> Op {
        let action = match action {
            Action::Reserve { wait, .. } => Action::Reserve { wait, half_closed: self.half_closed },
            other => other,
        };
        self.blockers += usize::from(may_wait(&action));
        Op { numbered: self.wire.place_of(number), ..self.sign_plain(action) }
    }

    /// An op that no command has asked for.
    fn sign_plain(&self, action: Action) -> Op {
        Op::plain(self.connection, self.turn, action)
    }

    fn push_reply(&mut self, number: u64, reply: &Reply) {
        self.has_answered = true;
        self.wire.push_reply(number, reply, &mut self.output);
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
        if self.half_closed { vec![self.sign_plain(Action::StopWaiting)] } else { Vec::new() }
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
        let place = self.in_front().count();
        let Some(Pending::Op(op)) = self.pending.remove(place) else {
            unreachable!("an outcome is that of the first op: {outcome:?}");
        };
        assert_ne!(op.stage, Stage::Held, "what has an outcome was sent");
        assert!(place == 0 || op.stage == Stage::Waiting, "reads before an op are answered first");
        self.body_bytes -= op.body_bytes;
        self.blockers -= usize::from(op.may_wait);
        self.bodies -= usize::from(op.brings_body);
        self.waiting = false;
        let number = op.number;
        self.push_reply(number, &reply_of(outcome));
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
            actions.push((op.number, action));
        }
        actions.into_iter().map(|(number, action)| self.sign(number, action)).collect()
    }

    fn settle_answers(&mut self, local: &LocalCounters) {
        let is_answer = |pending: &mut Pending| {
            matches!(pending, Pending::Answer { .. } | Pending::RefusedPut { .. })
        };
        while let Some(answer) = self.pending.pop_front_if(is_answer) {
            match answer {
                Pending::Answer { number, reply, counts } => {
                    if let Some(name) = counts {
                        local.count(name);
                    }
                    self.push_reply(number, &reply);
                }
                Pending::RefusedPut { number, reply } => {
                    local.count(CommandName::Put);
                    if !self.has_put && !std::mem::replace(&mut self.refused_producer, true) {
                        local.remember_refused_producer();
                    }
                    self.push_reply(number, &reply);
                }
                Pending::Op(_) | Pending::Read { .. } => unreachable!("it is an answer"),
            }
        }
    }
}

/// Whether an op can hold its session up (see [`Turn`]).
fn may_wait(action: &Action) -> bool {
    matches!(action, Action::Reserve { .. } | Action::Kick { .. })
}

fn brings_body(action: &Action) -> bool {
    matches!(action, Action::Reserve { .. } | Action::ReserveJob { .. })
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
