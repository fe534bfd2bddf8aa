//! Linearizable reads, batched: one round with the leader serves every connection that waits (D6).

use std::sync::Arc;
use std::time::Duration;

use openraft::{Raft, ReadPolicy};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::state_machine::{Replica, StateMachine};
use super::types::TypeConfig;
use crate::queue::ConnectionNumber;

/// How long to wait before asking again when nobody leads.
const RETRY: Duration = Duration::from_millis(5);

/// Connections that wait for the leader's word. Bounded by the connections: each asks again only when
/// what it asked for has been answered.
#[derive(Default)]
pub struct ReadRequests {
    waiting: Mutex<Vec<ConnectionNumber>>,
    woken: Notify,
}

impl ReadRequests {
    /// Asks for `connection`.
    pub fn push(&self, connection: ConnectionNumber) {
        self.waiting.lock().push(connection);
        self.woken.notify_one();
    }

    /// Serves the requests for as long as it is polled.
    pub async fn run(self: Arc<Self>, raft: Raft<TypeConfig, StateMachine>, replica: Arc<Replica>) {
        loop {
            self.woken.notified().await;
            let waiting = std::mem::take(&mut *self.waiting.lock());
            while raft.ensure_linearizable(ReadPolicy::ReadIndex).await.is_err() {
                tokio::time::sleep(RETRY).await;
            }
            replica.answer_reads(&waiting);
        }
    }
}
