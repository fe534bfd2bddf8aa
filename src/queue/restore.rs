//! From the records of a checkpoint back to a state.
//!
//! Records come from a disk or from another member, so everything that the rest of the queue relies
//! on is checked here, and a contradiction is an error, never a panic.

use std::collections::{BTreeMap, BTreeSet};

use beanpole_protocol::TubeName;

use super::checkpoint::{Header, Kept, Lengths, Record};
use super::cold::{ColdJobs, Order};
use super::continuation::Continuation;
use super::deadline::{Deadlines, Timer, warning_time};
use super::hearing::Hearing;
use super::job::{Job, JobState};
use super::jobs::Places;
use super::keys::KeyHash;
use super::leased::{Lease, Leases, Standing};
use super::loading::{HotLimit, Loading};
use super::member::{Member, MemberFacts, Standing as LifeStanding};
use super::session::{HeldUp, Session};
use super::tube::{Tube, TubeFacts, TubeId};
use super::waiting::Waiter;
use super::{
    Incarnation, JobId, KEPT_OUTCOMES_MAX, KEYS_MAX, LogicalTime, MemberId, NextNumbers, Queue,
    SessionId,
};

/// Numbers above this are not believed: a counter that starts below it does not overflow.
pub(super) const NUMBER_MAX: u64 = 1 << 62;

/// Records that are not a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// There is no header where one must be.
    #[error("the first record is not a header")]
    NoHeader,
    /// There is a header where none may be.
    #[error("there is a second header")]
    SecondHeader,
    /// Records are missing, or there are too many.
    #[error("the header announces {announced:?}, but the records are {found:?}")]
    Incomplete {
        /// By the header.
        announced: Lengths,
        /// Among the records.
        found: Lengths,
    },
    /// A record contradicts itself or others.
    #[error("{item:?}: {rule}")]
    Contradiction {
        /// What the record is of.
        item: Item,
        /// What it does not keep.
        rule: &'static str,
    },
}

/// What a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is a kind of record with its key")]
pub enum Item {
    Header,
    Member(MemberId),
    Tube(TubeId),
    Session(SessionId),
    Job(JobId),
    Continuation(u64),
    Key(KeyHash),
}

impl Queue {
    /// The state that `records` are a checkpoint of, with the cold jobs that `cold` had then.
    ///
    /// # Errors
    ///
    /// [`RestoreError`] when the records are incomplete or contradict each other.
    pub fn restore(
        records: impl Iterator<Item = Record>,
        cold: Box<dyn ColdJobs>,
    ) -> Result<Self, RestoreError> {
        let unlimited =
            HotLimit { bytes_max: u64::MAX, cooled_bytes: 0, before_cooling: &mut || true };
        Self::restore_within(records, cold, unlimited)
    }

    /// As [`restore`](Self::restore); jobs that are too many to be hot are made cold as they come.
    ///
    /// # Errors
    ///
    /// As [`restore`](Self::restore).
    pub fn restore_within(
        records: impl Iterator<Item = Record>,
        cold: Box<dyn ColdJobs>,
        limit: HotLimit<'_>,
    ) -> Result<Self, RestoreError> {
        let mut records = records;
        let Some(Record::Header(header)) = records.next() else {
            return Err(RestoreError::NoHeader);
        };
        let mut queue = Self::without_tubes();
        queue.clock = header.clock;
        queue.returned = header.returned;
        queue.next = header.next;
        queue.totals = header.totals;
        queue.chain = header.chain;
        queue.limits = header.limits;
        queue.cold = cold;
        let mut loading = Loading::new(limit);
        for record in records {
            loading.look_at(&queue, &record)?;
            queue.add_record(record)?;
            loading.cool(&mut queue)?;
        }
        let mut found = queue.lengths();
        found.jobs += loading.cooled_jobs();
        if found != header.lengths {
            return Err(RestoreError::Incomplete { announced: header.lengths, found });
        }
        check_numbers(&header)?;
        loading.end(&mut queue)?;
        queue.derive_tubes()?;
        queue.derive_members()?;
        queue.derive_sessions()?;
        queue.derive_cold();
        queue.derive_jobs()?;
        queue.derive_waits()?;
        queue.check_continuations()?;
        queue.derive_contended();
        queue.derive_keys()?;
        queue.check_tubes()?;
        Ok(queue)
    }

