//! Which life of this member signs ops now.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

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
    /// It is over and another is wanted.
    is_over: AtomicBool,
    ended: Notify,
}

impl Life {
    /// The life that `signature` names.
    pub fn new(signature: Signature) -> Self {
        Self {
            member: signature.member,
            incarnation: AtomicU64::new(signature.incarnation.0),
            is_over: AtomicBool::new(false),
            ended: Notify::new(),
        }
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

    /// Whether the present life is over: its clients are closed, and none is let in until another has
    /// begun.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Ends the present life. Returns false when it was over already.
    pub(super) fn end(&self) -> bool {
        let was_over = self.is_over.swap(true, Ordering::AcqRel);
        self.ended.notify_one();
        !was_over
    }

    /// Completes when the present life is over.
    pub(super) async fn ended(&self) {
        while !self.is_over() {
            self.ended.notified().await;
        }
    }

    /// Begins another life. The identity file must have its number already.
    pub(super) fn begin(&self, incarnation: Incarnation) {
        let before = self.incarnation.swap(incarnation.0, Ordering::AcqRel);
        self.is_over.store(false, Ordering::Release);
        assert!(before < incarnation.0, "a life is never begun twice: {before}, {incarnation:?}");
    }
}
