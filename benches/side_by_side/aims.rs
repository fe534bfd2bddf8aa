//! The ratios that beanpole aims at, as the issue on the first member states them.

use super::cell::{Cell, Workload};
use crate::common::server::ServerKind;

/// Two servers that are compared: the first divided by the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pair {
    /// Both synced before every reply.
    DurableToDurable,
    /// beanpole synced, beanstalkd without a binlog.
    DurableToMemory,
    /// Neither keeps anything.
    MemoryToMemory,
}

impl Pair {
    pub(crate) const ALL: [Self; 3] =
        [Self::DurableToDurable, Self::DurableToMemory, Self::MemoryToMemory];

    /// Which server is divided by which.
    pub(crate) fn servers(self) -> (ServerKind, ServerKind) {
        match self {
            Self::DurableToDurable => (ServerKind::BeanpoleB, ServerKind::BeanstalkdF0),
            Self::DurableToMemory => (ServerKind::BeanpoleB, ServerKind::Beanstalkd),
            Self::MemoryToMemory => (ServerKind::Beanpole, ServerKind::Beanstalkd),
        }
    }

    /// The least ratio that is wanted in a cell, where there is one.
    pub(crate) fn aim(self, cell: Cell) -> Option<f64> {
        let (connections, depth) = (cell.shape.connections, cell.shape.depth);
        match (self, connections, depth) {
            // A lone client: three synced operations in the cycle where beanstalkd has two.
            (Self::DurableToDurable, 1, 1) => match cell.workload {
                Workload::Put => Some(0.75),
                Workload::Cycle => Some(0.5),
                Workload::Drain => None,
            },
            (Self::DurableToDurable, 16, 32) => Some(50.0),
            (Self::DurableToDurable, 128 | 1000, _) => Some(7.0),
            (Self::DurableToMemory, 16, 32) => Some(5.0),
            (Self::DurableToMemory, 128, _) => Some(1.0),
            (Self::DurableToMemory, 1000, _) => Some(1.2),
            (Self::MemoryToMemory, _, 32) => Some(5.0),
            (Self::MemoryToMemory, 16.., _) => Some(1.25),
            _ => None,
        }
    }
}
