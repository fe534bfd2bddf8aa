//! A second opinion on outcomes, which knows nothing of how the queue is made: what was promised to
//! clients, kept from the ops and their outcomes alone.
//!
//! - Each op is answered once, at once, and first; a wait ends with one more outcome.
//! - Ids are given in order and without gaps; a deleted job never comes back (P2).
//! - A job has one holder until its time to run is over (P3).
//! - A delayed job is not handed out before its time (P5), nor one that a grace keeps.
//! - No op of a life that is over is applied, and no wait of a silent member ends with a job (D4).
//! - A leased session keeps what it has from connection to connection, as long as its lease lasts, and
//!   applies each number once.
//! - A put with a key that is known makes no job.
//! - At a limit nothing more of its kind begins, and nothing is refused below one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::queue::*;

/// What clients know.
#[derive(Default)]
pub(super) struct Ledger {
    now: LogicalTime,
    /// Ops as they were sent, to know which one is applied.
    sent: BTreeMap<(MemberId, Incarnation, OpNumber), Op>,
    /// The op that is being applied, until it is answered.
    asked: Option<(SessionId, Op)>,
    held_up: BTreeSet<SessionId>,
    /// Sessions that this batch ends, unless they are answered before.
    ended: BTreeSet<SessionId>,
    members: BTreeMap<MemberId, KnownMember>,
    /// Members that are silent from the end of this batch on, if they are not heard before.
    falling_silent: BTreeSet<MemberId>,
    /// Whose connection is that of which leased session.
    attached: BTreeMap<SessionId, SessionId>,
    leased: BTreeMap<SessionId, KnownLease>,
    /// How many were resumed.
    pub(super) resumed: u64,
    /// Which job a key has made, with which body.
    keys: BTreeMap<[u8; 32], (JobId, [u8; 16])>,
    /// How many puts came again.
    pub(super) repeated: u64,
    jobs: BTreeMap<JobId, Known>,
    last_job: u64,
    /// How many ops were applied.
    pub(super) applied: u64,
    /// The limits and what there was of them, before the op that is being applied.
    limits: Limits,
    used: Limits,
    /// Whether the session of that op was open, or is opened by it.
    is_admitted: bool,
    /// How many ops were refused, and how many were applied while ready jobs waited for room.
    pub(super) refused: u64,
    pub(super) held_back: u64,
    /// How many invariant checks the size of the state still excuses.
    unchecked: usize,
    /// All outcomes of the batch, in order.
    outcomes: Vec<(SessionId, Outcome)>,
}

struct Known {
    ttr: Duration,
    not_before: LogicalTime,
    holder: Option<Holder>,
}

struct Holder {
    session: SessionId,
    /// When its time to run is over.
    until: LogicalTime,
    /// When its life is over and its grace too.
    free_at: Option<LogicalTime>,
}

impl Holder {
    fn holds_at(&self, now: LogicalTime) -> bool {
        self.until > now && self.free_at.is_none_or(|free_at| free_at > now)
    }
}

struct KnownLease {
    lease: Duration,
    /// The greatest number applied.
    last: u64,
}

/// A leased session in the ledger's own words.
fn leased(token: TokenHash) -> SessionId {
    let incarnation = Incarnation(u64::from(token.0[0]));
    SessionId { member: MemberId(u64::MAX), incarnation, connection: ConnectionNumber(0) }
}

struct KnownMember {
    life: Incarnation,
    is_over: bool,
    is_removed: bool,
    is_silent: bool,
}

impl Ledger {
    /// Remembers an op that is sent under its right number.
    pub(super) fn send(&mut self, member: MemberId, life: Incarnation, number: u64, op: Op) {
        self.sent.insert((member, life, OpNumber(number)), op);
    }

