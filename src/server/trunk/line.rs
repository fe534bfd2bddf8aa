//! What the mutex of a trunk guards: its channels, and what is to be sent.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use beanpole_protocol::trunk::{
    ChannelNumber, ClientFrame, FrameError, MemberFrame, RefusedDo, Token,
};
use beanpole_protocol::{Command, PutKey, Reply, Request};
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};

use super::super::admission::SLOWDOWN;
use super::super::buffer::give_up_empty;
use super::super::connection::Connection;
use super::super::dispatch::{self, Taken};
use super::super::hub::Hub;
use super::super::lists::ListPass;
use super::super::pipeline::Pipeline;
use super::super::reads::ReadContext;
use super::channel::{
    Asked, Attached, Attaching, Channel, EARLY_BYTES_MAX, EARLY_MAX, PutOff, Stage, asks_for_body,
    request_of,
};
use super::{CHANNEL_BYTES, OUTPUT_BYTES_MAX, Trunk};
use crate::queue::{
    Action, Attachment, ConnectionNumber, KeptOutcome, Numbered, Op, Outcome, Queue, TokenHash,
    Turn,
};
use crate::raft::Ask;

/// The most channels of one trunk.
const CHANNELS_MAX: usize = 64 << 10;

/// What an output buffer may keep of its memory when it is empty, bytes.
const OUTPUT_BYTES_KEPT_MAX: usize = 64 << 10;

/// Leases, milliseconds.
const LEASE_MILLIS: std::ops::RangeInclusive<u32> = 1_000..=60_000;

/// When a command that found no room may come again.
const ROOM_PAUSE: Duration = Duration::from_millis(50);

/// The client does not keep to the protocol, or this is no client.
#[derive(Debug, thiserror::Error)]
pub(super) enum Breach {
    /// What came is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// It began a channel that is there.
    #[error("channel {0} is in use")]
    InUse(u32),
    /// A lease is too short or too long.
    #[error("a lease of {0} ms")]
    Lease(u32),
    /// A number did not rise.
    #[error("command {number} of channel {channel} comes after {last}")]
    Number { channel: u32, number: u64, last: u64 },
    /// Too many commands came before it was known whether there is a session.
    #[error("too many commands before channel {0} has a session")]
    Early(u32),
    /// A payload is not one command, or one that has no place on a trunk.
    #[error("what command {number} of channel {channel} says is not one command")]
    Payload { channel: u32, number: u64 },
}

/// The shared part of a trunk.
#[derive(Debug)]
pub(super) struct TrunkLine {
    channels: HashMap<ConnectionNumber, Channel>,
    /// How many bodies they await.
    bodies: usize,
    numbers: HashMap<ChannelNumber, ConnectionNumber>,
    output: BytesMut,
    /// Lists in the output.
    lists: Vec<ListPass>,
    /// It is in the list of those that get replies after this batch.
    pub(super) touched: bool,
    /// The task sleeps until something other than input happens.
    pub(super) asleep: bool,
    /// The socket has taken something.
    pub(super) has_sent: bool,
    /// What is counted for the trunk without its channels, bytes.
    counted_bytes: u64,
    /// Frames that are not whole, bytes.
    pub(super) input_bytes: usize,
    reply_bytes: u64,
}

impl TrunkLine {
    pub(super) fn new(hub: &Hub) -> Self {
        let mut output = BytesMut::new();
        let (member, job_size_max) = (hub.member(), hub.job_size_max());
        Reply::Trunk { member, job_size_max }.encode(&mut output);
        Self {
            channels: HashMap::new(),
            bodies: 0,
            numbers: HashMap::new(),
            output,
            lists: Vec::new(),
            touched: false,
            asleep: false,
            has_sent: false,
            counted_bytes: 0,
            input_bytes: 0,
            reply_bytes: u64::from(job_size_max),
        }
    }

    pub(super) fn output_bytes(&self) -> usize {
        self.output.len()
    }

