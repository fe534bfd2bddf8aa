//! The ratios that beanpole aims at: of one member and of three.

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
    /// Three members, synced on two of them; beanstalkd on its one disk.
    ThreeToDurable,
    /// Three members, synced on two of them; beanstalkd without a binlog.
    ThreeToMemory,
}

impl Pair {
    pub(crate) const ALL: [Self; 5] = [
        Self::DurableToDurable,
        Self::DurableToMemory,
        Self::MemoryToMemory,
        Self::ThreeToDurable,
        Self::ThreeToMemory,
    ];

    /// Which server is divided by which.
    pub(crate) fn servers(self) -> (ServerKind, ServerKind) {
        match self {
            Self::DurableToDurable => (ServerKind::BeanpoleB, ServerKind::BeanstalkdF0),
            Self::DurableToMemory => (ServerKind::BeanpoleB, ServerKind::Beanstalkd),
            Self::MemoryToMemory => (ServerKind::Beanpole, ServerKind::Beanstalkd),
            Self::ThreeToDurable => (ServerKind::BeanpoleThree, ServerKind::BeanstalkdF0),
            Self::ThreeToMemory => (ServerKind::BeanpoleThree, ServerKind::Beanstalkd),
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
            (Self::ThreeToDurable, 1, 1) => Some(0.33),
            (Self::ThreeToDurable, 16, 32) => Some(20.0),
            (Self::ThreeToDurable, 128, _) => Some(5.5),
            (Self::ThreeToDurable, 1000, _) => Some(6.5),
            (Self::ThreeToMemory, 16, 32) => Some(3.0),
            (Self::ThreeToMemory, 128, _) => Some(0.65),
            (Self::ThreeToMemory, 1000, _) => Some(1.0),
            _ => None,
        }
    }
}
