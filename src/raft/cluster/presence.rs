//! As the leader: which members are heard, which are only silent, and which are gone (DESIGN D15).

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;

use super::lease::ticks;
use super::messages::About;
use super::options::Timing;
use super::peers::Peers;
use crate::queue::{MemberId, Part, Queue};

/// How many digests of each member are kept: those of the last pings.
const DIGESTS_MAX: usize = 32;

/// How often the same word on a member is proposed while the state does not have it, ticks.
const REPEAT_TICKS: u64 = 10;

/// What the leader has seen of the other members.
#[derive(Debug)]
pub(super) struct Presence {
    silent_ticks: u64,
    dead_ticks: u64,
    silent_release: bool,
    members: Mutex<BTreeMap<u64, Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    heard_at: u64,
    /// How many control links there are.
    links: u32,
    /// It is being removed: it is told so, and gets no lease any more.
    is_leaving: bool,
    said_goodbye: bool,
    /// It cannot write jobs out as fast as they come.
    presses: bool,
    about: Option<About>,
    /// When something was last proposed on it.
    told_at: u64,
    /// Oldest first.
    digests: VecDeque<Digest>,
}

/// The index of an entry, and the running digest after it.
type Digest = (u64, u64);

/// What came of comparing a member's digest with that of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) member: u64,
    /// After which entry.
    pub(super) index: u64,
    pub(super) agrees: bool,
}

/// How a member is doing, as the leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contact {
    Heard,
    Silent,
    Dead,
}

impl Seen {
    fn verdict(&self, member: u64, own: impl Fn(u64) -> Option<u64>) -> Option<Verdict> {
        self.digests.iter().rev().find_map(|(index, chain)| {
            let agrees = own(*index)? == *chain;
            Some(Verdict { member, index: *index, agrees })
        })
    }
}

impl Presence {
    pub(super) fn new(timing: &Timing) -> Self {
        Self {
            silent_ticks: ticks(timing.silent_after),
            dead_ticks: ticks(timing.dead_after),
            silent_release: timing.silent_release,
            members: Mutex::new(BTreeMap::new()),
        }
    }

    /// This member begins to lead: everybody counts as just heard.
    pub(super) fn begin(&self, tick: u64) {
        for seen in self.members.lock().values_mut() {
            seen.heard_at = tick;
            seen.said_goodbye = false;
        }
    }

    /// A member has opened a control link.
    pub(super) fn connected(&self, member: u64) {
        let mut members = self.members.lock();
        let seen = members.entry(member).or_default();
        seen.links += 1;
        seen.said_goodbye = false;
    }

    /// A control link has ended.
    pub(super) fn disconnected(&self, member: u64) {
        if let Some(seen) = self.members.lock().get_mut(&member) {
            seen.links -= 1;
        }
    }

    /// A member is to be removed, or not after all.
    pub(super) fn set_leaving(&self, member: u64, is_leaving: bool) {
        let mut members = self.members.lock();
        let seen = members.entry(member).or_default();
        (seen.is_leaving, seen.said_goodbye) = (is_leaving, false);
    }

    /// Whether a member is being removed.
    pub(super) fn is_leaving(&self, member: u64) -> bool {
        self.members.lock().get(&member).is_some_and(|seen| seen.is_leaving)
    }

    /// Whether a member was not heard for `lease_ticks`, or has ended: its clients are closed. That its
    /// links have ended says nothing: it may serve within its lease.
    pub(super) fn serves_nobody(&self, member: u64, tick: u64, lease_ticks: u64) -> bool {
        let members = self.members.lock();
        members.get(&member).is_none_or(|seen| {
            let silence = tick.saturating_sub(seen.heard_at);
            seen.said_goodbye || silence > lease_ticks
        })
    }

    /// A member was heard.
    pub(super) fn heard(&self, member: u64, tick: u64) {
        self.members.lock().entry(member).or_default().heard_at = tick;
    }

    /// Whether a member cannot write jobs out as fast as they come.
    pub(super) fn presses(&self, member: u64, presses: bool) {
        self.members.lock().entry(member).or_default().presses = presses;
    }

    /// Whether there is such a member among those that are heard.
    pub(super) fn is_pressed(&self, tick: u64) -> bool {
        let is_heard = |seen: &Seen| tick.saturating_sub(seen.heard_at) < self.silent_ticks;
        self.members.lock().values().any(|seen| seen.presses && is_heard(seen))
    }

    /// A member has ended on purpose, its clients answered and gone.
    pub(super) fn goodbye(&self, member: u64) {
        self.members.lock().entry(member).or_default().said_goodbye = true;
    }

    /// Remembers what a member says of itself.
    pub(super) fn introduced(&self, member: u64, about: About) {
        let mut members = self.members.lock();
        let seen = members.entry(member).or_default();
        seen.about = Some(about);
        // It may have been started anew, with another state.
        seen.digests.clear();
    }

    /// What a member said of itself.
    pub(super) fn about(&self, member: u64) -> Option<About> {
        self.members.lock().get(&member)?.about.clone()
    }