    fn learn(&mut self, part: &Part) {
        match *part {
            Part::Enrol { member } => {
                self.members.entry(member).or_insert(KnownMember {
                    life: Incarnation(0),
                    is_over: true,
                    is_removed: false,
                    is_silent: false,
                });
            }
            Part::Open { member, incarnation, grace_millis } => {
                self.open(member, incarnation, u64::from(grace_millis));
            }
            Part::EndLife { member, incarnation } => {
                if let Some(known) = self.living(member, incarnation) {
                    known.is_over = true;
                    self.end_lives(member, incarnation, 0);
                }
            }
            Part::Remove { member } => {
                self.learn(&Part::Enrol { member });
                let known = self.members.get_mut(&member).expect("it was just enrolled");
                (known.is_over, known.is_removed) = (true, true);
                let life = known.life;
                self.end_lives(member, life, 0);
            }
            Part::Hearing { member, incarnation, is_heard } => {
                self.falling_silent.remove(&member);
                if let Some(known) = self.living(member, incarnation) {
                    known.is_silent &= !is_heard;
                    if !is_heard {
                        self.falling_silent.insert(member);
                    }
                }
            }
            Part::Ops { .. } | Part::Limits { .. } | Part::Returned => {}
        }
    }

    /// The cluster was away until now: leases that ran at `left` begin anew.
    fn come_back(&mut self, left: LogicalTime) {
        for holder in self.jobs.values_mut().filter_map(|known| known.holder.as_mut()) {
            let lease = self.leased.get(&holder.session).map(|it| it.lease);
            if let (Some(lease), Some(free_at)) = (lease, holder.free_at)
                && free_at > left
            {
                holder.free_at = Some(self.now.after(lease));
            }
        }
    }

    fn open(&mut self, member: MemberId, life: Incarnation, grace_millis: u64) {
        let opened = KnownMember { life, is_over: false, is_removed: false, is_silent: false };
        let Some(known) = self.members.get_mut(&member) else {
            self.members.insert(member, opened);
            return;
        };
        if !known.is_removed && known.life < life {
            let ended = known.life;
            *known = opened;
            self.falling_silent.remove(&member);
            self.end_lives(member, ended, grace_millis);
        }
    }

    fn living(&mut self, member: MemberId, life: Incarnation) -> Option<&mut KnownMember> {
        self.members.get_mut(&member).filter(|known| known.life == life && !known.is_over)
    }

    /// Lives up to `last` ended, and with them all that their sessions had, at least after a grace.
    fn end_lives(&mut self, member: MemberId, last: Incarnation, grace_millis: u64) {
        let is_ended =
            |session: &SessionId| session.member == member && session.incarnation <= last;
        self.ended.extend(self.held_up.extract_if(.., |session| is_ended(session)));
        let (now, free_at) = (self.now, self.now.after(Duration::from_millis(grace_millis)));
        for known in self.jobs.values_mut() {
            if let Some(holder) = known.holder.as_mut().filter(|holder| is_ended(&holder.session)) {
                holder.free_at = match holder.free_at {
                    // What was free stays so; only a grace makes a grace longer.
                    Some(earlier) if earlier <= now => Some(earlier),
                    Some(earlier) if grace_millis > 0 => Some(earlier.max(free_at)),
                    _ => Some(free_at),
                };
            }
        }
        self.sent.retain(|(sender, life, _), _| *sender != member || *life > last);
        let connections: Vec<SessionId> = self.attached.keys().copied().filter(is_ended).collect();
        for connection in connections {
            self.ended.insert(connection);
            self.detach(connection);
        }
    }

    /// Whose the ops of a connection are.
    fn who(&self, connection: SessionId) -> SessionId {
        self.attached.get(&connection).copied().unwrap_or(connection)
    }

    /// The leased session of a connection keeps what it holds at least as long as its lease.
    fn detach(&mut self, connection: SessionId) {
        let Some(id) = self.attached.remove(&connection) else { return };
        let free_at = self.now.after(self.leased[&id].lease);
        let held = self.jobs.values_mut().filter_map(|known| known.holder.as_mut());
        for holder in held.filter(|holder| holder.session == id) {
            holder.free_at = Some(free_at);
        }
    }

