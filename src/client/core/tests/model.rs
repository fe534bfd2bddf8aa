//! A session against a member that is a model, over connections that are lost at any point: every put
//! exactly once, every reply that of its command, in order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use beanpole_protocol::trunk::{ClientFrame, MemberFrame};
use beanpole_protocol::{Command, CommandDecoder, Reply, ReplyDecoder, Request};
use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{Ask, Entry, SessionCore};
use super::{CHANNEL, SIZE_MAX, token};

/// What the cluster's state knows, which outlives connections.
#[derive(Default)]
struct State {
    is_there: bool,
    last: u64,
    waiting: Option<u64>,
    kept: BTreeMap<u64, Reply>,
    /// By id.
    bodies: BTreeMap<u64, Bytes>,
    ready: BTreeSet<u64>,
    held: BTreeSet<u64>,
    deleted: Vec<u64>,
    /// What was carried out is not told: no member does that.
    forgets: bool,
}

/// A connection, with what is on its way.
#[derive(Default)]
struct Wire {
    to_member: VecDeque<ClientFrame>,
    to_client: VecDeque<MemberFrame>,
    /// Commands that a wait holds up.
    behind: VecDeque<(u64, Command)>,
    /// All but this command is dropped.
    put_off: Option<u64>,
    /// The number of the last command that came.
    came: u64,
}

struct World {
    core: SessionCore,
    state: State,
    wire: Option<Wire>,
    asked: VecDeque<Command>,
    bodies_asked: u64,
    /// What became of each put, by its body.
    puts: BTreeMap<Bytes, Option<u64>>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Ask(u8),
    Send,
    Serve,
    /// The member has no room.
    Refuse,
    /// The member has no room for now.
    PutOff,
    Read,
    Cut,
    Connect,
    /// A job becomes ready that somebody else has put.
    Arrive,
    /// The time to run of a job is over.
    TimeOut,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_command_is_carried_out_once_and_answered_in_order(
        steps in vec(any_step(), 0..300),
    ) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.finish();
    }
}

#[test]
#[should_panic(expected = "body 1")]
fn a_put_that_is_carried_out_twice_is_noticed() {
    let mut world = World::new();
    world.state.forgets = true;
    let begin = [Step::Connect, Step::Serve, Step::Read];
    let put_whose_reply_is_lost = [Step::Ask(0), Step::Send, Step::Serve, Step::Cut];
    for step in begin.into_iter().chain(put_whose_reply_is_lost) {
        world.step(step);
    }
    world.finish();
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => any::<u8>().prop_map(Step::Ask),
        10 => Just(Step::Send),
        10 => Just(Step::Serve),
        1 => Just(Step::Refuse),
        1 => Just(Step::PutOff),
        10 => Just(Step::Read),
        2 => Just(Step::Cut),
        4 => Just(Step::Connect),
        1 => Just(Step::Arrive),
        1 => Just(Step::TimeOut),
    ]
}

