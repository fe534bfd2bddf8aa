//! The phases of a run, and what the paced clients saw in each.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;

const HISTOGRAM_DIGITS: u8 = 3;

/// What goes on beside the paced clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// The backlog is put as fast as it goes.
    Fill,
    /// Nothing.
    BaseLine,
    /// A moderate producer adds to the backlog, so that checkpoints and runs are written.
    Writing,
    /// An empty member is filled.
    Refill,
}

/// What was seen in each phase, by one client or by all.
pub(crate) type Phases = BTreeMap<Phase, Seen>;

/// What paced clients saw in one phase.
pub(crate) struct Seen {
    /// Nanoseconds from the moment when a put was due to its reply.
    pub(crate) from_due: Histogram<u64>,
    /// The same from the moment when it was sent.
    pub(crate) from_sent: Histogram<u64>,
    /// Puts answered OUT_OF_MEMORY or DRAINING.
    pub(crate) refused: u64,
    /// Other replies than the expected one, and connections that broke.
    pub(crate) errors: u64,
    /// The first of these.
    pub(crate) first_error: Option<String>,
}

impl Default for Seen {
    fn default() -> Self {
        let empty = || Histogram::new(HISTOGRAM_DIGITS).expect("so many digits are allowed");
        let (from_due, from_sent) = (empty(), empty());
        Self { from_due, from_sent, refused: 0, errors: 0, first_error: None }
    }
}

impl Seen {
    /// A put that was taken.
    pub(crate) fn put(&mut self, from_due: Duration, from_sent: Duration) {
        for (histogram, took) in [(&mut self.from_due, from_due), (&mut self.from_sent, from_sent)]
        {
            let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            histogram.record(nanoseconds).expect("it grows with what it records");
        }
    }

    /// Something that should not be.
    pub(crate) fn error(&mut self, what: String) {
        self.errors += 1;
        self.first_error.get_or_insert(what);
    }

    /// Adds what another client saw.
    pub(crate) fn add(&mut self, other: Self) {
        for (histogram, others) in
            [(&mut self.from_due, &other.from_due), (&mut self.from_sent, &other.from_sent)]
        {
            histogram.add(others).expect("it grows with what it records");
        }
        self.refused += other.refused;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }
}
