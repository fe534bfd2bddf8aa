//! A history by job, by connection and by tube: what all checks look things up in.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::calm::is_felt;
use super::fate::{self, NEVER};
use crate::clock::Moment;
use crate::history::{Body, Command, History, PhaseName, Record, Reply};

/// The shortest time to run that the server gives a job.
const TTR_MIN: Duration = Duration::from_secs(1);

/// A member that was hurt may be left so long after its fault was healed.
const RECOVERY: Duration = Duration::from_secs(5);

/// A connection: its client, and which of the client's it is.
pub(super) type Connection = (u32, u32);

/// A history, and where to find what in it. Places are those in [`History::records`].
pub(super) struct Index<'a> {
    pub(super) history: &'a History,
    /// Every job that a reply or a command named.
    pub(super) jobs: BTreeMap<u64, Job>,
    /// Where each key was put, by key; the first time.
    pub(super) puts: HashMap<u64, usize>,
    /// When each key was first seen by a client that got its job or looked at it.
    pub(super) seen: HashMap<u64, Moment>,
    /// Kicks that may have moved jobs, by tube.
    pub(super) kicks: BTreeMap<&'a str, Vec<usize>>,
    /// Reserves of which nobody knows what they took, by tube.
    pub(super) ghosts: BTreeMap<&'a str, Vec<usize>>,
    /// Reserves that may have held another job for a while before they were answered, by tube.
    pub(super) passing: BTreeMap<&'a str, Vec<usize>>,
    sure_until: HashMap<Connection, Moment>,
}

/// What is known of one job.
#[derive(Debug, Default)]
pub(super) struct Job {
    /// The put that made it: one that was answered with its id, or one of its key that may have
    /// been carried out.
    pub(super) put: Option<usize>,
    /// All that concerns it, by the moment it was sent.
    pub(super) records: Vec<usize>,
    /// Where it was handed out, by the moment of the reply.
    pub(super) deliveries: Vec<usize>,
}

/// What a put said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Put<'a> {
    pub(super) tube: &'a str,
    /// As the server takes it: never less than a second.
    pub(super) ttr: Duration,
    pub(super) body: Body,
}

/// What a record's put said, if it is one.
pub(super) fn put_of(record: &Record) -> Option<Put<'_>> {
    let Command::Put { tube, ttr, body, .. } = &record.command else { return None };
    Some(Put { tube, ttr: seconds((*ttr).max(1)), body: *body })
}

/// So many seconds.
pub(super) fn seconds(count: u32) -> Duration {
    Duration::from_secs(u64::from(count))
}

/// The body of a job that a reply shows.
pub(super) fn shown_body(record: &Record) -> Option<Body> {
    match fate::reply(record)? {
        Reply::Reserved { body, .. } | Reply::Found { body, .. } => Some(*body),
        _ => None,
    }
}

/// When a phase began and when the next one did; nothing when it never began.
pub(super) fn phase(history: &History, name: PhaseName) -> Option<(Moment, Moment)> {
    let place = history.phases.iter().position(|phase| phase.name == name)?;
    let until = history.phases.get(place + 1).map_or(NEVER, |next| next.at);
    Some((history.phases[place].at, until))
}

/// Who sent it on which connection.
pub(super) fn connection(record: &Record) -> Connection {
    (record.client, record.connection)
}

impl<'a> Index<'a> {
    pub(super) fn new(history: &'a History) -> Self {
        let mut index = Self {
            history,
            jobs: BTreeMap::new(),
            puts: HashMap::new(),
            seen: HashMap::new(),
            kicks: BTreeMap::new(),
            ghosts: BTreeMap::new(),
            passing: BTreeMap::new(),
            sure_until: HashMap::new(),
        };
        for (place, record) in history.records.iter().enumerate() {
            index.take(place, record);
        }
        index.find_unanswered_puts();
        for job in index.jobs.values_mut() {
            job.deliveries.sort_by_key(|&place| history.records[place].returned);
        }
        index
    }

    /// Whether a reserve may have been carried out twice: an agent whose member was lost asks again
    /// when the time to run of the job that it was given is over before it knows. So it was under
    /// way for the shortest of those times, and beside a fault.
    pub(super) fn may_pass(&self, record: &Record) -> bool {
        let span = (record.invoked, record.returned);
        self.history.head.agent() == Some(record.member)
            && span.1.since(span.0) >= TTR_MIN
            && self.history.faults.iter().any(|fault| is_felt(fault, span, RECOVERY))
    }

