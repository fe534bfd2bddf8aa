//! Several runs become one, on the background thread, while records of them are taken.
//!
//! Records are copied, not bodies; but of files that are mostly dead the bodies that are still needed
//! move to the new run. What is taken after the start is noted by its id, and marked in the new run
//! before it takes the place of the old ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::files::Files;
use super::format::HEAD_BYTES;
use super::plan::Merge;
use super::reader::RunFile;
use super::run::Run;
use super::scan::Merger;
use super::set::{Found, RunSet};
use super::state::Live;
use super::writer::{NextBody, Progress, RunWriter, Source};
use super::{BodyPointer, Marks, OnChange, RunError, RunUid, Stored};
use crate::storage::background::{Job, Lane, Step};

/// So many records may be taken of the inputs before the merge has caught up, 8 MiB of ids; with
/// more it is given up.
const TAKEN_MAX: usize = 1 << 20;

/// How many ids are looked up in one step.
const CATCH_UP_IDS: usize = 4096;

/// So many ids may be left to be looked up by who publishes.
const LEFT_IDS_MAX: usize = 256;

/// A merge under way.
pub(super) struct Merging {
    inputs: BTreeMap<u64, RunUid>,
    rewrites: BTreeSet<RunUid>,
    uid: RunUid,
    /// What it was reckoned to need of the disk, bytes.
    needed_bytes: u64,
    shared: Arc<Shared>,
}

/// What the set and the background writer share of it.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    taken: Taken,
    is_given_up: bool,
    /// What the job takes up in memory.
    bytes: usize,
    /// What it has written, bytes.
    written: u64,
    outcome: Option<Outcome>,
}

/// What was taken of the inputs since the start.
#[derive(Default)]
struct Taken {
    /// The ids that the new run does not know of yet.
    ids: Vec<u64>,
    /// Of files whose bodies are moved: bodies that have to stay where they are.
    staying: BTreeMap<RunUid, Live>,
}

enum Outcome {
    Merged(Box<Merged>),
    Failed(RunError),
    /// Given up, or the background writer has ended.
    GivenUp,
}

/// The new run, which is durable.
struct Merged {
    run: Arc<RunFile>,
    marks: Marks,
    /// The bodies that were copied, by the files they come from.
    moved: BTreeMap<RunUid, Live>,
}

impl RunSet {
    /// Begins a merge. Returns whether the background writer has taken it.
    ///
    /// # Panics
    /// When there is one already, or the plan was made before another one was published.
    pub fn merge(&mut self, plan: Merge) -> bool {
        assert!(self.merging.is_none(), "one merge at a time");
        let (uid, needed_bytes) = (self.next_uid(), self.merge_bytes(&plan));
        let mut scans = Vec::new();
        let mut inputs = BTreeMap::new();
        for serial in plan.inputs {
            let member = self.runs.get(&serial).expect("a plan is of runs that are there");
            let file = member.run.file().expect("a plan is of durable runs");
            scans.push((file, member.marks.clone()));
            inputs.insert(serial, member.run.uid);
        }
        let from = plan.rewrites.iter().map(|uid| (*uid, self.parts[uid].run.clone()));
        let source = MergeSource::new(self.files.clone(), uid, &scans, from.collect());
        let shared = Arc::new(Shared::default());
        let job = MergeJob {
            phase: Phase::Write(Box::new(RunWriter::new(self.files.clone(), uid, source))),
            shared: shared.clone(),
            on_change: self.options.on_change.clone(),
        };
        self.merging = Some(Merging { inputs, rewrites: plan.rewrites, uid, needed_bytes, shared });
        // A job that is not taken is dropped, and says so.
        self.options.background.try_submit(Lane::Merge, Box::new(job)).is_ok()
    }

    /// Whether a merge is under way, or waits to be published.
    pub fn is_merging(&self) -> bool {
        self.merging.is_some()
    }

    /// Puts the new run in the place of the old ones, if a merge has ended. Returns whether it did.
    /// To be called between two changes of the set, soon after it was told of.
    ///
    /// # Errors
    /// Why the merge has failed. The old runs stay.
    pub fn publish(&mut self) -> Result<bool, RunError> {
        self.forget_given_up();
        let outcome = self.merging.as_ref().and_then(|it| it.shared.state.lock().take_outcome());
        let Some(outcome) = outcome else { return Ok(false) };
        let merging = self.merging.take().expect("it has just told its outcome");
        let published = match outcome {
            Outcome::GivenUp => Ok(false),
            Outcome::Failed(error) => Err(error),
            Outcome::Merged(merged) => self.replace(&merging, *merged).map(|()| true),
        };
        if !matches!(published, Ok(true)) {
            self.drop_file(merging.uid);
        }
        published
    }

