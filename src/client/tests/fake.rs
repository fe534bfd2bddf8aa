//! A cluster that is not one: members that share a state, and can be killed and frozen. It keeps
//! what the protocol promises, and no more: one tube, no time to run.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use beanpole_protocol::trunk::{
    ChannelNumber, ClientFrame, ClientFrameDecoder, MemberFrame, Token,
};
use beanpole_protocol::{Command, CommandDecoder, Reply, Request};
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

pub(super) const SIZE_MAX: u32 = 1 << 20;

/// How long a reply is on its way, so that one who is killed loses some.
const REPLY_DELAY: Duration = Duration::from_millis(1);

type Out = mpsc::UnboundedSender<MemberFrame>;

/// What all members know.
#[derive(Default)]
pub(super) struct State {
    sessions: HashMap<Token, Session>,
    waiting: VecDeque<(Token, u64)>,
    pub(super) bodies: BTreeMap<u64, Bytes>,
    ready: BTreeSet<u64>,
    pub(super) deleted: Vec<u64>,
    /// How many sessions were resumed.
    pub(super) resumed: usize,
    /// How many commands are put off before one is taken on.
    pub(super) put_off: u32,
    /// No session begins or goes on.
    pub(super) is_full: bool,
}

#[derive(Default)]
struct Session {
    home: Option<(ChannelNumber, Out)>,
    last: u64,
    waiting: Option<u64>,
    kept: BTreeMap<u64, Reply>,
    held: BTreeSet<u64>,
    /// Behind a wait.
    behind: VecDeque<(u64, Command)>,
    /// Until this command comes again, all are dropped.
    put_off: Option<u64>,
}

/// A member, dead or alive.
pub(super) struct Member {
    pub(super) address: SocketAddr,
    state: Arc<Mutex<State>>,
    frozen: watch::Sender<bool>,
    life: Option<JoinHandle<()>>,
}

impl Member {
    /// Begins to serve.
    pub(super) async fn start(state: &Arc<Mutex<State>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let (frozen, _) = watch::channel(false);
        let mut member = Self { address, state: Arc::clone(state), frozen, life: None };
        member.serve(listener);
        member
    }

    /// Ends all its connections, and what is on its way to clients is lost.
    pub(super) async fn kill(&mut self) {
        let life = self.life.take().expect("it lives");
        life.abort();
        assert!(life.await.is_err_and(|error| error.is_cancelled()));
    }

    /// Serves again at the same address.
    pub(super) async fn restart(&mut self) {
        self.serve(TcpListener::bind(self.address).await.expect("the port is free again"));
    }

    /// Answers nothing any more, or goes on.
    pub(super) fn freeze(&self, is_frozen: bool) {
        self.frozen.send_replace(is_frozen);
    }

    fn serve(&mut self, listener: TcpListener) {
        let (state, frozen) = (Arc::clone(&self.state), self.frozen.subscribe());
        self.life = Some(tokio::spawn(async move {
            // Dropped with this task, so that its connections are.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection can be had");
                connections.spawn(serve(stream, Arc::clone(&state), frozen.clone()));
            }
        }));
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>, frozen: watch::Receiver<bool>) {
    stream.set_nodelay(true).expect("it is a socket");
    let mut input = BytesMut::new();
    while !input.ends_with(b"\r\n") {
        if !matches!(stream.read_buf(&mut input).await, Ok(1..)) {
            return;
        }
    }
    assert_eq!(input, "trunk 1\r\n");
    input.clear();
    thawed(frozen.clone()).await;
    let mut hello = BytesMut::new();
    Reply::Trunk { member: 1, job_size_max: SIZE_MAX }.encode(&mut hello);
    if stream.write_all(&hello).await.is_err() {
        return;
    }
    let (reader, writer) = stream.into_split();
    let (out, replies) = mpsc::unbounded_channel();
    let mut channels = HashMap::new();
    tokio::select! {
        () = read(reader, input, &state, &out, &mut channels, frozen.clone()) => {}
        () = write(writer, replies, frozen) => {}
    }
}