impl World {
    fn new() -> Self {
        Self {
            core: SessionCore::new(token(), 10_000),
            state: State::default(),
            wire: None,
            asked: VecDeque::new(),
            bodies_asked: 0,
            puts: BTreeMap::new(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Ask(what) => self.ask(what),
            Step::Send => {
                let Some(wire) = &mut self.wire else { return };
                wire.to_member.extend(self.core.next_frame());
            }
            Step::Serve => self.serve(None),
            Step::Refuse | Step::PutOff => self.serve(Some(step)),
            Step::Read => self.read(),
            Step::Cut => {
                if self.wire.take().is_some() {
                    self.core.detach();
                }
            }
            Step::Connect => self.connect(),
            Step::Arrive => {
                let id = self.state.add(Bytes::from_static(b"of another"));
                self.wake(id);
            }
            Step::TimeOut => {
                if let Some(job) = self.state.held.pop_first() {
                    self.wake(job);
                }
            }
        }
    }

    fn ask(&mut self, what: u8) {
        let held = self.state.held.first().copied().unwrap_or(1);
        let command = match what % 8 {
            0..=2 => {
                self.bodies_asked += 1;
                let body = Bytes::from(format!("body {}", self.bodies_asked));
                Command::Put { priority: 0, delay: 0, ttr: 1, body }
            }
            3 => Command::Reserve,
            4 => Command::ReserveWithTimeout(0),
            5 => Command::Delete(held),
            6 => Command::Use(beanpole_protocol::TubeName::new(b"mail").expect("it is a name")),
            _ => Command::PeekReady,
        };
        self.core.push(Ask::of(Request::Command(command.clone())).expect("it can be carried"));
        self.asked.push_back(command);
    }

    fn connect(&mut self) {
        if self.wire.is_none() {
            let mut wire = Wire::default();
            wire.to_member.push_back(self.core.attach(CHANNEL, SIZE_MAX));
            self.wire = Some(wire);
        }
    }

    /// The client takes in one frame, and all replies that are complete.
    fn read(&mut self) {
        let Some(frame) = self.wire.as_mut().and_then(|wire| wire.to_client.pop_front()) else {
            return;
        };
        let is_put_off = matches!(frame, MemberFrame::Later { .. });
        let shown = format!("{frame:?}");
        let event = self.core.receive(frame);
        assert!(event.is_ok(), "{event:?} of {shown}");
        if is_put_off {
            self.core.resend();
        }
        while let Some(reply) = self.core.take_reply() {
            let mut bytes = BytesMut::from(&reply[..]);
            let reply = ReplyDecoder::default().next_reply(&mut bytes);
            let reply = reply.expect("it is a reply").expect("it is whole");
            assert!(bytes.is_empty(), "one reply for each command");
            let command = self.asked.pop_front().expect("it was asked for");
            self.check(command, reply);
        }
    }

    fn check(&mut self, command: Command, reply: Reply) {
        match (command, reply) {
            (Command::Put { body, .. }, Reply::Inserted(id)) => {
                assert_eq!(self.state.bodies.get(&id), Some(&body));
                assert!(self.puts.insert(body, Some(id)).is_none());
            }
            (Command::Put { body, .. }, Reply::OutOfMemory) => {
                assert!(self.puts.insert(body, None).is_none());
            }
            (Command::Reserve | Command::ReserveWithTimeout(_), Reply::Reserved { id, body }) => {
                assert_eq!(self.state.bodies.get(&id), Some(&body));
            }
            (Command::ReserveWithTimeout(_), Reply::TimedOut)
            | (Command::Delete(_), Reply::Deleted | Reply::NotFound)
            | (Command::Use(_), Reply::Using(_))
            | (Command::PeekReady, Reply::Found { .. } | Reply::NotFound) => {}
            (command, reply) => panic!("{reply:?} to {command:?}"),
        }
    }

    /// The member takes in one frame.
    fn serve(&mut self, refusal: Option<Step>) {
        let Some(wire) = &mut self.wire else { return };
        let Some(frame) = wire.to_member.pop_front() else { return };
        match frame {
            ClientFrame::Open { channel, .. } => {
                self.state.is_there = true;
                wire.to_client.push_back(MemberFrame::Opened { channel });
            }
            ClientFrame::Resume { channel, answered, .. } => {
                assert!(self.state.is_there);
                if self.state.forgets {
                    self.state.kept.clear();
                    self.state.last = answered;
                }
                self.state.kept = self.state.kept.split_off(&(answered + 1));
                let line = |(number, reply): (&u64, &Reply)| (*number, self.state.line(reply));
                let kept = self.state.kept.iter().map(line).collect();
                let (last, waiting) = (self.state.last, self.state.waiting);
                wire.came = last;
                wire.to_client.push_back(MemberFrame::Resumed { channel, last, waiting, kept });
            }
            ClientFrame::Do { number, answered, payload, .. } => {
                assert!(answered < number);
                if wire.put_off.is_some_and(|put_off| put_off != number) {
                    return;
                }
                if let Some(Step::PutOff) = refusal {
                    wire.put_off = Some(number);
                    let channel = CHANNEL;
                    wire.to_client.push_back(MemberFrame::Later { channel, number, millis: 0 });
                    return;
                }
                wire.put_off = None;
                let mut bytes = BytesMut::from(&payload[..]);
                let request = CommandDecoder::new(SIZE_MAX).next_request(&mut bytes);
                let Some(Request::Command(command)) = request else { panic!("{request:?}") };
                let is_peek = matches!(command, Command::Peek(_));
                assert!(is_peek || number > wire.came, "{number} behind {}", wire.came);
                wire.came = wire.came.max(number);
                self.state.kept = self.state.kept.split_off(&(answered + 1));
                if self.state.waiting.is_some_and(|waiting| number < waiting) {
                    let reply = self.state.apply(number, command).expect("it does not wait");
                    wire.answer(number, &reply);
                } else if matches!((&command, refusal), (Command::Put { .. }, Some(_))) {
                    wire.answer(number, &Reply::OutOfMemory);
                } else {
                    wire.behind.push_back((number, command));
                    self.carry_on();
                }
            }
            other => panic!("{other:?} was sent"),
        }
    }

    /// Carries out what nothing holds up.
    fn carry_on(&mut self) {
        let Some(wire) = &mut self.wire else { return };
        while self.state.waiting.is_none()
            && let Some((number, command)) = wire.behind.pop_front()
        {
            if let Some(reply) = self.state.apply(number, command) {
                wire.answer(number, &reply);
            }
            assert!(self.state.kept.len() <= super::UNDER_WAY_MAX);
        }
    }

    /// A job is ready: who waits gets it.
    fn wake(&mut self, job: u64) {
        let Some(number) = self.state.waiting.take() else { return };
        let reply = self.state.hand_over(number, job);
        if let Some(wire) = &mut self.wire {
            wire.answer(number, &reply);
        }
        self.carry_on();
    }

    /// All goes well from now on, until everything is answered.
    fn finish(&mut self) {
        for _ in 0..100_000 {
            if self.asked.is_empty() {
                break;
            }
            self.connect();
            for step in [Step::Send, Step::Serve, Step::Read] {
                self.step(step);
            }
            // What comes before a wait must not need its end.
            let first = self.core.entries.front().and_then(Entry::unanswered_number);
            if first.is_some() && first == self.state.waiting {
                self.step(Step::Arrive);
            }
        }
        assert!(self.asked.is_empty(), "no answer to {:?}", self.asked);
        for (body, id) in &self.puts {
            let ids: Vec<_> = self
                .state
                .bodies
                .iter()
                .filter(|(_, other)| *other == body)
                .map(|it| *it.0)
                .collect();
            assert_eq!(ids, id.iter().copied().collect::<Vec<_>>(), "{body:?}");
        }
    }
}

impl Wire {
    /// On the wire if the member knows of the channel.
    fn answer(&mut self, number: u64, reply: &Reply) {
        // A connection that has not asked for the session gets none of its replies.
        if self.came == 0 {
            return;
        }
        let mut payload = BytesMut::new();
        reply.encode(&mut payload);
        let payload = payload.freeze();
        self.to_client.push_back(MemberFrame::Reply { channel: CHANNEL, number, payload });
    }
}

impl State {
    fn add(&mut self, body: Bytes) -> u64 {
        let id = self.bodies.len() as u64 + 1;
        self.bodies.insert(id, body);
        self.ready.insert(id);
        id
    }