    /// Whether all that was taken on is answered and sent, but for what waits.
    pub(super) fn is_idle(&self) -> bool {
        self.output.is_empty() && self.channels.values().all(Channel::is_idle)
    }

    /// Writes what there is, as far as the socket takes it.
    pub(super) fn send(&mut self, transport: &Connection) {
        let before = self.output.len();
        transport.write_some(&mut self.output);
        self.has_sent |= self.output.len() < before;
        if self.output.is_empty() {
            self.lists.clear();
            give_up_empty(&mut self.output, OUTPUT_BYTES_KEPT_MAX);
        }
    }

    /// Counts what the trunk has in memory beside its channels.
    pub(super) fn count(&mut self, hub: &Hub) {
        let bytes = (self.output.capacity() + self.input_bytes) as u64;
        hub.count(&mut self.counted_bytes, bytes);
    }

    /// Takes on one frame.
    pub(super) fn take(
        &mut self,
        hub: &Hub,
        trunk: &Arc<Trunk>,
        frame: ClientFrame,
    ) -> Result<(), Breach> {
        match frame {
            ClientFrame::Open { channel, token, lease_millis } => {
                self.begin(hub, trunk, channel, attach(token, lease_millis, 0, true)?)
            }
            ClientFrame::Resume { channel, token, lease_millis, answered } => {
                self.begin(hub, trunk, channel, attach(token, lease_millis, answered, false)?)
            }
            ClientFrame::Do { channel, number, answered, payload } => {
                let numbered = Numbered { number, answered };
                self.ask(hub, channel, Asked { numbered, payload })
            }
            ClientFrame::Stop { channel } => {
                match self.channel_mut(channel).map(|found| &mut found.stage) {
                    Some(Stage::Attaching(attaching)) => attaching.has_stopped = true,
                    Some(Stage::Attached(attached)) => attached.stop(hub),
                    Some(Stage::Closing) | None => {}
                }
                Ok(())
            }
            ClientFrame::Close { channel } => {
                self.close(hub, channel);
                Ok(())
            }
            ClientFrame::Ping(number) => {
                // Else its sessions do better elsewhere: who is not answered goes.
                if hub.keeps_up() {
                    self.push(&MemberFrame::Pong(number));
                }
                Ok(())
            }
        }
    }

    fn begin(
        &mut self,
        hub: &Hub,
        trunk: &Arc<Trunk>,
        channel: ChannelNumber,
        attach: Action,
    ) -> Result<(), Breach> {
        if self.numbers.contains_key(&channel) {
            return Err(Breach::InUse(channel.0));
        }
        if self.channels.len() >= CHANNELS_MAX || !hub.has_room_for_channel() {
            self.push(&MemberFrame::Refused { channel });
            return Ok(());
        }
        let number = hub.add_channel(trunk);
        self.numbers.insert(channel, number);
        let opens = matches!(attach, Action::Attach { opens: true, .. });
        let mut begun = Channel::new(channel, opens);
        hub.count(&mut begun.counted_bytes, CHANNEL_BYTES);
        self.channels.insert(number, begun);
        hub.submit(Op::plain(number, Turn(0), attach));
        Ok(())
    }

    /// Ends a session, once it is there. Its channel counts until the end is in the log: so a
    /// channel has no more than two ops under way, and who opens and closes without a pause finds
    /// no room.
    fn close(&mut self, hub: &Hub, channel: ChannelNumber) {
        let Some(number) = self.numbers.get(&channel).copied() else {
            return self.push(&MemberFrame::Closed { channel });
        };
        let found = self.channels.get_mut(&number).expect("a number is that of a channel");
        match &mut found.stage {
            Stage::Attaching(attaching) => attaching.closes = true,
            Stage::Attached(attached) => {
                attached.pipeline.forget_refused(hub.local());
                found.stage = Stage::Closing;
                self.await_bodies(hub, number, 0);
                self.after(hub, number);
                hub.submit(Op::plain(number, Turn(0), Action::Close));
            }
            Stage::Closing => {}
        }
    }

