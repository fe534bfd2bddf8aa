//! A process that is to be a member and belongs to no cluster yet: it waits to be told.

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Notify;

use super::run::{RunError, Signals, Told, first_member, no_socket, secret};
use crate::admin::{AdminSocket, Administrator, ClusterStatus, PHASE_WAITING, Reply, Request};
use crate::config::{ClusterConfig, Config};
use crate::link::MemberPort;
use crate::storage::Owner;

/// Waits until a cluster is begun here, or another takes this process in. `None` when told to end.
///
/// # Errors
///
/// [`RunError`] when an operator could not ask.
pub(super) async fn member(
    config: &Config,
    cluster: &ClusterConfig,
    port: &MemberPort,
    signals: &mut Signals,
) -> Result<Option<Owner>, RunError> {
    let dir = config.data_dir.as_ref().expect("a process with a cluster has a data directory");
    let admin = AdminSocket::bind(dir).map_err(no_socket)?;
    let secret = secret(cluster)?;
    let address = cluster.address.clone().unwrap_or_else(|| port.local_addr().to_string());
    tracing::info!(
        target: "beanpole",
        "waiting: `beanpole cluster init` here begins a cluster, `beanpole cluster add {address}` at \
         a member of a cluster takes this one in; when this is a member whose disk was lost, \
         `beanpole cluster replace ID {address}` puts it in its place under a new number"
    );
    let init = Arc::new(Notify::new());
    let administrator = Arc::new(Waiting { init: Arc::clone(&init) });
    let begun = admin.run_until(administrator, init.notified());
    tokio::select! {
        () = begun => Ok(Some(first_member())),
        owner = crate::raft::invited(port, &secret) => Ok(Some(owner)),
        () = ended(signals) => Ok(None),
    }
}

/// Completes when the process is told to end.
async fn ended(signals: &mut Signals) {
    while !matches!(signals.next().await, Told::End) {}
}

/// What an operator can do with a process that waits.
struct Waiting {
    init: Arc<Notify>,
}

impl Administrator for Waiting {
    fn execute(&self, request: Request) -> Pin<Box<dyn Future<Output = Reply> + Send + '_>> {
        let reply = match request {
            Request::Init => {
                self.init.notify_one();
                Reply::Done { text: "a cluster begins here".to_owned() }
            }
            Request::Status => Reply::Status(ClusterStatus {
                phase: PHASE_WAITING.to_owned(),
                ..ClusterStatus::default()
            }),
            _ => Reply::Refused {
                reason: "this process is no member yet: `init` begins a cluster here".to_owned(),
            },
        };
        Box::pin(async move { reply })
    }
}