    /// Carries out a command; `None` if it waits.
    fn apply(&mut self, number: u64, command: Command) -> Option<Reply> {
        let reply = match command {
            Command::PeekReady => return Some(Reply::NotFound),
            Command::Peek(id) => {
                let is_there = !self.deleted.contains(&id);
                let body = self.bodies.get(&id).filter(|_| is_there).cloned();
                return Some(body.map_or(Reply::NotFound, |body| Reply::Found { id, body }));
            }
            Command::Put { body, .. } => Reply::Inserted(self.add(body)),
            Command::Use(tube) => Reply::Using(tube),
            Command::Delete(id) if self.held.remove(&id) => {
                self.deleted.push(id);
                Reply::Deleted
            }
            Command::Delete(_) => Reply::NotFound,
            Command::Reserve | Command::ReserveWithTimeout(_) => {
                self.last = number;
                if let Some(job) = self.ready.first().copied() {
                    return Some(self.hand_over(number, job));
                }
                if command == Command::Reserve {
                    self.waiting = Some(number);
                    return None;
                }
                Reply::TimedOut
            }
            other => panic!("{other:?} was sent"),
        };
        assert!(number > self.last || matches!(reply, Reply::TimedOut));
        self.last = number;
        self.kept.insert(number, reply.clone());
        Some(reply)
    }

    fn hand_over(&mut self, number: u64, job: u64) -> Reply {
        self.ready.remove(&job);
        self.held.insert(job);
        let reply = Reply::Reserved { id: job, body: self.bodies[&job].clone() };
        self.kept.insert(number, reply.clone());
        reply
    }

    /// What is told of a reply after a move.
    fn line(&self, reply: &Reply) -> Bytes {
        match reply {
            Reply::Using(_) => "USING\r\n".into(),
            Reply::Reserved { id, .. } if self.held.contains(id) => {
                format!("RESERVED {id}\r\n").into()
            }
            Reply::Reserved { .. } => "GONE\r\n".into(),
            other => {
                let mut line = BytesMut::new();
                other.encode(&mut line);
                line.freeze()
            }
        }
    }
}
