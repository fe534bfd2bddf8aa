//! All runs, and what was taken of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;

use super::cursors::Cursors;
use super::files::Files;
use super::merge::Merging;
use super::run::{self, Run};
use super::sealed::Sealed;
use super::spans::Spans;
use super::state::{Live, RunState};
use super::{
    BodyPointer, DiskRoom, Group, Marks, Place, Record, RecordBody, RunError, RunOptions, RunUid,
};

/// Where records stand that are there for their bodies alone. Nobody looks for them.
const BODIES_GROUP: Group = Group { tube: 0, kind: u8::MAX };

/// A record that nobody had taken when it was found. A merge that is published after that may move it
/// and its body: then only [`RunSet::take`] still knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it stands.
    pub place: Place,
    /// What the caller has said of it.
    pub facts: Bytes,
    /// Where its body is.
    pub body: BodyPointer,
    pub(super) handle: Handle,
}

/// A run by its serial in this life of the set, and a record by its ordinal in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle {
    pub(super) serial: u64,
    pub(super) ordinal: u32,
}

/// A run of which records are left.
pub(super) struct Member {
    pub(super) run: Arc<Run>,
    pub(super) marks: Marks,
}

/// A file of which records or bodies are needed.
pub(super) struct Part {
    pub(super) run: Arc<Run>,
    pub(super) live: Live,
    /// Its key among the runs, as long as it has untaken records.
    pub(super) serial: Option<u64>,
}

/// All cold records. Reads go through `&self`, from any number of threads.
///
/// A body lives from the moment its record is sealed until it is [let go](Self::let_go): taking the
/// record does not end it, so that a record may be sealed again without its body.
pub struct RunSet {
    pub(super) options: RunOptions,
    pub(super) files: Arc<Files>,
    /// Runs with untaken records, by serials that only grow.
    pub(super) runs: BTreeMap<u64, Member>,
    /// Those of this life that may not be durable yet.
    pub(super) sealed: Mutex<Vec<Arc<Run>>>,
    /// The ids that each of them spans.
    pub(super) spans: Spans,
    /// All files that are needed.
    pub(super) parts: BTreeMap<RunUid, Part>,
    /// Files that nobody here needs any more, and that may still be on the disk; with the run, if it
    /// was one of this life and may still be written.
    pub(super) dropped: BTreeMap<RunUid, Option<Arc<Run>>>,
    pub(super) cursors: Cursors,
    /// Files that somebody needs, whether the set does or not.
    pub(super) held: Mutex<Vec<Weak<BTreeSet<RunUid>>>>,
    pub(super) merging: Option<Merging>,
    /// Merges of sets that this one has taken the place of, until they have ended.
    pub(super) given_up: Vec<Merging>,
    pub(super) room: DiskRoom,
    /// There was no room for a run of so many bytes when one was last written; 0 when there was.
    pub(super) no_room_for: u64,
    serial: u64,
    uids: u32,
}

impl RunSet {
    /// Opens the files that a checkpoint lists. Reads feet and summaries only: some 6 bytes for each
    /// hundred records. Changes nothing: before anything is sealed the directory has to be
    /// [claimed](Self::claim).
    ///
    /// # Errors
    /// When a listed file is missing or damaged, or what the disk says.
    pub fn open(options: RunOptions, listed: Vec<RunState>) -> Result<Self, RunError> {
        let files = Files::new(&options);
        Self::open_with(options, files, listed)
    }

    pub(super) fn open_with(
        options: RunOptions,
        files: Files,
        listed: Vec<RunState>,
    ) -> Result<Self, RunError> {
        let mut set = Self {
            files: Arc::new(files),
            runs: BTreeMap::new(),
            sealed: Mutex::default(),
            spans: Spans::default(),
            parts: BTreeMap::new(),
            dropped: BTreeMap::new(),
            cursors: Cursors::new(options.cursor_bytes_max),
            held: Mutex::default(),
            merging: None,
            given_up: Vec::new(),
            room: DiskRoom::default(),
            no_room_for: 0,
            serial: 0,
            uids: 0,
            options,
        };
        for state in listed {
            set.open_file(state)?;
        }
        Ok(set)
    }

    /// Takes records in. They can be found at once; the background writer writes them, and gives
    /// their memory back. Bodies that come [at a place](RecordBody::At) become this record's. One in a
    /// file that is not written yet moves to the new run: no file refers to one that may never be.
    ///
    /// # Panics
    /// When there are none, an id is in it twice or among what is sealed, or a body is in a file that
    /// the set does not have.
    pub fn seal(&mut self, mut records: Vec<Record>) -> RunUid {
        assert!(!records.is_empty(), "a run has a record at least");
        self.check_new(&records);
        self.bring_bodies(&mut records);
        let uid = self.next_uid();
        let mut live = Live::default();
        for record in &records {
            if let RecordBody::Given(body) = &record.body {
                live.add(u32::try_from(body.len()).expect("a body is shorter than 4 GiB"));
            }
        }
        let run = Arc::new(Run::sealed(uid, Sealed::new(uid, records)));
        self.add(run, live, None);
        self.submit_waiting();
        uid
    }