    /// What may have come of merges that nobody wants goes when they have ended.
    fn forget_given_up(&mut self) {
        let (ended, others) = std::mem::take(&mut self.given_up)
            .into_iter()
            .partition(|merging: &Merging| merging.shared.state.lock().outcome.is_some());
        self.given_up = others;
        let ended: Vec<Merging> = ended;
        ended.iter().for_each(|merging| self.drop_file(merging.uid));
    }

    fn replace(&mut self, merging: &Merging, merged: Merged) -> Result<(), RunError> {
        let Merged { run, mut marks, mut moved } = merged;
        let taken = std::mem::take(&mut merging.shared.state.lock().taken);
        for id in &taken.ids {
            mark(&run, &mut marks, *id)?;
        }
        for (uid, staying) in &taken.staying {
            moved.get_mut(uid).expect("it was an untaken body of that file").remove(*staying);
        }
        let mut live = Live::default();
        for (uid, moved) in moved.iter().filter(|(_, moved)| !moved.is_none()) {
            live = live.plus(*moved);
            let part = self.parts.get_mut(uid).expect("a body of it was needed until now");
            part.live.remove(*moved);
        }
        self.add(Arc::new(Run::durable(run)), live, Some(marks));
        for serial in merging.inputs.keys() {
            if self.runs.contains_key(serial) {
                self.drop_run(*serial);
            }
        }
        moved.keys().for_each(|uid| self.drop_unneeded(*uid));
        self.forget_cursors();
        Ok(())
    }
}

impl State {
    /// What has come of it, if it has ended. It may have been given up since.
    fn take_outcome(&mut self) -> Option<Outcome> {
        let outcome = self.outcome.take()?;
        Some(if self.is_given_up { Outcome::GivenUp } else { outcome })
    }
}

impl Merging {
    /// A record of this run was taken.
    pub(super) fn note_taken(&self, serial: u64, found: &Found) {
        if !self.inputs.contains_key(&serial) {
            return;
        }
        let mut state = self.shared.state.lock();
        if state.is_given_up {
            return;
        }
        if state.taken.ids.len() >= TAKEN_MAX {
            drop(state);
            return self.give_up();
        }
        state.taken.ids.push(found.place.id);
        if self.rewrites.contains(&found.body.file) {
            state.taken.staying.entry(found.body.file).or_default().add(found.body.length);
        }
    }

    /// Nobody wants what comes of it.
    pub(super) fn give_up(&self) {
        let mut state = self.shared.state.lock();
        state.is_given_up = true;
        state.taken = Taken::default();
    }

    /// What it may need of the disk beside what it has written, bytes.
    pub(super) fn bytes_left(&self) -> u64 {
        self.needed_bytes.saturating_sub(self.shared.state.lock().written)
    }

    /// The files that it reads.
    pub(super) fn sources(&self) -> impl Iterator<Item = RunUid> {
        self.inputs.values().chain(&self.rewrites).copied()
    }

    pub(super) fn resident_bytes(&self) -> usize {
        let state = self.shared.state.lock();
        state.bytes + state.taken.ids.capacity() * size_of::<u64>()
    }
}

/// The job of merging.
struct MergeJob {
    phase: Phase,
    shared: Arc<Shared>,
    on_change: OnChange,
}

enum Phase {
    Write(Box<RunWriter<MergeSource>>),
    /// Marks what was taken meanwhile.
    CatchUp {
        merged: Box<Merged>,
        ids: Vec<u64>,
    },
    Over,
}

