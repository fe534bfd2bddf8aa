//! What becomes of each request: an op for the log, a read, or an answer on the spot.

use std::time::Duration;

use beanpole_protocol::{Command, CommandName, Refusal, Reply, Request};
use bytes::Bytes;

use super::connection::Line;
use super::hub::{Hub, PutVerdict};
use super::reads::Query;
use crate::queue::{Action, JobId, Wait};

/// What has become of a request.
pub(super) enum Taken {
    /// It was taken on.
    On,
    /// It was a put, and waits for memory: to be brought again.
    Not(Request),
    /// It was a put, and waits for a moment: to be brought again.
    NotYet(Request),
    /// The client wants to leave.
    Leave,
}

/// Takes on one request of the connection of `line`, which has waited for so long.
pub(super) fn take_on(hub: &Hub, line: &mut Line, request: Request, waited: Duration) -> Taken {
    if let Request::Command(Command::Put { body, .. }) = &request {
        match hub.judge_put(body.len(), waited) {
            PutVerdict::TooEarly => return Taken::NotYet(request),
            PutVerdict::Waits => return Taken::Not(request),
            PutVerdict::Refused(reply) => {
                refuse_put(hub, line, reply);
                return Taken::On;
            }
            PutVerdict::Admitted => {}
        }
    }
    let mut desk = Desk { hub, line };
    match request {
        Request::Command(command) => desk.command(command),
        Request::Refused(refusal) => {
            desk.refuse(refusal);
            Taken::On
        }
    }
}

/// Answers a put that was read whole and is refused: its connection counts as a producer all the same.
pub(super) fn refuse_put(hub: &Hub, line: &mut Line, reply: Reply) {
    line.pipeline.refused_put(reply, hub.local());
}

/// One connection at one request.
struct Desk<'a> {
    hub: &'a Hub,
    line: &'a mut Line,
}

impl Desk<'_> {
    fn command(&mut self, command: Command) -> Taken {
        tracing::trace!(command = command.name().as_str());
        match command {
            Command::Put { priority, delay, ttr, body } => self.put(priority, delay, ttr, body),
            Command::Use(tube) => self.op(Action::Use { tube }),
            Command::Reserve => self.reserve(Wait::Forever),
            Command::ReserveWithTimeout(seconds) => self.reserve(Wait::Seconds(seconds)),
            Command::ReserveJob(id) => self.op(Action::ReserveJob { job: JobId(id) }),
            Command::Delete(id) => self.op(Action::Delete { job: JobId(id) }),
            Command::Release { id, priority, delay } => {
                self.op(Action::Release { job: JobId(id), priority, delay });
            }
            Command::Bury { id, priority } => self.op(Action::Bury { job: JobId(id), priority }),
            Command::Touch(id) => self.op(Action::Touch { job: JobId(id) }),
            Command::Watch(tube) => self.op(Action::Watch { tube }),
            Command::Ignore(tube) => self.op(Action::Ignore { tube }),
            Command::Peek(id) => self.read(Query::Peek(JobId(id))),
            Command::PeekReady => self.read(Query::PeekReady),
            Command::PeekDelayed => self.read(Query::PeekDelayed),
            Command::PeekBuried => self.read(Query::PeekBuried),
            Command::Kick(bound) => self.op(Action::Kick { bound }),
            Command::KickJob(id) => self.op(Action::KickJob { job: JobId(id) }),
            Command::PauseTube { tube, delay } => self.op(Action::PauseTube { tube, delay }),
            Command::Stats => self.read(Query::Stats),
            Command::StatsJob(id) => self.read(Query::StatsJob(JobId(id))),
            Command::StatsTube(tube) => self.read(Query::StatsTube(tube)),
            Command::ListTubes => self.read(Query::ListTubes),
            Command::ListTubeUsed => self.read(Query::ListTubeUsed),
            Command::ListTubesWatched => self.read(Query::ListTubesWatched),
            Command::Quit => return Taken::Leave,
        }
        Taken::On
    }

    /// A put was judged before: it is refused before it has a number, or not at all (DESIGN D2).
    fn put(&mut self, priority: u32, delay: u32, ttr: u32, body: Bytes) {
        self.op(Action::Put { priority, delay, ttr, body });
    }

    fn reserve(&mut self, wait: Wait) {
        self.op(Action::Reserve { wait, half_closed: false });
    }

    fn op(&mut self, action: Action) {
        self.line.numbered = true;
        if let Some(op) = self.line.pipeline.op(action) {
            self.hub.submit(op);
        }
    }

    fn read(&mut self, query: Query) {
        self.line.pipeline.read(query);
    }

    fn refuse(&mut self, refusal: Refusal) {
        match refusal {
            Refusal::ExpectedCrlf | Refusal::OutOfMemory => {
                refuse_put(self.hub, self.line, refusal.reply());
            }
            other => self.answer(other.reply(), other.counts()),
        }
    }

    fn answer(&mut self, reply: Reply, counts: Option<CommandName>) {
        self.line.pipeline.answer(reply, counts, self.hub.local());
    }
}
