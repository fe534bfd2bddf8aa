//! Turns what waits in the outbox and in the lanes, and the passing of time, into proposals, while
//! this member leads.
//!
//! One task. It packs everything that waits into one entry, keeps a few entries under way, and when
//! nothing waits proposes an empty batch at the next deadline (DESIGN D5, D7). While the log syncs,
//! the next batch collects by itself; nothing ever waits for a timer to fill a batch.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::ClientWriteError;
use openraft::impls::ProgressResponder;
use openraft::raft::ClientWriteResult;
use openraft::{Raft, ReadPolicy};
use tokio::sync::oneshot;

use super::lanes::Lanes;
use super::outbox::{Outbox, Weight};
use super::state_machine::{Replica, StateMachine};
use super::types::{Command, LeaderId, Metrics, TypeConfig, leading};
use crate::clock::LogicalClock;
use crate::queue::{Batch, LogicalTime, Part};

/// How many entries are under way at once, whatever they carry. More makes smaller entries, and an
/// entry costs each member some wake-ups (storage-figures 4).
const PROPOSALS_ALWAYS: usize = 2;

/// How many entries are under way at most: those beyond [`PROPOSALS_ALWAYS`] are well filled.
const PROPOSALS_MAX: usize = 4;

/// How many ops a well-filled entry carries at least.
const FILLED_OPS: usize = 128;

/// How long to wait before proposing again after a refusal, or asking again who leads.
const RETRY: Duration = Duration::from_millis(5);

/// The longest such wait, after refusals in a row.
const RETRY_MAX: Duration = Duration::from_millis(100);

/// How often the wait is doubled.
const RETRY_DOUBLINGS_MAX: u32 = 5;

/// The longest sleep until a deadline; a later one is looked at again then. Short, because a timer of
/// tokio stands still while the machine is suspended, and logical time does not.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// Entries that are there for the sake of time alone follow the last one at this distance at least
/// (consensus-review 19).
const ADVANCE_GAP: Duration = Duration::from_millis(2);

/// What is known of the cluster's time when nobody here has heard a leader.
pub(super) type Estimates =
    Arc<dyn Fn() -> futures_util::future::BoxFuture<'static, Option<LogicalTime>> + Send + Sync>;

/// The task's parts.
pub(super) struct Proposer {
    pub(super) raft: Raft<TypeConfig, StateMachine>,
    pub(super) replica: Arc<Replica>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) lanes: Arc<Lanes>,
    pub(super) clock: Arc<LogicalClock>,
    pub(super) estimates: Estimates,
    /// What earlier lives keep after a member's opening, milliseconds; none in a cluster of one.
    pub(super) grace_millis: u32,
}

/// openraft has stopped: this member can do nothing more.
#[derive(Debug, thiserror::Error)]
#[error("the log has stopped: {0}")]
pub struct Stopped(String);

impl Proposer {
    /// Runs until openraft stops. Dropping the future loses nothing: what is under way is in the
    /// outboxes of its members.
    ///
    /// # Errors
    ///
    /// [`Stopped`] when openraft has ended.
    pub(super) async fn run(self) -> Result<(), Stopped> {
        loop {
            let leader = self.to_lead().await?;
            let Some(time) = self.take_over(leader).await? else {
                self.clock.cease();
                self.lanes.close();
                continue;
            };
            let ended = Term::new(&self, leader, time).run().await;
            self.clock.cease();
            self.lanes.close();
            ended?;
        }
    }

    /// Completes when this member leads.
    async fn to_lead(&self) -> Result<LeaderId, Stopped> {
        let mut metrics = self.raft.metrics();
        loop {
            if let Some(leader) = leading(&self.raft) {
                return Ok(leader);
            }
            metrics.changed().await.map_err(|_| Stopped("openraft has ended".to_owned()))?;
        }
    }

    fn leads(&self, leader: LeaderId) -> bool {
        leading(&self.raft) == Some(leader)
    }

    /// Waits until everything that was committed before is applied, and goes on with the clock of the
    /// leader before. Returns how time goes on, `None` when this member leads no more.
    async fn take_over(&self, leader: LeaderId) -> Result<Option<Time>, Stopped> {
        while self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await.is_err() {
            self.raft.is_initialized().await.map_err(|fatal| Stopped(fatal.to_string()))?;
            if !self.leads(leader) {
                return Ok(None);
            }
            tokio::time::sleep(RETRY).await;
        }
        let is_returning = !self.clock.is_running();
        let estimate = match is_returning {
            false => None,
            true => (self.estimates)().await,
        };
        self.replica.with_state(|state| {
            self.clock.lead(state.queue.now(), estimate);
            self.lanes.open(&state.queue);
        });
        self.outbox.restart();
        tracing::debug!(term = leader.term, "this member has taken over the lead");
        let time = if is_returning { Time::Estimated } else { Time::Known };
        Ok(self.leads(leader).then_some(time))
    }
}

/// What the clock of a leader goes on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Time {
    /// From that of the leader before.
    Known,
    /// No leader was heard in this life of the process: all members may have been away. No entry says
    /// so yet.
    Estimated,
}

struct Proposal {
    result: oneshot::Receiver<ClientWriteResult<TypeConfig>>,
    advance: bool,
}

/// One term of leading.
struct Term<'a> {
    proposer: &'a Proposer,
    leader: LeaderId,
    time: Time,
    under_way: VecDeque<Proposal>,
    /// An empty batch is under way for the sake of time.
    advancing: bool,
    /// Refusals in a row.
    refusals: u32,
    metrics: Metrics,
}

type Answer = Result<ClientWriteResult<TypeConfig>, oneshot::error::RecvError>;