    fn ask(&mut self, hub: &Hub, channel: ChannelNumber, asked: Asked) -> Result<(), Breach> {
        // It may have been given up while this was on its way.
        let Some(number) = self.numbers.get(&channel).copied() else { return Ok(()) };
        let found = self.channels.get_mut(&number).expect("a number is that of a channel");
        if let Stage::Attaching(attaching) = &mut found.stage {
            let bytes: usize = attaching.early.iter().map(|asked| asked.payload.len()).sum();
            if attaching.early.len() >= EARLY_MAX || bytes > EARLY_BYTES_MAX {
                return Err(Breach::Early(channel.0));
            }
            if hub.is_short_of_memory() || attaching.is_refused {
                attaching.refuse();
            } else {
                attaching.early.push_back(asked);
            }
            self.after(hub, number);
            return Ok(());
        }
        if found.is_closing() {
            return Ok(());
        }
        self.command(hub, number, asked)
    }

    /// Answers a command whose payload was thrown away for want of memory: only that of a put is so
    /// long.
    pub(super) fn refuse(&mut self, hub: &Hub, refused: RefusedDo) -> Result<(), Breach> {
        let RefusedDo { channel, number: place, answered } = refused;
        let Some(number) = self.numbers.get(&channel).copied() else { return Ok(()) };
        let found = self.channels.get_mut(&number).expect("a number is that of a channel");
        let attached = match &mut found.stage {
            Stage::Attaching(attaching) => {
                attaching.refuse();
                self.after(hub, number);
                return Ok(());
            }
            Stage::Attached(attached) => attached,
            Stage::Closing => return Ok(()),
        };
        if attached.drops(place) {
            return Ok(());
        }
        attached.check_number(channel, place)?;
        if attached.pipeline.is_full(false) {
            self.put_off(hub, number, place);
        } else {
            attached.begin(Numbered { number: place, answered });
            dispatch::refuse_put(hub, &mut attached.pipeline, Reply::OutOfMemory);
        }
        self.after(hub, number);
        Ok(())
    }

    /// Takes on a command of a channel that has its session, or puts it off.
    fn command(&mut self, hub: &Hub, number: ConnectionNumber, asked: Asked) -> Result<(), Breach> {
        let has_room = self.has_room_for_body(hub);
        let found = self.channels.get_mut(&number).expect("a command is of a channel");
        let channel = found.channel;
        let attached = found.attached().expect("it has its session");
        let Asked { numbered, payload } = asked;
        if attached.drops(numbered.number) {
            return Ok(());
        }
        let breach = Breach::Payload { channel: channel.0, number: numbered.number };
        let (key, request) = request_of(payload, hub.job_size_max()).ok_or(breach)?;
        if !matches!(request, Request::Command(Command::Peek(_))) {
            attached.check_number(channel, numbered.number)?;
        }
        let is_short = hub.is_short_of_memory() && !attached.pipeline.is_idle();
        let put_off = if is_short || attached.pipeline.is_full(false) {
            Some(attached.put_off(hub, numbered.number, ROOM_PAUSE))
        } else {
            if has_room || !asks_for_body(&request) {
                attached.take_on(hub, channel, numbered, (key, request))?
            } else {
                Some(attached.put_off(hub, numbered.number, ROOM_PAUSE))
            }
        };
        if let Some(pause) = put_off {
            self.push_later(channel, numbered.number, pause);
        }
        self.after(hub, number);
        Ok(())
    }

