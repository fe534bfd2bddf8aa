//! A queue in a few lines, that can be wrong in one way.

use std::collections::BTreeMap;

use crate::history::{Body, Command, Reply};
use crate::invariants::index::Connection;

/// How it is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    LosesPuts,
    ForgetsDeletes,
    HalvesTimeToRun,
    ForgetsTimeToRun,
    ForgetsHolds,
    FreesBuried,
    YoungestFirst,
    IgnoresPriority,
    HalvesDelays,
    GivesIdsTwice,
    PutsTwice,
    CountsDrift,
    IgnoresTouch,
    BuriesNothing,
    AnswersFromMemory,
    ChangesBodies,
    ForgetsKeys,
    TakesAnyBody,
}

/// Milliseconds since the run began.
pub(super) type Time = u64;

/// When [`Fault::ForgetsHolds`] happens.
const MISHAP: Time = 10_000;

/// When [`Fault::FreesBuried`] happens to a job that is buried.
const BURIED_MAX: Time = 300;

/// How old what [`Fault::AnswersFromMemory`] remembers gets.
const MEMORY: Time = 500;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Delayed(Time),
    Reserved(Connection, Time),
    Buried(Time),
}

#[derive(Clone, Debug)]
struct Job {
    tube: String,
    priority: u32,
    ttr: Time,
    body: Body,
    state: State,
}

#[derive(Debug)]
struct Waiting {
    by: Connection,
    tubes: Vec<String>,
    until: Time,
}

pub(super) struct Server {
    fault: Fault,
    jobs: BTreeMap<u64, Job>,
    waiting: Vec<Waiting>,
    paused: BTreeMap<String, Time>,
    /// The job that each key has made, and what was put.
    keys: BTreeMap<String, (u64, Body, String)>,
    last_id: u64,
    total: u64,
    remembered: (Time, BTreeMap<u64, Job>),
    had_mishap: bool,
}