    fn add_record(&mut self, record: Record) -> Result<(), RestoreError> {
        let (item, new) = match record {
            Record::Header(_) => return Err(RestoreError::SecondHeader),
            Record::Member(id, facts) => {
                (Item::Member(id), self.members.insert(id, Member::new(facts)))
            }
            Record::Tube(id, facts, cold) => {
                (Item::Tube(id), self.tubes.insert(id, Tube { cold, ..Tube::new(facts) }))
            }
            Record::Session(id, facts) => {
                (Item::Session(id), self.sessions.insert(id, Session::new(facts)))
            }
            Record::Job(id, job) => (Item::Job(id), self.jobs.insert(id, job)),
            Record::Continuation(id, Kept(kept)) => {
                (Item::Continuation(id.0), self.continuations.insert(id, kept))
            }
            Record::Key(id, facts) => (Item::Key(id), self.keys.insert(id, facts)),
        };
        require(new, item, "is recorded twice")
    }

    fn derive_tubes(&mut self) -> Result<(), RestoreError> {
        let mut order = vec![None; self.tubes.len()];
        for (id, tube) in self.tubes.iter() {
            let item = Item::Tube(*id);
            let TubeFacts { name, place, pause, .. } = &tube.facts;
            require(id.0 < self.next.tube, item, "was not given out yet")?;
            require(tube.facts.is_plausible(), item, "has a counter that is too large")?;
            self.tables.add_name(tube);
            let new = self.tube_ids.insert(name.clone(), *id).is_none();
            require(new, item, "has the name of another")?;
            let place = usize::try_from(*place).ok().and_then(|place| order.get_mut(place));
            let earlier = place.map(|place| place.replace(*id));
            require(earlier == Some(None), item, "has no place of its own")?;
            if let Some(pause) = pause {
                self.deadlines.add(pause.until, Timer::Pause(*id));
            }
            require(tube.cold.is_plausible(), item, "has cold jobs that cannot be")?;
        }
        // As many tubes as places, each in one of its own: every place is filled.
        self.tube_order = order.into_iter().flatten().collect();
        let default = self.tube_ids.get(&TubeName::default_tube());
        require(default == Some(&TubeId::DEFAULT), Item::Tube(TubeId::DEFAULT), "is not `default`")
    }

    fn derive_members(&mut self) -> Result<(), RestoreError> {
        let returning = self.members_returning();
        for (id, member) in self.members.iter() {
            let item = Item::Member(*id);
            if let Some(until) = member.facts.grace_until {
                self.deadlines.add(until, Timer::Grace(*id));
            }
            if let Hearing::Returning { from, before } = member.facts.hearing {
                let plausible = from <= before && before <= self.next.wait;
                require(plausible, item, "has waiters to look at that did not begin to wait")?;
                let over = member.facts.standing != LifeStanding::Living;
                require(over || returning.contains(id), item, "returns for ever")?;
            }
        }
        Ok(())
    }