    fn attach(&mut self, connection: SessionId, op: &Op, outcome: &Outcome) {
        let Action::Attach { token, lease_millis, .. } = op.action else {
            panic!("{outcome:?} is no answer to {:?}", op.action)
        };
        let id = leased(token);
        self.detach(connection);
        match outcome {
            Outcome::Attached(attachment) if attachment.is_resumed => {
                self.resumed += 1;
                assert_eq!(attachment.last, self.leased[&id].last);
                let is_known = self.held_up.contains(&id) || attachment.waiting.is_none();
                assert!(is_known, "{id:?} waits, and nobody knows for what");
                if attachment.waiting.is_none() {
                    self.held_up.remove(&id);
                }
            }
            Outcome::Attached(_) => {
                self.lose(id);
                self.leased.insert(id, KnownLease { lease: Duration::ZERO, last: 0 });
            }
            // A connection that has a session of its own is refused.
            Outcome::NotFound => return,
            Outcome::OutOfMemory => return self.refused += 1,
            _ => panic!("{outcome:?} is no answer to {:?}", op.action),
        }
        let known = self.leased.get_mut(&id).expect("it is known by now");
        known.lease = Duration::from_millis(u64::from(lease_millis));
        self.attached.retain(|_, attached| *attached != id);
        self.attached.insert(connection, id);
        let held = self.jobs.values_mut().filter_map(|known| known.holder.as_mut());
        held.filter(|holder| holder.session == id).for_each(|holder| holder.free_at = None);
    }

    /// A leased session is there no more, which must not have happened before its lease was over.
    fn lose(&mut self, id: SessionId) {
        self.held_up.remove(&id);
        let now = self.now;
        for known in self.jobs.values_mut() {
            let holder = known.holder.take_if(|holder| holder.session == id);
            let early = holder.filter(|holder| holder.holds_at(now));
            assert!(early.is_none(), "{id:?} is lost before its time");
        }
    }

    /// Whether an op is applied as far as its number goes.
    fn is_in_place(&mut self, connection: SessionId, op: &Op) -> bool {
        let Some(numbered) = op.numbered else { return !self.attached.contains_key(&connection) };
        let id = self.attached.get(&connection);
        id.is_some_and(|id| numbered.number > self.leased[id].last)
    }

    fn close(&mut self, session: SessionId) {
        self.held_up.remove(&session);
        for known in self.jobs.values_mut() {
            known.holder.take_if(|holder| holder.session == session);
        }
    }

    /// A batch is about to be applied.
    pub(super) fn begin(&mut self, queue: &Queue, batch: &Batch) {
        let left = std::mem::replace(&mut self.now, queue.now().max(batch.now));
        if batch.parts.contains(&Part::Returned) {
            self.come_back(left);
        }
        for part in &batch.parts {
            self.learn(part);
        }
        if queue.continuations.iter().any(|(_, kept)| matches!(kept, Continuation::Kick { .. })) {
            self.forget_delays();
        }
        self.look_at_limits(queue);
    }

    /// A batch was applied; returns its outcomes.
    pub(super) fn end(&mut self) -> Vec<(SessionId, Outcome)> {
        self.finish_op();
        self.ended.clear();
        for member in std::mem::take(&mut self.falling_silent) {
            self.members.get_mut(&member).expect("it has a life").is_silent = true;
        }
        std::mem::take(&mut self.outcomes)
    }

    /// Every op must have been answered by now.
    fn finish_op(&self) {
        assert!(self.asked.is_none(), "not answered: {:?}", self.asked);
    }

