//! The limits of what is not a job. They are a part of the queue's state, so that a change goes
//! through the log.

use super::Cluster;
use super::membership::Refusal;
use crate::queue::{Limits, LimitsChange, Part};

impl Cluster {
    /// The limits as this member has applied them, and how much of them is used.
    pub(super) fn limits(&self) -> (Limits, Limits) {
        self.replica.with_state(|state| (state.queue.limits(), state.queue.limits_used()))
    }

    /// As the leader: changes the limits that are named, and waits until that is applied.
    pub(super) async fn set_limits(&self, change: LimitsChange) -> Result<(), Refusal> {
        self.log_says(Part::Limits { change }, "the change of the limits", || {
            let (limits, _) = self.limits();
            change.of(limits) == limits
        })
        .await?;
        tracing::info!(target: "beanpole", ?change, "limits changed");
        Ok(())
    }
}
