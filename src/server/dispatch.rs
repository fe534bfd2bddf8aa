//! What becomes of each request: an op for the log, a read, or an answer on the spot.

use std::time::Duration;

use beanpole_protocol::trunk::TRUNK_VERSION;
use beanpole_protocol::{Command, CommandName, Refusal, Reply, Request};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::hub::{Hub, PutVerdict};
use super::pipeline::Pipeline;
use super::reads::Query;
use crate::queue::{Action, JobId, PutKey, Wait};

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
    /// The connection is to be a trunk.
    Trunk,
}

/// Takes on one request of a connection, which has waited for so long.
pub(super) fn take_on(
    hub: &Hub,
    pipeline: &mut Pipeline,
    request: Request,
    waited: Duration,
) -> Taken {
    if let Request::Command(Command::Put { body, .. }) = &request {
        match hub.judge_put(body.len(), waited) {
            PutVerdict::TooEarly => return Taken::NotYet(request),
            PutVerdict::Waits => return Taken::Not(request),
            PutVerdict::Refused(reply) => {
                refuse_put(hub, pipeline, reply);
                return Taken::On;
            }
            PutVerdict::Admitted => {}
        }
    }
    let mut desk = Desk { hub, pipeline };
    match request {
        Request::Command(command) => desk.command(command),
        Request::Refused(refusal) => {
            desk.refuse(refusal);
            Taken::On
        }
    }
}

/// Answers a put that was read whole and is refused: its connection counts as a producer all the same.
pub(super) fn refuse_put(hub: &Hub, pipeline: &mut Pipeline, reply: Reply) {
    pipeline.refused_put(reply, hub.local());
}

/// By what the state recognises a put that comes again.
fn hashes_of(key: &beanpole_protocol::PutKey, body: &[u8]) -> PutKey {
    let whole: [u8; 32] = Sha256::digest(body).into();
    let body = whole.first_chunk().expect("it is longer");
    PutKey { key: Sha256::digest(key.as_str()).into(), body: *body }
}

/// One connection at one request.
struct Desk<'a> {
    hub: &'a Hub,
    pipeline: &'a mut Pipeline,
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
            Command::Key(key) => {
                self.pipeline.set_key(key);
                self.answer(Reply::Keyed, None);
            }
            // As every word that is unknown, but as the first of a connection.
            Command::Trunk { version } if version == TRUNK_VERSION && self.pipeline.is_fresh() => {
                return Taken::Trunk;
            }
            Command::Trunk { .. } => self.answer(Reply::UnknownCommand, None),
        }
        Taken::On
    }

    /// A put was judged before: it is refused before it has a number, or not at all (DESIGN D2).
    fn put(&mut self, priority: u32, delay: u32, ttr: u32, body: Bytes) {
        let key = self.pipeline.take_key().map(|key| Box::new(hashes_of(&key, &body)));
        self.op(Action::Put { priority, delay, ttr, body, key });
    }

    fn reserve(&mut self, wait: Wait) {
        self.op(Action::Reserve { wait, half_closed: false });
    }

    fn op(&mut self, action: Action) {
        if let Some(op) = self.pipeline.op(action) {
            self.hub.submit(op);
        }
    }

    fn read(&mut self, query: Query) {
        self.pipeline.read(query);
    }

    fn refuse(&mut self, refusal: Refusal) {
        // It may have been the put that the key was meant for: the next is another.
        self.pipeline.take_key();
        match refusal {
            Refusal::ExpectedCrlf | Refusal::OutOfMemory => {
                refuse_put(self.hub, self.pipeline, refusal.reply());
            }
            other => self.answer(other.reply(), other.counts()),
        }
    }

    fn answer(&mut self, reply: Reply, counts: Option<CommandName>) {
        self.pipeline.answer(reply, counts, self.hub.local());
    }
}
