//! Random batches on three copies of the state (D1): one is applied to as it is and checked after
//! each op, one is now and then replaced by what its records restore, and one is checkpointed in
//! random slices while ops go on, then restored, and given the ops since the freeze once more; jobs of
//! it are made cold at random.
//! Outcomes, digests and chains are equal all the time. Members begin and end lives, with and without a
//! grace, fall silent and are heard again, and are removed and replaced. Limits are small, and change.
//!
//! `BEANPOLE_SEED` repeats a run, `BEANPOLE_OPS` says how many ops are applied at least.

use std::hash::{BuildHasher, RandomState};

use beanpole_protocol::TubeName;
use bytes::Bytes;

use super::cold::ColdModel;
use super::ledger::Ledger;
use super::script::name;
use crate::queue::*;

/// Few moves per entry: many continuations from few jobs.
const QUOTA: u32 = 6;

/// The state grows and shrinks between these.
const JOBS_MIN: usize = 2;
const JOBS_MAX: usize = 60;

/// At a time.
const MEMBERS: u64 = 3;

/// What is removed stays in the table, and each record costs time.
const MEMBERS_MAX: u64 = 16;

const CONNECTIONS: u64 = 5;
const TUBES: [&str; 5] = ["default", "a", "b", "c", "d"];

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn small(&mut self, end: u32) -> u32 {
        u32::try_from(self.below(u64::from(end))).expect("it is below a u32")
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).expect("it is below a length")]
    }

    fn tube(&mut self) -> TubeName {
        name(self.pick(&TUBES))
    }
}

/// Leased sessions, by their tokens.
const TOKENS: usize = 4;
const LEASES_MILLIS: [u32; 3] = [500, 2_000, 10_000];

/// A client with a leased session, as far as it knows.
#[derive(Clone, Copy, Default)]
struct Client {
    /// At which sender, on which connection.
    at: Option<(usize, ConnectionNumber)>,
    number: u64,
    answered: u64,
}

/// Who sends ops, and what was sent.
struct World {
    clients: [Client; TOKENS],
    random: Random,
    now: LogicalTime,
    senders: Vec<Sender>,
    /// Parts that may be sent again.
    earlier: Vec<Part>,
    /// More is put than deleted.
    filling: bool,
}

