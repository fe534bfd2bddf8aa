//! Whoever has a number in this life of the member.

use std::sync::Arc;

use super::connection::Connection;
use super::trunk::Trunk;

/// A connection, or a channel of one that is a trunk.
#[derive(Clone, Debug)]
pub(super) enum Client {
    /// A connection of its own.
    Connection(Arc<Connection>),
    /// One of many on this trunk.
    Channel(Arc<Trunk>),
}

impl Client {
    /// Wakes the task that serves it.
    pub(super) fn wake(&self) {
        match self {
            Self::Connection(connection) => connection.wake(),
            Self::Channel(trunk) => trunk.wake(),
        }
    }

    /// Ends its connection without another word.
    pub(super) fn cut(&self) {
        match self {
            Self::Connection(connection) => connection.cut(),
            Self::Channel(trunk) => trunk.cut(),
        }
    }
}
