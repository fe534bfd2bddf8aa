//! Members that fall silent, and come back (DESIGN D4).
//!
//! The waiters of a member that is not heard are passed over and keep their places; nothing is
//! moved, so that falling silent costs the same for one waiter and for ten thousand. When the member
//! is heard again, its waiters are looked at in order of waiting, in slices, and get what is ready
//! for them. One that was not looked at yet is still passed over, so that never both a ready job and
//! a waiter who is not passed over are there.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::continuation::Continuation;
use super::work::Work;
use super::{Incarnation, MemberId, Queue, SessionId};
use crate::planted::{self, Bug};

/// Whether a member is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Hearing {
    Heard,
    Silent,
    /// It is heard again, but waiters from the sequence `from` on, and before `before`, were not
    /// looked at yet. Who began to wait later found nothing ready: there is nothing to look at.
    Returning {
        from: u64,
        before: u64,
    },
}

impl Hearing {
    /// Which of the member's waiters are passed over, by their sequences.
    pub(super) fn passed_over(self) -> Range<u64> {
        match self {
            Self::Silent if planted::is(Bug::SilentServed) => 0..0,
            Self::Heard => 0..0,
            Self::Silent => 0..u64::MAX,
            Self::Returning { from, before } => from..before,
        }
    }
}

impl Queue {
    /// A member fell silent, or is heard again, if this is its present life.
    pub(super) fn hear(
        &mut self,
        id: MemberId,
        incarnation: Incarnation,
        is_heard: bool,
        work: &mut Work,
    ) {
        let Some(member) = self.members.get(&id).filter(|member| member.facts.lives(incarnation))
        else {
            return;
        };
        let was_heard = member.facts.hearing != Hearing::Silent;
        if was_heard == is_heard {
            return;
        }
        let before = self.next.wait;
        self.member_mut(id).facts.hearing =
            if is_heard { Hearing::Returning { from: 0, before } } else { Hearing::Silent };
        if is_heard && !self.return_on(id, work) {
            self.add_continuation(Continuation::Return { member: id });
        }
    }

    /// Looks at waiters of a member that is heard again; true when there are no more to look at.
    pub(super) fn return_on(&mut self, id: MemberId, work: &mut Work) -> bool {
        while let Some((sequence, session)) = self.next_to_look_at(id) {
            if work.is_used_up() {
                return false;
            }
            if let Hearing::Returning { from, .. } = &mut self.member_mut(id).facts.hearing {
                *from = sequence + 1;
            }
            let tubes = self.session(session).facts.watched.len();
            work.spend(u32::try_from(tubes).unwrap_or(u32::MAX).saturating_add(1));
            if let Some(job) = self.best_ready(session) {
                self.hand_over(job, session, work);
            }
        }
        let hearing = &mut self.member_mut(id).facts.hearing;
        // It may have fallen silent again, or have another life.
        if matches!(hearing, Hearing::Returning { .. }) {
            *hearing = Hearing::Heard;
        }
        true
    }

    fn next_to_look_at(&self, id: MemberId) -> Option<(u64, SessionId)> {
        // With nothing ready anywhere, ten thousand waiters need no look; and without room they are
        // served when there is some.
        if self.job_counts.ready == 0 || !self.has_room() {
            return None;
        }
        let member = self.members.get(&id).expect("a member that returns is known");
        let Hearing::Returning { from, before } = member.facts.hearing else {
            return None;
        };
        let (sequence, connection) = member.waiters.range(from..before).next()?;
        let incarnation = member.facts.incarnation;
        let connection = SessionId { member: id, incarnation, connection: *connection };
        Some((*sequence, self.session_of(connection)))
    }
}