    fn answer(&mut self, connection: SessionId, op: &Op, outcome: &Outcome) {
        let (session, action) = (self.who(connection), &op.action);
        if let (Some(numbered), false) = (op.numbered, *outcome == Outcome::Deferred) {
            self.leased.get_mut(&session).expect("it is leased").last = numbered.number;
        }
        match (action, outcome) {
            (_, Outcome::Deferred) => {}
            (_, Outcome::OutOfMemory) => self.refuse(action),
            _ if !self.is_admitted => panic!("{outcome:?} for a session that has no room"),
            (_, Outcome::Waiting) => {
                assert!(self.held_up.insert(session), "{session:?} waits twice");
            }
            (Action::Put { key: Some(key), .. }, Outcome::KeyInUse) => {
                assert!(self.keys.contains_key(&key.key), "nobody has used this key");
            }
            (Action::Put { key: Some(key), .. }, Outcome::Inserted { job })
                if self.is_repeated(key, *job) => {}
            (Action::Put { delay, ttr, .. }, Outcome::Inserted { job }) => {
                self.last_job += 1;
                assert_eq!(job.0, self.last_job, "ids have a gap");
                let ttr = Duration::from_secs(u64::from(*ttr).max(1));
                let not_before = self.now.after(Duration::from_secs(u64::from(*delay)));
                self.jobs.insert(*job, Known { ttr, not_before, holder: None });
            }
            (Action::Reserve { .. }, Outcome::Reserved { job, .. }) => self.take(session, *job),
            (Action::ReserveJob { job }, Outcome::Reserved { .. }) => {
                self.known(*job).not_before = LogicalTime(0);
                self.take(session, *job);
            }
            (Action::Delete { job }, Outcome::Deleted) => {
                let known = self.jobs.remove(job).expect("what is deleted was there");
                let other = known.holder.filter(|holder| holder.session != session);
                let held = other.filter(|holder| holder.holds_at(self.now));
                let by = held.map(|holder| holder.session);
                assert_eq!(by, None, "{session:?} deleted {job:?}, which another holds");
            }
            (Action::Release { job, delay, .. }, Outcome::Released) => {
                let now = self.now;
                let known = self.give_back(session, *job);
                known.not_before = now.after(Duration::from_secs(u64::from(*delay)));
            }
            (Action::Bury { job, .. }, Outcome::Buried) => {
                self.give_back(session, *job);
            }
            (Action::Touch { job }, Outcome::Touched) => {
                self.give_back(session, *job);
                self.hold(session, *job);
            }
            (Action::Kick { .. }, Outcome::Kicked { .. })
            | (Action::KickJob { .. }, Outcome::JobKicked) => {}
            (Action::Reserve { .. }, Outcome::TimedOut | Outcome::DeadlineSoon)
            | (Action::Use { .. }, Outcome::Using { .. })
            | (Action::Watch { .. } | Action::Ignore { .. }, Outcome::Watching { .. })
            | (Action::Ignore { .. }, Outcome::NotIgnored)
            | (Action::PauseTube { .. }, Outcome::Paused | Outcome::NotFound)
            | (
                Action::ReserveJob { .. }
                | Action::Delete { .. }
                | Action::Release { .. }
                | Action::Bury { .. }
                | Action::Touch { .. }
                | Action::KickJob { .. },
                Outcome::NotFound,
            ) => {}
            _ => panic!("{outcome:?} is no answer to {action:?}"),
        }
    }

    /// Whether a put with a key has come again, and brought that job. Else it is the job of this put.
    fn is_repeated(&mut self, key: &PutKey, job: JobId) -> bool {
        if job.0 > self.last_job {
            self.keys.insert(key.key, (job, key.body));
            return false;
        }
        assert_eq!(self.keys[&key.key], (job, key.body), "that is the job of another put");
        self.repeated += 1;
        true
    }

    fn refuse(&mut self, action: &Action) {
        let (limits, used) = (self.limits, self.used);
        let is_full = match action {
            _ if !self.is_admitted => true,
            Action::Use { .. } => used.tubes >= limits.tubes,
            Action::Watch { .. } => used.tubes >= limits.tubes || used.watches >= limits.watches,
            Action::ReserveJob { .. } => used.held_jobs >= limits.held_jobs,
            _ => false,
        };
        assert!(is_full, "{action:?} is refused: {used:?} of {limits:?}");
        self.refused += 1;
    }

    /// Nothing that is at its limit has become more since the last look.
    fn look_at_limits(&mut self, queue: &Queue) {
        let (limits, used) = (queue.limits(), queue.limits_used());
        // It may have been reached just before the limit was lowered.
        for (place, used) in used.all().into_iter().enumerate() {
            let allowed = [limits, self.limits, self.used].map(|it| it.all()[place]);
            assert!(allowed.iter().any(|allowed| used <= *allowed), "{used}, not {allowed:?}");
        }
        (self.limits, self.used) = (limits, used);
        let is_full = used.held_jobs >= limits.held_jobs;
        self.held_back += u64::from(is_full && queue.contended != Contended::default());
    }

