//! One job, as a single server has it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::fate::{self, NEVER};
use super::super::index::{self, Connection, Index, Job, Put, seconds};
use crate::clock::Moment;
use crate::history::{Command, Record, Reply};

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum State {
    /// Not yet put.
    Absent,
    /// Not ready before that moment.
    Delayed {
        due: Moment,
    },
    Ready,
    /// Not ready before that moment, unless its holder does something or goes.
    Reserved {
        by: Connection,
        expires: Moment,
    },
    /// Held by a reserve whose client does not know of it, up to that moment at most.
    Ghost {
        until: Moment,
    },
    Buried,
    Deleted,
}

/// A command that was answered, or the put of a job that is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Op {
    pub(super) invoked: Moment,
    /// The last moment at which it may take effect.
    pub(super) latest: Moment,
    pub(super) kind: Kind,
    pub(super) by: Connection,
    pub(super) place: usize,
}

/// What a command was, and what its answer says about the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Put {
        delay: Duration,
    },
    PutBuried,
    /// Handed out to a reserve.
    Reserve,
    /// Handed out by its id.
    ReserveJob,
    ReserveJobRefused,
    Delete,
    DeleteRefused,
    Release {
        delay: Duration,
    },
    Bury,
    Touch,
    /// Release, bury or touch was refused: the job is not held by this connection.
    HolderRefused,
    KickJob,
    KickJobRefused,
    /// The job is there, in whatever state.
    Found,
    /// It is not there.
    NotFound,
    SeenReady,
    SeenDelayed,
    SeenReserved,
    SeenBuried,
}

impl Kind {
    /// What a record says about the job it names; nothing when it says nothing. A put that nobody
    /// answered is here as if it had been: the job is there.
    pub(super) fn of(record: &Record) -> Option<Self> {
        if let Command::Put { delay, .. } = record.command {
            let is_buried = matches!(fate::reply(record), Some(Reply::Buried { .. }));
            let kind =
                if is_buried { Self::PutBuried } else { Self::Put { delay: seconds(delay) } };
            return fate::may_have_effect(record).then_some(kind);
        }
        let reply = fate::reply(record)?;
        Some(match (&record.command, reply) {
            (Command::ReserveJob { .. }, Reply::Reserved { .. }) => Self::ReserveJob,
            (_, Reply::Reserved { .. }) => Self::Reserve,
            (Command::ReserveJob { .. }, Reply::NotFound) => Self::ReserveJobRefused,
            (Command::Delete { .. }, Reply::Deleted) => Self::Delete,
            (Command::Delete { .. }, Reply::NotFound) => Self::DeleteRefused,
            (Command::Release { delay, .. }, Reply::Released) => {
                Self::Release { delay: seconds(*delay) }
            }
            (Command::Release { .. } | Command::Bury { .. }, Reply::Buried { .. }) => Self::Bury,
            (Command::Touch { .. }, Reply::Touched) => Self::Touch,
            (
                Command::Release { .. } | Command::Bury { .. } | Command::Touch { .. },
                Reply::NotFound,
            ) => Self::HolderRefused,
            (Command::KickJob { .. }, Reply::Kicked { .. }) => Self::KickJob,
            (Command::KickJob { .. }, Reply::NotFound) => Self::KickJobRefused,
            (Command::PeekReady { .. }, Reply::Found { .. }) => Self::SeenReady,
            (Command::PeekDelayed { .. }, Reply::Found { .. }) => Self::SeenDelayed,
            (Command::PeekBuried { .. }, Reply::Found { .. }) => Self::SeenBuried,
            (Command::Peek { .. }, Reply::Found { .. }) => Self::Found,
            (Command::Peek { .. } | Command::StatsJob { .. }, Reply::NotFound) => Self::NotFound,
            (Command::StatsJob { .. }, Reply::Stats { values }) => {
                match values.get("state").map(String::as_str) {
                    Some("ready") => Self::SeenReady,
                    Some("delayed") => Self::SeenDelayed,
                    Some("reserved") => Self::SeenReserved,
                    Some("buried") => Self::SeenBuried,
                    _ => Self::Found,
                }
            }
            _ => return None,
        })
    }