enum Event {
    Answered(Answer),
    Woken,
}

impl<'a> Term<'a> {
    fn new(proposer: &'a Proposer, leader: LeaderId, time: Time) -> Self {
        let metrics = proposer.raft.metrics();
        Self {
            proposer,
            leader,
            time,
            under_way: VecDeque::new(),
            advancing: false,
            refusals: 0,
            metrics,
        }
    }

    /// Runs until this member does not lead any more. What is under way then may be lost or not: its
    /// members send it again.
    async fn run(mut self) -> Result<(), Stopped> {
        while self.proposer.leads(self.leader) {
            // One reading for both questions: a deadline that passes between two would be slept over.
            let now = self.proposer.clock.now();
            while self.has_room() {
                let Some(batch) = self.next_batch(now) else { break };
                self.propose(batch).await?;
            }
            match self.next_event(now).await {
                Event::Woken => {}
                Event::Answered(answer) => self.answered(answer).await?,
            }
        }
        Ok(())
    }

    /// Whether another entry may be under way.
    fn has_room(&self) -> bool {
        let Proposer { outbox, lanes, .. } = self.proposer;
        match self.under_way.len() {
            few if few < PROPOSALS_ALWAYS => true,
            many if many >= PROPOSALS_MAX => false,
            _ => outbox.waiting_ops() + lanes.waiting_ops() >= FILLED_OPS,
        }
    }

    fn next_batch(&mut self, now: LogicalTime) -> Option<Batch> {
        let parts = self.parts();
        if !parts.is_empty() {
            return Some(Batch { now, parts });
        }
        let due = self.deadline().is_some_and(|deadline| deadline <= now);
        if !due || self.advancing {
            return None;
        }
        self.advancing = true;
        Some(Batch { now, parts })
    }

    /// As much of what waits as goes into one entry, this member's own first.
    fn parts(&self) -> Vec<Part> {
        let (mut parts, mut weight) = (Vec::new(), Weight::default());
        if self.time == Time::Estimated {
            parts.push(Part::Returned);
        }
        while !weight.fills_entry()
            && let Some(part) = self.proposer.outbox.take()
        {
            weight.add(Weight::of(&part));
            parts.push(part);
        }
        self.proposer.lanes.fill(&mut parts, &mut weight);
        for part in &mut parts {
            if let Part::Open { grace_millis, .. } = part {
                *grace_millis = self.grace_millis();
            }
        }
        parts
    }

    fn grace_millis(&self) -> u32 {
        let alone = self.proposer.raft.voter_ids().count() <= 1;
        if alone { 0 } else { self.proposer.grace_millis }
    }

    async fn propose(&mut self, batch: Batch) -> Result<(), Stopped> {
        let advance = batch.parts.is_empty();
        let (responder, result) = ProgressResponder::complete_only();
        let request = self.proposer.raft.write(Command::new(batch)).with_leader(self.leader);
        request.responder(responder).await.map_err(|fatal| Stopped(fatal.to_string()))?;
        self.under_way.push_back(Proposal { result, advance });
        Ok(())
    }

    async fn next_event(&mut self, now: LogicalTime) -> Event {
        let sleep = self.sleep(now);
        let outbox = &self.proposer.outbox;
        let answered = async {
            match self.under_way.front_mut() {
                Some(oldest) => (&mut oldest.result).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            answer = answered => Event::Answered(answer),
            () = outbox.woken() => Event::Woken,
            () = tokio::time::sleep(sleep) => Event::Woken,
            _ = self.metrics.changed() => Event::Woken,
        }
    }

    /// When the next entry is needed for the sake of time.
    fn deadline(&self) -> Option<LogicalTime> {
        self.proposer.replica.deadline(ADVANCE_GAP)
    }

    fn sleep(&self, now: LogicalTime) -> Duration {
        match self.deadline() {
            _ if self.advancing => SLEEP_MAX,
            Some(deadline) if deadline > now => deadline.since(now).min(SLEEP_MAX),
            Some(_) | None => SLEEP_MAX,
        }
    }

    async fn answered(&mut self, answer: Answer) -> Result<(), Stopped> {
        let proposal = self.under_way.pop_front().expect("the oldest has just been answered");
        self.advancing &= !proposal.advance;
        match answer {
            Ok(Ok(_)) => {
                self.time = Time::Known;
                self.refusals = 0;
                return Ok(());
            }
            Ok(Err(
                ClientWriteError::ForwardToLeader(_) | ClientWriteError::LogEntryDiscarded(_),
            )) => {}
            Ok(Err(error)) => return Err(Stopped(error.to_string())),
            Err(_) => return Err(Stopped("a proposal was dropped".into())),
        }
        if self.settle().await {
            // Everybody sends all again: not at full speed while that comes to nothing.
            tokio::time::sleep((RETRY * (1 << self.refusals)).min(RETRY_MAX)).await;
            self.refusals = (self.refusals + 1).min(RETRY_DOUBLINGS_MAX);
            let Proposer { replica, lanes, outbox, .. } = self.proposer;
            replica.with_state(|state| lanes.open(&state.queue));
            outbox.restart();
        }
        Ok(())
    }

    /// Waits for the rest of what is under way: behind a refused proposal it is a gap to the state.
    /// Once the last has its answer, the state has applied all that was accepted. Returns false when
    /// this member does not lead any more.
    async fn settle(&mut self) -> bool {
        self.advancing = false;
        while let Some(later) = self.under_way.front_mut() {
            tokio::select! {
                _ = &mut later.result => drop(self.under_way.pop_front()),
                _ = self.metrics.changed() => {
                    if !self.proposer.leads(self.leader) {
                        return false;
                    }
                }
            }
        }
        true
    }
}