    fn derive_sessions(&mut self) -> Result<(), RestoreError> {
        let closings = self.sessions_being_ended();
        let lives = self.lives_being_ended();
        for (id, session) in self.sessions.iter() {
            let item = Item::Session(*id);
            let facts = &session.facts;
            let mut home = Home::Nobody;
            if let Some(connection) = facts.connection_of(*id) {
                let member = self.members.change(&connection.member);
                let member = member.ok_or(contradiction(item, "is of an unknown member"))?;
                home = Home::of(connection, member.facts, id.is_leased(), &lives);
                if home == Home::Living && !facts.closing {
                    member.add(facts);
                }
            }
            require(home != Home::LeftOver, item, "is left over")?;
            if facts.closing {
                require(facts.has_let_go(), item, "is closing but has not let go")?;
                let ends = home == Home::Ending || closings.contains(id);
                require(ends, item, "is closing for ever")?;
                continue;
            }
            require(facts.lease.is_some() == id.is_leased(), item, "has a lease that is not its")?;
            if let Some(lease) = &facts.lease {
                self.leases.derive(*id, lease, &mut self.deadlines)?;
                require(id.connection.0 < self.next.session, item, "was not given out yet")?;
                self.tables.add_kept(lease.kept.len());
            }
            let distinct: BTreeSet<_> = facts.watched.iter().collect();
            require(!distinct.is_empty(), item, "watches nothing")?;
            require(distinct.len() == facts.watched.len(), item, "watches a tube twice")?;
            let used = self.tubes.change(&facts.used);
            used.ok_or(contradiction(item, "uses a tube that is not there"))?.using += 1;
            for tube in &facts.watched {
                let tube = self.tubes.change(tube);
                tube.ok_or(contradiction(item, "watches a tube that is not there"))?.watching += 1;
            }
            let counted = facts.watched.iter().filter(|tube| **tube != TubeId::DEFAULT);
            self.watches += counted.count() as u64;
        }
        Ok(())
    }

    /// Counts the cold jobs, and sets the timers of those that are due first.
    fn derive_cold(&mut self) {
        let ids: Vec<TubeId> = self.tubes.iter().map(|(id, _)| *id).collect();
        for id in ids {
            let places = self.places(id);
            let cold = places.tube.cold;
            places.tube.urgent += cold.urgent;
            places.counts.urgent += cold.urgent;
            places.counts.ready += cold[Order::Ready].count;
            places.counts.delayed += cold[Order::Delayed].count;
            places.counts.buried += cold[Order::Buried].count;
            if let Some((until, job)) = cold[Order::Delayed].first {
                places.deadlines.add(LogicalTime(until), Timer::Delay(job));
            }
        }
    }

    fn derive_jobs(&mut self) -> Result<(), RestoreError> {
        for (id, job) in self.jobs.iter() {
            let item = Item::Job(*id);
            check_job(&self.next, *id, job)?;
            let tube = self.tubes.change(&job.tube);
            let tube = tube.ok_or(contradiction(item, "is in a tube that is not there"))?;
            match job.state {
                JobState::Ready | JobState::Delayed { .. } => {}
                JobState::Reserved { by, .. } => {
                    require(self.sessions.contains(&by), item, "is held by nobody")?;
                }
                JobState::Buried { sequence } => {
                    let alone = !tube.buried.contains_key(&sequence);
                    require(alone, item, "was buried together with another")?;
                }
            }
            self.job_counts.add_bytes(job);
            let mut places = Places {
                id: job.tube,
                tube,
                hot_tubes: &mut self.hot_tubes,
                sessions: &mut self.sessions,
                deadlines: &mut self.deadlines,
                counts: &mut self.job_counts,
            };
            places.enter(*id, job.priority, job.state);
        }
        Ok(())
    }

    fn derive_waits(&mut self) -> Result<(), RestoreError> {
        let kicking = self.sessions_kicking();
        let mut sequences = BTreeSet::new();
        for (id, session) in self.sessions.iter() {
            let item = Item::Session(*id);
            let (sequence, until) = match session.facts.held_up {
                HeldUp::No => continue,
                HeldUp::Kick => {
                    require(kicking.contains(id), item, "waits for a kick that is not there")?;
                    continue;
                }
                HeldUp::Reserve { sequence, until } => (sequence, until),
            };
            require(sequence < self.next.wait, item, "has not begun to wait yet")?;
            require(sequences.insert(sequence), item, "began to wait together with another")?;
            self.tables.add_wait();
            if let Some(until) = until {
                self.deadlines.add(until, Timer::WaitOver(*id));
            }
            if let Some((deadline, _)) = session.held.first() {
                self.deadlines.add(warning_time(*deadline), Timer::DeadlineSoon(*id));
            }
            let Some(connection) = session.facts.connection_of(*id) else { continue };
            for tube in &session.facts.watched {
                let tube = self.tubes.change(tube).expect("watched tubes were checked");
                self.tables.add_waiter(tube, Waiter::new(connection, sequence));
            }
            let member = self.members.change(&connection.member).expect("it was checked");
            if member.facts.lives(connection.incarnation) {
                member.waiters.insert(sequence, connection.connection);
            }
        }
        Ok(())
    }