    /// Takes bodies in that belong to no record, each with an id: as if records had come with them and
    /// been taken at once. Returns where they are, in the same order; each stays until it is let go,
    /// or a record is sealed with it.
    ///
    /// # Panics
    /// When there are none, one is empty, or an id is there twice.
    pub fn seal_bodies(&mut self, bodies: Vec<(u64, Bytes)>) -> Vec<BodyPointer> {
        let ids: Vec<u64> = bodies.iter().map(|(id, _)| *id).collect();
        let mut live = Live::default();
        let record = |(id, body): (u64, Bytes)| {
            assert!(!body.is_empty(), "the body of {id} is empty");
            live.add(u32::try_from(body.len()).expect("a body is shorter than 4 GiB"));
            let place = Place { group: BODIES_GROUP, order: 0, id };
            Record { place, facts: Bytes::new(), body: RecordBody::Given(body) }
        };
        let records = bodies.into_iter().map(record).collect();
        let uid = self.next_uid();
        let sealed = Sealed::new(uid, records);
        let find = |id: &u64| {
            let ordinal = sealed.find(*id).expect("it was just sealed");
            sealed.records()[ordinal as usize].body
        };
        let places = ids.iter().map(find).collect();
        let run = Arc::new(Run::sealed(uid, sealed));
        let mut marks = Marks::new(run.records);
        (0..run.records).for_each(|ordinal| marks.take(ordinal));
        self.add(run, live, Some(marks));
        self.submit_waiting();
        places
    }

    /// Hands all sealed runs that wait over to the background writer. Returns why the last attempts
    /// have failed; those runs are tried again at once, but for want of room when it is
    /// [known](Self::measured) that there is some, and stay readable in memory until it succeeds.
    pub fn write_sealed(&mut self) -> Vec<RunError> {
        let mut failures = Vec::new();
        let mut no_room_for = self.no_room_for;
        for run in self.known_runs() {
            let Some(failure) = run.take_failure() else { continue };
            if failure.is_full() {
                no_room_for = no_room_for.max(run.resident_bytes().1 as u64);
            }
            failures.push(failure);
        }
        self.no_room_for = no_room_for;
        self.submit_waiting();
        failures
    }

    /// As [`write_sealed`](Self::write_sealed), for who can only go on when runs are written: it is
    /// tried again whether there is room or not. Returns how many are left.
    ///
    /// # Errors
    /// Why one could not be written, or that nobody writes any more.
    pub fn press_writer(&mut self) -> Result<usize, RunError> {
        self.no_room_for = 0;
        if let Some(error) = self.write_sealed().pop() {
            return Err(error);
        }
        match self.sealed_runs() {
            waiting if waiting > 0 && self.options.background.has_ended() => {
                Err(RunError::NoBackground)
            }
            waiting => Ok(waiting),
        }
    }

    /// How many runs are not durable yet.
    pub fn sealed_runs(&self) -> usize {
        let mut sealed = self.sealed.lock();
        sealed.retain(|run| run.file().is_none() && self.parts.contains_key(&run.uid));
        sealed.len()
    }

    /// Takes a record that was found. Returns where its body is now, which stays until it is let go:
    /// a merge that was published since the record was found may have moved it.
    ///
    /// # Errors
    /// As [`find`](Self::find), which it needs when a merge was published since the record was found.
    ///
    /// # Panics
    /// When it was taken already.
    pub fn take(&mut self, found: &Found) -> Result<BodyPointer, RunError> {
        if self.runs.contains_key(&found.handle.serial) {
            self.mark(found);
            return Ok(found.body);
        }
        let now = self.find(found.place.id)?.filter(|now| now.place == found.place);
        let now = now.unwrap_or_else(|| panic!("{:?} is taken twice", found.place));
        self.mark(&now);
        Ok(now.body)
    }

    /// The body of a record that was taken is not needed any more, and the record not to be sealed
    /// again.
    ///
    /// # Panics
    /// When the set does not have the file, or more bodies are let go than were there.
    pub fn let_go(&mut self, at: &BodyPointer) {
        let part = self.parts.get_mut(&at.file);
        let part = part.unwrap_or_else(|| panic!("{at:?} is let go and was not there"));
        part.live.remove(Live { bodies: 1, bytes: u64::from(at.length) });
        self.drop_unneeded(at.file);
    }

    /// The runs of all files that are needed, or were in this life.
    pub(super) fn known_runs(&self) -> impl Iterator<Item = &Arc<Run>> {
        self.parts.values().map(|part| &part.run).chain(self.dropped.values().flatten())
    }

