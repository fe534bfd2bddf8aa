//! Linearizable reads, batched: one round with the leader serves every connection that waits (D6).

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::state_machine::Replica;
use crate::planted::{self, Bug};
use crate::queue::ConnectionNumber;

/// How long to wait before asking again when nobody leads.
const RETRY: Duration = Duration::from_millis(5);

/// Which asking of its connection this is: a confirmation that comes late must not answer a read
/// that was asked for after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ask(pub u64);

/// Asks the leader, wherever it is, up to which index this member must have applied to be up to
/// date with this moment. `None` when nobody is known to lead.
pub(super) type ReadIndex = Arc<dyn Fn() -> BoxFuture<'static, Option<u64>> + Send + Sync>;

/// Connections that wait for the leader's word. Bounded by the connections: each asks again only when
/// what it asked for has been answered.
#[derive(Default)]
pub struct ReadRequests {
    waiting: Mutex<Vec<(ConnectionNumber, Ask)>>,
    woken: Notify,
}

impl ReadRequests {
    /// Asks for `connection`.
    pub fn push(&self, connection: ConnectionNumber, ask: Ask) {
        self.waiting.lock().push((connection, ask));
        self.woken.notify_one();
    }

    /// Serves the requests for as long as it is polled.
    pub(super) async fn run(self: Arc<Self>, read_index: ReadIndex, replica: Arc<Replica>) {
        loop {
            self.woken.notified().await;
            let waiting = std::mem::take(&mut *self.waiting.lock());
            let index = match planted::is(Bug::StaleReads) {
                true => replica.applied_index(),
                false => confirmed(&read_index).await,
            };
            replica.applied_to(index).await;
            replica.answer_reads(&waiting);
        }
    }
}

/// The leader's word; asks until there is one.
pub(super) async fn confirmed(read_index: &ReadIndex) -> u64 {
    loop {
        if let Some(index) = read_index().await {
            return index;
        }
        tokio::time::sleep(RETRY).await;
    }
}
