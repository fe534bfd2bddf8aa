//! Playing transcripts; see the parent module for what they look like.

use std::collections::BTreeMap;

use beanpole_protocol::TubeName;
use bytes::Bytes;

use crate::queue::*;

/// One member at a time, its sequence of ops and the queue.
pub(super) struct Player {
    pub(super) queue: Queue,
    pub(super) member: MemberId,
    pub(super) incarnation: Incarnation,
    pub(super) last: OpNumber,
    pub(super) now: LogicalTime,
    /// The members that do not ask at present.
    others: BTreeMap<MemberId, (Incarnation, OpNumber)>,
}

/// Keeps all outcomes as words.
#[derive(Default)]
pub(super) struct Words(pub(super) Vec<String>);

impl Observer for Words {
    fn before_op(&mut self, _queue: &Queue, _session: SessionId) {}

    fn outcome(&mut self, session: SessionId, outcome: Outcome) {
        self.0.push(format!("{} {}", session.connection.0, word(&outcome)));
    }
}

impl Player {
    pub(super) fn new() -> Self {
        let mut player = Self {
            queue: Queue::new(),
            member: MemberId(1),
            incarnation: Incarnation(0),
            last: OpNumber(0),
            now: LogicalTime(5_000_000_000),
            others: BTreeMap::new(),
        };
        player.open();
        player
    }

