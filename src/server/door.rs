//! Whether clients are let in: only while this member may speak for the cluster (DESIGN D15).

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::hub::Hub;
use super::listener::{Address, Bound};
use super::run::RunError;
use crate::config::Config;
use crate::raft::{Lease, Owner as _, Standing};

/// How long to wait before asking for the address again that was given up.
const RETRY: Duration = Duration::from_millis(100);

/// How often it is asked for again.
const RETRIES_MAX: u32 = 50;

/// The way in for clients.
pub(super) struct Door<'a> {
    pub(super) config: &'a Config,
    pub(super) hub: Arc<Hub>,
    pub(super) lease: Arc<Lease>,
    pub(super) accepting: Option<JoinHandle<()>>,
    /// The socket is the service manager's.
    pub(super) is_inherited: bool,
}

impl Door<'_> {
    /// Lets clients in.
    pub(super) fn open(&mut self, bound: Bound) -> Result<(), RunError> {
        let listener =
            bound.listen().map_err(|source| RunError::System { what: "listen", source })?;
        self.accepting = Some(tokio::spawn(listener.run(Arc::clone(&self.hub))));
        Ok(())
    }

    /// Lets nobody in any more. Connections stay. A socket of the service manager's cannot be closed
    /// for good: who connects there is turned away at once.
    pub(super) fn close(&mut self) {
        if self.is_inherited {
            return;
        }
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
        }
    }

    /// The member's standing has changed. Cut off, it closes its clients, so that they can go
    /// elsewhere, and its port, so that they do not come back; both return with the majority.
    pub(super) async fn stands(
        &mut self,
        standing: Standing,
        port: Option<u16>,
    ) -> Result<(), RunError> {
        let closes =
            self.config.cluster.as_ref().is_some_and(|cluster| cluster.close_without_majority);
        if standing == Standing::Sound {
            self.hub.turn_away(false);
        }
        match standing {
            Standing::Cut => {
                tracing::warn!(
                    target: "beanpole",
                    closes,
                    "this member is not part of a majority, or has stepped out: its clients are closed, or wait"
                );
                if closes {
                    self.hub.turn_away(true);
                    self.hub.close_all();
                    self.close();
                }
            }
            Standing::Sound if self.accepting.is_none() => {
                tracing::info!(target: "beanpole", "part of a majority again: clients are let in");
                let bound = self.bind(port).await?;
                self.open(bound)?;
                self.hub.speak_again();
            }
            Standing::Sound => self.hub.speak_again(),
            Standing::Unsure => {}
        }
        Ok(())
    }

    /// The address that was given up, again. Others may have it for a moment.
    async fn bind(&self, port: Option<u16>) -> Result<Bound, RunError> {
        let address = match (&self.config.listen, port) {
            (Address::Tcp { host, .. }, Some(port)) => Address::Tcp { host: host.clone(), port },
            (other, _) => other.clone(),
        };
        for _ in 0..RETRIES_MAX {
            match Bound::new(&address) {
                Ok(bound) => return Ok(bound),
                Err(error) => tracing::warn!(%error, "cannot have the clients' address yet"),
            }
            tokio::time::sleep(RETRY).await;
        }
        Ok(Bound::new(&address)?)
    }
}
