//! Tubes: what they hold, how they come and go, and their pauses.

use std::collections::{BTreeMap, BTreeSet};

use beanpole_protocol::TubeName;
use serde::{Deserialize, Serialize};

use super::cold::{ColdShelves, Order, Place};
use super::deadline::Timer;
use super::restore::is_plausible;
use super::table::Recorded;
use super::waiting::Waiter;
use super::work::Work;
use super::{JobId, LogicalTime, Outcome, Queue};
use crate::planted::{self, Bug};

/// A tube, by its place in the order of creation. Never used twice: a tube that is made anew under
/// its old name has another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TubeId(pub(super) u64);

impl TubeId {
    /// The tube that always exists.
    pub(super) const DEFAULT: Self = Self(0);

    /// The number of it.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// What a checkpoint keeps of a tube.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TubeFacts {
    pub(super) name: TubeName,
    /// Its place in the list of tubes.
    pub(super) place: u64,
    pub(super) pause: Option<Pause>,
    /// Jobs put into it since it was made.
    pub(super) total_jobs: u64,
    /// Jobs deleted from it by `delete`.
    pub(super) deletes: u64,
    /// Pauses that it was given.
    pub(super) pauses: u64,
}

/// A pause of a tube.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pause {
    pub(super) until: LogicalTime,
    /// Its whole length in seconds.
    pub(super) length: u32,
}

/// A tube with the indexes over its jobs and its sessions.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tube {
    pub(super) facts: TubeFacts,
    /// Hot jobs, as in the next two.
    pub(super) ready: BTreeSet<(u32, JobId)>,
    pub(super) delayed: BTreeSet<(LogicalTime, JobId)>,
    /// In order of burying.
    pub(super) buried: BTreeMap<u64, JobId>,
    pub(super) cold: ColdShelves,
    pub(super) reserved: u64,
    /// Ready jobs that count as urgent.
    pub(super) urgent: u64,
    /// Sessions that use it.
    pub(super) using: u64,
    /// Sessions that watch it.
    pub(super) watching: u64,
    /// Sessions that wait for a job from it, those of lives that are over among them.
    pub(super) waiters: BTreeSet<Waiter>,
    /// Its place among the contended tubes.
    pub(super) contended: Option<u64>,
}

impl Recorded for Tube {
    type Facts = (TubeFacts, ColdShelves);

    fn facts(&self) -> Self::Facts {
        (self.facts.clone(), self.cold)
    }
}

impl Tube {
    pub(super) fn new(facts: TubeFacts) -> Self {
        Self {
            facts,
            ready: BTreeSet::new(),
            delayed: BTreeSet::new(),
            buried: BTreeMap::new(),
            cold: ColdShelves::default(),
            reserved: 0,
            urgent: 0,
            using: 0,
            watching: 0,
            waiters: BTreeSet::new(),
            contended: None,
        }
    }

    /// How many jobs are in an order, hot and cold.
    pub(super) fn count(&self, order: Order) -> u64 {
        let hot = match order {
            Order::Ready => self.ready.len(),
            Order::Delayed => self.delayed.len(),
            Order::Buried => self.buried.len(),
        };
        hot as u64 + self.cold[order].count
    }

    /// The first of the jobs in an order, hot or cold.
    pub(super) fn first(&self, order: Order) -> Option<Place> {
        let hot = match order {
            Order::Ready if planted::is(Bug::PriorityReversed) && !self.ready.is_empty() => {
                return self.ready.last().map(|(priority, id)| (u64::from(*priority), *id));
            }
            Order::Ready => self.ready.first().map(|(priority, id)| (u64::from(*priority), *id)),
            Order::Delayed => self.delayed.first().map(|(until, id)| (until.0, *id)),
            Order::Buried => self.buried.first_key_value().map(|(sequence, id)| (*sequence, *id)),
        };
        [hot, self.cold[order].first].into_iter().flatten().min()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.facts.pause.is_some()
    }

    /// Whether hot jobs are in it that nobody holds.
    pub(super) fn has_hot(&self) -> bool {
        !(self.ready.is_empty() && self.delayed.is_empty() && self.buried.is_empty())
    }