    /// Takes in what an op of a channel came to.
    pub(super) fn outcome(
        &mut self,
        hub: &Hub,
        number: ConnectionNumber,
        outcome: Outcome,
    ) -> Result<(), Breach> {
        let Some(found) = self.channels.get_mut(&number) else { return Ok(()) };
        let channel = found.channel;
        match (&mut found.stage, outcome) {
            (Stage::Attaching(_), Outcome::Attached(attachment)) => {
                return self.attached(hub, number, *attachment);
            }
            (Stage::Attaching(_), Outcome::OutOfMemory) => {
                self.forget(hub, number);
                self.push(&MemberFrame::Refused { channel });
            }
            (Stage::Attaching(_), _) => {
                self.forget(hub, number);
                self.push(&MemberFrame::Lapsed { channel });
            }
            (Stage::Attached(_) | Stage::Closing, Outcome::Detached) => {
                self.forget(hub, number);
                self.push(&MemberFrame::Moved { channel });
            }
            (Stage::Closing, Outcome::Closed) => {
                self.forget(hub, number);
                self.push(&MemberFrame::Closed { channel });
            }
            // What the channel had asked for before is of no use to anybody.
            (Stage::Closing, _) => {}
            (Stage::Attached(attached), outcome) => {
                let ops = attached.pipeline.outcome(outcome, hub.local());
                ops.into_iter().for_each(|op| hub.submit(op));
                self.after(hub, number);
            }
        }
        Ok(())
    }

    /// A channel has its session now.
    fn attached(
        &mut self,
        hub: &Hub,
        number: ConnectionNumber,
        attachment: Attachment,
    ) -> Result<(), Breach> {
        let found = self.channels.get_mut(&number).expect("it was just found");
        let channel = found.channel;
        let Attachment { is_resumed, turn, last, waiting, kept } = attachment;
        let pipeline = Pipeline::of_channel(number, channel, turn, waiting);
        let mut attached = Box::new(Attached { pipeline, last, put_off: None });
        if matches!(found.stage, Stage::Attaching(Attaching { has_stopped: true, .. })) {
            attached.stop(hub);
        }
        let before = std::mem::replace(&mut found.stage, Stage::Attached(attached));
        let Stage::Attaching(Attaching { opens, early, closes, is_refused, .. }) = before else {
            unreachable!("a channel is attached once")
        };
        if closes {
            self.close(hub, channel);
            return Ok(());
        }
        // One that was begun by a client that did not hear of it has done nothing yet.
        let is_new = !is_resumed || opens && last == 0;
        if !is_new {
            let line = |(number, kept): &(u64, KeptOutcome)| (*number, line_of(*kept));
            let kept = kept.iter().map(line).collect();
            self.push(&MemberFrame::Resumed { channel, last, waiting, kept });
            return Ok(());
        }
        if is_refused {
            hub.submit(Op::plain(number, Turn(0), Action::Close));
            self.forget(hub, number);
            self.push(&MemberFrame::Refused { channel });
            return Ok(());
        }
        self.push(&MemberFrame::Opened { channel });
        early.into_iter().try_for_each(|asked| self.command(hub, number, asked))
    }

    /// Answers the reads of a channel that stand before its op that is about to be applied.
    pub(super) fn settle(&mut self, hub: &Hub, queue: &Queue, context: &ReadContext<'_>) {
        let number = context.session.connection;
        let Some(attached) = self.channels.get_mut(&number).and_then(Channel::attached) else {
            return;
        };
        attached.pipeline.settle(queue, context);
        self.collect(hub, number);
    }

    /// Answers the reads of a channel for which the leader was asked, and asks for those that came
    /// meanwhile.
    pub(super) fn settle_asked(
        &mut self,
        hub: &Hub,
        queue: &Queue,
        context: &ReadContext<'_>,
        ask: Ask,
    ) {
        let number = context.session.connection;
        let Some(found) = self.channels.get_mut(&number) else { return };
        let Some(attached) = found.attached() else { return };
        if !attached.pipeline.settle_asked(queue, context, ask) {
            let place = attached.pipeline.give_up_list();
            attached.put_off = None;
            self.put_off(hub, number, place);
        }
        self.after(hub, number);
    }