    pub(super) fn play(&mut self, transcript: &str) {
        for line in transcript.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (asked, expected) = line.split_once('=').unwrap_or((line, ""));
            let got = self.line(asked.trim());
            assert_eq!(got, expected.trim(), "in the line: {line}");
            self.queue.check_invariants();
        }
    }

    pub(super) fn line(&mut self, asked: &str) -> String {
        if let Some(milliseconds) = asked.strip_prefix('+') {
            let milliseconds: u64 = milliseconds.parse().expect("milliseconds");
            self.now = LogicalTime(self.now.0 + milliseconds * 1_000_000);
            return self.apply(vec![]);
        }
        match asked.split_once(' ') {
            Some(("!", event)) => self.event(event),
            Some(("?", read)) => self.read(read),
            Some((connection, command)) => match connection.split_once('#') {
                Some((connection, numbered)) => {
                    self.ask_numbered(number(connection), numbered, action(command))
                }
                None => self.ask(number(connection), action(command)),
            },
            None => panic!("not a line of a transcript: {asked}"),
        }
    }

    fn event(&mut self, event: &str) -> String {
        let (member, incarnation) = (self.member, self.incarnation);
        let words: Vec<&str> = event.split(' ').collect();
        match words.as_slice() {
            ["open"] => self.open(),
            ["open", grace] => self.open_with_grace(u32::try_from(number(grace)).expect("32 bits")),
            ["end"] => self.apply(vec![Part::EndLife { member, incarnation }]),
            ["silent"] => self.apply(vec![Part::Hearing { member, incarnation, is_heard: false }]),
            ["heard"] => self.apply(vec![Part::Hearing { member, incarnation, is_heard: true }]),
            ["away", milliseconds] => {
                self.now = LogicalTime(self.now.0 + number(milliseconds) * 1_000_000);
                self.apply(vec![Part::Returned])
            }
            ["remove"] => self.apply(vec![Part::Remove { member }]),
            ["limit", kind, limit] => self.apply(vec![limit_of(kind, number(limit))]),
            ["member", other] => {
                self.change_member(MemberId(number(other)));
                String::new()
            }
            _ => panic!("not an event: {event}"),
        }
    }

    pub(super) fn open(&mut self) -> String {
        self.open_with_grace(0)
    }

    fn open_with_grace(&mut self, grace_millis: u32) -> String {
        self.incarnation.0 += 1;
        self.last = OpNumber(0);
        let (member, incarnation) = (self.member, self.incarnation);
        self.apply(vec![Part::Open { member, incarnation, grace_millis }])
    }

    /// Lets another member ask; one that never did opens its first life.
    fn change_member(&mut self, other: MemberId) {
        self.others.insert(self.member, (self.incarnation, self.last));
        self.member = other;
        match self.others.remove(&other) {
            Some((incarnation, last)) => (self.incarnation, self.last) = (incarnation, last),
            None => {
                self.incarnation = Incarnation(0);
                self.open();
            }
        }
    }

    /// Applies one op, in its session's present turn.
    pub(super) fn ask(&mut self, connection: u64, action: Action) -> String {
        self.ask_in_turn(connection, self.turn(connection), action)
    }

    pub(super) fn ask_in_turn(&mut self, connection: u64, turn: Turn, action: Action) -> String {
        self.last.0 += 1;
        let op = Op::plain(ConnectionNumber(connection), turn, action);
        let part = self.run(self.last, vec![op]);
        self.apply(vec![part])
    }

    /// Applies one op of a leased session: `numbered` is its number, and may have that up to which all
    /// is answered behind a slash.
    fn ask_numbered(&mut self, connection: u64, numbered: &str, action: Action) -> String {
        self.last.0 += 1;
        let turn = self.turn(connection);
        let (op, answered) = numbered.split_once('/').unwrap_or((numbered, "0"));
        let numbered = Some(Numbered { number: number(op), answered: number(answered) });
        let op = Op { connection: ConnectionNumber(connection), turn, numbered, action };
        let part = self.run(self.last, vec![op]);
        self.apply(vec![part])
    }

    /// Applies one op in an entry that may move `quota` jobs.
    pub(super) fn ask_with_quota(&mut self, quota: u32, connection: u64, command: &str) {
        self.last.0 += 1;
        let (connection, turn) = (ConnectionNumber(connection), self.turn(connection));
        let op = Op::plain(connection, turn, action(command));
        let part = self.run(self.last, vec![op]);
        self.apply_with_quota(quota, part);
    }

    pub(super) fn apply_with_quota(&mut self, quota: u32, part: Part) {
        let batch = Batch { now: self.now, parts: vec![part] };
        self.queue.apply_within(quota, &batch, &mut Words::default());
    }

    pub(super) fn run(&self, first: OpNumber, ops: Vec<Op>) -> Part {
        Part::Ops { member: self.member, incarnation: self.incarnation, first, ops: ops.into() }
    }

    pub(super) fn apply(&mut self, parts: Vec<Part>) -> String {
        let mut words = Words::default();
        self.queue.apply(&Batch { now: self.now, parts }, &mut words);
        words.0.join(", ")
    }

    pub(super) fn session_id(&self, connection: u64) -> SessionId {
        SessionId {
            member: self.member,
            incarnation: self.incarnation,
            connection: ConnectionNumber(connection),
        }
    }

    pub(super) fn turn(&self, connection: u64) -> Turn {
        let session = self.queue.session_of(self.session_id(connection));
        let session = self.queue.sessions.get(&session);
        session.map_or(Turn(0), |session| session.facts.turn)
    }

    fn read(&self, read: &str) -> String {
        let words: Vec<&str> = read.split(' ').collect();
        match words.as_slice() {
            ["peek", job] => found(self.queue.peek(JobId(number(job)))),
            ["peek-ready", connection] => {
                found(self.queue.peek_ready(self.session_id(number(connection))))
            }
            ["peek-delayed", connection] => {
                found(self.queue.peek_delayed(self.session_id(number(connection))))
            }
            ["peek-buried", connection] => {
                found(self.queue.peek_buried(self.session_id(number(connection))))
            }
            ["stats-job", job, keys @ ..] => {
                let stats = self.queue.job_stats(JobId(number(job)), self.now);
                stats.map_or("NOT_FOUND".into(), |stats| pick(&stats, keys))
            }
            ["stats-tube", tube, keys @ ..] => {
                let stats = self.queue.tube_stats(&name(tube), self.now);
                stats.map_or("NOT_FOUND".into(), |stats| pick(&stats, keys))
            }
            ["limits", keys @ ..] => pick(&self.queue.limits_used(), keys),
            ["stats", keys @ ..] => pick(&self.queue.counters(), keys),
            ["list-tubes"] => names(self.queue.tube_names()),
            ["list-tubes-watched", connection] => {
                names(self.queue.tubes_watched(self.session_id(number(connection))).iter())
            }
            ["list-tube-used", connection] => {
                self.queue.tube_used(self.session_id(number(connection))).to_string()
            }
            ["pending"] => self.queue.work_pending().to_string(),
            ["deadline"] => match self.queue.next_deadline() {
                // In milliseconds from now.
                Some(at) => {
                    ((at.0.cast_signed() - self.now.0.cast_signed()) / 1_000_000).to_string()
                }
                None => "none".into(),
            },
            _ => panic!("not a read: {read}"),
        }
    }
}

