//! Turns what waits in the outbox, and the passing of time, into proposals.
//!
//! One task. It packs everything that waits into one entry, keeps a few entries under way, and when
//! nothing waits proposes an empty batch at the next deadline (DESIGN D5, D7). While the log syncs,
//! the next batch collects by itself; nothing ever waits for a timer to fill a batch.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use openraft::Raft;
use openraft::errors::ClientWriteError;
use openraft::impls::ProgressResponder;
use openraft::raft::ClientWriteResult;
use tokio::sync::oneshot;

use super::outbox::Outbox;
use super::state_machine::{Replica, StateMachine};
use super::types::{Command, TypeConfig};
use crate::clock::LogicalClock;
use crate::queue::{Batch, LogicalTime};

/// How many entries are under way at once. More makes smaller entries and gains nothing
/// (storage-figures 4).
const PROPOSALS_MAX: usize = 2;

/// How long to wait before proposing again after a refusal.
const RETRY: Duration = Duration::from_millis(5);

/// The longest sleep until a deadline; a later one is looked at again then. Short, because a timer of
/// tokio stands still while the machine is suspended, and logical time does not.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// The task's parts.
pub(super) struct Proposer {
    raft: Raft<TypeConfig, StateMachine>,
    replica: Arc<Replica>,
    outbox: Arc<Outbox>,
    clock: Arc<LogicalClock>,
    under_way: VecDeque<Proposal>,
    /// An empty batch is under way for the sake of time.
    advancing: bool,
}

struct Proposal {
    result: oneshot::Receiver<ClientWriteResult<TypeConfig>>,
    advance: bool,
}

/// openraft has stopped: this member can do nothing more.
#[derive(Debug, thiserror::Error)]
#[error("the log has stopped: {0}")]
pub struct Stopped(String);

enum Event {
    Answered(Result<ClientWriteResult<TypeConfig>, oneshot::error::RecvError>),
    Woken,
}

impl Proposer {
    /// A proposer for `replica`.
    pub(super) fn new(
        raft: Raft<TypeConfig, StateMachine>,
        replica: Arc<Replica>,
        outbox: Arc<Outbox>,
        clock: Arc<LogicalClock>,
    ) -> Self {
        Self { raft, replica, outbox, clock, under_way: VecDeque::new(), advancing: false }
    }

    /// Runs until openraft stops. Dropping the future loses nothing: what is under way is in the
    /// outbox.
    ///
    /// # Errors
    ///
    /// [`Stopped`] when openraft has ended.
    pub(super) async fn run(mut self) -> Result<(), Stopped> {
        loop {
            // One reading for both questions: a deadline that passes between two would be slept over.
            let now = self.clock.now();
            while self.under_way.len() < PROPOSALS_MAX {
                let Some(batch) = self.next_batch(now) else { break };
                self.propose(batch).await?;
            }
            match self.next_event(now).await {
                Event::Woken => {}
                Event::Answered(answer) => self.answered(answer).await?,
            }
        }
    }

    fn next_batch(&mut self, now: LogicalTime) -> Option<Arc<Batch>> {
        if let Some(batch) = self.outbox.take(now) {
            return Some(batch);
        }
        let due = self.replica.deadline().is_some_and(|deadline| deadline <= now);
        if !due || self.advancing {
            return None;
        }
        self.advancing = true;
        Some(Arc::new(Batch { now, parts: Vec::new() }))
    }

    async fn propose(&mut self, batch: Arc<Batch>) -> Result<(), Stopped> {
        let advance = batch.parts.is_empty();
        let (responder, result) = ProgressResponder::complete_only();
        self.raft
            .client_write_ff(Command(batch), Some(responder))
            .await
            .map_err(|fatal| Stopped(fatal.to_string()))?;
        self.under_way.push_back(Proposal { result, advance });
        Ok(())
    }

    async fn next_event(&mut self, now: LogicalTime) -> Event {
        let sleep = self.sleep(now);
        let Some(oldest) = self.under_way.front_mut() else {
            tokio::select! {
                biased;
                () = self.outbox.woken() => {}
                () = tokio::time::sleep(sleep) => {}
            }
            return Event::Woken;
        };
        tokio::select! {
            biased;
            answer = &mut oldest.result => Event::Answered(answer),
            () = self.outbox.woken() => Event::Woken,
            () = tokio::time::sleep(sleep) => Event::Woken,
        }
    }

    fn sleep(&self, now: LogicalTime) -> Duration {
        match self.replica.deadline() {
            _ if self.advancing => SLEEP_MAX,
            Some(LogicalTime(deadline)) if deadline > now.0 => {
                LogicalTime(deadline).since(now).min(SLEEP_MAX)
            }
            Some(_) | None => SLEEP_MAX,
        }
    }

    async fn answered(
        &mut self,
        answer: Result<ClientWriteResult<TypeConfig>, oneshot::error::RecvError>,
    ) -> Result<(), Stopped> {
        let proposal = self.under_way.pop_front().expect("the oldest has just been answered");
        self.advancing &= !proposal.advance;
        match answer {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(
                ClientWriteError::ForwardToLeader(_) | ClientWriteError::LogEntryDiscarded(_),
            )) => {}
            Ok(Err(error)) => return Err(Stopped(error.to_string())),
            Err(_) => return Err(Stopped("a proposal was dropped".into())),
        }
        // What follows a refused proposal is a gap to the state, so all of it starts again.
        while let Some(later) = self.under_way.pop_front() {
            later.result.await.map_err(|_| Stopped("a proposal was dropped".into()))?.ok();
        }
        self.advancing = false;
        tokio::time::sleep(RETRY).await;
        self.outbox.restart();
        Ok(())
    }
}
