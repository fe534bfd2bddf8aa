//! The limit of open files, for the bench and for the server it starts.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::common::server::{Server, ServerError, ServerKind};

/// A common default. beanpole is started with it and has to raise it by itself.
const ORDINARY_SOFT_LIMIT: u64 = 1024;
/// Files that the bench needs beside its connections.
const SPARE_FILES: u64 = 64;

/// Starts a server as a shell would, with an ordinary soft limit of open files; beanstalkd, which
/// never raises it, gets the highest. Afterwards the bench itself may open `connections`.
///
/// # Errors
/// When the server does not start, or the hard limit is below what the bench needs.
pub(crate) fn start_for_many(kind: ServerKind, connections: u32) -> Result<Server, ServerError> {
    let needed = u64::from(connections) + SPARE_FILES;
    let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    if hard < needed {
        let source = io::Error::other(format!("{needed} needed, the hard limit is {hard}"));
        return Err(ServerError::Io { what: "too few open files", source });
    }
    let raises_by_itself = matches!(kind, ServerKind::BeanpoleB | ServerKind::Beanpole);
    set_soft(if raises_by_itself { ORDINARY_SOFT_LIMIT.min(hard) } else { hard })?;
    let server = Server::start(kind);
    set_soft(hard)?;
    server
}

fn set_soft(soft: u64) -> Result<(), ServerError> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(soft), maximum }).map_err(|errno| {
        ServerError::Io { what: "cannot set the limit of open files", source: errno.into() }
    })
}