struct Sender {
    member: MemberId,
    life: Incarnation,
    next: u64,
    connections: Vec<u64>,
    next_connection: u64,
    /// Nothing but a new life will be listened to.
    is_over: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let sender = |member| Sender {
            member: MemberId(member),
            life: Incarnation(0),
            next: 1,
            connections: Vec::new(),
            next_connection: 1,
            is_over: false,
        };
        Self {
            clients: [Client::default(); TOKENS],
            random: Random(seed),
            now: LogicalTime(1_000_000_000),
            senders: (0..MEMBERS).map(sender).collect(),
            earlier: Vec::new(),
            filling: true,
        }
    }

    fn batch(&mut self, queue: &Queue, ledger: &mut Ledger) -> Batch {
        let now = self.time();
        self.filling = queue.jobs.len() < if self.filling { JOBS_MAX } else { JOBS_MIN };
        let mut parts: Vec<Part> = Vec::new();
        for _ in 0..self.random.below(4) {
            let sender = self.random.pick(&[0, 1, 2]);
            match self.random.below(43) {
                // Once at most: the ledger looks no closer.
                40.. if parts.is_empty() => parts.push(self.limits(queue)),
                0..3 if parts.is_empty() => {
                    parts = self.event(sender, queue);
                    parts.iter().for_each(|part| self.keep(part.clone()));
                }
                3..6 if !self.earlier.is_empty() => {
                    let place = self.random.below(self.earlier.len() as u64);
                    parts.push(self.earlier[usize::try_from(place).expect("a place")].clone());
                }
                6 => parts.push(self.with_a_gap(sender)),
                _ => {
                    let part = self.ops(sender, queue, ledger);
                    self.keep(part.clone());
                    parts.push(part);
                }
            }
        }
        if self.random.one_in(200) {
            parts.push(Part::Returned);
        }
        Batch { now, parts }
    }

    /// Mostly a little later, now and then much, and sometimes an old stamp.
    fn time(&mut self) -> LogicalTime {
        let milliseconds = match self.random.below(100) {
            0 => 100_000,
            1..6 => 3_000,
            6..40 => self.random.below(1_000),
            _ => self.random.below(10),
        };
        self.now.0 += milliseconds * 1_000_000;
        let back = if self.random.one_in(20) { self.random.below(2_000_000_000) } else { 0 };
        LogicalTime(self.now.0.saturating_sub(back))
    }

    /// What becomes of a member.
    fn event(&mut self, sender: usize, queue: &Queue) -> Vec<Part> {
        let Sender { member, life, is_over, .. } = self.senders[sender];
        let newcomer = queue.next_member();
        match self.random.below(24) {
            0..16 if !is_over => {
                let is_heard = self.random.one_in(2);
                vec![Part::Hearing { member, incarnation: life, is_heard }]
            }
            16..18 if !is_over => {
                self.senders[sender].is_over = true;
                vec![Part::EndLife { member, incarnation: life }]
            }
            18 => {
                vec![Part::EndLife { member, incarnation: Incarnation(life.0.saturating_sub(1)) }]
            }
            19 if (MEMBERS..MEMBERS_MAX).contains(&newcomer.0) => {
                let leaving = std::mem::replace(&mut self.senders[sender].member, newcomer);
                let (removed, newcomer) =
                    (Part::Remove { member: leaving }, Part::Enrol { member: newcomer });
                let late = Part::Open {
                    member: leaving,
                    incarnation: Incarnation(life.0 + 1),
                    grace_millis: 0,
                };
                vec![removed, newcomer, late, self.open(sender)]
            }
            _ => vec![self.open(sender)],
        }
    }

    /// Mostly so small that they are met. A crowd that waits gets room at once.
    fn limits(&mut self, queue: &Queue) -> Part {
        if queue.counters().current_waiting > 4 {
            let change = LimitsChange { held_jobs: Some(100), ..LimitsChange::default() };
            return Part::Limits { change };
        }
        let mut limit = |limits: &[u64]| {
            if self.random.one_in(2) { Some(self.random.pick(limits)) } else { None }
        };
        let change = LimitsChange {
            tubes: limit(&[0, 3, 4, 100]),
            watches: limit(&[0, 3, 6, 100]),
            held_jobs: limit(&[0, 1, 5, 100]),
            sessions: limit(&[4, 10, 100, 100]),
        };
        Part::Limits { change }
    }

    fn open(&mut self, sender: usize) -> Part {
        let skipped = self.random.below(2);
        let grace_millis = self.random.pick(&[0, 500, 2_000, 2_000]);
        let sender = &mut self.senders[sender];
        sender.life.0 += 1 + skipped;
        sender.next = 1;
        sender.connections.clear();
        sender.is_over = false;
        Part::Open { member: sender.member, incarnation: sender.life, grace_millis }
    }

    fn with_a_gap(&mut self, sender: usize) -> Part {
        let connection = ConnectionNumber(1);
        let op = Op::plain(connection, Turn(0), Action::Kick { bound: 9 });
        let sender = &self.senders[sender];
        let first = OpNumber(sender.next + 1);
        Part::Ops { member: sender.member, incarnation: sender.life, first, ops: [op].into() }
    }

    fn ops(&mut self, sender: usize, queue: &Queue, ledger: &mut Ledger) -> Part {
        let first = self.senders[sender].next;
        let mut ops = Vec::new();
        for _ in 0..=self.random.below(8) {
            let op = if self.random.one_in(4) {
                self.leased_op(sender, queue)
            } else {
                self.op(sender, queue)
            };
            let Sender { member, life, next, .. } = &mut self.senders[sender];
            ledger.send(*member, *life, *next, op.clone());
            *next += 1;
            ops.push(op);
        }
        let Sender { member, life, .. } = self.senders[sender];
        Part::Ops { member, incarnation: life, first: OpNumber(first), ops: ops.into() }
    }

    fn op(&mut self, sender: usize, queue: &Queue) -> Op {
        let connection = self.connection(sender);
        let Sender { member, life: incarnation, connections, .. } = &mut self.senders[sender];
        let session = SessionId { member: *member, incarnation: *incarnation, connection };
        let job = job(&mut self.random, queue, session);
        let mut action = action(&mut self.random, job, self.filling);
        let is_silent = queue.life(session.member).is_some_and(|life| !life.is_heard);
        if is_silent && !self.random.one_in(4) {
            // Waits pile up, so that there is much to do when it is heard again.
            action = Action::Reserve { wait: Wait::Forever, half_closed: false };
        }
        if action == Action::Close {
            connections.retain(|open| *open != connection.0);
        }
        let turn = queue.sessions.get(&session).map_or(Turn(0), |session| session.facts.turn);
        let stale = self.random.one_in(30);
        Op::plain(connection, Turn(turn.0.wrapping_add(u32::from(stale))), action)
    }

    /// An op of a client with a leased session: mostly one in place, where its session is.
    fn leased_op(&mut self, sender: usize, queue: &Queue) -> Op {
        let place = usize::try_from(self.random.below(TOKENS as u64)).expect("a place");
        let client = self.clients[place];
        let here = client.at.filter(|(at, _)| *at == sender).map(|(_, connection)| connection);
        let stays = here.filter(|_| !self.random.one_in(12));
        let Some(connection) = stays else { return self.attach(sender, place) };
        let Sender { member, life: incarnation, .. } = self.senders[sender];
        let session = queue.session_of(SessionId { member, incarnation, connection });
        let job = job(&mut self.random, queue, session);
        let action = match self.random.below(40) {
            0..2 => Action::Detach,
            _ => action(&mut self.random, job, self.filling),
        };
        if matches!(action, Action::Close | Action::Detach) {
            self.clients[place].at = None;
        }
        let client = &mut self.clients[place];
        if !self.random.one_in(16) {
            client.number += 1 + self.random.below(2);
        }
        if self.random.one_in(2) {
            client.answered = client.number - self.random.below(client.number.clamp(1, 3));
        }
        let numbered = Numbered { number: client.number, answered: client.answered };
        let numbered = Some(numbered).filter(|_| !self.random.one_in(30));
        let turn = queue.sessions.get(&session).map_or(Turn(0), |session| session.facts.turn);
        Op { connection, turn, numbered, action }
    }

    fn attach(&mut self, sender: usize, place: usize) -> Op {
        let connection = self.senders[sender].next_connection;
        self.senders[sender].next_connection += 1;
        let connection = ConnectionNumber(connection);
        let client = &mut self.clients[place];
        client.at = Some((sender, connection));
        let mut token = [0; 32];
        token[0] = u8::try_from(place).expect("there are few");
        let action = Action::Attach {
            token: TokenHash(token),
            lease_millis: self.random.pick(&LEASES_MILLIS),
            answered: client.answered,
            opens: self.random.one_in(2),
        };
        if self.random.one_in(20) {
            // A connection of another, by mistake: its own session, or a leased one.
            let action = action.clone();
            return Op::plain(self.connection(sender), Turn(0), action);
        }
        Op::plain(connection, Turn(0), action)
    }

    fn connection(&mut self, sender: usize) -> ConnectionNumber {
        let sender = &mut self.senders[sender];
        let place = self.random.below(CONNECTIONS);
        let open = sender.connections.get(usize::try_from(place).expect("a place"));
        ConnectionNumber(open.copied().unwrap_or_else(|| {
            let number = sender.next_connection;
            sender.next_connection += 1;
            sender.connections.push(number);
            number
        }))
    }

    fn keep(&mut self, part: Part) {
        if self.earlier.len() == 8 {
            self.earlier.remove(0);
        }
        self.earlier.push(part);
    }
}

