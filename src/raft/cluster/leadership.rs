//! Who leads, as far as this member can tell by itself, and when that is worth a line in the log.
//!
//! openraft names the last leader until another asks for votes, also when that one is long dead or has
//! lost its majority. Here a leader counts while it is heard.

use std::time::Duration;

use parking_lot::Mutex;

use super::lease::ticks;

/// Nobody leads when no leader has been heard for so long. An election takes less.
const NOBODY_AFTER: Duration = Duration::from_secs(1);

/// One term of a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leader {
    pub(super) member: u64,
    pub(super) term: u64,
}

/// What was told last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Told {
    #[default]
    Nothing,
    Nobody,
    Leads(Leader),
}

/// Who leads.
#[derive(Debug, Default)]
pub(super) struct Leadership {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    told: Told,
    /// The last tick at which a leader was heard; that of the start when none was.
    heard_at: u64,
}

impl Leadership {
    /// Takes note of who leads at `tick`: `None` when nobody is heard to.
    pub(super) fn observe(&self, tick: u64, leader: Option<Leader>) {
        match self.changed(tick, leader) {
            Told::Leads(Leader { member, term }) => {
                tracing::info!(target: "beanpole", term, "member {member} leads now");
            }
            Told::Nobody => {
                let millis = NOBODY_AFTER.as_millis();
                tracing::info!(
                    target: "beanpole",
                    "nobody leads: this member has heard no leader for {millis} ms"
                );
            }
            Told::Nothing => {}
        }
    }

    /// Whether somebody leads. A second after the last leader was heard nobody does.
    pub(super) fn is_somebody(&self) -> bool {
        matches!(self.inner.lock().told, Told::Leads(_))
    }

    /// What is to be told now.
    fn changed(&self, tick: u64, leader: Option<Leader>) -> Told {
        let mut inner = self.inner.lock();
        let now = match leader {
            Some(leader) => {
                inner.heard_at = tick;
                Told::Leads(leader)
            }
            None if tick < inner.heard_at + ticks(NOBODY_AFTER) => return Told::Nothing,
            None => Told::Nobody,
        };
        match std::mem::replace(&mut inner.told, now) == now {
            true => Told::Nothing,
            false => now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Leader = Leader { member: 1, term: 4 };
    const LATER: Leader = Leader { member: 2, term: 5 };

    #[test]
    fn a_change_of_leader_is_told_once() {
        let leadership = Leadership::default();
        assert_eq!(leadership.changed(1, Some(FIRST)), Told::Leads(FIRST));
        assert_eq!(leadership.changed(2, Some(FIRST)), Told::Nothing);
        assert_eq!(leadership.changed(20, None), Told::Nothing);
        assert_eq!(leadership.changed(30, Some(LATER)), Told::Leads(LATER));
        let again = Leader { term: 6, ..LATER };
        assert_eq!(leadership.changed(31, Some(again)), Told::Leads(again));
    }

    #[test]
    fn nobody_leads_after_a_second_without_a_leader_and_that_is_told_once() {
        let leadership = Leadership::default();
        leadership.changed(1, Some(FIRST));
        assert_eq!(leadership.changed(50, None), Told::Nothing);
        assert!(leadership.is_somebody());
        assert_eq!(leadership.changed(51, None), Told::Nobody);
        assert_eq!(leadership.changed(52, None), Told::Nothing);
        assert!(!leadership.is_somebody());
        assert_eq!(leadership.changed(60, Some(FIRST)), Told::Leads(FIRST), "it is heard again");
    }

    #[test]
    fn a_pause_in_hearing_the_leader_is_not_told() {
        let leadership = Leadership::default();
        leadership.changed(1, Some(FIRST));
        leadership.changed(40, None);
        assert_eq!(leadership.changed(41, Some(FIRST)), Told::Nothing);
    }

    #[test]
    fn who_has_just_started_waits_before_it_says_that_nobody_leads() {
        let leadership = Leadership::default();
        assert_eq!(leadership.changed(49, None), Told::Nothing);
        assert!(!leadership.is_somebody(), "nobody was heard yet");
        assert_eq!(leadership.changed(50, None), Told::Nobody);
    }
}