    /// A record by its place.
    pub(super) fn record(&self, place: usize) -> &'a Record {
        &self.history.records[place]
    }

    /// What the job's put said, if it is known.
    pub(super) fn put(&self, job: &Job) -> Option<Put<'a>> {
        put_of(self.record(job.put?))
    }

    /// The last moment at which a connection was surely there: it answered a command that was sent
    /// then. Its end may have come any time after, however late the client noticed: a reply that
    /// is read may have waited in a buffer, and a client that sleeps does not look.
    pub(super) fn sure_until(&self, connection: Connection) -> Moment {
        self.sure_until.get(&connection).copied().unwrap_or_default()
    }

    /// The earliest end of the hold that began with this delivery, for whatever reason.
    pub(super) fn earliest_end(&self, job: &Job, delivery: usize) -> Moment {
        let begin = self.record(delivery);
        let Some(put) = self.put(job) else { return begin.invoked };
        let mut lease = begin.invoked;
        let mut given_up = self.sure_until(connection(begin));
        for record in self.by_holder(job, delivery) {
            match record.command {
                Command::Touch { .. } if fate::has_effect(record) => {
                    lease = lease.max(record.invoked);
                }
                Command::Release { .. } | Command::Bury { .. } | Command::Delete { .. } => {
                    given_up = given_up.min(record.invoked);
                }
                _ => {}
            }
        }
        lease.after(put.ttr).min(given_up)
    }

    /// What the holder did with the job, from this delivery to its next one on that connection.
    fn by_holder<'b>(
        &'b self,
        job: &'b Job,
        delivery: usize,
    ) -> impl Iterator<Item = &'a Record> + 'b {
        self.places_by_holder(job, delivery).map(|place| self.record(place))
    }

    /// The places of that.
    pub(super) fn places_by_holder<'b>(
        &'b self,
        job: &'b Job,
        delivery: usize,
    ) -> impl Iterator<Item = usize> + 'b {
        let holder = connection(self.record(delivery));
        let from = job.records.partition_point(|&place| place <= delivery);
        let own = job.records[from..].iter().copied();
        own.filter(move |&place| connection(self.record(place)) == holder)
            .take_while(|&place| !is_delivery(self.record(place)))
    }

    fn take(&mut self, place: usize, record: &'a Record) {
        if fate::reply(record).is_some_and(|reply| *reply != Reply::Done) {
            let until = self.sure_until.entry(connection(record)).or_default();
            *until = (*until).max(record.invoked);
        }
        if let Some(body) = shown_body(record) {
            let seen = self.seen.entry(body.key).or_insert(record.returned);
            *seen = (*seen).min(record.returned);
        }
        match &record.command {
            Command::Put { body, .. } => {
                let first = self.puts.entry(body.key).or_insert(place);
                // One that was refused and sent again with its key was not put before.
                if !fate::may_have_effect(&self.history.records[*first]) {
                    *first = place;
                }
            }
            Command::Kick { tube, .. } if fate::may_have_effect(record) => {
                self.kicks.entry(tube).or_default().push(place);
            }
            Command::Reserve { tubes, .. } if fate::is_ghost(record) => {
                for tube in tubes {
                    self.ghosts.entry(tube).or_default().push(place);
                }
            }
            Command::Reserve { tubes, .. } if self.may_pass(record) => {
                for tube in tubes {
                    self.passing.entry(tube).or_default().push(place);
                }
            }
            _ => {}
        }
        let Some(id) = fate::job(record) else { return };
        let job = self.jobs.entry(id).or_default();
        job.records.push(place);
        if is_delivery(record) {
            job.deliveries.push(place);
        }
        if matches!(record.command, Command::Put { .. }) {
            job.put.get_or_insert(place);
        }
    }

    /// A job whose put was never answered is known by the key in its body.
    fn find_unanswered_puts(&mut self) {
        let records = &self.history.records;
        for job in self.jobs.values_mut().filter(|job| job.put.is_none()) {
            let body = job.records.iter().find_map(|&place| shown_body(&records[place]));
            let put = body.and_then(|body| self.puts.get(&body.key).copied());
            let Some(place) = put.filter(|&place| fate::is_doubtful(&records[place])) else {
                continue;
            };
            job.put = Some(place);
            job.records.insert(job.records.partition_point(|&other| other < place), place);
        }
    }
}

/// Whether a job was handed out.
pub(super) fn is_delivery(record: &Record) -> bool {
    matches!(fate::reply(record), Some(Reply::Reserved { .. }))
}