/// The action of a command as words. Besides beanstalkd's words there are `put-once KEY`,
/// `reserve-half-closed`, `stop-waiting` (the client shuts down its sending side) and `close`, and
/// of leased sessions `open TOKEN LEASE`, `resume TOKEN LEASE ANSWERED`, the lease in milliseconds,
/// and `detach`. The body of a `put` is its last word.
pub(super) fn action(command: &str) -> Action {
    let words: Vec<&str> = command.split(' ').collect();
    let job = |word: &str| JobId(number(word));
    let n = |word: &str| u32::try_from(number(word)).expect("32 bits");
    match words.as_slice() {
        ["put", priority, delay, ttr, body] => Action::Put {
            priority: n(priority),
            delay: n(delay),
            ttr: n(ttr),
            body: Bytes::copy_from_slice(body.as_bytes()),
            key: None,
        },
        ["put-once", key, priority, delay, ttr, body] => Action::Put {
            priority: n(priority),
            delay: n(delay),
            ttr: n(ttr),
            body: Bytes::copy_from_slice(body.as_bytes()),
            key: Some(Box::new(PutKey { key: hash_of(key), body: hash_of(body) })),
        },
        ["use", tube] => Action::Use { tube: name(tube) },
        ["watch", tube] => Action::Watch { tube: name(tube) },
        ["ignore", tube] => Action::Ignore { tube: name(tube) },
        ["reserve"] => Action::Reserve { wait: Wait::Forever, half_closed: false },
        ["reserve-half-closed"] => Action::Reserve { wait: Wait::Forever, half_closed: true },
        ["reserve-with-timeout", seconds] => {
            Action::Reserve { wait: Wait::Seconds(n(seconds)), half_closed: false }
        }
        ["reserve-job", id] => Action::ReserveJob { job: job(id) },
        ["delete", id] => Action::Delete { job: job(id) },
        ["release", id, priority, delay] => {
            Action::Release { job: job(id), priority: n(priority), delay: n(delay) }
        }
        ["bury", id, priority] => Action::Bury { job: job(id), priority: n(priority) },
        ["touch", id] => Action::Touch { job: job(id) },
        ["kick", bound] => Action::Kick { bound: n(bound) },
        ["kick-job", id] => Action::KickJob { job: job(id) },
        ["pause-tube", tube, delay] => Action::PauseTube { tube: name(tube), delay: n(delay) },
        ["stop-waiting"] => Action::StopWaiting,
        ["close"] => Action::Close,
        ["open", token, lease] => attach(token, number(lease), 0, true),
        ["resume", token, lease, answered] => attach(token, number(lease), number(answered), false),
        ["detach"] => Action::Detach,
        _ => panic!("not a command: {command}"),
    }
}

fn hash_of<const N: usize>(text: &str) -> [u8; N] {
    let mut hash = [0; N];
    hash[..text.len()].copy_from_slice(text.as_bytes());
    hash
}

