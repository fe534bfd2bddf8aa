//! Limits of what is not a job, or costs memory while it is one that is held (DESIGN D9).
//!
//! What an op comes to depends on them, so they are part of the state and are changed by the log
//! alone: every member has the same. At a limit nothing more of its kind begins; what is there stays,
//! even when a limit is lowered below it, and what ends things always goes on.

use serde::{Deserialize, Serialize};

use super::tube::TubeId;
use super::work::Work;
use super::{Queue, SessionId};

/// How many tubes there may be, unless the cluster is told otherwise.
pub const TUBES_MAX_DEFAULT: u64 = 100_000;

/// How many pairs of a session and a tube that it watches there may be, unless told otherwise.
pub const WATCHES_MAX_DEFAULT: u64 = 500_000;

/// How many jobs may be held, unless told otherwise.
pub const HELD_JOBS_MAX_DEFAULT: u64 = 100_000;

/// How many sessions there may be, unless told otherwise.
pub const SESSIONS_MAX_DEFAULT: u64 = 100_000;

/// The greatest numbers of four things; or how many there are of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Tubes. `default`, which exists at any limit, is not counted.
    pub tubes: u64,
    /// Pairs of a session and a tube that it watches. Those with `default` are not counted: each
    /// session begins with one, so that the limit of sessions bounds them.
    pub watches: u64,
    /// Reserved jobs.
    pub held_jobs: u64,
    /// Connections that have sent a command which changes something. The ones that ended count as
    /// long as what they held is not given back.
    pub sessions: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tubes: TUBES_MAX_DEFAULT,
            watches: WATCHES_MAX_DEFAULT,
            held_jobs: HELD_JOBS_MAX_DEFAULT,
            sessions: SESSIONS_MAX_DEFAULT,
        }
    }
}

/// Which of the [`Limits`] become what; the others stay as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each field is the limit of that name")]
pub struct LimitsChange {
    pub tubes: Option<u64>,
    pub watches: Option<u64>,
    pub held_jobs: Option<u64>,
    pub sessions: Option<u64>,
}

impl LimitsChange {
    /// What `limits` become.
    pub fn of(self, limits: Limits) -> Limits {
        Limits {
            tubes: self.tubes.unwrap_or(limits.tubes),
            watches: self.watches.unwrap_or(limits.watches),
            held_jobs: self.held_jobs.unwrap_or(limits.held_jobs),
            sessions: self.sessions.unwrap_or(limits.sessions),
        }
    }

    /// Whether nothing changes, whatever the limits are.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl Limits {
    pub(super) fn all(&self) -> [u64; 4] {
        [self.tubes, self.watches, self.held_jobs, self.sessions]
    }
}

impl Queue {
    /// The limits as they are.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// How many there are of what is limited. More than the limits allow if they were lowered.
    pub fn limits_used(&self) -> Limits {
        Limits {
            tubes: self.tubes_used(),
            watches: self.watches,
            held_jobs: self.job_counts.reserved,
            sessions: self.sessions.len() as u64,
        }
    }

    /// Whether an op of the connection, in its turn, would be carried out: its session is open, or
    /// there is room for it.
    pub fn admits(&self, connection: SessionId) -> bool {
        self.sessions.contains(&self.session_of(connection)) || self.has_room_for_session()
    }

    fn has_room_for_session(&self) -> bool {
        (self.sessions.len() as u64) < self.limits.sessions
    }

    /// Whether one leased session more may begin: they have at most half of all, so that one client,
    /// which needs a single connection for thousands, leaves room for others.
    pub(super) fn has_room_for_leased(&self) -> bool {
        self.has_room_for_session() && self.leased_sessions() < self.limits.sessions / 2
    }

    pub(super) fn has_room_for_tube(&self) -> bool {
        self.tubes_used() < self.limits.tubes
    }

    fn tubes_used(&self) -> u64 {
        self.tubes.len() as u64 - 1
    }

    /// Whether a session may watch one tube more.
    pub(super) fn has_room_for_watch(&self, tube: Option<TubeId>) -> bool {
        tube == Some(TubeId::DEFAULT) || self.watches < self.limits.watches
    }

    /// Whether one job more may be held.
    pub(super) fn has_room_for_held(&self) -> bool {
        self.job_counts.reserved < self.limits.held_jobs
    }

    /// Changes the limits. Who waited for room among the held jobs is served, in slices.
    pub(super) fn change_limits(&mut self, change: LimitsChange, work: &mut Work) {
        self.limits = change.of(self.limits);
        self.chain.add_limits(&self.limits);
        if !self.serving && !self.serve_on(work) {
            self.begin_serving();
        }
    }
}
