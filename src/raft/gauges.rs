//! How the disk is doing, for those who answer clients.

use std::sync::Arc;

use crate::storage::wal::Wal;

/// A view of the log's figures; without a data directory all are zero.
#[derive(Clone, Default)]
pub struct StorageGauges {
    wal: Option<Arc<Wal>>,
}

/// Figures of the log, named after beanstalkd's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogFigures {
    /// The number of the oldest file of the log.
    pub oldest_segment: u64,
    /// The number of the file that is written to.
    pub current_segment: u64,
    /// Records written since the process started.
    pub records_written: u64,
}

impl StorageGauges {
    /// The figures of `wal`.
    pub fn new(wal: Option<Arc<Wal>>) -> Self {
        Self { wal }
    }

    /// Whether there is no room for more jobs.
    pub fn is_full(&self) -> bool {
        self.wal.as_ref().is_some_and(|wal| wal.state().full)
    }

    /// How the log stands.
    pub fn log_figures(&self) -> LogFigures {
        let Some(wal) = &self.wal else { return LogFigures::default() };
        let state = wal.state();
        LogFigures {
            oldest_segment: state.oldest_segment,
            current_segment: state.current_segment,
            records_written: state.records_written,
        }
    }
}