    /// Whether nobody uses or watches it and no job is in it.
    pub(super) fn is_unused(&self) -> bool {
        self.using == 0
            && self.watching == 0
            && self.reserved == 0
            && !self.has_hot()
            && self.cold.jobs() == 0
    }
}

impl TubeFacts {
    pub(super) fn new(name: TubeName, place: u64) -> Self {
        Self { name, place, pause: None, total_jobs: 0, deletes: 0, pauses: 0 }
    }

    /// Whether no counter can overflow.
    pub(super) fn is_plausible(&self) -> bool {
        [self.total_jobs, self.deletes, self.pauses].iter().all(is_plausible)
    }
}

impl Queue {
    pub(super) fn tube(&self, id: TubeId) -> &Tube {
        self.tubes.get(&id).expect("a tube that is referred to exists")
    }

    pub(super) fn tube_mut(&mut self, id: TubeId) -> &mut Tube {
        self.tubes.change(&id).expect("a tube that is referred to exists")
    }

    /// The tube of that name, made if need be. `None`: there is no room for it.
    pub(super) fn tube_named(&mut self, name: &TubeName) -> Option<TubeId> {
        if let Some(id) = self.tube_ids.get(name) {
            return Some(*id);
        }
        if !self.has_room_for_tube() {
            return None;
        }
        let id = TubeId(self.next.tube);
        self.next.tube += 1;
        let tube = Tube::new(TubeFacts::new(name.clone(), self.tube_order.len() as u64));
        self.tables.add_name(&tube);
        assert!(self.tubes.insert(id, tube), "{id:?} is not new");
        self.tube_ids.insert(name.clone(), id);
        self.tube_order.push(id);
        Some(id)
    }

    /// Ends the tube if nothing is left of it. Its counters and its pause end with it.
    pub(super) fn drop_if_unused(&mut self, id: TubeId) {
        if id == TubeId::DEFAULT || !self.tube(id).is_unused() {
            return;
        }
        let tube = self.tubes.remove(&id).expect("it was just looked at");
        self.tables.remove_name(&tube);
        if let Some(pause) = tube.facts.pause {
            self.deadlines.remove(pause.until, Timer::Pause(id));
        }
        self.tube_ids.remove(&tube.facts.name);
        let place = usize::try_from(tube.facts.place).expect("a place in a list fits");
        self.tube_order.swap_remove(place);
        if let Some(moved) = self.tube_order.get(place).copied() {
            self.tube_mut(moved).facts.place = tube.facts.place;
        }
    }

    pub(super) fn pause_tube(&mut self, name: &TubeName, delay: u32, work: &mut Work) -> Outcome {
        let Some(id) = self.tube_ids.get(name).copied() else {
            return Outcome::NotFound;
        };
        let pause = Pause { until: self.after_seconds(delay), length: delay };
        let tube = self.tube_mut(id);
        tube.facts.pauses += 1;
        if let Some(earlier) = tube.facts.pause.replace(pause) {
            self.deadlines.remove(earlier.until, Timer::Pause(id));
        }
        self.deadlines.add(pause.until, Timer::Pause(id));
        self.look_at_tube(id);
        if delay == 0 {
            self.end_pause(id, 0, work);
        }
        Outcome::Paused
    }

    /// Hands the tube's ready jobs to those who wait, as far as there is room, and ends the pause when that is done: not yet
    /// when only `moves_kept` of the work's moves are left. The tube counts as paused until then, so
    /// that nobody overtakes the waiters between two entries.
    pub(super) fn end_pause(&mut self, id: TubeId, moves_kept: u32, work: &mut Work) {
        while self.has_room()
            && let Some(waiter) = self.first_waiter(id)
            && let Some(job) = self.first_ready(id)
        {
            if work.moves_left <= moves_kept {
                return;
            }
            work.spend(1);
            self.hand_over(job, waiter, work);
        }
        let ended = self.tube_mut(id).facts.pause.take().expect("a pause that ends was there");
        self.deadlines.remove(ended.until, Timer::Pause(id));
        self.look_at_tube(id);
    }
}
