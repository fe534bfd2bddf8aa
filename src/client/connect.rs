//! The client: its members, and the sessions it begins.

use std::sync::Arc;

use beanpole_protocol::trunk::Token;
use tokio::task::AbortHandle;

use super::carried::Carried;
use super::error::ClientError;
use super::members::Members;
use super::options::{Options, OptionsError};
use super::session::Session;
use crate::random;

/// A client of the members of one cluster. Cheap to clone; all clones are the same client.
///
/// It lives as long as a clone or a session of it does.
#[derive(Clone, Debug)]
pub struct Client(Arc<Tasks>);

/// What the client does by itself, until it is dropped.
#[derive(Debug)]
struct Tasks {
    members: Arc<Members>,
    handles: Vec<AbortHandle>,
}

impl Client {
    /// A client of the members at `addresses`, each a host and a port of clients.
    ///
    /// Returns at once: connections are made behind its back, and made again when they are lost. To be
    /// called in a runtime of tokio with time and I/O.
    ///
    /// # Errors
    ///
    /// [`OptionsError`]: there are no members or more than [`MEMBERS_MAX`](super::MEMBERS_MAX), or
    /// an option is out of its range.
    pub fn connect<A: Into<String>>(
        addresses: impl IntoIterator<Item = A>,
        options: Options,
    ) -> Result<Self, OptionsError> {
        let addresses: Vec<String> = addresses.into_iter().map(Into::into).collect();
        options.check(addresses.len())?;
        let members = Members::new(addresses, options);
        let keepers = (0..members.count()).map(|at| tokio::spawn(Arc::clone(&members).keep(at)));
        let watch = tokio::spawn(Arc::clone(&members).watch());
        let handles = keepers.chain([watch]).map(|task| task.abort_handle()).collect();
        Ok(Self(Arc::new(Tasks { members, handles })))
    }

    /// Begins a session, at the member that carries the fewest.
    ///
    /// Waits until a member can be reached. Cancelled, it leaves no session behind.
    ///
    /// # Errors
    ///
    /// [`ClientError::Ended`], if no member can be reached for as long as [`Options::patience`], or
    /// a limit of the cluster is reached.
    pub async fn session(&self) -> Result<Session, ClientError> {
        let mut token = [0; 16];
        random::fill(&mut token);
        let members = &self.0.members;
        let (carried, begun) = Carried::new(Token::new(token), members.options().lease_millis());
        let session = Session::new(Arc::clone(&carried), self.clone());
        members.carry(carried);
        begun.await.unwrap_or(Err(super::End::Closed))?;
        Ok(session)
    }

    /// The longest body that the member takes which was reached last, in bytes; 0 before the first is
    /// reached.
    #[must_use]
    pub fn job_size_max(&self) -> u32 {
        self.0.members.job_size_max()
    }

    /// How many sessions each member carries, in the order of the addresses; `None` for one that is not
    /// reached.
    #[must_use]
    pub fn sessions(&self) -> Vec<Option<usize>> {
        self.0.members.sessions()
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.handles.iter().for_each(AbortHandle::abort);
        self.members.shut();
    }
}