    /// The other side is gone, or is to be: what its channels had goes on without them.
    pub(super) fn leave(&mut self, hub: &Hub) {
        let numbers: Vec<ConnectionNumber> = self.channels.keys().copied().collect();
        for number in numbers {
            hub.submit(Op::plain(number, Turn(0), Action::Detach));
            self.forget(hub, number);
        }
        // An applier may come once more, and count.
        (self.output, self.input_bytes) = (BytesMut::new(), 0);
        self.count(hub);
    }

    /// What a channel has to say is sent, and the leader asked if a read of it wants that.
    fn after(&mut self, hub: &Hub, number: ConnectionNumber) {
        self.collect(hub, number);
        let reply_bytes = self.reply_bytes;
        let Some(found) = self.channels.get_mut(&number) else { return };
        let bytes = CHANNEL_BYTES + found.held_bytes(reply_bytes);
        hub.count(&mut found.counted_bytes, bytes);
        if let Some(ask) = found.attached().and_then(|it| it.pipeline.ask_reads()) {
            hub.want_read(number, ask);
        }
    }

    fn collect(&mut self, hub: &Hub, number: ConnectionNumber) {
        let Some(found) = self.channels.get_mut(&number) else { return };
        let Some(attached) = found.attached() else { return };
        let (output, list) = attached.pipeline.take_output();
        let bodies = attached.pipeline.bodies_awaited();
        self.await_bodies(hub, number, bodies);
        self.output.extend_from_slice(&output);
        self.lists.extend(list);
    }

    /// A channel awaits so many bodies now.
    fn await_bodies(&mut self, hub: &Hub, number: ConnectionNumber, bodies: usize) {
        let Some(found) = self.channels.get_mut(&number) else { return };
        let before = std::mem::replace(&mut found.bodies, bodies);
        self.bodies = self.bodies + bodies - before;
        hub.await_bodies(before, bodies);
    }

    fn forget(&mut self, hub: &Hub, number: ConnectionNumber) {
        self.await_bodies(hub, number, 0);
        let Some(mut found) = self.channels.remove(&number) else { return };
        self.numbers.remove(&found.channel);
        if let Some(attached) = found.attached() {
            attached.pipeline.forget_refused(hub.local());
        }
        hub.count(&mut found.counted_bytes, 0);
        hub.remove_channel(number);
    }

    /// Whether a command may be taken on that brings a body: one there always is room for, when others
    /// are sent.
    fn has_room_for_body(&self, hub: &Hub) -> bool {
        self.output.len() < OUTPUT_BYTES_MAX && (self.bodies == 0 || hub.has_room_for_body())
    }

    /// Puts off the command of a channel that has this place.
    fn put_off(&mut self, hub: &Hub, number: ConnectionNumber, place: u64) {
        let Some(found) = self.channels.get_mut(&number) else { return };
        let channel = found.channel;
        let Some(attached) = found.attached() else { return };
        let pause = attached.put_off(hub, place, ROOM_PAUSE);
        self.push_later(channel, place, pause);
    }

    fn push_later(&mut self, channel: ChannelNumber, number: u64, pause: Duration) {
        let millis = u32::try_from(pause.as_millis()).unwrap_or(u32::MAX);
        self.push(&MemberFrame::Later { channel, number, millis });
    }

    fn channel_mut(&mut self, channel: ChannelNumber) -> Option<&mut Channel> {
        self.channels.get_mut(self.numbers.get(&channel)?)
    }

    fn push(&mut self, frame: &MemberFrame) {
        frame.encode(&mut self.output);
    }
}

impl Attached {
    /// The library has said all: what waits for a job, or would, is answered without one.
    fn stop(&mut self, hub: &Hub) {
        if let Some(op) = self.pipeline.half_close() {
            hub.submit(op);
        }
    }

