//! What happened in a run: what clients asked and were told, which faults were on, how members were.

mod file;
mod record;

pub use file::{FORMAT, HistoryError, write};
pub use record::{
    Body, Command, Fault, FaultState, Head, Line, MemberSample, Outcome, Phase, PhaseName, Record,
    Reply,
};

/// A run, as it is judged: everything that was written down, sorted by time.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What was run.
    pub head: Head,
    /// Commands of all clients, by the moment they were sent.
    pub records: Vec<Record>,
    /// Faults, by the moment they were to begin.
    pub faults: Vec<Fault>,
    /// When which part of the run began.
    pub phases: Vec<Phase>,
    /// How members were, by time.
    pub samples: Vec<MemberSample>,
}
