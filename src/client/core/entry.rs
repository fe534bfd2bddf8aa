//! One command of a session, from its request to its reply.

use beanpole_protocol::{Command, PutKey, Refusal, Reply, Request, TubeName};
use bytes::{Bytes, BytesMut};

/// The bound of `reserve-with-timeout`, in seconds.
const RESERVE_TIMEOUT_MAX: u32 = i32::MAX.unsigned_abs();

/// A command that a session can carry, or one whose answer is known.
#[derive(Debug)]
pub(in crate::client) struct Ask {
    kind: Kind,
    payload: Bytes,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Put {
        body_bytes: usize,
        has_key: bool,
    },
    /// Brings a job, and may wait for it.
    Reserve,
    Use(TubeName),
    Read,
    Other,
    /// The next put has this key, and takes it with it.
    Key(PutKey),
    /// Is not sent: the payload is the reply.
    Known,
}

/// A command whose reply was not taken.
#[derive(Debug)]
pub(super) struct Entry {
    ask: Ask,
    pub(super) progress: Progress,
    /// A reserve that is known to have got a job, whose body has to be asked for.
    fetch: Option<Fetch>,
}

/// How far a command is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// To be sent; under the number that it had, if it was put off.
    Unsent(Option<u64>),
    /// Sent under this number.
    Sent(u64),
    /// It waits, as it did before the move, and has this number.
    Waiting(u64),
    /// This is the reply.
    Answered(Bytes),
}

#[derive(Clone, Copy, Debug)]
struct Fetch {
    /// The number of the reserve, which is not answered before the body is here.
    reserve: u64,
    job: u64,
}

impl Ask {
    /// What a session makes of a request; `None` for `quit`, which is for whoever has the connection.
    pub(in crate::client) fn of(request: Request) -> Option<Self> {
        let command = match request {
            Request::Command(command) => command,
            Request::Refused(refusal) => {
                return Some(Self::known(&refusal.reply()));
            }
        };
        let kind = match &command {
            Command::Quit => return None,
            Command::Trunk { .. } => return Some(Self::known(&Reply::UnknownCommand)),
            Command::ReserveWithTimeout(seconds) if *seconds > RESERVE_TIMEOUT_MAX => {
                return Some(Self::known(&Refusal::BadFormat { counts: None }.reply()));
            }
            Command::Key(key) => Kind::Key(key.clone()),
            Command::Put { body, .. } => Kind::Put { body_bytes: body.len(), has_key: false },
            Command::Reserve | Command::ReserveWithTimeout(_) | Command::ReserveJob(_) => {
                Kind::Reserve
            }
            Command::Use(tube) => Kind::Use(tube.clone()),
            other if other.is_read() => Kind::Read,
            _ => Kind::Other,
        };
        Some(Self { kind, payload: encoded(&command) })
    }

    /// How much it takes up, in bytes.
    pub(in crate::client) fn bytes(&self) -> usize {
        self.payload.len()
    }

    /// The key that it gives to the next put.
    pub(super) fn key(&self) -> Option<&PutKey> {
        match &self.kind {
            Kind::Key(key) => Some(key),
            _ => None,
        }
    }

    /// Whether it takes the key: a put, or what is refused and may have been one.
    pub(super) fn takes_key(&self) -> bool {
        matches!(self.kind, Kind::Put { .. } | Kind::Known)
    }

    /// Gives a put its key, if it has none.
    pub(in crate::client) fn set_key(&mut self, key: PutKey) {
        if let Kind::Put { has_key: has_key @ false, .. } = &mut self.kind {
            *has_key = true;
            self.payload = [encoded(&Command::Key(key)), self.payload.clone()].concat().into();
        }
    }

    fn known(reply: &Reply) -> Self {
        Self { kind: Kind::Known, payload: written(reply) }
    }
}

impl Entry {
    pub(super) fn new(ask: Ask) -> Self {
        let progress = match ask.kind {
            Kind::Known => Progress::Answered(ask.payload.clone()),
            Kind::Key(_) => Progress::Answered(written(&Reply::Keyed)),
            _ => Progress::Unsent(None),
        };
        Self { ask, progress, fetch: None }
    }

    /// Whether it is with a member, and may wait for a job.
    pub(super) fn is_reserving(&self) -> bool {
        let is_sent = matches!(self.progress, Progress::Sent(_) | Progress::Waiting(_));
        is_sent && self.ask.kind == Kind::Reserve && self.fetch.is_none()
    }

    /// Whether what is sent, or to be sent, changes nothing.
    pub(super) fn is_read(&self) -> bool {
        self.ask.kind == Kind::Read || self.fetch.is_some()
    }

