//! A session as its user, its connection and the client share it.

use std::collections::VecDeque;
use std::sync::Arc;

use beanpole_protocol::trunk::{ChannelNumber, ClientFrame, MemberFrame, Token};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Duration, sleep};

use super::core::{Ask, Event, SessionCore};
use super::error::End;
use super::members::Members;
use super::trunk::{Trunk, retry_pause};

/// How much a session takes on that is not answered, in units: each command is one, and one more
/// for each [`UNIT_BYTES`] of its payload. One that is larger has the session to itself.
const ROOM_UNITS: usize = 256;

const UNIT_BYTES: usize = 1 << 10;

/// How often in a row a session may be refused or moved away before it ends.
const REFUSALS_MAX: u32 = 50;

/// A session that is carried by connections.
#[derive(Debug)]
pub(super) struct Carried {
    inner: Mutex<Inner>,
    room: Arc<Semaphore>,
}

#[derive(Debug)]
struct Inner {
    core: SessionCore,
    home: Option<Home>,
    /// Who waits for replies, in the order of the commands.
    asked: VecDeque<Asked>,
    /// Who waits for the session to begin.
    begins: Option<oneshot::Sender<Result<(), End>>>,
    /// Who waits for it to end.
    ends: Option<oneshot::Sender<()>>,
    end: Option<End>,
    refusals: u32,
    /// The connection tells when there is room.
    awaits_room: bool,
}

/// Where a session is carried.
#[derive(Debug)]
struct Home {
    trunk: Arc<Trunk>,
    channel: ChannelNumber,
    /// The member has not said yet whether it carries it.
    is_asking: bool,
}

#[derive(Debug)]
struct Asked {
    reply: oneshot::Sender<Result<Bytes, End>>,
    _room: OwnedSemaphorePermit,
}

/// What became of the attempt to have a session carried by a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attached {
    /// The member is asked.
    Asked,
    /// The connection has ended.
    NotHere,
    /// Nobody wants the session carried.
    NotWanted,
}

impl Carried {
    /// A session that is to begin. Whether it did is told to who holds the receiver.
    pub(super) fn new(
        token: Token,
        lease_millis: u32,
    ) -> (Arc<Self>, oneshot::Receiver<Result<(), End>>) {
        let (begins, begun) = oneshot::channel();
        let inner = Inner {
            core: SessionCore::new(token, lease_millis),
            home: None,
            asked: VecDeque::new(),
            begins: Some(begins),
            ends: None,
            end: None,
            refusals: 0,
            awaits_room: false,
        };
        let room = Arc::new(Semaphore::new(ROOM_UNITS));
        (Arc::new(Self { inner: Mutex::new(inner), room }), begun)
    }

    /// Takes on a command when there is room for it. Who holds the receiver is told the reply.
    ///
    /// Cancelled before it returns, it has done nothing.
    pub(super) async fn ask(
        self: &Arc<Self>,
        ask: Ask,
    ) -> Result<oneshot::Receiver<Result<Bytes, End>>, End> {
        let units = (1 + ask.bytes() / UNIT_BYTES).min(ROOM_UNITS);
        let units = u32::try_from(units).expect("it was just bounded");
        let room = Arc::clone(&self.room).acquire_many_owned(units).await;
        let mut inner = self.inner.lock();
        let (None, Ok(room)) = (inner.end, room) else {
            return Err(inner.end.unwrap_or(End::Closed));
        };
        let (reply, replied) = oneshot::channel();
        inner.asked.push_back(Asked { reply, _room: room });
        inner.core.push(ask);
        self.go_on(&mut inner);
        Ok(replied)
    }

    /// The user has said all: who waits for a job need not any longer.
    pub(super) fn end_input(self: &Arc<Self>) {
        let mut inner = self.inner.lock();
        if inner.end.is_none() {
            inner.core.end_input();
            self.go_on(&mut inner);
        }
    }

