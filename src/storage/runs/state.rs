//! What a checkpoint lists of a set: each file, and what was taken of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::run::Run;
use super::{Marks, RunUid};
use crate::planted::{self, Bug};
use crate::storage::bytes_at::{u32_at, u64_at, u128_at};

const HEAD_BYTES: usize = 45;

/// How much of a file's bodies is needed by anybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// How many bodies.
    pub bodies: u64,
    /// Their length, bytes.
    pub bytes: u64,
}

/// One file of a set, as a checkpoint lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunState {
    /// The file.
    pub uid: RunUid,
    /// How long it is.
    pub file_bytes: u64,
    /// The checksum of its foot, which has one of all the file.
    pub foot_crc: u32,
    /// What of its bodies is needed.
    pub live: Live,
    /// What of its records was taken; `None` when only its bodies are needed.
    pub marks: Option<Marks>,
}

/// A set as it was in one moment. While it exists, none of its files is removed.
#[derive(Debug, Default)]
pub struct Frozen {
    pub(super) parts: Vec<FrozenPart>,
    pub(super) held: Held,
}

/// Files that are not removed while this exists. Clones are of the same files.
#[derive(Clone, Debug, Default)]
pub struct Held(pub(super) Arc<BTreeSet<RunUid>>);

pub(super) struct FrozenPart {
    pub(super) run: Arc<Run>,
    pub(super) live: Live,
    pub(super) marks: Option<Marks>,
}

impl Frozen {
    /// All files, in order of their uids; `None` as long as one of them is not durable.
    pub fn states(&self) -> Option<Vec<RunState>> {
        self.parts.iter().map(FrozenPart::state).collect()
    }

    /// The files, to be kept for longer.
    pub fn held(&self) -> &Held {
        &self.held
    }
}

impl Held {
    /// The names of the files.
    pub fn uids(&self) -> &BTreeSet<RunUid> {
        &self.0
    }
}

impl FrozenPart {
    fn state(&self) -> Option<RunState> {
        let file = self.run.file()?;
        Some(RunState {
            uid: self.run.uid,
            file_bytes: file.foot.file_bytes,
            foot_crc: file.foot.crc(),
            live: self.live,
            marks: match &self.marks {
                Some(marks) if planted::is(Bug::TakenForgotten) => {
                    Some(Marks::new(marks.records()))
                }
                marks => marks.clone(),
            },
        })
    }
}

impl std::fmt::Debug for FrozenPart {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("FrozenPart").field(&self.run.uid).finish()
    }
}

impl RunState {
    /// The bytes by which a checkpoint keeps it.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES);
        bytes.extend_from_slice(&self.uid.0.to_le_bytes());
        bytes.extend_from_slice(&self.file_bytes.to_le_bytes());
        bytes.extend_from_slice(&self.foot_crc.to_le_bytes());
        bytes.extend_from_slice(&self.live.bodies.to_le_bytes());
        bytes.extend_from_slice(&self.live.bytes.to_le_bytes());
        bytes.push(u8::from(self.marks.is_some()));
        if let Some(marks) = &self.marks {
            marks.encode(&mut bytes);
        }
        bytes
    }

    /// Reads what [`encode`](Self::encode) wrote; `None` when it cannot be that.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
        let marks = match head[HEAD_BYTES - 1] {
            0 if rest.is_empty() => None,
            1 => Some(Marks::decode(rest)?),
            _ => return None,
        };
        Some(Self {
            uid: RunUid(u128_at(head, 0)),
            file_bytes: u64_at(head, 16),
            foot_crc: u32_at(head, 24),
            live: Live { bodies: u64_at(head, 28), bytes: u64_at(head, 36) },
            marks,
        })
    }
}

impl Live {
    pub(super) fn add(&mut self, length: u32) {
        self.bodies += 1;
        self.bytes += u64::from(length);
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self { bodies: self.bodies + other.bodies, bytes: self.bytes + other.bytes }
    }

    /// # Panics
    /// When there are not so many: a body was let go twice.
    pub(super) fn remove(&mut self, other: Self) {
        let bodies = self.bodies.checked_sub(other.bodies).zip(self.bytes.checked_sub(other.bytes));
        let (bodies, bytes) = bodies.expect("a body is let go once");
        *self = Self { bodies, bytes };
    }

    pub(super) fn is_none(self) -> bool {
        self.bodies == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_back_and_no_part_of_it_is() {
        let mut marks = Marks::new(70_000);
        [0, 5, 69_999].into_iter().for_each(|ordinal| marks.take(ordinal));
        let live = Live { bodies: 3, bytes: 4 };
        let state =
            RunState { uid: RunUid(1 << 100), file_bytes: 7, foot_crc: 8, live, marks: None };
        for state in [RunState { marks: Some(marks), ..state.clone() }, state] {
            let bytes = state.encode();
            assert_eq!(RunState::decode(&bytes), Some(state));
            for length in 0..bytes.len() {
                assert_eq!(RunState::decode(&bytes[..length]), None, "{length}");
            }
        }
    }
}
