//! Begins another life when the present one is over (DESIGN D2): the cluster took this member for
//! dead, or it has skipped what its own ops came to.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::Cluster;
use crate::chain::Chain;
use crate::queue::Incarnation;
use crate::storage::identity::{DataDirectory, IdentityError};

/// How long to wait before trying again when the disk refuses.
const RETRY: Duration = Duration::from_millis(500);

/// Runs for as long as it is polled. Without a directory a life is a number in memory.
pub(super) async fn run(cluster: Arc<Cluster>, directory: Option<Arc<Mutex<DataDirectory>>>) {
    loop {
        cluster.life.ended().await;
        match raise(&cluster, directory.clone()).await {
            Ok(incarnation) => cluster.replica.begin_life(Incarnation(incarnation)),
            // The clients are gone, and none is let in.
            Err(error) => {
                tracing::error!("this member cannot begin anew for now: {}", Chain(&error));
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// A number that no life has had, durable before it is used. Off the runtime: the disk may hang.
async fn raise(
    cluster: &Cluster,
    directory: Option<Arc<Mutex<DataDirectory>>>,
) -> Result<u64, IdentityError> {
    let Some(directory) = directory else {
        return Ok(cluster.life.signature().incarnation.0 + 1);
    };
    let raised = tokio::task::spawn_blocking(move || directory.lock().raise_incarnation());
    raised.await.expect("raising a number does not panic")
}