    /// Ends the session, as soon as a member hears of it. Who holds the receiver is told when it did.
    pub(super) fn close(self: &Arc<Self>) -> oneshot::Receiver<()> {
        let (ends, ended) = oneshot::channel();
        let mut inner = self.inner.lock();
        if inner.end.is_none() {
            inner.core.close();
            inner.asked.clear();
            match inner.core.is_over() {
                true => self.end_inner(&mut inner, End::Closed),
                false => {
                    inner.ends = Some(ends);
                    self.go_on(&mut inner);
                }
            }
        }
        ended
    }

    /// Ends it without a word to a member.
    pub(super) fn end(&self, end: End) {
        self.end_inner(&mut self.inner.lock(), end);
    }

    /// Has a connection carry a session that none carries.
    pub(super) fn attach(self: &Arc<Self>, trunk: &Arc<Trunk>) -> Attached {
        let mut inner = self.inner.lock();
        if inner.end.is_some() || !inner.core.is_homeless() {
            return Attached::NotWanted;
        }
        let Some(channel) = trunk.add(self) else { return Attached::NotHere };
        let frame = inner.core.attach(channel, trunk.job_size_max());
        inner.home = Some(Home { trunk: Arc::clone(trunk), channel, is_asking: true });
        trunk.push(&frame);
        trunk.flush();
        Attached::Asked
    }

    /// Whether nothing is to come of it any more.
    pub(super) fn has_ended(&self) -> bool {
        self.inner.lock().end.is_some()
    }

    /// Whether the first command that is not answered is with a member, and one that waits for a job.
    pub(super) fn waits(&self) -> bool {
        self.inner.lock().core.waits()
    }

    /// The connection has ended. Returns whether the session needs another.
    pub(super) fn lose(&self, trunk: &Arc<Trunk>) -> bool {
        let mut inner = self.inner.lock();
        if !inner.home.as_ref().is_some_and(|home| Arc::ptr_eq(&home.trunk, trunk)) {
            return false;
        }
        self.leave(&mut inner)
    }

    /// Leaves its connection for another, if nothing is under way but a wait. Returns whether it did.
    pub(super) fn move_from(&self, trunk: &Arc<Trunk>) -> bool {
        let mut inner = self.inner.lock();
        let is_there = inner.home.as_ref().is_some_and(|home| Arc::ptr_eq(&home.trunk, trunk));
        is_there && inner.core.is_quiet() && self.leave(&mut inner)
    }

    /// There is room for more output.
    pub(super) fn send_more(self: &Arc<Self>, trunk: &Trunk) {
        let mut inner = self.inner.lock();
        let is_there =
            inner.home.as_ref().is_some_and(|it| std::ptr::eq(&raw const *it.trunk, trunk));
        if is_there {
            inner.awaits_room = false;
            self.send(&mut inner);
        }
    }

    /// Takes in what a member says of the session.
    pub(super) fn receive(
        self: &Arc<Self>,
        members: &Arc<Members>,
        trunk: &Arc<Trunk>,
        channel: ChannelNumber,
        frame: MemberFrame,
    ) {
        let mut inner = self.inner.lock();
        let is_here = |home: &Home| home.channel == channel && Arc::ptr_eq(&home.trunk, trunk);
        if !inner.home.as_ref().is_some_and(is_here) {
            return;
        }
        match inner.core.receive(frame) {
            Ok(Event::None) => self.send(&mut inner),
            Ok(Event::Attached) => {
                inner.refusals = 0;
                inner.stop_asking();
                if let Some(begins) = inner.begins.take() {
                    // Who has gone meanwhile closes the session.
                    let _gone = begins.send(Ok(()));
                }
                self.send(&mut inner);
                drop(inner);
                members.settle();
            }
            Ok(Event::PutOff { millis }) => {
                let pause = Duration::from_millis(u64::from(millis));
                tokio::spawn(Arc::clone(self).resend_after(pause, Arc::clone(trunk), channel));
            }
            Ok(Event::Refused) => {
                trunk.note_refusal();
                self.find_another(&mut inner, members);
            }
            Ok(Event::Moved) => self.find_another(&mut inner, members),
            Ok(Event::Lapsed) => {
                self.end_inner(&mut inner, End::Lapsed);
                drop(inner);
                members.settle();
            }
            Ok(Event::Closed) => self.end_inner(&mut inner, End::Closed),
            Err(breach) => {
                trunk.push(&ClientFrame::Close { channel });
                self.end_inner(&mut inner, End::Breach(breach));
            }
        }
    }