async fn read(
    mut reader: tokio::net::tcp::OwnedReadHalf,
    mut input: BytesMut,
    state: &Mutex<State>,
    out: &Out,
    channels: &mut HashMap<ChannelNumber, Token>,
    frozen: watch::Receiver<bool>,
) {
    let mut decoder = ClientFrameDecoder::new(2 << 20);
    loop {
        thawed(frozen.clone()).await;
        while let Some(frame) = decoder.next_frame(&mut input).expect("a client sends frames") {
            state.lock().take(frame, out, channels);
        }
        if !matches!(reader.read_buf(&mut input).await, Ok(1..)) {
            return;
        }
    }
}

async fn write(
    mut writer: tokio::net::tcp::OwnedWriteHalf,
    mut replies: mpsc::UnboundedReceiver<MemberFrame>,
    frozen: watch::Receiver<bool>,
) {
    let mut frames = Vec::new();
    while replies.recv_many(&mut frames, 1000).await > 0 {
        sleep(REPLY_DELAY).await;
        thawed(frozen.clone()).await;
        let mut output = BytesMut::new();
        frames.drain(..).for_each(|frame| frame.encode(&mut output));
        if writer.write_all(&output).await.is_err() {
            return;
        }
    }
}

async fn thawed(mut frozen: watch::Receiver<bool>) {
    frozen.wait_for(|is_frozen| !is_frozen).await.expect("the member is there");
}

impl State {
    /// How many sessions there are.
    pub(super) fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// All sessions are forgotten, as if their leases had run out.
    pub(super) fn forget_sessions(&mut self) {
        for (_, session) in self.sessions.drain() {
            self.ready.extend(session.held);
        }
        self.waiting.clear();
    }

    fn take(
        &mut self,
        frame: ClientFrame,
        out: &Out,
        channels: &mut HashMap<ChannelNumber, Token>,
    ) {
        match frame {
            ClientFrame::Ping(number) => answer(out, MemberFrame::Pong(number)),
            ClientFrame::Open { channel, .. } | ClientFrame::Resume { channel, .. }
                if self.is_full =>
            {
                answer(out, MemberFrame::Refused { channel });
            }
            ClientFrame::Open { channel, token, .. } => {
                self.sessions.entry(token).or_default();
                channels.insert(channel, token);
                self.attach(token, channel, out);
                answer(out, MemberFrame::Opened { channel });
            }
            ClientFrame::Resume { channel, token, answered, .. } => {
                self.resume(channel, token, answered, out, channels);
            }
            ClientFrame::Do { channel, .. } => {
                let Some(token) = channels.get(&channel) else { return };
                self.ask(*token, frame, out);
            }
            ClientFrame::Stop { channel } => {
                let token = channels[&channel];
                if let Some(number) = self.sessions.get_mut(&token).and_then(|it| it.waiting.take())
                {
                    self.waiting.retain(|(other, _)| *other != token);
                    self.tell(token, number, Reply::TimedOut);
                }
            }
            ClientFrame::Close { channel } => {
                let session = channels.remove(&channel).and_then(|it| self.sessions.remove(&it));
                self.ready.extend(session.map(|it| it.held).unwrap_or_default());
                self.waiting.retain(|(token, _)| self.sessions.contains_key(token));
                answer(out, MemberFrame::Closed { channel });
            }
        }
    }

    fn resume(
        &mut self,
        channel: ChannelNumber,
        token: Token,
        answered: u64,
        out: &Out,
        channels: &mut HashMap<ChannelNumber, Token>,
    ) {
        let Some(session) = self.sessions.get_mut(&token) else {
            return answer(out, MemberFrame::Lapsed { channel });
        };
        self.resumed += 1;
        session.behind.clear();
        session.put_off = None;
        session.kept = session.kept.split_off(&(answered + 1));
        let (last, waiting) = (session.last, session.waiting);
        let line = |(number, reply): (&u64, &Reply)| (*number, line_of(reply, &session.held));
        let kept = session.kept.iter().map(line).collect();
        channels.insert(channel, token);
        self.attach(token, channel, out);
        answer(out, MemberFrame::Resumed { channel, last, waiting, kept });
    }

    fn attach(&mut self, token: Token, channel: ChannelNumber, out: &Out) {
        let session = self.sessions.get_mut(&token).expect("it is there");
        if let Some((former, before)) = session.home.replace((channel, out.clone())) {
            answer(&before, MemberFrame::Moved { channel: former });
        }
    }

