//! Which life of this member signs ops now.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::queue::{Incarnation, MemberId};

/// One life of a member, as its ops are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The member.
    pub member: MemberId,
    /// Its life.
    pub incarnation: Incarnation,
}

/// This member and its present life, which may end while the process goes on: when the cluster took
/// it for dead, or when it has skipped what its own ops came to (DESIGN D2, D15).
#[derive(Debug)]
pub struct Life {
    member: MemberId,
    incarnation: AtomicU64,
}

impl Life {
    /// The life that `signature` names.
    pub fn new(signature: Signature) -> Self {
        Self { member: signature.member, incarnation: AtomicU64::new(signature.incarnation.0) }
    }

    /// This member.
    pub fn member(&self) -> MemberId {
        self.member
    }

    /// As ops are signed now.
    pub fn signature(&self) -> Signature {
        let incarnation = Incarnation(self.incarnation.load(Ordering::Acquire));
        Signature { member: self.member, incarnation }
    }

    /// Begins another life. The identity file must have its number already.
    pub(super) fn begin(&self, incarnation: Incarnation) {
        let before = self.incarnation.swap(incarnation.0, Ordering::AcqRel);
        assert!(before < incarnation.0, "a life is never begun twice: {before}, {incarnation:?}");
    }
}