    fn check_continuations(&mut self) -> Result<(), RestoreError> {
        for (id, continuation) in self.continuations.iter() {
            let item = Item::Continuation(id.0);
            require(id.0 < self.next.continuation, item, "was not given out yet")?;
            match continuation {
                Continuation::EndLives { member, last }
                | Continuation::DetachLives { member, last } => {
                    let member = self.members.get(member);
                    let facts = member.ok_or(contradiction(item, "is of an unknown member"))?.facts;
                    let over = *last < facts.incarnation
                        || *last == facts.incarnation && facts.standing != LifeStanding::Living;
                    require(over, item, "ends a life that is not over")?;
                }
                Continuation::Return { member } => {
                    require(self.members.contains(member), item, "is of an unknown member")?;
                }
                // Who is answered, or ended, may be gone already.
                Continuation::EndSession { session } => {
                    let ended = self.sessions.get(session);
                    let ending = ended.is_none_or(|session| session.facts.closing);
                    require(ending, item, "ends a session that has not closed")?;
                }
                Continuation::Serve => {
                    let first = !std::mem::replace(&mut self.serving, true);
                    require(first, item, "serves beside another")?;
                }
                Continuation::Kick { kick, .. } => {
                    require(kick.is_plausible(), item, "has a counter that is too large")?;
                }
            }
        }
        Ok(())
    }

    fn derive_keys(&mut self) -> Result<(), RestoreError> {
        for (hash, facts) in self.keys.iter() {
            let item = Item::Key(*hash);
            let alone = self.key_order.insert(facts.sequence, *hash).is_none();
            require(alone, item, "came together with another")?;
            require(facts.sequence < self.next.key, item, "did not come yet")?;
            require(facts.job.0 < self.next.job, item, "is of a job that was not given out yet")?;
        }
        require(self.keys.len() <= KEYS_MAX, Item::Header, "remembers too many keys")
    }

    fn derive_contended(&mut self) {
        let ids: Vec<TubeId> = self.tubes.iter().map(|(id, _)| *id).collect();
        for id in ids {
            self.look_at_tube(id);
        }
    }

    fn check_tubes(&self) -> Result<(), RestoreError> {
        for (id, tube) in self.tubes.iter() {
            let item = Item::Tube(*id);
            require(*id == TubeId::DEFAULT || !tube.is_unused(), item, "is there for nothing")?;
            let idle = tube.first(Order::Ready).is_none() || self.first_waiter(*id).is_none();
            let excused = tube.is_paused() || !self.has_room();
            require(excused || idle, item, "has ready jobs and waiters")?;
        }
        Ok(())
    }

    fn sessions_being_ended(&self) -> BTreeSet<SessionId> {
        let session = |kept: &Continuation| match kept {
            Continuation::EndSession { session } => Some(*session),
            _ => None,
        };
        self.continuations.iter().filter_map(|(_, kept)| session(kept)).collect()
    }

    /// Up to which life the sessions of which members are being ended, or detached.
    fn lives_being_ended(&self) -> EndingLives {
        let mut lives = EndingLives::default();
        for (_, kept) in self.continuations.iter() {
            let (ending, member, last) = match kept {
                Continuation::EndLives { member, last } => (&mut lives.sessions, member, last),
                Continuation::DetachLives { member, last } => (&mut lives.leased, member, last),
                _ => continue,
            };
            let greatest: &mut Incarnation = ending.entry(*member).or_default();
            *greatest = (*greatest).max(*last);
        }
        lives
    }