    /// Takes on a command that there is room for as far as the connection goes. Returns after what
    /// pause it may come again if there is none otherwise.
    fn take_on(
        &mut self,
        hub: &Hub,
        channel: ChannelNumber,
        numbered: Numbered,
        (key, request): (Option<PutKey>, Request),
    ) -> Result<Option<Duration>, Breach> {
        let number = numbered.number;
        if let Some(key) = key {
            self.pipeline.set_key(key);
        }
        let before = self.begin(numbered);
        let waited = before.map_or(Duration::ZERO, |it| hub.uptime().saturating_sub(it.since));
        match dispatch::take_on(hub, &mut self.pipeline, request, waited) {
            Taken::On => Ok(None),
            Taken::NotYet(_) => {
                self.put_off = before;
                Ok(Some(self.put_off(hub, number, SLOWDOWN)))
            }
            Taken::Not(_) => {
                let patience = before.and_then(|it| it.patience);
                let Some(patience) = hub.admission().wait_on(hub.uptime(), patience) else {
                    dispatch::refuse_put(hub, &mut self.pipeline, Reply::OutOfMemory);
                    return Ok(None);
                };
                let since = before.map_or_else(|| hub.uptime(), |it| it.since);
                self.put_off = Some(PutOff { number, patience: Some(patience), since });
                Ok(Some(ROOM_PAUSE))
            }
            Taken::Leave | Taken::Trunk => Err(Breach::Payload { channel: channel.0, number }),
        }
    }

    /// What is taken on next is the command in this place. Returns how it was put off before.
    fn begin(&mut self, numbered: Numbered) -> Option<PutOff> {
        self.pipeline.begin_command(numbered);
        self.last = self.last.max(numbered.number);
        self.put_off.take()
    }

    /// Finds whether a command may have this number now.
    fn check_number(&self, channel: ChannelNumber, number: u64) -> Result<(), Breach> {
        if self.is_next(number) {
            return Ok(());
        }
        Err(Breach::Number { channel: channel.0, number, last: self.last })
    }

    /// Puts a command off, and says for how long.
    fn put_off(&mut self, hub: &Hub, number: u64, pause: Duration) -> Duration {
        let first = PutOff { number, patience: None, since: hub.uptime() };
        self.put_off.get_or_insert(first);
        pause
    }
}

fn attach(token: Token, lease_millis: u32, answered: u64, opens: bool) -> Result<Action, Breach> {
    if !LEASE_MILLIS.contains(&lease_millis) {
        return Err(Breach::Lease(lease_millis));
    }
    let token = TokenHash(Sha256::digest(token.as_bytes()).into());
    Ok(Action::Attach { token, lease_millis, answered, opens })
}

/// What a client is told of a command that was applied before.
fn line_of(kept: KeptOutcome) -> Bytes {
    let reply = match kept {
        // The client knows which tube it named.
        KeptOutcome::Using => return Bytes::from_static(b"USING\r\n"),
        KeptOutcome::Gone => return Bytes::from_static(b"GONE\r\n"),
        // Whose bytes are asked for by the id.
        KeptOutcome::Reserved { job } => return Bytes::from(format!("RESERVED {}\r\n", job.0)),
        KeptOutcome::Inserted { job } => Reply::Inserted(job.0),
        KeptOutcome::Watching { count } => Reply::Watching(count),
        KeptOutcome::NotIgnored => Reply::NotIgnored,
        KeptOutcome::TimedOut => Reply::TimedOut,
        KeptOutcome::DeadlineSoon => Reply::DeadlineSoon,
        KeptOutcome::Deleted => Reply::Deleted,
        KeptOutcome::Released => Reply::Released,
        KeptOutcome::Buried => Reply::Buried,
        KeptOutcome::Touched => Reply::Touched,
        KeptOutcome::Kicked { count } => Reply::Kicked(count),
        KeptOutcome::JobKicked => Reply::JobKicked,
        KeptOutcome::Paused => Reply::Paused,
        KeptOutcome::NotFound => Reply::NotFound,
        KeptOutcome::OutOfMemory => Reply::OutOfMemory,
        KeptOutcome::KeyInUse => Reply::KeyInUse,
    };
    let mut line = BytesMut::new();
    reply.encode(&mut line);
    line.freeze()
}
