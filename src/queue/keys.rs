//! Puts that a client may send again: the second one with a key makes no second job.
//!
//! A key is remembered with the job that it made, also when that job is gone, for a while: the last
//! [`KEYS_MAX`] of them, and each for [`KEY_WINDOW`] of logical time. What is older is forgotten
//! when the next ones come, so that nothing happens by itself.
//!
//! Of the key, and of the body that has to be the same, there are hashes here: whoever sends the op has
//! made them. The tube has to be the same too, by its name, since a tube may end and begin anew.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::commands::NewJob;
use super::digest;
use super::table::Recorded;
use super::work::Work;
use super::{JobId, LogicalTime, Outcome, PutKey, Queue, SessionId};
use crate::planted::{self, Bug};

/// How many keys are remembered.
pub const KEYS_MAX: usize = 1 << 15;

/// What one takes up in memory, in both orders, bytes: as is estimated in `tables`.
pub(super) const KEY_BYTES: u64 = 240;

/// What all of them do, bytes.
pub const KEYS_BYTES_MAX: u64 = KEYS_MAX as u64 * KEY_BYTES;

/// For how long, logical time.
pub const KEY_WINDOW: Duration = Duration::from_mins(10);

/// How many that are too old one put forgets: more than one, so that all are forgotten in the end.
const FORGOTTEN_AT_ONCE: usize = 2;

/// A key, as the state knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyHash(pub(super) [u8; 32]);

/// What is remembered of a put with a key. All of it is kept in a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyFacts {
    /// The order of such puts in the whole state.
    pub(super) sequence: u64,
    pub(super) job: JobId,
    pub(super) body: [u8; 16],
    /// A hash of the name.
    pub(super) tube: u64,
    pub(super) until: LogicalTime,
}

impl Recorded for KeyFacts {
    type Facts = Self;

    fn facts(&self) -> Self {
        *self
    }
}

/// Keys in the order of their puts.
pub(super) type KeyOrder = BTreeMap<u64, KeyHash>;

impl Queue {
    /// A put with a key: makes a job, or finds the one that was made under it.
    pub(super) fn put_once(
        &mut self,
        id: SessionId,
        new: &NewJob<'_>,
        key: &PutKey,
        work: &mut Work,
    ) -> Outcome {
        self.forget_old_keys();
        let tube = digest::of_text(self.tube(self.session(id).facts.used).facts.name.as_str());
        let hash = KeyHash(key.key);
        if let Some(known) = self.keys.get(&hash).copied() {
            if known.until > self.clock && !planted::is(Bug::KeysForgotten) {
                self.mark_producer(id);
                let is_same = (known.body, known.tube) == (key.body, tube);
                return if is_same {
                    Outcome::Inserted { job: known.job }
                } else {
                    Outcome::KeyInUse
                };
            }
            self.forget_key(hash, known.sequence);
        }
        if self.keys.len() >= KEYS_MAX
            && let Some((&sequence, &oldest)) = self.key_order.first_key_value()
        {
            self.forget_key(oldest, sequence);
        }
        let job = self.put_job(id, new, work);
        let sequence = self.next.key;
        self.next.key += 1;
        let until = self.clock.after(KEY_WINDOW);
        let facts = KeyFacts { sequence, job, body: key.body, tube, until };
        assert!(self.keys.insert(hash, facts), "a key that is known makes no job");
        self.key_order.insert(sequence, hash);
        Outcome::Inserted { job }
    }

    fn forget_old_keys(&mut self) {
        for _ in 0..FORGOTTEN_AT_ONCE {
            let Some((&sequence, &hash)) = self.key_order.first_key_value() else { return };
            let facts = self.keys.get(&hash).expect("a key in the order is known");
            if facts.until > self.clock {
                return;
            }
            self.forget_key(hash, sequence);
        }
    }

    fn forget_key(&mut self, hash: KeyHash, sequence: u64) {
        self.keys.remove(&hash);
        self.key_order.remove(&sequence);
    }
}
