//! Histories as tests tell them: in milliseconds, job N with key N in tube "t".

use crate::clock::Moment;
use crate::history::{
    Body, Command, FORMAT, Fault, FaultState, Head, History, MemberSample, Outcome, Phase,
    PhaseName, Record, Reply,
};

use super::Finding;

/// A history that grows line by line.
pub(super) struct Story {
    history: History,
    member: u32,
}

/// A put before it is told: priority 100, no delay, 10 s to run.
pub(super) struct PutAs {
    pub(super) tube: &'static str,
    pub(super) priority: u32,
    pub(super) delay: u32,
    pub(super) ttr: u32,
}

/// The body of the job with this key.
pub(super) fn body(key: u64) -> Body {
    Body { key, bytes: 64, is_intact: true }
}

pub(super) fn put(key: u64) -> Command {
    put_changed(key, |_| ())
}

/// A put with a key, of a body that is known by another one.
pub(super) fn keyed(under: &str, key: u64) -> Command {
    let Command::Put { tube, priority, delay, ttr, body, .. } = put(key) else {
        unreachable!("it is a put")
    };
    Command::Put { tube, priority, delay, ttr, body, under: Some(under.to_owned()) }
}

fn put_changed(key: u64, change: impl FnOnce(&mut PutAs)) -> Command {
    let mut put = PutAs { tube: "t", priority: 100, delay: 0, ttr: 10 };
    change(&mut put);
    let PutAs { tube, priority, delay, ttr } = put;
    Command::Put { tube: tube.to_owned(), priority, delay, ttr, body: body(key), under: None }
}

pub(super) fn reserve() -> Command {
    Command::Reserve { tubes: vec!["t".to_owned()], timeout: Some(60) }
}

pub(super) fn inserted(id: u64) -> Reply {
    Reply::Inserted { id }
}

pub(super) fn reserved(id: u64) -> Reply {
    reserved_as(id, id)
}

/// RESERVED with an id and the body of a key.
pub(super) fn reserved_as(id: u64, key: u64) -> Reply {
    Reply::Reserved { id, body: body(key) }
}

pub(super) fn found(id: u64) -> Reply {
    Reply::Found { id, body: body(id) }
}

/// The figures of a job in this state.
pub(super) fn state(name: &str) -> Reply {
    Reply::Stats { values: [("state".to_owned(), name.to_owned())].into() }
}

/// The figures of a tube, or of all, with so many ready jobs.
pub(super) fn stats(ready: u64, total: u64) -> Reply {
    let figures = [
        ("current-jobs-ready", ready),
        ("current-jobs-reserved", 0),
        ("current-jobs-delayed", 0),
        ("current-jobs-buried", 0),
        ("total-jobs", total),
    ];
    let values = figures.map(|(name, value)| (name.to_owned(), value.to_string()));
    Reply::Stats { values: values.into() }
}

/// A measure by its name.
pub(super) fn measure<'a>(finding: &'a Finding, name: &str) -> &'a str {
    let found = finding.measures.iter().find(|(known, _)| known == name);
    found.map_or("", |(_, value)| value)
}

impl Story {
    pub(super) fn new() -> Self {
        let head = Head { format: FORMAT, members: 3, ..Head::default() };
        Self { history: History { head, ..History::default() }, member: 0 }
    }

    /// That many milliseconds.
    pub(super) fn moment(milliseconds: u64) -> Moment {
        Moment(milliseconds * 1_000_000)
    }

    /// The history so far, sorted.
    pub(super) fn history(&mut self) -> History {
        self.history.sort();
        self.history.clone()
    }

    pub(super) fn head(&mut self) -> &mut Head {
        &mut self.history.head
    }

    /// What follows is asked of this member.
    pub(super) fn at_member(&mut self, member: u32) -> &mut Self {
        self.member = member;
        self
    }

    pub(super) fn phase(&mut self, name: PhaseName, at: u64) -> &mut Self {
        self.history.phases.push(Phase { name, at: Self::moment(at) });
        self
    }

    pub(super) fn sample(&mut self, sample: MemberSample) -> &mut Self {
        self.history.samples.push(sample);
        self
    }

    pub(super) fn fault(
        &mut self,
        name: &str,
        members: &[u32],
        (began, healed): (u64, u64),
        state: FaultState,
    ) -> &mut Self {
        self.history.faults.push(Fault {
            name: name.to_owned(),
            target: format!("{members:?}"),
            members: members.to_vec(),
            began: Self::moment(began),
            healed: Some(Self::moment(healed)),
            state,
            note: String::new(),
        });
        self
    }

    /// A command on the client's first connection, and what is known of it.
    pub(super) fn ask(
        &mut self,
        client: u32,
        (invoked, returned): (u64, u64),
        command: Command,
        outcome: Outcome,
    ) -> &mut Self {
        self.history.records.push(Record {
            client,
            connection: 1,
            member: self.member,
            invoked: Self::moment(invoked),
            returned: Self::moment(returned),
            command,
            outcome,
        });
        self
    }

    /// A command that was answered.
    pub(super) fn op(
        &mut self,
        client: u32,
        span: (u64, u64),
        command: Command,
        reply: Reply,
    ) -> &mut Self {
        self.ask(client, span, command, Outcome::Replied(reply))
    }

    /// A command that was answered after 2 ms.
    pub(super) fn told(
        &mut self,
        client: u32,
        at: u64,
        command: Command,
        reply: Reply,
    ) -> &mut Self {
        self.op(client, (at, at + 2), command, reply)
    }

    /// A command that was given up after 2 ms.
    pub(super) fn unanswered(&mut self, client: u32, at: u64, command: Command) -> &mut Self {
        let why = "the connection was reset".to_owned();
        self.ask(client, (at, at + 2), command, Outcome::Unknown { why })
    }

    /// A job is put.
    pub(super) fn put(&mut self, client: u32, at: u64, id: u64) -> &mut Self {
        self.told(client, at, put(id), inserted(id))
    }

    /// A job is put that is not as the others.
    pub(super) fn put_as(
        &mut self,
        client: u32,
        at: u64,
        id: u64,
        change: impl FnOnce(&mut PutAs),
    ) -> &mut Self {
        self.told(client, at, put_changed(id, change), inserted(id))
    }

    pub(super) fn put_unanswered(&mut self, client: u32, at: u64, key: u64) -> &mut Self {
        self.unanswered(client, at, put(key))
    }

    /// A job is handed out.
    pub(super) fn reserve(&mut self, client: u32, at: u64, id: u64) -> &mut Self {
        self.reserve_in(client, (at, at + 2), id)
    }

    /// A job is handed out to who waited.
    pub(super) fn reserve_in(&mut self, client: u32, span: (u64, u64), id: u64) -> &mut Self {
        self.op(client, span, reserve(), reserved(id))
    }

    pub(super) fn delete(&mut self, client: u32, at: u64, id: u64) -> &mut Self {
        self.told(client, at, Command::Delete { id }, Reply::Deleted)
    }

    pub(super) fn close(&mut self, client: u32, at: u64) -> &mut Self {
        self.told(client, at, Command::Close, Reply::Done)
    }
}