    fn members_returning(&self) -> BTreeSet<MemberId> {
        let member = |kept: &Continuation| match kept {
            Continuation::Return { member } => Some(*member),
            _ => None,
        };
        self.continuations.iter().filter_map(|(_, kept)| member(kept)).collect()
    }

    fn sessions_kicking(&self) -> BTreeSet<SessionId> {
        let session = |kept: &Continuation| match kept {
            Continuation::Kick { session, .. } => Some(*session),
            _ => None,
        };
        self.continuations.iter().filter_map(|(_, kept)| session(kept)).collect()
    }
}

/// Up to which life of a member its sessions are being ended, or its leased ones detached.
#[derive(Default)]
struct EndingLives {
    sessions: BTreeMap<MemberId, Incarnation>,
    leased: BTreeMap<MemberId, Incarnation>,
}

/// How the connection of a session stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Home {
    /// There is none: a leased session may be without.
    Nobody,
    /// It is of a life that is not over.
    Living,
    /// Its life is over, and the session is on its way to what follows from that.
    Ending,
    /// Its life is over, or did not begin, and nothing is on its way.
    LeftOver,
}

impl Home {
    fn of(connection: SessionId, facts: MemberFacts, is_leased: bool, lives: &EndingLives) -> Self {
        let life = connection.incarnation;
        if facts.lives(life) {
            return Self::Living;
        }
        let ending = if is_leased { &lives.leased } else { &lives.sessions };
        let is_ending = ending.get(&connection.member).is_some_and(|last| life <= *last);
        let is_graced = !is_leased && facts.grace_until.is_some();
        if life <= facts.incarnation && (is_ending || is_graced && life < facts.incarnation) {
            Self::Ending
        } else {
            Self::LeftOver
        }
    }
}

impl Leases {
    /// Finds a leased session by what its lease says.
    fn derive(
        &mut self,
        id: SessionId,
        lease: &Lease,
        deadlines: &mut Deadlines,
    ) -> Result<(), RestoreError> {
        let item = Item::Session(id);
        let first = self.by_token.insert(lease.token, id).is_none();
        require(first, item, "has the token of another")?;
        match lease.standing {
            Standing::Attached(connection) => {
                let alone = self.by_connection.insert(connection, id).is_none();
                require(alone, item, "shares a connection")?;
            }
            Standing::Detached { until } => deadlines.add(until, Timer::Lease(id)),
        }
        let numbers = lease.kept.iter().map(|(number, _)| *number).chain(lease.waiting);
        let rising = numbers.clone().zip(numbers.clone().skip(1)).all(|(one, next)| one < next);
        require(rising, item, "keeps outcomes that are not in order")?;
        let greatest = numbers.last().unwrap_or_default();
        require(greatest <= lease.last && lease.last <= NUMBER_MAX, item, "keeps what is to come")?;
        require(lease.kept.len() <= KEPT_OUTCOMES_MAX, item, "keeps too many outcomes")
    }
}

/// Holds a job against what needs nothing but the header.
pub(super) fn check_job(next: &NextNumbers, id: JobId, job: &Job) -> Result<(), RestoreError> {
    let item = Item::Job(id);
    require((1..next.job).contains(&id.0), item, "was not given out yet")?;
    require(job.ttr > 0, item, "has no time to run")?;
    match job.state {
        JobState::Buried { sequence } => require(sequence < next.bury, item, "was not buried yet"),
        _ => Ok(()),
    }
}

fn check_numbers(header: &Header) -> Result<(), RestoreError> {
    let plausible = header.next.all().iter().chain(&header.totals.all()).all(is_plausible);
    require(plausible, Item::Header, "has a number that is too large")
}

/// Whether a counter is so small that it does not overflow in this world.
pub(super) fn is_plausible(number: &u64) -> bool {
    *number <= NUMBER_MAX
}

pub(super) fn require(kept: bool, item: Item, rule: &'static str) -> Result<(), RestoreError> {
    if kept { Ok(()) } else { Err(contradiction(item, rule)) }
}

pub(super) fn contradiction(item: Item, rule: &'static str) -> RestoreError {
    RestoreError::Contradiction { item, rule }
}