impl Job for MergeJob {
    fn step(&mut self) -> Step {
        if self.shared.state.lock().is_given_up {
            return self.finish(Outcome::GivenUp);
        }
        match &mut self.phase {
            Phase::Over => Step::Finished { bytes: 0 },
            Phase::Write(writer) => match writer.step() {
                Ok(Progress::More(bytes)) => {
                    let mut state = self.shared.state.lock();
                    state.bytes = writer.heap_bytes() + writer.source().heap_bytes();
                    state.written += bytes;
                    Step::More { bytes }
                }
                Ok(Progress::Done(run)) => {
                    let moved = std::mem::take(&mut writer.source().moved);
                    let marks = Marks::new(run.foot.records);
                    let merged = Box::new(Merged { run, marks, moved });
                    self.phase = Phase::CatchUp { merged, ids: Vec::new() };
                    Step::More { bytes: 0 }
                }
                Err(error) => self.finish(Outcome::Failed(error)),
            },
            Phase::CatchUp { merged, ids } => {
                match catch_up(merged, ids, &self.shared) {
                    Ok(false) => return Step::More { bytes: 0 },
                    Ok(true) => {}
                    Err(error) => return self.finish(Outcome::Failed(error)),
                }
                match std::mem::replace(&mut self.phase, Phase::Over) {
                    Phase::CatchUp { merged, .. } => self.finish(Outcome::Merged(merged)),
                    Phase::Write(_) | Phase::Over => unreachable!("it was just catching up"),
                }
            }
        }
    }
}

/// Marks some of what was taken. Returns whether so little is left that the rest can be marked by
/// who publishes.
fn catch_up(merged: &mut Merged, ids: &mut Vec<u64>, shared: &Shared) -> Result<bool, RunError> {
    if ids.is_empty() {
        let taken = &mut shared.state.lock().taken.ids;
        if taken.len() < LEFT_IDS_MAX {
            return Ok(true);
        }
        *ids = std::mem::take(taken);
        ids.sort_unstable();
    }
    let rest = ids.len().saturating_sub(CATCH_UP_IDS);
    for id in ids.drain(rest..) {
        mark(&merged.run, &mut merged.marks, id)?;
    }
    Ok(false)
}

fn mark(run: &RunFile, marks: &mut Marks, id: u64) -> Result<(), RunError> {
    let ordinal = run.find(id)?;
    marks.take(ordinal.unwrap_or_else(|| panic!("id {id} was taken and is not in the merged run")));
    Ok(())
}

impl MergeJob {
    fn finish(&mut self, outcome: Outcome) -> Step {
        // What was begun is removed before anybody is told.
        self.phase = Phase::Over;
        let mut state = self.shared.state.lock();
        state.bytes = 0;
        state.outcome = Some(outcome);
        drop(state);
        (self.on_change)();
        Step::Finished { bytes: 0 }
    }
}

impl Drop for MergeJob {
    fn drop(&mut self) {
        if !matches!(self.phase, Phase::Over) {
            self.shared.state.lock().outcome.get_or_insert(Outcome::GivenUp);
        }
    }
}

/// Hands the untaken records of several runs to the writer, in order.
struct MergeSource {
    files: Arc<Files>,
    uid: RunUid,
    /// Reads the records once for their bodies, if any are to be moved, and once for themselves.
    bodies: Option<Merger>,
    records: Merger,
    /// The files whose bodies are moved.
    from: BTreeMap<RunUid, Arc<Run>>,
    /// Where the next moved body is in the new file.
    offset: u64,
    moved: BTreeMap<RunUid, Live>,
}

impl MergeSource {
    fn new(
        files: Arc<Files>,
        uid: RunUid,
        scans: &[(Arc<RunFile>, Marks)],
        from: BTreeMap<RunUid, Arc<Run>>,
    ) -> Self {
        let bodies = (!from.is_empty()).then(|| Merger::new(scans));
        let records = Merger::new(scans);
        Self {
            files,
            uid,
            bodies,
            records,
            from,
            offset: HEAD_BYTES as u64,
            moved: BTreeMap::new(),
        }
    }

    fn heap_bytes(&self) -> usize {
        self.records.heap_bytes() + self.bodies.as_ref().map_or(0, Merger::heap_bytes)
    }
}

impl Source for MergeSource {
    fn next_body(&mut self) -> Result<NextBody, RunError> {
        let Some(merger) = &mut self.bodies else { return Ok(NextBody::End) };
        let Some(record) = merger.next()? else {
            self.bodies = None;
            return Ok(NextBody::End);
        };
        match self.from.get(&record.body.file) {
            Some(run) => run.body(&self.files, &record.body).map(NextBody::Body),
            None => Ok(NextBody::Later),
        }
    }

    fn next_record(&mut self) -> Result<Option<Stored>, RunError> {
        let Some(mut record) = self.records.next()? else { return Ok(None) };
        if self.from.contains_key(&record.body.file) {
            let length = record.body.length;
            self.moved.entry(record.body.file).or_default().add(length);
            record.body = BodyPointer { file: self.uid, offset: self.offset, ..record.body };
            self.offset += u64::from(length);
        }
        Ok(Some(record))
    }
}