    async fn resend_after(
        self: Arc<Self>,
        pause: Duration,
        trunk: Arc<Trunk>,
        channel: ChannelNumber,
    ) {
        sleep(pause).await;
        let mut inner = self.inner.lock();
        let is_there = |home: &Home| home.channel == channel && Arc::ptr_eq(&home.trunk, &trunk);
        if inner.home.as_ref().is_some_and(is_there) {
            inner.core.resend();
            self.go_on(&mut inner);
        }
    }

    /// The session has lost its home without its connection's end.
    fn find_another(self: &Arc<Self>, inner: &mut Inner, members: &Arc<Members>) {
        inner.refusals += 1;
        let is_wanted = self.leave(inner);
        if inner.refusals > REFUSALS_MAX {
            self.end_inner(inner, End::Refused);
        } else if is_wanted {
            let (session, members) = (Arc::clone(self), Arc::clone(members));
            tokio::spawn(async move {
                sleep(retry_pause()).await;
                members.carry(session);
            });
        }
    }

    /// Does all that can be done, and has it written out.
    fn go_on(self: &Arc<Self>, inner: &mut Inner) {
        self.send(inner);
        if let Some(home) = &inner.home {
            home.trunk.flush();
        }
    }

    /// Gives its connection what can be sent, and those who wait the replies that are known.
    fn send(self: &Arc<Self>, inner: &mut Inner) {
        if let Some(home) = &inner.home {
            while !inner.awaits_room {
                if !home.trunk.has_room(self) {
                    inner.awaits_room = true;
                    break;
                }
                let Some(frame) = inner.core.next_frame() else { break };
                home.trunk.push(&frame);
            }
        }
        inner.deliver();
    }

    /// Is carried by nobody. Returns whether it has to be.
    fn leave(&self, inner: &mut Inner) -> bool {
        inner.stop_asking();
        inner.awaits_room = false;
        if let Some(home) = inner.home.take() {
            home.trunk.remove(home.channel);
        }
        inner.core.detach();
        if inner.core.is_over() && inner.end.is_none() {
            self.end_inner(inner, End::Closed);
        }
        inner.end.is_none()
    }

    fn end_inner(&self, inner: &mut Inner, end: End) {
        if inner.end.is_some() {
            return;
        }
        inner.end = Some(end);
        inner.stop_asking();
        if let Some(home) = inner.home.take() {
            home.trunk.remove(home.channel);
        }
        // Whoever has gone meanwhile need not be told.
        for asked in std::mem::take(&mut inner.asked) {
            let _gone = asked.reply.send(Err(end));
        }
        if let Some(begins) = inner.begins.take() {
            let _gone = begins.send(Err(end));
        }
        inner.ends = None;
        self.room.close();
    }
}

impl Inner {
    fn deliver(&mut self) {
        while let Some(reply) = self.core.take_reply() {
            let asked = self.asked.pop_front().expect("each command was asked by somebody");
            // Who has gone meanwhile wants no reply.
            let _gone = asked.reply.send(Ok(reply));
        }
    }

    fn stop_asking(&mut self) {
        if let Some(home) = &mut self.home
            && std::mem::take(&mut home.is_asking)
        {
            home.trunk.stop_asking();
        }
    }
}