/// Mostly a job that the session holds or that is there at all: else little would happen.
fn job(random: &mut Random, queue: &Queue, session: SessionId) -> JobId {
    if let Some(session) = queue.sessions.get(&session)
        && let Some((_, held)) = session.held.first()
        && random.one_in(2)
    {
        return *held;
    }
    let any = JobId(random.below(queue.next.job + 1));
    let there = queue.jobs.range(any..).next().map(|(id, _)| *id);
    if random.one_in(5) { any } else { there.unwrap_or(any) }
}

fn action(random: &mut Random, job: JobId, filling: bool) -> Action {
    let delay = random.pick(&[0, 0, 0, 1, 3]);
    let priority = random.pick(&[0, 1, 2, 1023, 1024, 5000]);
    match random.below(64) {
        0..16 if filling => {
            // Some are long enough to be kept while they are held.
            let body = Bytes::from("beanpole".repeat(random.pick(&[0, 1, 8, 16])));
            let key = random.one_in(3).then(|| Box::new(key(random)));
            Action::Put { priority, delay, ttr: random.small(5), body, key }
        }
        16..19 => Action::Use { tube: random.tube() },
        19..22 => Action::Watch { tube: random.tube() },
        22..24 => Action::Ignore { tube: random.tube() },
        24..28 => Action::Reserve { wait: Wait::Forever, half_closed: random.one_in(4) },
        28..32 => {
            Action::Reserve { wait: Wait::Seconds(random.small(4)), half_closed: random.one_in(8) }
        }
        32..34 => Action::ReserveJob { job },
        0..16 | 34..38 => Action::Delete { job },
        38..43 => Action::Release { job, priority, delay },
        43..51 => Action::Bury { job, priority },
        51..53 => Action::Touch { job },
        53..56 => Action::Kick { bound: random.pick(&[0, 1, 3, 30, u32::MAX]) },
        56..58 => Action::KickJob { job },
        58..60 => Action::PauseTube { tube: random.tube(), delay: random.pick(&[0, 0, 1, 2]) },
        60..62 => Action::StopWaiting,
        _ => Action::Close,
    }
}