    /// Adds a run with its marks, or with none taken.
    pub(super) fn add(&mut self, run: Arc<Run>, live: Live, marks: Option<Marks>) -> u64 {
        self.serial += 1;
        let (uid, serial) = (run.uid, self.serial);
        let marks = marks.unwrap_or_else(|| Marks::new(run.records));
        let part = Part { run: run.clone(), live, serial: Some(serial) };
        assert!(self.parts.insert(uid, part).is_none(), "{uid:?} is there twice");
        if run.file().is_none() {
            self.sealed.lock().push(Arc::clone(&run));
        }
        self.spans.add(serial, run.ids());
        self.runs.insert(serial, Member { run, marks });
        self.drop_taken(serial);
        serial
    }

    /// Forgets a run of which no records are needed, though perhaps bodies.
    pub(super) fn drop_run(&mut self, serial: u64) {
        let member = self.runs.remove(&serial).expect("a run is dropped once");
        self.spans.remove(serial);
        let uid = member.run.uid;
        self.parts.get_mut(&uid).expect("a run has its file").serial = None;
        self.drop_unneeded(uid);
    }

    /// Forgets a file of which nothing is needed.
    pub(super) fn drop_unneeded(&mut self, uid: RunUid) {
        let part = self.parts.get(&uid);
        if part.is_some_and(|part| part.serial.is_none() && part.live.is_none()) {
            let part = self.parts.remove(&uid).expect("it was just seen");
            if !self.is_held(uid) {
                part.run.give_up();
            }
            self.dropped.insert(uid, Some(part.run));
        }
    }

    /// There may be a file of this name, which nobody needs.
    pub(super) fn drop_file(&mut self, uid: RunUid) {
        self.dropped.insert(uid, None);
    }

    /// Runs were replaced by others.
    pub(super) fn forget_cursors(&self) {
        self.cursors.clear();
    }

    pub(super) fn next_uid(&mut self) -> RunUid {
        self.uids = self.uids.checked_add(1).expect("a life has fewer than four billion runs");
        let member = u128::from(self.options.member & u64::from(u32::MAX));
        RunUid(member << 96 | u128::from(self.options.life) << 32 | u128::from(self.uids))
    }

    fn mark(&mut self, found: &Found) {
        let Handle { serial, ordinal } = found.handle;
        let member = self.runs.get_mut(&serial).expect("the run was just looked up");
        member.marks.take(ordinal);
        self.drop_taken(serial);
        if let Some(merging) = &self.merging {
            merging.note_taken(serial, found);
        }
    }

    fn drop_taken(&mut self, serial: u64) {
        if self.runs[&serial].marks.untaken() == 0 {
            self.drop_run(serial);
        }
    }

    /// Hands the sealed runs over that somebody needs and nobody is about to write; those that have
    /// failed wait for the caller.
    fn submit_waiting(&self) {
        if self.is_out_of_room() {
            return;
        }
        let RunOptions { background, on_change, .. } = &self.options;
        let is_needed =
            |run: &&Arc<Run>| self.parts.contains_key(&run.uid) || self.is_held(run.uid);
        for run in self.known_runs().filter(|run| run.is_waiting()).filter(is_needed) {
            if !run::write(run, &self.files, background, on_change) {
                return;
            }
        }
    }

    /// Bodies in files that are not durable become part of the run that is sealed with them.
    fn bring_bodies(&mut self, records: &mut [Record]) {
        for record in records {
            let RecordBody::At(pointer) = record.body else { continue };
            let part = self.parts.get_mut(&pointer.file).expect("it was just checked");
            if part.run.file().is_some() {
                continue;
            }
            let body = part.run.body(&self.files, &pointer);
            // It may be durable since; then it is read.
            let Ok(body) = body else { continue };
            part.live.remove(Live { bodies: 1, bytes: u64::from(pointer.length) });
            record.body = RecordBody::Given(body);
            self.drop_unneeded(pointer.file);
        }
    }

    fn check_new(&self, records: &[Record]) {
        let is_sealed = |member: &&Member| member.run.file().is_none();
        let sealed: Vec<_> = self.runs.values().filter(is_sealed).collect();
        for record in records {
            let id = record.place.id;
            for member in &sealed {
                let ordinal = member.run.find_sealed(id);
                let is_there = ordinal.is_some_and(|ordinal| !member.marks.is_taken(ordinal));
                assert!(!is_there, "id {id} is sealed already");
            }
            if let RecordBody::At(pointer) = &record.body {
                assert!(self.parts.contains_key(&pointer.file), "{pointer:?} is not in the set");
            }
        }
    }
}

impl Member {
    /// Whether a group's records may be among these.
    pub(super) fn may_have(&self, group: Group) -> bool {
        self.run.first.group <= group && group <= self.run.last.group
    }
}

impl std::fmt::Debug for RunSet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let runs = self.runs.len();
        formatter.debug_struct("RunSet").field("runs", &runs).finish_non_exhaustive()
    }
}
