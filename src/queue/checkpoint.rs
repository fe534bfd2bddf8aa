//! Checkpoints: the state at one moment, as records, copied while it changes.
//!
//! Only facts are recorded; everything that can be derived from them is built anew by
//! [`Queue::restore`]. How a table is copied while it changes is told in `table`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cold::ColdShelves;
use super::continuation::{Continuation, ContinuationId};
use super::counters::Totals;
use super::digest::Chain;
use super::job::{Body, Job, JobState};
use super::keys::{KeyFacts, KeyHash};
use super::member::MemberFacts;
use super::session::SessionFacts;
use super::tube::{TubeFacts, TubeId};
use super::{JobId, Limits, LogicalTime, MemberId, NextNumbers, Queue, SessionId};
use crate::planted::{self, Bug};

/// A piece of the state. The header is the first record of a checkpoint; the others follow in no
/// particular order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// What there is one of.
    Header(Box<Header>),
    /// A member.
    Member(MemberId, MemberFacts),
    /// A tube, and what is with the store of cold jobs.
    Tube(TubeId, TubeFacts, ColdShelves),
    /// A session.
    Session(SessionId, SessionFacts),
    /// A hot job.
    Job(JobId, Job),
    /// Work that goes on in the next entry.
    Continuation(ContinuationId, Kept),
    /// A put that may come again.
    Key(KeyHash, KeyFacts),
}

/// The continuation in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept(pub(super) Continuation);

/// What there is one of in the state, and how many records follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub(super) clock: LogicalTime,
    pub(super) returned: LogicalTime,
    pub(super) next: NextNumbers,
    pub(super) totals: Totals,
    pub(super) chain: Chain,
    pub(super) limits: Limits,
    pub(super) lengths: Lengths,
}

/// How many entries each table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lengths {
    pub members: u64,
    pub tubes: u64,
    pub sessions: u64,
    pub jobs: u64,
    pub continuations: u64,
    pub keys: u64,
}

/// A checkpoint under way.
#[derive(Debug)]
pub(super) struct Checkpoint {
    /// As of the freeze, until it is handed over.
    header: Option<Box<Header>>,
}

/// What a record of a session or a tube takes, bytes: rather too much than too little.
const RECORD_BYTES: u64 = 128;

impl Queue {
    /// About how many bytes a checkpoint of the state as it is now would have.
    pub fn checkpoint_bytes(&self) -> u64 {
        let records = self.sessions.len() + self.tubes.len() + self.keys.len();
        self.job_counts.hot_bytes + records as u64 * RECORD_BYTES
    }

    /// Freezes the state as it is now, to be fetched by [`Self::checkpoint_slice`].
    ///
    /// # Panics
    ///
    /// When a checkpoint is under way.
    pub fn begin_checkpoint(&mut self) {
        assert!(self.checkpoint.is_none(), "a checkpoint is under way already");
        let mut header = Box::new(self.header());
        if planted::is(Bug::CheckpointLacksHeld) {
            header.lengths.jobs -= self.job_counts.reserved;
        }
        self.checkpoint = Some(Checkpoint { header: Some(header) });
        self.members.freeze();
        self.tubes.freeze();
        self.sessions.freeze();
        self.jobs.freeze();
        self.continuations.freeze();
        self.keys.freeze();
    }

    /// Appends at most `records_max` records of the frozen state to `out`; true when that was the
    /// last of them, and the checkpoint is over. The cost is that of `records_max` records.
    ///
    /// # Panics
    ///
    /// When no checkpoint is under way.
    pub fn checkpoint_slice(&mut self, records_max: usize, out: &mut Vec<Record>) -> bool {
        let checkpoint = self.checkpoint.as_mut().expect("a checkpoint is under way");
        let mut budget = records_max;
        if budget > 0
            && let Some(header) = checkpoint.header.take()
        {
            out.push(Record::Header(header));
            budget -= 1;
        }
        let left = &mut budget;
        let over = self.members.slice(left, |id, facts| out.push(Record::Member(id, facts)))
            && self.tubes.slice(left, |id, (facts, cold)| out.push(Record::Tube(id, facts, cold)))
            && self.sessions.slice(left, |id, facts| out.push(Record::Session(id, facts)))
            && self.continuations.slice(left, |id, continuation| {
                out.push(Record::Continuation(id, Kept(continuation)));
            })
            && self.keys.slice(left, |id, facts| out.push(Record::Key(id, facts)))
            && self.jobs.slice(left, |id, job| {
                if !is_left_out(&job) {
                    out.push(Record::Job(id, job));
                }
            });
        if over {
            self.checkpoint = None;
        }
        over
    }

    /// Gives up the checkpoint under way, if there is one.
    pub fn abandon_checkpoint(&mut self) {
        self.checkpoint = None;
        self.members.thaw();
        self.tubes.thaw();
        self.sessions.thaw();
        self.jobs.thaw();
        self.continuations.thaw();
        self.keys.thaw();
    }

    /// How many copies the checkpoint under way has made ahead of being fetched. They are at most
    /// the records of the frozen state, each once; a caller that cannot fetch them, because its
    /// disk is slow, abandons the checkpoint when they become too many.
    pub fn checkpoint_copies_held(&self) -> usize {
        self.members.copies_held()
            + self.tubes.copies_held()
            + self.sessions.copies_held()
            + self.jobs.copies_held()
            + self.continuations.copies_held()
            + self.keys.copies_held()
    }

    /// All records of the state as it is now, in one fixed order, as if all jobs were hot.
    pub(super) fn records(&self) -> impl Iterator<Item = Record> {
        let mut jobs: BTreeMap<JobId, Job> = self.cold.all().into_iter().collect();
        jobs.extend(self.jobs.iter().map(|(id, job)| (*id, job.clone())));
        for job in jobs.values_mut() {
            job.body = Body::Here(self.body(&job.body));
        }
        let mut header = self.header();
        header.lengths.jobs = jobs.len() as u64;
        let header = Record::Header(Box::new(header));
        let members = self.members.iter().map(|(id, member)| Record::Member(*id, member.facts));
        let tubes = self
            .tubes
            .iter()
            .map(|(id, tube)| Record::Tube(*id, tube.facts.clone(), ColdShelves::default()));
        let sessions =
            self.sessions.iter().map(|(id, session)| Record::Session(*id, session.facts.clone()));
        let continuations =
            self.continuations.iter().map(|(id, kept)| Record::Continuation(*id, Kept(*kept)));
        let jobs = jobs.into_iter().map(|(id, job)| Record::Job(id, job));
        std::iter::once(header)
            .chain(members)
            .chain(tubes)
            .chain(sessions)
            .chain(continuations)
            .chain(self.keys.iter().map(|(id, facts)| Record::Key(*id, *facts)))
            .chain(jobs)
    }

    fn header(&self) -> Header {
        Header {
            clock: self.clock,
            returned: self.returned,
            next: self.next,
            totals: self.totals,
            chain: self.chain,
            limits: self.limits,
            lengths: self.lengths(),
        }
    }

    pub(super) fn lengths(&self) -> Lengths {
        Lengths {
            members: self.members.len() as u64,
            tubes: self.tubes.len() as u64,
            sessions: self.sessions.len() as u64,
            jobs: self.jobs.len() as u64,
            continuations: self.continuations.len() as u64,
            keys: self.keys.len() as u64,
        }
    }
}

/// Whether a checkpoint goes without a job that is hot: never, but for a planted bug.
fn is_left_out(job: &Job) -> bool {
    planted::is(Bug::CheckpointLacksHeld) && matches!(job.state, JobState::Reserved { .. })
}
