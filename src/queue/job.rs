//! One job: what it is and which state it is in.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::table::Recorded;
use super::tube::TubeId;
use super::{LogicalTime, SessionId};

/// A ready job of a lower priority than this counts as urgent (protocol.txt, `stats`).
pub(super) const URGENT_BELOW: u32 = 1024;

/// A job. All of it is kept in a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    pub(super) tube: TubeId,
    pub(super) priority: u32,
    /// Seconds, as last given by put or release; kept when the job has become ready.
    pub(super) delay: u32,
    /// Seconds, at least 1.
    pub(super) ttr: u32,
    pub(super) created: LogicalTime,
    pub(super) state: JobState,
    pub(super) tallies: Tallies,
    pub(super) body: Body,
}

/// The bytes of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// In memory.
    Here(Bytes),
    /// With the store of cold jobs.
    Cold(ColdBody),
}

/// Where a store of cold jobs has a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColdBody {
    /// The file, by the store's own numbers.
    pub file: u128,
    /// Where it begins there.
    pub offset: u64,
    /// How long it is, bytes.
    pub length: u32,
    /// Its checksum.
    pub crc: u32,
}

/// What a job takes up in memory beside its body, with its places in the indexes, bytes: measured
/// by `benches/size`, rather too much than too little.
const JOB_BYTES: u64 = 320;

/// The shortest body of a held job that is worth a place on the disk, bytes: a shorter one would take
/// up as much there for what goes with it.
const KEPT_BODY_BYTES_MIN: u64 = 64;

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum JobState {
    Ready,
    /// Held by a session, until a deadline.
    Reserved {
        by: SessionId,
        deadline: LogicalTime,
    },
    /// Becomes ready at a time.
    Delayed {
        until: LogicalTime,
    },
    /// Set aside; the sequence is the order of burying in the whole state.
    Buried {
        sequence: u64,
    },
}

/// How often things have happened to a job. They stop at their greatest value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tallies {
    pub(super) reserves: u32,
    pub(super) timeouts: u32,
    pub(super) releases: u32,
    pub(super) buries: u32,
    pub(super) kicks: u32,
}

impl Body {
    /// How long it is, bytes: the same on every member, wherever it is.
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Here(bytes) => bytes.len() as u64,
            Self::Cold(at) => u64::from(at.length),
        }
    }

    /// The bytes, which the caller knows to be in memory.
    pub fn here(self) -> Bytes {
        match self {
            Self::Here(bytes) => bytes,
            Self::Cold(at) => panic!("a body is still cold: {at:?}"),
        }
    }
}

impl Job {
    /// Its bytes.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// Gives it another body, and returns the one it had.
    pub fn replace_body(&mut self, body: Body) -> Body {
        std::mem::replace(&mut self.body, body)
    }

    /// What it takes up in memory if nobody holds it, bytes.
    pub(super) fn loose_bytes(&self) -> u64 {
        match self.state {
            JobState::Reserved { .. } => 0,
            _ => self.hot_bytes(),
        }
    }

    /// What a held job would take up less in memory if its body were cold, bytes.
    pub(super) fn spare_bytes(&self) -> u64 {
        match (&self.state, &self.body) {
            (JobState::Reserved { .. }, Body::Here(bytes)) => match bytes.len() as u64 {
                0..KEPT_BODY_BYTES_MIN => 0,
                length => length,
            },
            _ => 0,
        }
    }

    /// What it takes up in memory, bytes.
    pub(super) fn hot_bytes(&self) -> u64 {
        JOB_BYTES
            + match &self.body {
                Body::Here(bytes) => bytes.len() as u64,
                Body::Cold(_) => 0,
            }
    }
}

impl Recorded for Job {
    type Facts = Self;

    fn facts(&self) -> Self {
        self.clone()
    }
}

/// Adds one to a tally.
pub(super) fn tally(count: &mut u32) {
    *count = count.saturating_add(1);
}
