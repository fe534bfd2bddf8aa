//! One number for the whole state, and one for all that ever came of it.

use serde::{Deserialize, Serialize};

use super::{Limits, LogicalTime, NextNumbers, Outcome, Queue, SessionId, Totals};

/// The parameters of 64-bit FNV-1a (draft-eastlake-fnv).
const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// An odd number without a pattern, 2^64 over the golden ratio (Knuth, volume 3, 6.4).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A running hash over what the batches did, cheap enough for each outcome in production.
///
/// Each step is a bijection of what was there before: chains that differ stay different as long as
/// the same follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chain(u64);

impl Chain {
    /// What came of an op or a wait. Of texts and bodies only the kind counts: they are as they were
    /// put, and the log has a checksum over them.
    pub(super) fn add_outcome(&mut self, session: SessionId, outcome: &Outcome) {
        let (kind, number) = kind_and_number(outcome);
        // Two small numbers in one word: half the steps.
        self.add(session.member.0.rotate_left(32) ^ session.incarnation.0);
        self.add(session.connection.0);
        self.add(number.rotate_left(8) ^ kind);
    }

    /// The limits were changed.
    pub(super) fn add_limits(&mut self, limits: &Limits) {
        limits.all().into_iter().for_each(|limit| self.add(limit));
    }

    /// A batch was applied.
    pub(super) fn end_batch(&mut self, now: LogicalTime, next: &NextNumbers, totals: &Totals) {
        self.add(now.0);
        for number in next.all().into_iter().chain(totals.all()) {
            self.add(number);
        }
    }

    fn add(&mut self, word: u64) {
        let spread = (self.0 ^ word).wrapping_mul(SPREAD);
        // A product has its differences in the high bits.
        self.0 = spread ^ (spread >> 32);
    }
}

/// The kind of an outcome, which is part of the chain and so never changes, and its number.
fn kind_and_number(outcome: &Outcome) -> (u64, u64) {
    match outcome {
        Outcome::Inserted { job } => (1, job.0),
        Outcome::Using { .. } => (2, 0),
        Outcome::Watching { count } => (3, *count),
        Outcome::NotIgnored => (4, 0),
        Outcome::Reserved { job, .. } => (5, job.0),
        Outcome::TimedOut => (6, 0),
        Outcome::DeadlineSoon => (7, 0),
        Outcome::Deleted => (8, 0),
        Outcome::Released => (9, 0),
        Outcome::Buried => (10, 0),
        Outcome::Touched => (11, 0),
        Outcome::Kicked { count } => (12, *count),
        Outcome::JobKicked => (13, 0),
        Outcome::Paused => (14, 0),
        Outcome::NotFound => (15, 0),
        Outcome::Waiting => (16, 0),
        Outcome::Deferred => (17, 0),
        Outcome::OutOfMemory => (18, 0),
        Outcome::Attached(attachment) => (19, attachment.last),
        Outcome::Detached => (20, 0),
        Outcome::KeyInUse => (21, 0),
        Outcome::Closed => (22, 0),
    }
}

/// A hash of a text, the same on every platform.
pub(super) fn of_text(text: &str) -> u64 {
    text.bytes().fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

impl Queue {
    /// A running hash over the clock, all outcomes and the counts of all batches since the queue
    /// began, kept in checkpoints. Two members that applied the same log have the same one, on every
    /// platform; reading it costs nothing.
    pub fn chain(&self) -> u64 {
        self.chain.0
    }

    /// A digest of the whole state, which two states share if and only if they have the same
    /// records (but for a chance of one in 2^64), and so the same future. For tests and checks: it
    /// reads everything.
    pub fn digest(&self) -> u64 {
        let mut digest = OFFSET_BASIS;
        for record in self.records() {
            let bytes = postcard::to_stdvec(&record).expect("a record has an encoding");
            for byte in bytes {
                digest = (digest ^ u64::from(byte)).wrapping_mul(PRIME);
            }
        }
        digest
    }
}