    fn ask(&mut self, token: Token, frame: ClientFrame, out: &Out) {
        let ClientFrame::Do { channel, number, answered, payload } = frame else {
            panic!("{frame:?} asks for nothing");
        };
        let Some(session) = self.sessions.get_mut(&token) else { return };
        let is_here =
            session.home.as_ref().is_some_and(|(at, to)| *at == channel && to.same_channel(out));
        if !is_here {
            return;
        }
        if session.put_off.is_some_and(|put_off| put_off != number) {
            return;
        }
        session.put_off = None;
        if self.put_off > 0 {
            self.put_off -= 1;
            session.put_off = Some(number);
            return answer(out, MemberFrame::Later { channel, number, millis: 1 });
        }
        session.kept = session.kept.split_off(&(answered + 1));
        let mut bytes = BytesMut::from(&payload[..]);
        let request = CommandDecoder::new(SIZE_MAX).next_request(&mut bytes);
        let Some(Request::Command(command)) = request else { panic!("{request:?}") };
        let is_behind_wait = session.waiting.is_none_or(|waiting| waiting < number);
        if !is_behind_wait {
            return self.apply(token, number, command);
        }
        session.behind.push_back((number, command));
        self.carry_on(token);
    }

    fn carry_on(&mut self, token: Token) {
        loop {
            let session = self.sessions.get_mut(&token).expect("it is there");
            if session.waiting.is_some() {
                return;
            }
            let Some((number, command)) = session.behind.pop_front() else { return };
            self.apply(token, number, command);
        }
    }

    fn apply(&mut self, token: Token, number: u64, command: Command) {
        let session = self.sessions.get_mut(&token).expect("it is there");
        if let Command::Peek(id) | Command::ReserveJob(id) = command {
            let reply = match self.bodies.get(&id).cloned() {
                Some(body) => Reply::Found { id, body },
                None => Reply::NotFound,
            };
            return send(session, number, &reply);
        }
        assert!(number > session.last, "{number} after {}", session.last);
        session.last = number;
        let reply = match command {
            Command::Put { body, .. } => {
                let id = self.bodies.len() as u64 + 1;
                self.bodies.insert(id, body);
                self.ready.insert(id);
                Reply::Inserted(id)
            }
            Command::Reserve => {
                session.waiting = Some(number);
                self.waiting.push_back((token, number));
                return self.match_up();
            }
            Command::ReserveWithTimeout(_) => Reply::TimedOut,
            Command::Delete(id) if session.held.remove(&id) => {
                self.deleted.push(id);
                Reply::Deleted
            }
            Command::Use(tube) => Reply::Using(tube),
            Command::Watch(_) => Reply::Watching(2),
            _ => Reply::NotFound,
        };
        self.tell(token, number, reply);
        self.match_up();
    }

    /// Those who wait get what is ready.
    fn match_up(&mut self) {
        while !self.waiting.is_empty()
            && let Some(id) = self.ready.pop_first()
        {
            let (token, number) = self.waiting.pop_front().expect("somebody waits");
            let session = self.sessions.get_mut(&token).expect("who waits is there");
            session.waiting = None;
            session.held.insert(id);
            let body = self.bodies[&id].clone();
            self.tell(token, number, Reply::Reserved { id, body });
            self.carry_on(token);
        }
    }

    fn tell(&mut self, token: Token, number: u64, reply: Reply) {
        let session = self.sessions.get_mut(&token).expect("it is there");
        send(session, number, &reply);
        session.kept.insert(number, reply);
        assert!(session.kept.len() <= 32, "{} outcomes are kept", session.kept.len());
    }
}

fn send(session: &Session, number: u64, reply: &Reply) {
    let Some((channel, out)) = &session.home else { return };
    let mut payload = BytesMut::new();
    reply.encode(&mut payload);
    answer(out, MemberFrame::Reply { channel: *channel, number, payload: payload.freeze() });
}

/// To a connection that may have ended.
fn answer(out: &Out, frame: MemberFrame) {
    let _ended = out.send(frame);
}

fn line_of(reply: &Reply, held: &BTreeSet<u64>) -> Bytes {
    match reply {
        Reply::Using(_) => "USING\r\n".into(),
        Reply::Reserved { id, .. } if held.contains(id) => format!("RESERVED {id}\r\n").into(),
        Reply::Reserved { .. } => "GONE\r\n".into(),
        other => {
            let mut line = BytesMut::new();
            other.encode(&mut line);
            line.freeze()
        }
    }
}