    /// Remembers a member's running digest.
    pub(super) fn digest(&self, member: u64, index: u64, chain: u64) {
        let mut members = self.members.lock();
        let digests = &mut members.entry(member).or_default().digests;
        if digests.back().is_none_or(|(last, _)| *last < index) {
            digests.push_back((index, chain));
        }
        if digests.len() > DIGESTS_MAX {
            digests.pop_front();
        }
    }

    /// What comes of comparing a member's newest digest that can be compared with that of this
    /// member, which is `own` at an index.
    pub(super) fn verdict(&self, member: u64, own: impl Fn(u64) -> Option<u64>) -> Option<Verdict> {
        self.members.lock().get(&member)?.verdict(member, own)
    }

    /// As [`Self::verdict`], for each member that can be compared.
    pub(super) fn verdicts(&self, own: impl Fn(u64) -> Option<u64>) -> Vec<Verdict> {
        let members = self.members.lock();
        members.iter().filter_map(|(id, seen)| seen.verdict(*id, &own)).collect()
    }

    /// How many of `members` at most have told one digest that is not this member's, which is `own`
    /// at an index. What they had in common with everybody before says nothing.
    pub(super) fn agreeing_against(
        &self,
        members: &[u64],
        own: impl Fn(u64) -> Option<u64>,
    ) -> usize {
        let seen = self.members.lock();
        let told = || members.iter().filter_map(|member| Some(&seen.get(member)?.digests));
        let differs = |(index, chain): &&Digest| own(*index).is_some_and(|own| own != *chain);
        let tell = |digest| told().filter(|digests| digests.contains(digest)).count();
        told().flatten().filter(differs).map(tell).max().unwrap_or(0)
    }

    /// How a member is doing at `tick`.
    pub(super) fn contact(&self, member: u64, peers: &Peers, tick: u64) -> Contact {
        let mut members = self.members.lock();
        let seen =
            members.entry(member).or_insert_with(|| Seen { heard_at: tick, ..Seen::default() });
        let silence = tick.saturating_sub(seen.heard_at);
        let refused = peers.refused_for(member).is_some_and(|ticks| ticks >= self.dead_ticks);
        let gone = seen.links == 0 && refused && silence >= self.dead_ticks;
        let given_up = self.silent_release && silence >= self.dead_ticks;
        match () {
            () if seen.said_goodbye || gone || given_up => Contact::Dead,
            () if silence > self.silent_ticks => Contact::Silent,
            () => Contact::Heard,
        }
    }

    /// What the log should say of `member`, and does not say yet, with `members_now` in the cluster.
    pub(super) fn word_on(
        &self,
        member: MemberId,
        queue: &Queue,
        contact: Contact,
        members_now: &[u64],
        tick: u64,
    ) -> Option<Part> {
        let life = queue.life(member)?;
        let is_member = members_now.contains(&member.0);
        if life.is_removed || life.incarnation.0 == 0 || (is_member && life.is_over) {
            return None;
        }
        let incarnation = life.incarnation;
        let part = match contact {
            _ if !is_member => Part::Remove { member },
            Contact::Dead => Part::EndLife { member, incarnation },
            Contact::Silent if life.is_heard => {
                Part::Hearing { member, incarnation, is_heard: false }
            }
            Contact::Heard if !life.is_heard => {
                Part::Hearing { member, incarnation, is_heard: true }
            }
            Contact::Silent | Contact::Heard => return None,
        };
        let mut members = self.members.lock();
        let seen = members.entry(member.0).or_default();
        let is_new = tick >= seen.told_at + REPEAT_TICKS || seen.told_at == 0;
        is_new.then(|| {
            seen.told_at = tick;
            part
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presence() -> Presence {
        let presence = Presence::new(&Timing::default());
        for (member, chains) in [(1, [10, 20, 30]), (2, [10, 21, 31]), (3, [10, 21, 31])] {
            for (index, chain) in (1..).zip(chains) {
                presence.digest(member, index, chain);
            }
        }
        presence
    }

    #[test]
    fn the_newest_digest_that_both_have_counts() {
        let presence = presence();
        let own = |index: u64| (index <= 2).then_some(index * 10);
        let verdict = |member, index, agrees| Verdict { member, index, agrees };
        assert_eq!(presence.verdict(1, own), Some(verdict(1, 2, true)));
        let first = |index| (index == 1).then_some(10);
        assert_eq!(presence.verdict(2, first), Some(verdict(2, 1, true)));
        assert_eq!(presence.verdict(2, |_| None), None, "nothing in common");
        assert_eq!(presence.verdict(9, own), None, "a member that was never heard");
        let all = [verdict(1, 2, true), verdict(2, 2, false), verdict(3, 2, false)];
        assert_eq!(presence.verdicts(own), all);
    }

    #[test]
    fn members_agree_where_they_differ_from_this_one() {
        let own = |index: u64| Some(index * 10);
        assert_eq!(presence().agreeing_against(&[2, 3], own), 2);
        assert_eq!(presence().agreeing_against(&[1], own), 0, "it does not differ");
        let strange = Presence::new(&Timing::default());
        for (member, chain) in [(1, 11), (2, 12)] {
            strange.digest(member, 1, 10);
            strange.digest(member, 2, chain);
        }
        assert_eq!(strange.agreeing_against(&[1, 2], own), 1, "before, all agreed");
        assert_eq!(strange.agreeing_against(&[], own), 0);
    }
}