fn attach(token: &str, lease_millis: u64, answered: u64, opens: bool) -> Action {
    let hash = hash_of(token);
    let lease_millis = u32::try_from(lease_millis).expect("32 bits");
    Action::Attach { token: TokenHash(hash), lease_millis, answered, opens }
}

fn limit_of(kind: &str, limit: u64) -> Part {
    let mut change = LimitsChange::default();
    let changed = match kind {
        "tubes" => &mut change.tubes,
        "watches" => &mut change.watches,
        "held" => &mut change.held_jobs,
        "sessions" => &mut change.sessions,
        _ => panic!("not a limit: {kind}"),
    };
    *changed = Some(limit);
    Part::Limits { change }
}

fn word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Inserted { job } => format!("INSERTED {}", job.0),
        Outcome::Using { tube } => format!("USING {tube}"),
        Outcome::Watching { count } => format!("WATCHING {count}"),
        Outcome::NotIgnored => "NOT_IGNORED".into(),
        Outcome::Reserved { job, body } => {
            format!("RESERVED {} {}", job.0, String::from_utf8_lossy(&body.clone().here()))
        }
        Outcome::TimedOut => "TIMED_OUT".into(),
        Outcome::DeadlineSoon => "DEADLINE_SOON".into(),
        Outcome::Deleted => "DELETED".into(),
        Outcome::Released => "RELEASED".into(),
        Outcome::Buried => "BURIED".into(),
        Outcome::Touched => "TOUCHED".into(),
        Outcome::Kicked { count } => format!("KICKED {count}"),
        Outcome::JobKicked => "KICKED".into(),
        Outcome::Paused => "PAUSED".into(),
        Outcome::NotFound => "NOT_FOUND".into(),
        Outcome::OutOfMemory => "OUT_OF_MEMORY".into(),
        Outcome::KeyInUse => "KEY_IN_USE".into(),
        Outcome::Waiting => "waits".into(),
        Outcome::Deferred => "deferred".into(),
        Outcome::Attached(attachment) => word_of_attachment(attachment),
        Outcome::Detached => "detached".into(),
        Outcome::Closed => "closed".into(),
    }
}

/// How often it was held up, the last number, the one that waits, and what is kept.
fn word_of_attachment(attachment: &Attachment) -> String {
    let Attachment { is_resumed, turn, last, waiting, kept } = attachment;
    let how = if *is_resumed { "resumed" } else { "opened" };
    let waiting = waiting.map_or("-".to_owned(), |number| number.to_string());
    let kept: Vec<String> =
        kept.iter().map(|(number, kept)| format!(" {number}:{kept:?}")).collect();
    format!("{how} turn {} last {last} waiting {waiting}{}", turn.0, kept.join(""))
}

/// The values of the named fields, as `Debug` prints them.
fn pick(stats: &impl std::fmt::Debug, keys: &[&str]) -> String {
    let printed = format!("{stats:?}");
    let value = |key: &&str| {
        let key = key.replace('-', "_");
        let from = printed.find(&format!(" {key}: ")).expect("a field of that name");
        let value = &printed[from + key.len() + 3..];
        value[..value.find([',', ' ']).expect("an end")].to_lowercase()
    };
    keys.iter().map(value).collect::<Vec<_>>().join(" ")
}

fn found(job: Option<(JobId, Bytes)>) -> String {
    job.map_or("NOT_FOUND".into(), |(id, body)| {
        format!("FOUND {} {}", id.0, String::from_utf8_lossy(&body))
    })
}

fn names<'a>(names: impl Iterator<Item = &'a TubeName>) -> String {
    names.map(TubeName::as_str).collect::<Vec<_>>().join(" ")
}

pub(super) fn name(word: &str) -> TubeName {
    TubeName::new(word.as_bytes()).expect("the name of a tube")
}

fn number(word: &str) -> u64 {
    word.parse().expect("a number")
}