    fn end_wait(&mut self, connection: SessionId, outcome: &Outcome) {
        let session = self.who(connection);
        if *outcome == Outcome::Detached {
            assert_eq!(session, connection, "a session of a connection of its own is not detached");
            return;
        }
        if self.ended.remove(&connection) {
            return;
        }
        assert!(self.held_up.remove(&session), "{session:?} got {outcome:?} and did not wait");
        match outcome {
            Outcome::Reserved { job, .. } => {
                let member = &self.members[&connection.member];
                assert!(!member.is_silent, "{session:?} is not heard and got {job:?}");
                self.take(session, *job);
            }
            Outcome::TimedOut | Outcome::DeadlineSoon | Outcome::Kicked { .. } => {}
            _ => panic!("{outcome:?} does not end a wait"),
        }
    }

    fn take(&mut self, session: SessionId, job: JobId) {
        let now = self.now;
        let known = self.known(job);
        assert!(known.not_before <= now, "{job:?} is handed out too early");
        let held = known.holder.as_ref().filter(|holder| holder.holds_at(now));
        let by = held.map(|holder| holder.session);
        assert_eq!(by, None, "{job:?} goes to {session:?} and another holds it");
        self.hold(session, job);
    }

    fn hold(&mut self, session: SessionId, job: JobId) {
        let now = self.now;
        let known = self.known(job);
        let until = now.after(known.ttr);
        known.holder = Some(Holder { session, until, free_at: None });
    }

    fn give_back(&mut self, session: SessionId, job: JobId) -> &mut Known {
        let known = self.known(job);
        let holder = known.holder.take().map(|holder| holder.session);
        assert_eq!(holder, Some(session), "{job:?} is given back by another");
        known
    }

    fn known(&mut self, job: JobId) -> &mut Known {
        self.jobs.get_mut(&job).expect("a job that is handed out was put and not deleted")
    }

    /// Kicks make delayed jobs ready before their time; which ones is not told.
    fn forget_delays(&mut self) {
        for known in self.jobs.values_mut() {
            known.not_before = LogicalTime(0);
        }
    }
}

impl Observer for Ledger {
    fn before_op(&mut self, queue: &Queue, session: SessionId) {
        self.finish_op();
        self.look_at_limits(queue);
        self.is_admitted = queue.admits(session);
        self.applied += 1;
        // Each op is checked while the state is small; else as often as the time allows.
        self.unchecked += 1;
        if self.unchecked * 64 >= queue.jobs.len() + queue.sessions.len() + queue.tubes.len() {
            queue.check_invariants();
            self.unchecked = 0;
        }
        let Life { incarnation: life, last, .. } =
            queue.life(session.member).expect("the member is known");
        assert!(self.living(session.member, life).is_some(), "an op of {session:?}, which is over");
        let op = self.sent.remove(&(session.member, life, last)).expect("the op was sent");
        assert_eq!(op.connection, session.connection);
        match op.action {
            Action::StopWaiting => {}
            Action::Close => {
                self.close(self.who(session));
                if self.attached.contains_key(&session) {
                    self.asked = Some((session, op));
                }
            }
            Action::Detach => self.detach(session),
            Action::Attach { .. } => self.asked = Some((session, op)),
            _ if !self.is_in_place(session, &op) => {}
            _ => {
                if matches!(op.action, Action::Kick { .. } | Action::KickJob { .. }) {
                    self.forget_delays();
                }
                self.asked = Some((session, op));
            }
        }
    }

    fn outcome(&mut self, session: SessionId, outcome: Outcome) {
        match self.asked.take() {
            Some((asker, op)) => {
                assert_eq!(asker, session, "{outcome:?} comes before the answer");
                match op.action {
                    Action::Attach { .. } => self.attach(session, &op, &outcome),
                    Action::Close => {
                        assert_eq!(outcome, Outcome::Closed);
                        self.attached.remove(&session);
                    }
                    _ => self.answer(session, &op, &outcome),
                }
            }
            None => self.end_wait(session, &outcome),
        }
        self.outcomes.push((session, outcome));
    }
}