    /// The state after the command that was sent at this moment, if a single server answers so in this
    /// state. Delays and times to run begin then at the earliest: a member may count them from when it
    /// takes the command on, and others see what came of it when it is on the disk.
    pub(super) fn apply(
        self,
        state: State,
        by: Connection,
        sent: Moment,
        ttr: Duration,
    ) -> Option<State> {
        let is_there = !matches!(state, State::Absent | State::Deleted);
        let is_own = matches!(state, State::Reserved { by: holder, .. } if holder == by);
        let is_held = matches!(state, State::Reserved { .. })
            || matches!(state, State::Ghost { until } if until >= sent);
        let is_parked = matches!(state, State::Delayed { .. } | State::Buried);
        let reserved = State::Reserved { by, expires: sent.after(ttr) };
        let (is_possible, next) = match self {
            Self::Put { delay } => (state == State::Absent, released(sent, delay)),
            Self::PutBuried => (state == State::Absent, State::Buried),
            Self::Reserve => (state == State::Ready, reserved),
            Self::ReserveJob => (is_there && !is_held, reserved),
            Self::ReserveJobRefused => (!is_there || is_held, state),
            Self::Delete => (is_own || (is_there && !is_held), State::Deleted),
            Self::DeleteRefused => (!is_there || (is_held && !is_own), state),
            Self::Release { delay } => (is_own, released(sent, delay)),
            Self::Bury => (is_own, State::Buried),
            Self::Touch => (is_own, reserved),
            Self::HolderRefused => (!is_own, state),
            Self::KickJob => (is_parked, State::Ready),
            Self::KickJobRefused => (!is_parked, state),
            Self::Found => (is_there, state),
            Self::NotFound => (!is_there, state),
            Self::SeenReady => (state == State::Ready, state),
            Self::SeenDelayed => (matches!(state, State::Delayed { .. }), state),
            Self::SeenReserved => (is_held, state),
            Self::SeenBuried => (state == State::Buried, state),
        };
        is_possible.then_some(next)
    }
}

/// Where a job is that was put or released by a command that was sent then, with a delay.
fn released(sent: Moment, delay: Duration) -> State {
    if delay.is_zero() { State::Ready } else { State::Delayed { due: sent.after(delay) } }
}

/// What may happen to jobs of a tube at what times, whoever's jobs they are.
#[derive(Debug, Default)]
pub(super) struct Windows<'a> {
    /// In which kicks may have moved jobs: apart from each other, in order.
    kicks: BTreeMap<&'a str, Vec<(Moment, Moment)>>,
    /// From when on an unanswered reserve may hold a job.
    ghosts: BTreeMap<&'a str, Moment>,
    /// In which a reserve that was carried out twice may have held a job: as kicks.
    passing: BTreeMap<&'a str, Vec<(Moment, Moment)>>,
}

impl<'a> Windows<'a> {
    pub(super) fn new(index: &Index<'a>) -> Self {
        let mut windows = Self::default();
        for (tube, places) in &index.kicks {
            windows.kicks.insert(tube, spans(index, places));
        }
        for (tube, places) in &index.passing {
            windows.passing.insert(tube, spans(index, places));
        }
        for (tube, places) in &index.ghosts {
            if let Some(&first) = places.first() {
                windows.ghosts.insert(tube, index.record(first).invoked);
            }
        }
        windows
    }
}

/// When any of these was under way, or may be: apart from each other, in order.
fn spans(index: &Index<'_>, places: &[usize]) -> Vec<(Moment, Moment)> {
    let mut merged: Vec<(Moment, Moment)> = Vec::new();
    for record in places.iter().map(|&place| index.record(place)) {
        match merged.last_mut() {
            Some(last) if last.1 >= record.invoked => last.1 = last.1.max(fate::latest(record)),
            _ => merged.push((record.invoked, fate::latest(record))),
        }
    }
    merged
}

/// The first moment from then on that lies within one of them, and its end.
fn next_within(spans: &[(Moment, Moment)], now: Moment) -> Option<(Moment, Moment)> {
    let next = spans.partition_point(|&(_, until)| until < now);
    spans.get(next).map(|&(from, until)| (from.max(now), until))
}