/// One of few, of one of two bodies.
fn key(random: &mut Random) -> PutKey {
    let (mut key, mut body) = ([0; 32], [0; 16]);
    key[0] = random.pick(&[1, 2, 3, 4, 5, 6, 7, 8]);
    body[0] = random.pick(&[0, 0, 0, 1]);
    PutKey { key, body }
}

/// Keeps outcomes and nothing else.
#[derive(Default)]
struct Outcomes(Vec<(SessionId, Outcome)>);

impl Observer for Outcomes {
    fn before_op(&mut self, _queue: &Queue, _session: SessionId) {}

    fn outcome(&mut self, session: SessionId, outcome: Outcome) {
        self.0.push((session, outcome));
    }
}

/// The copy that is checkpointed while ops go on.
struct Checkpointed {
    queue: Queue,
    records: Option<Vec<Record>>,
    since: Vec<(Batch, Vec<(SessionId, Outcome)>)>,
    restores: u64,
    /// Its cold jobs, and what they were at the freeze.
    cold: ColdModel,
    frozen: ColdModel,
    /// How many jobs were cold when they were counted.
    cooled: u64,
}

impl Checkpointed {
    fn new() -> Self {
        let cold = ColdModel::default();
        let mut queue = Queue::new();
        queue.cold = Box::new(cold.clone());
        let (records, since, frozen) = (None, Vec::new(), ColdModel::default());
        Self { queue, records, since, restores: 0, cold, frozen, cooled: 0 }
    }

    fn step(&mut self, random: &mut Random) {
        if random.one_in(3) {
            self.queue.cool(random.below(9000), random.below(200));
            self.cooled += self.cold.len() as u64;
        }
        if random.one_in(20) {
            self.queue.recall(self.cold.ids().into_iter().take(random.below(50) as usize));
            self.queue.recall_bodies(&[ColdModel::FILE].into());
        }
        match &mut self.records {
            None => {
                if random.one_in(10) {
                    self.queue.begin_checkpoint();
                    self.frozen = self.cold.copy();
                    self.records = Some(Vec::new());
                }
            }
            Some(_) if random.one_in(100) => {
                self.queue.abandon_checkpoint();
                self.forget();
            }
            Some(records) => {
                let slice = usize::try_from(random.below(12)).expect("it is small");
                if self.queue.checkpoint_slice(slice, records) {
                    self.restore();
                }
            }
        }
    }