    pub(super) fn is_put(&self) -> bool {
        matches!(self.ask.kind, Kind::Put { .. })
    }

    pub(super) fn is_sent_as(&self, number: u64) -> bool {
        matches!(self.progress, Progress::Sent(own) | Progress::Waiting(own) if own == number)
    }

    /// What is to be sent.
    pub(super) fn payload(&self) -> Bytes {
        match self.fetch {
            None => self.ask.payload.clone(),
            Some(fetch) => encoded(&Command::Peek(fetch.job)),
        }
    }

    /// How long that is, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.ask.payload.len()
    }

    /// The number that a member has to remember for this command.
    pub(super) fn unanswered_number(&self) -> Option<u64> {
        if let Some(fetch) = self.fetch {
            return Some(fetch.reserve);
        }
        match self.progress {
            Progress::Sent(number) | Progress::Waiting(number) => Some(number),
            Progress::Unsent(number) => number,
            Progress::Answered(_) => None,
        }
    }

    /// Answers a put whose body is above `size_max` bytes and was not sent.
    pub(super) fn refuse_above(&mut self, size_max: u32) {
        if let (Kind::Put { body_bytes, .. }, Progress::Unsent(_)) =
            (&self.ask.kind, &self.progress)
            && *body_bytes > size_max as usize
        {
            self.answer_with(&Reply::JobTooBig);
        }
    }

    /// Takes in the reply to what was sent.
    pub(super) fn answer(&mut self, payload: Bytes) {
        let Some(_) = self.fetch.take() else {
            self.progress = Progress::Answered(payload);
            return;
        };
        // The job is gone meanwhile, and nobody knows that the reserve had got it.
        if *payload == b"NOT_FOUND\r\n"[..] {
            self.ask_anew();
            return;
        }
        let reply = match payload.strip_prefix(b"FOUND ") {
            Some(found) => [b"RESERVED ", found].concat().into(),
            None => payload,
        };
        self.progress = Progress::Answered(reply);
    }

    pub(super) fn answer_with(&mut self, reply: &Reply) {
        self.progress = Progress::Answered(written(reply));
        self.fetch = None;
    }

    /// To be sent under another number: it was not carried out, or what came of it is gone.
    pub(super) fn ask_anew(&mut self) {
        self.progress = Progress::Unsent(None);
        self.fetch = None;
    }

    /// The member has dropped the command under `number`, and all behind it.
    pub(super) fn put_off(&mut self, number: u64) {
        if let Progress::Sent(sent) = self.progress
            && sent >= number
        {
            self.progress = Progress::Unsent(Some(sent));
        }
    }

    /// It waits, as it did before the move.
    pub(super) fn wait_on(&mut self, number: u64) {
        self.progress = Progress::Waiting(number);
        self.fetch = None;
    }

    /// Takes in what a member keeps of the reply: its first line, with less in it than a client gets.
    /// The body of a job is asked for under the same number, so that it comes before the end of a
    /// wait behind it. Returns false if that is no such line.
    #[must_use]
    pub(super) fn recall(&mut self, number: u64, line: &Bytes) -> bool {
        let Some(text) = line.strip_suffix(b"\r\n") else { return false };
        let mut words = text.split(|byte| *byte == b' ');
        match (words.next(), &self.ask.kind) {
            (_, Kind::Read | Kind::Key(_) | Kind::Known) => return false,
            (Some(b"GONE"), Kind::Reserve) => self.ask_anew(),
            (Some(b"RESERVED"), Kind::Reserve) => {
                let job = words.next().and_then(|id| std::str::from_utf8(id).ok()?.parse().ok());
                let Some(job) = job else { return false };
                self.progress = Progress::Unsent(Some(number));
                self.fetch = Some(Fetch { reserve: number, job });
            }
            (Some(b"USING"), Kind::Use(tube)) => {
                let reply = Reply::Using(tube.clone());
                self.answer_with(&reply);
            }
            (Some(b"" | b"GONE" | b"RESERVED" | b"USING" | b"FOUND" | b"OK") | None, _) => {
                return false;
            }
            (Some(_), _) => {
                self.progress = Progress::Answered(line.clone());
                self.fetch = None;
            }
        }
        true
    }
}

fn encoded(command: &Command) -> Bytes {
    let mut payload = BytesMut::new();
    command.encode(&mut payload);
    payload.freeze()
}

fn written(reply: &Reply) -> Bytes {
    let mut payload = BytesMut::new();
    reply.encode(&mut payload);
    payload.freeze()
}