/// What may happen to a job without a command whose answer tells.
pub(super) struct Env<'a, 'b> {
    pub(super) ttr: Duration,
    index: &'b Index<'a>,
    kicks: &'b [(Moment, Moment)],
    /// From when on it may be held by who does not know.
    ghost: Moment,
    passing: &'b [(Moment, Moment)],
    /// The same, by its id: also if it is delayed or buried.
    ghost_by_id: Moment,
    /// From when on an unanswered `kick-job` may move it.
    kick_job: Moment,
    /// Unanswered deletes, releases and buries.
    doubtful: Vec<&'a Record>,
}

impl<'a, 'b> Env<'a, 'b> {
    pub(super) fn new(
        index: &'b Index<'a>,
        windows: &'b Windows<'a>,
        job: &Job,
        put: Put<'_>,
    ) -> Self {
        let mut env = Self {
            ttr: put.ttr,
            index,
            kicks: windows.kicks.get(put.tube).map_or(&[], Vec::as_slice),
            ghost: windows.ghosts.get(put.tube).copied().unwrap_or(NEVER),
            passing: windows.passing.get(put.tube).map_or(&[], Vec::as_slice),
            ghost_by_id: NEVER,
            kick_job: NEVER,
            doubtful: Vec::new(),
        };
        for record in job.records.iter().map(|&place| index.record(place)) {
            let is_twice =
                matches!(record.command, Command::ReserveJob { .. }) && index.may_pass(record);
            if !fate::is_doubtful(record) && !is_twice {
                continue;
            }
            match record.command {
                Command::ReserveJob { .. } => env.ghost_by_id = env.ghost_by_id.min(record.invoked),
                Command::KickJob { .. } => env.kick_job = env.kick_job.min(record.invoked),
                Command::Delete { .. } | Command::Release { .. } | Command::Bury { .. } => {
                    env.doubtful.push(record);
                }
                _ => {}
            }
        }
        env
    }

    /// Tells every state that the job may get into by itself or by what nobody knows, and the
    /// earliest moment of that. `is_busy` tells of a connection that commands of its are still to
    /// come, so that it cannot have ended.
    pub(super) fn steps(
        &self,
        state: State,
        now: Moment,
        is_busy: impl Fn(Connection) -> bool,
        mut to: impl FnMut(State, Moment),
    ) {
        match state {
            State::Absent | State::Deleted => return,
            State::Delayed { due } => {
                to(State::Ready, now.max(due));
                self.kicked(now, &mut to);
                self.held_by_id(now, &mut to);
            }
            State::Ready => {
                let from = self.ghost.min(self.ghost_by_id);
                if from < NEVER {
                    to(State::Ghost { until: NEVER }, now.max(from));
                } else if let Some((from, until)) = next_within(self.passing, now) {
                    to(State::Ghost { until }, from);
                }
            }
            State::Reserved { by, expires } => {
                let gone = if is_busy(by) { NEVER } else { self.index.sure_until(by) };
                to(State::Ready, now.max(expires.min(gone)));
            }
            State::Ghost { .. } => to(State::Ready, now),
            State::Buried => {
                self.kicked(now, &mut to);
                self.held_by_id(now, &mut to);
            }
        }
        for record in &self.doubtful {
            let by = index::connection(record);
            let is_own = matches!(state, State::Reserved { by: holder, .. } if holder == by);
            let is_free = !matches!(state, State::Reserved { .. } | State::Ghost { .. });
            let at = now.max(record.invoked);
            match record.command {
                Command::Delete { .. } if is_own || is_free => to(State::Deleted, at),
                Command::Release { delay, .. } if is_own => {
                    to(released(record.invoked, seconds(delay)), at);
                }
                Command::Bury { .. } if is_own => to(State::Buried, at),
                _ => {}
            }
        }
    }

    fn kicked(&self, now: Moment, to: &mut impl FnMut(State, Moment)) {
        let by_tube = next_within(self.kicks, now).map_or(NEVER, |(from, _)| from);
        let by_id = if self.kick_job == NEVER { NEVER } else { self.kick_job.max(now) };
        if by_tube.min(by_id) < NEVER {
            to(State::Ready, by_tube.min(by_id));
        }
    }

    fn held_by_id(&self, now: Moment, to: &mut impl FnMut(State, Moment)) {
        if self.ghost_by_id < NEVER {
            to(State::Ghost { until: NEVER }, now.max(self.ghost_by_id));
        }
    }
}