    /// Restores what was checkpointed, by way of bytes, and catches up.
    fn restore(&mut self) {
        let records = self.records.take().expect("they were just fetched");
        let bytes: Vec<Vec<u8>> = records
            .iter()
            .map(|record| postcard::to_stdvec(record).expect("a record has an encoding"))
            .collect();
        let records = bytes
            .iter()
            .map(|bytes| postcard::from_bytes(bytes).expect("a record comes back from its bytes"));
        self.cold = self.frozen.copy();
        let mut restored =
            Queue::restore(records, Box::new(self.cold.clone())).expect("a checkpoint is whole");
        for (batch, outcomes) in &self.since {
            assert_eq!(apply(&mut restored, batch), *outcomes, "of {batch:?}");
        }
        assert_eq!(restored.digest(), self.queue.digest());
        assert_eq!(restored.chain(), self.queue.chain());
        assert_eq!(restored.counters(), self.queue.counters());
        self.queue = restored;
        self.restores += 1;
        self.forget();
    }

    fn forget(&mut self) {
        self.records = None;
        self.since.clear();
    }

    fn apply(&mut self, batch: &Batch) -> Vec<(SessionId, Outcome)> {
        let outcomes = apply(&mut self.queue, batch);
        if self.records.is_some() {
            self.since.push((batch.clone(), outcomes.clone()));
        }
        outcomes
    }
}

fn apply(queue: &mut Queue, batch: &Batch) -> Vec<(SessionId, Outcome)> {
    let mut outcomes = Outcomes::default();
    queue.apply_within(QUOTA, batch, &mut outcomes);
    outcomes.0
}

fn from_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")))
}

/// Whether a member is heard again that was not served in one entry.
fn is_returning(queue: &Queue) -> bool {
    let is_return = |kept: &Continuation| matches!(kept, Continuation::Return { .. });
    queue.continuations.iter().any(|(_, kept)| is_return(kept))
}

#[test]
fn three_copies_agree_whatever_happens_and_wherever_one_is_restored() {
    let seed =
        from_environment("BEANPOLE_SEED").unwrap_or_else(|| RandomState::new().hash_one("a seed"));
    let ops = from_environment("BEANPOLE_OPS").unwrap_or(50_000);
    println!("repeat with: BEANPOLE_SEED={seed} BEANPOLE_OPS={ops} cargo test --lib three_copies");

    let mut world = World::new(seed);
    let mut ledger = Ledger::default();
    let (mut plain, mut replaced) = (Queue::new(), Queue::new());
    let mut walked = Checkpointed::new();
    let (mut returns, mut servings) = (0, 0);
    while ledger.applied < ops {
        let batch = world.batch(&plain, &mut ledger);
        ledger.begin(&plain, &batch);
        plain.apply_within(QUOTA, &batch, &mut ledger);
        let outcomes = ledger.end();
        assert_eq!(apply(&mut replaced, &batch), outcomes, "of {batch:?}");
        assert_eq!(walked.apply(&batch), outcomes, "of {batch:?}");
        assert_eq!(plain.digest(), replaced.digest());
        assert_eq!(plain.digest(), walked.queue.digest());
        let chains = [replaced.chain(), walked.queue.chain()];
        assert_eq!(chains, [plain.chain(); 2]);
        assert_eq!(plain.counters(), replaced.counters());
        assert!(plain.tube_names().eq(replaced.tube_names()));
        if world.random.one_in(50) {
            replaced = Queue::restore(replaced.records(), Box::new(ColdInMemory::default()))
                .expect("the state is sound");
        }
        walked.step(&mut world.random);
        returns += u64::from(is_returning(&plain));
        servings += u64::from(plain.serving);
    }
    plain.check_invariants();
    assert!(walked.cooled > ops / 10, "only {} cold jobs", walked.cooled);
    walked.queue.check_invariants();
    let kept = walked.cold.held_bodies();
    assert!(kept > ops / 500, "only {kept} bodies of held jobs were cold");
    assert!(walked.restores > ops / 5_000, "only {} restores", walked.restores);
    assert!(returns >= ops / 50_000, "only {returns} entries before all of a member were served");
    assert!(ledger.refused > ops / 100, "only {} ops were refused", ledger.refused);
    assert!(ledger.held_back > ops / 100, "room was scarce for {} ops only", ledger.held_back);
    let (resumed, repeated) = (ledger.resumed, ledger.repeated);
    assert!(repeated > ops / 1_000, "only {repeated} puts came again");
    assert!(resumed > ops / 200, "only {resumed} leased sessions were resumed");
    assert!(servings >= ops / 50_000, "only {servings} entries before all had room");
}