impl Server {
    pub(super) fn new(fault: Fault) -> Self {
        Self {
            fault,
            jobs: BTreeMap::new(),
            waiting: Vec::new(),
            paused: BTreeMap::new(),
            keys: BTreeMap::new(),
            last_id: 0,
            total: 0,
            remembered: (0, BTreeMap::new()),
            had_mishap: false,
        }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// Time goes on. Answers to reserves that waited.
    pub(super) fn advance(&mut self, now: Time) -> Vec<(Connection, Reply)> {
        let (frees, forgets) = (self.is(Fault::FreesBuried), self.is(Fault::ForgetsTimeToRun));
        for job in self.jobs.values_mut() {
            match job.state {
                State::Reserved(..) if forgets => {}
                State::Delayed(due) | State::Reserved(_, due) if due <= now => {
                    job.state = State::Ready;
                }
                State::Buried(at) if frees && at + BURIED_MAX <= now => job.state = State::Ready,
                _ => {}
            }
        }
        if self.is(Fault::ForgetsHolds) && now >= MISHAP && !self.had_mishap {
            self.had_mishap = true;
            self.mishap();
        }
        if now >= self.remembered.0 + MEMORY {
            self.remembered = (now, self.jobs.clone());
        }
        let mut replies = self.serve(now);
        let (late, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition(|waiting| waiting.until <= now);
        self.waiting = waiting;
        let late: Vec<Waiting> = late;
        replies.extend(late.into_iter().map(|waiting| (waiting.by, Reply::TimedOut)));
        replies
    }

    fn mishap(&mut self) {
        for job in self.jobs.values_mut() {
            if matches!(job.state, State::Reserved(..)) {
                job.state = State::Ready;
            }
        }
    }

    /// A connection is gone.
    pub(super) fn end(&mut self, by: Connection) {
        self.waiting.retain(|waiting| waiting.by != by);
        for job in self.jobs.values_mut() {
            if matches!(job.state, State::Reserved(holder, _) if holder == by) {
                job.state = State::Ready;
            }
        }
    }

    /// Hands jobs to who waits.
    fn serve(&mut self, now: Time) -> Vec<(Connection, Reply)> {
        let mut replies = Vec::new();
        let mut place = 0;
        while let Some(waiting) = self.waiting.get(place) {
            let (by, tubes) = (waiting.by, waiting.tubes.clone());
            match self.first_ready(&tubes, now) {
                Some(id) => {
                    self.waiting.remove(place);
                    replies.push((by, self.reserve(id, by, now)));
                }
                None => place += 1,
            }
        }
        replies
    }

    fn first_ready(&self, tubes: &[String], now: Time) -> Option<u64> {
        let is_free = |job: &Job| {
            job.state == State::Ready
                && tubes.contains(&job.tube)
                && self.paused.get(&job.tube).is_none_or(|&until| until <= now)
        };
        let ready = self.jobs.iter().filter(|(_, job)| is_free(job));
        let ranked = ready.map(|(&id, job)| match self.fault {
            Fault::YoungestFirst => ((job.priority, u64::MAX - id), id),
            Fault::IgnoresPriority => ((0, id), id),
            _ => ((job.priority, id), id),
        });
        ranked.min().map(|(_, id)| id)
    }

    fn reserve(&mut self, id: u64, by: Connection, now: Time) -> Reply {
        let is_changed = self.is(Fault::ChangesBodies) && id.is_multiple_of(50);
        let halves = self.is(Fault::HalvesTimeToRun);
        let job = self.jobs.get_mut(&id).expect("it was found");
        let ttr = if halves { job.ttr / 2 } else { job.ttr };
        job.state = State::Reserved(by, now + ttr);
        let is_intact = job.body.is_intact && !is_changed;
        Reply::Reserved { id, body: Body { is_intact, ..job.body } }
    }

    fn is_held(&self, id: u64, by: Connection) -> bool {
        let state = self.jobs.get(&id).map(|job| job.state);
        matches!(state, Some(State::Reserved(holder, _)) if holder == by)
    }

    /// Carries out a command. No reply: it waits.
    pub(super) fn handle(&mut self, now: Time, by: Connection, command: &Command) -> Option<Reply> {
        Some(match command {
            Command::Put { .. } => self.put(now, command),
            Command::Reserve { tubes, timeout } => match self.first_ready(tubes, now) {
                Some(id) => self.reserve(id, by, now),
                None => {
                    let until =
                        timeout.map_or(Time::MAX, |timeout| now + u64::from(timeout) * 1000);
                    self.waiting.push(Waiting { by, tubes: tubes.clone(), until });
                    return None;
                }
            },
            Command::Kick { tube, bound } => self.kick(tube, *bound),
            Command::PauseTube { tube, seconds } => {
                self.paused.insert(tube.clone(), now + u64::from(*seconds) * 1000);
                Reply::Paused
            }
            Command::Peek { .. }
            | Command::PeekReady { .. }
            | Command::PeekDelayed { .. }
            | Command::PeekBuried { .. }
            | Command::StatsJob { .. }
            | Command::StatsTube { .. }
            | Command::Stats
            | Command::ListTubes => self.read(command),
            _ => self.of_job(now, by, command),
        })
    }

    fn put(&mut self, now: Time, command: &Command) -> Reply {
        let Command::Put { tube, priority, delay, ttr, body, under } = command else {
            unreachable!("it is a put")
        };
        if let Some(reply) = under.as_ref().and_then(|key| self.known(key, *body, tube)) {
            return reply;
        }
        let is_again = self.is(Fault::GivesIdsTwice) && self.total % 100 == 99;
        self.last_id += u64::from(!is_again);
        self.total += 1;
        let job = Job {
            tube: tube.clone(),
            priority: *priority,
            ttr: u64::from((*ttr).max(1)) * 1000,
            body: *body,
            state: self.released(now, *delay),
        };
        let id = self.last_id;
        if self.is(Fault::PutsTwice) && id.is_multiple_of(100) {
            self.last_id += 1;
            self.jobs.insert(self.last_id, job.clone());
        }
        if !(self.is(Fault::LosesPuts) && id.is_multiple_of(100)) {
            self.jobs.insert(id, job);
        }
        if let Some(key) = under {
            self.keys.insert(key.clone(), (id, *body, tube.clone()));
        }
        Reply::Inserted { id }
    }

    /// The answer to a put whose key is known.
    fn known(&self, key: &str, body: Body, tube: &str) -> Option<Reply> {
        let (id, known, known_tube) = self.keys.get(key)?;
        let is_same = (*known, known_tube.as_str()) == (body, tube);
        match self.fault {
            Fault::ForgetsKeys if is_same && id.is_multiple_of(10) => None,
            Fault::TakesAnyBody if !is_same => None,
            _ if is_same => Some(Reply::Inserted { id: *id }),
            _ => Some(Reply::KeyInUse),
        }
    }

    fn released(&self, now: Time, delay: u32) -> State {
        let delay = u64::from(delay) * if self.is(Fault::HalvesDelays) { 500 } else { 1000 };
        if delay == 0 { State::Ready } else { State::Delayed(now + delay) }
    }

    fn kick(&mut self, tube: &str, bound: u64) -> Reply {
        let in_tube = || self.jobs.iter().filter(|(_, job)| job.tube == tube);
        let buried = in_tube().filter_map(|(&id, job)| match job.state {
            State::Buried(at) => Some((at, id)),
            _ => None,
        });
        let delayed = in_tube().filter_map(|(&id, job)| match job.state {
            State::Delayed(due) => Some((due, id)),
            _ => None,
        });
        let mut kicked: Vec<(Time, u64)> = buried.collect();
        if kicked.is_empty() {
            kicked = delayed.collect();
        }
        kicked.sort_unstable();
        kicked.truncate(usize::try_from(bound).expect("it is small"));
        for (_, id) in &kicked {
            self.jobs.get_mut(id).expect("it was found").state = State::Ready;
        }
        Reply::Kicked { count: Some(kicked.len() as u64) }
    }

    /// Commands that name a job.
    fn of_job(&mut self, now: Time, by: Connection, command: &Command) -> Reply {
        let (Command::ReserveJob { id }
        | Command::Delete { id }
        | Command::Release { id, .. }
        | Command::Bury { id, .. }
        | Command::Touch { id }
        | Command::KickJob { id }) = *command
        else {
            unreachable!("it names a job");
        };
        let Some(state) = self.jobs.get(&id).map(|job| job.state) else { return Reply::NotFound };
        let is_own = self.is_held(id, by);
        let is_free = !matches!(state, State::Reserved(..));
        match *command {
            Command::ReserveJob { .. } if is_free => self.reserve(id, by, now),
            Command::Delete { .. } if is_own || is_free => {
                let forgets = self.is(Fault::ForgetsDeletes) && now < 2 * MISHAP;
                if !(forgets && id.is_multiple_of(50)) {
                    self.jobs.remove(&id);
                }
                Reply::Deleted
            }
            Command::Release { priority, delay, .. } if is_own => {
                let state = self.released(now, delay);
                self.set(id, Some(priority), state);
                Reply::Released
            }
            Command::Bury { priority, .. } if is_own => {
                let keeps = self.is(Fault::BuriesNothing);
                self.set(id, Some(priority), if keeps { State::Ready } else { State::Buried(now) });
                Reply::Buried { id: None }
            }
            Command::Touch { .. } if is_own => {
                if !self.is(Fault::IgnoresTouch) {
                    self.reserve(id, by, now);
                }
                Reply::Touched
            }
            Command::KickJob { .. } if matches!(state, State::Delayed(_) | State::Buried(_)) => {
                self.set(id, None, State::Ready);
                Reply::Kicked { count: None }
            }
            _ => Reply::NotFound,
        }
    }

    fn set(&mut self, id: u64, priority: Option<u32>, state: State) {
        let job = self.jobs.get_mut(&id).expect("it was found");
        job.state = state;
        job.priority = priority.unwrap_or(job.priority);
    }

    fn read(&self, command: &Command) -> Reply {
        let jobs = match self.fault {
            Fault::AnswersFromMemory => &self.remembered.1,
            _ => &self.jobs,
        };
        let first = |tube: &String, rank: &dyn Fn(&Job) -> Option<Time>| {
            let in_tube = jobs.iter().filter(|(_, job)| job.tube == *tube);
            let ranked = in_tube.filter_map(|(&id, job)| Some((rank(job)?, id))).min();
            ranked.map_or(Reply::NotFound, |(_, id)| found(id, &jobs[&id]))
        };
        match command {
            Command::Peek { id } => jobs.get(id).map_or(Reply::NotFound, |job| found(*id, job)),
            Command::PeekReady { tube } => {
                first(tube, &|job| (job.state == State::Ready).then_some(u64::from(job.priority)))
            }
            Command::PeekDelayed { tube } => first(tube, &|job| match job.state {
                State::Delayed(due) => Some(due),
                _ => None,
            }),
            Command::PeekBuried { tube } => first(tube, &|job| match job.state {
                State::Buried(at) => Some(at),
                _ => None,
            }),
            Command::StatsJob { id } => jobs.get(id).map_or(Reply::NotFound, |job| Reply::Stats {
                values: [("state".to_owned(), name(job.state).to_owned())].into(),
            }),
            Command::StatsTube { tube } => {
                let in_tube: Vec<&Job> = jobs.values().filter(|job| job.tube == *tube).collect();
                if in_tube.is_empty() { Reply::NotFound } else { self.figures(&in_tube) }
            }
            Command::Stats => self.figures(&jobs.values().collect::<Vec<_>>()),
            _ => {
                let mut names: Vec<String> = jobs.values().map(|job| job.tube.clone()).collect();
                names.sort();
                names.dedup();
                Reply::Names { names }
            }
        }
    }

    fn figures(&self, jobs: &[&Job]) -> Reply {
        let lost = usize::try_from(self.total / 20).expect("it is small");
        let drift = if self.is(Fault::CountsDrift) { lost } else { 0 };
        let mut values = BTreeMap::new();
        for state in ["ready", "reserved", "delayed", "buried"] {
            let count = jobs.iter().filter(|job| name(job.state) == state).count();
            let count = if state == "ready" { count + drift } else { count };
            values.insert(format!("current-jobs-{state}"), count.to_string());
        }
        values.insert("total-jobs".to_owned(), self.total.to_string());
        Reply::Stats { values }
    }
}

fn found(id: u64, job: &Job) -> Reply {
    Reply::Found { id, body: job.body }
}

fn name(state: State) -> &'static str {
    match state {
        State::Ready => "ready",
        State::Delayed(_) => "delayed",
        State::Reserved(..) => "reserved",
        State::Buried(_) => "buried",
    }
}
