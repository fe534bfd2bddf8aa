//! All runs, and what was taken of them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;

use super::cursors::Cursors;
use super::files::{Files, io_error};
use super::format;
use super::merge::Merging;
use super::reader::{Content, RunFile};
use super::run::{self, Run};
use super::sealed::Sealed;
use super::state::{Frozen, FrozenPart, Live, RunState};
use super::{BodyPointer, Group, Marks, Place, Record, RecordBody, RunError, RunOptions, RunUid};

/// A record that nobody had taken when it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it stands.
    pub place: Place,
    /// What the caller has said of it.
    pub facts: Bytes,
    /// Where its body is.
    pub body: BodyPointer,
    handle: Handle,
}

/// A run by its serial in this life of the set, and a record by its ordinal in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Handle {
    serial: u64,
    ordinal: u32,
}

/// What a set takes up in memory, bytes. Rather too much than too little.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// Indexes of durable runs: about 0.05 bytes for each record.
    pub indexes: usize,
    /// Marks of what was taken: at most a bit for each record.
    pub marks: usize,
    /// Runs that are not durable yet, with their bodies.
    pub sealed: usize,
    /// Pages that were read.
    pub cache: usize,
    /// Where groups begin.
    pub cursors: usize,
    /// A merge under way.
    pub merge: usize,
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
    /// All files that are needed.
    pub(super) parts: BTreeMap<RunUid, Part>,
    /// Files that nobody here needs any more, and that may still be on the disk; with the run, if it
    /// was one of this life and may still be written.
    dropped: BTreeMap<RunUid, Option<Arc<Run>>>,
    cursors: Cursors,
    /// What was frozen and is still in use.
    frozen: Mutex<Vec<Weak<BTreeSet<RunUid>>>>,
    pub(super) merging: Option<Merging>,
    serial: u64,
    uids: u32,
}

impl RunSet {
    /// Opens the files that a checkpoint lists, and removes all others but those of `kept`, which
    /// older checkpoints list. Reads feet and summaries only: some 6 bytes for each hundred records.
    ///
    /// # Errors
    /// When a listed file is missing or damaged, or what the disk says. Nothing is removed then but
    /// what no checkpoint lists.
    pub fn open(
        options: RunOptions,
        listed: Vec<RunState>,
        kept: &BTreeSet<RunUid>,
    ) -> Result<Self, RunError> {
        let (disk, dir) = (&options.disk, &options.dir);
        disk.create_dir(dir).map_err(io_error("create", dir))?;
        let mut set = Self {
            files: Arc::new(Files::new(&options)),
            runs: BTreeMap::new(),
            parts: BTreeMap::new(),
            dropped: BTreeMap::new(),
            cursors: Cursors::new(options.cursor_bytes_max),
            frozen: Mutex::default(),
            merging: None,
            serial: 0,
            uids: 0,
            options,
        };
        let needed: BTreeSet<_> = listed.iter().map(|state| state.uid).collect();
        set.remove_orphans(&needed, kept)?;
        for state in listed {
            set.open_file(state)?;
        }
        Ok(set)
    }

    /// Takes records in. They can be found at once; the background writer writes them, and gives
    /// their memory back. Bodies that come [at a place](RecordBody::At) become this record's.
    ///
    /// # Panics
    /// When there are none, an id is in it twice or among what is sealed, or a body is in a file that
    /// the set does not have.
    pub fn seal(&mut self, records: Vec<Record>) -> RunUid {
        assert!(!records.is_empty(), "a run has a record at least");
        self.check_new(&records);
        let uid = self.next_uid();
        let mut live = Live::default();
        for record in &records {
            if let RecordBody::Given(body) = &record.body {
                live.add(u32::try_from(body.len()).expect("a body is shorter than 4 GiB"));
            }
        }
        let run = Arc::new(Run::sealed(uid, Sealed::new(uid, records)));
        self.add(run, live, None);
        self.write_sealed();
        uid
    }

    /// Hands all sealed runs that wait over to the background writer: call it when there may be room
    /// again. Returns why the last attempts have failed; those runs are tried again at once, and stay
    /// readable in memory until it succeeds.
    pub fn write_sealed(&mut self) -> Vec<RunError> {
        let mut failures = Vec::new();
        let dropped = self.dropped.values().flatten();
        for run in self.parts.values().map(|part| &part.run).chain(dropped) {
            failures.extend(run.take_failure());
            if run.is_waiting()
                && !run::write(run, &self.files, &self.options.background, &self.options.on_change)
            {
                break;
            }
        }
        failures
    }

    /// How many runs are not durable yet.
    pub fn sealed_runs(&self) -> usize {
        self.parts.values().filter(|part| part.run.file().is_none()).count()
    }

    /// How many records are there.
    pub fn records(&self) -> u64 {
        self.runs.values().map(|member| u64::from(member.marks.untaken())).sum()
    }

    /// The untaken record of that id. Reads one page of ids and one block in the usual case.
    ///
    /// # Errors
    /// [`RunError::Corrupt`], or what the disk says.
    pub fn find(&self, id: u64) -> Result<Option<Found>, RunError> {
        // The newest first: what was sealed again lately is asked for most.
        for (&serial, member) in self.runs.iter().rev() {
            let ordinal = member.run.find(id)?;
            if let Some(ordinal) = ordinal.filter(|ordinal| !member.marks.is_taken(*ordinal)) {
                return self.found(Handle { serial, ordinal }).map(Some);
            }
        }
        Ok(None)
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

    /// The first untaken place of a group.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn first(&self, group: Group) -> Result<Option<Place>, RunError> {
        self.cursors.first(&self.runs, group)
    }

    /// The untaken records of a group behind a place, or from its beginning, in their order; at most
    /// `limit`.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn after(
        &self,
        group: Group,
        place: Option<Place>,
        limit: usize,
    ) -> Result<Vec<Found>, RunError> {
        let is_before = |other: &Place| match place {
            Some(place) => *other <= place,
            None => *other < group.start(),
        };
        let mut heads = BinaryHeap::new();
        for (&serial, member) in &self.runs {
            if member.may_have(group) {
                let ordinal = member.run.partition(is_before)?;
                heads.extend(member.head(serial, ordinal, group)?);
            }
        }
        let mut found = Vec::new();
        while found.len() < limit {
            let Some(Reverse((_, serial, ordinal))) = heads.pop() else { break };
            found.push(self.found(Handle { serial, ordinal })?);
            let member = &self.runs[&serial];
            heads.extend(member.head(serial, ordinal + 1, group)?);
        }
        Ok(found)
    }

    /// The groups that have records, and how many. Reads an index page and a block for each group in
    /// each run, once.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn groups(&self) -> Result<BTreeMap<Group, u64>, RunError> {
        let mut counts = BTreeMap::new();
        for member in self.runs.values() {
            let mut start = 0;
            while let Some(ordinal) = member.marks.next_untaken(start) {
                let group = member.run.place(ordinal)?.group;
                start = member.run.partition(|place| *place <= group.end())?;
                let count = member.marks.untaken_in(ordinal..start);
                *counts.entry(group).or_default() += u64::from(count);
            }
        }
        Ok(counts)
    }

    /// Reads a body that was not let go: one read, and its checksum.
    ///
    /// # Errors
    /// [`RunError::Corrupt`], or what the disk says; [`RunError::Missing`] when the set does not have
    /// the file.
    pub fn body(&self, at: &BodyPointer) -> Result<Bytes, RunError> {
        match self.parts.get(&at.file) {
            Some(part) => part.run.body(&self.files, at),
            None => Err(RunError::Missing { file: self.files.path(at.file) }),
        }
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

    /// Freezes the set for a checkpoint or a transfer: a few pointers for each run.
    pub fn freeze(&self) -> Frozen {
        let parts = self.parts.values().map(|part| {
            let marks = part.serial.map(|serial| self.runs[&serial].marks.clone());
            FrozenPart { run: part.run.clone(), live: part.live, marks }
        });
        let uids = Arc::new(self.parts.keys().copied().collect());
        let mut frozen = self.frozen.lock();
        frozen.retain(|other| other.strong_count() > 0);
        frozen.push(Arc::downgrade(&uids));
        Frozen { parts: parts.collect(), uids }
    }

    /// Removes files that nobody needs: neither the set, nor anything frozen and still in use, nor
    /// a durable checkpoint, all of whose files are `listed`. Returns how many.
    ///
    /// # Errors
    /// What the disk says; the file is tried again next time.
    pub fn release<'a>(
        &mut self,
        listed: impl IntoIterator<Item = &'a RunUid>,
    ) -> Result<usize, RunError> {
        let mut held: BTreeSet<RunUid> = listed.into_iter().copied().collect();
        self.frozen.lock().retain(|frozen| {
            let uids = frozen.upgrade();
            held.extend(uids.iter().flat_map(|uids| uids.iter()));
            uids.is_some()
        });
        held.extend(self.merging.iter().flat_map(Merging::sources));
        // One that the background writer has before it would come back.
        let is_settled = |run: &Arc<Run>| run.file().is_some() || run.is_waiting();
        let unneeded = self
            .dropped
            .iter()
            .filter(|(uid, run)| !held.contains(uid) && run.as_ref().is_none_or(is_settled));
        let unneeded: Vec<_> = unneeded.map(|(uid, _)| *uid).collect();
        for uid in &unneeded {
            self.files.remove(*uid)?;
            self.dropped.remove(uid);
        }
        Ok(unneeded.len())
    }

    /// What the set takes up in memory.
    pub fn resident(&self) -> Resident {
        let mut resident = Resident {
            cache: self.files.cached_bytes(),
            cursors: self.cursors.resident_bytes(),
            merge: self.merging.as_ref().map_or(0, Merging::resident_bytes),
            ..Resident::default()
        };
        let dropped = self.dropped.values().flatten();
        for run in self.parts.values().map(|part| &part.run).chain(dropped) {
            let (indexes, sealed) = run.resident_bytes();
            // The entries in the tables here, with their spare room.
            resident.indexes += indexes + 2 * (size_of::<(RunUid, Part)>() + size_of::<Member>());
            resident.sealed += sealed;
        }
        resident.marks = self.runs.values().map(|member| member.marks.heap_bytes()).sum();
        resident
    }

    /// Adds a run with its marks, or with none taken.
    pub(super) fn add(&mut self, run: Arc<Run>, live: Live, marks: Option<Marks>) -> u64 {
        self.serial += 1;
        let (uid, serial) = (run.uid, self.serial);
        let marks = marks.unwrap_or_else(|| Marks::new(run.records));
        let part = Part { run: run.clone(), live, serial: Some(serial) };
        assert!(self.parts.insert(uid, part).is_none(), "{uid:?} is there twice");
        self.runs.insert(serial, Member { run, marks });
        self.drop_taken(serial);
        serial
    }

    /// Forgets a run of which no records are needed, though perhaps bodies.
    pub(super) fn drop_run(&mut self, serial: u64) {
        let member = self.runs.remove(&serial).expect("a run is dropped once");
        let uid = member.run.uid;
        self.parts.get_mut(&uid).expect("a run has its file").serial = None;
        self.drop_unneeded(uid);
    }

    /// Forgets a file of which nothing is needed.
    pub(super) fn drop_unneeded(&mut self, uid: RunUid) {
        let part = self.parts.get(&uid);
        if part.is_some_and(|part| part.serial.is_none() && part.live.is_none()) {
            let part = self.parts.remove(&uid);
            self.dropped.insert(uid, part.map(|part| part.run));
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

    fn found(&self, handle: Handle) -> Result<Found, RunError> {
        let stored = self.runs[&handle.serial].run.record(handle.ordinal)?;
        Ok(Found { place: stored.place, facts: stored.facts, body: stored.body, handle })
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

    fn open_file(&mut self, state: RunState) -> Result<(), RunError> {
        let content = if state.marks.is_some() { Content::All } else { Content::Bodies };
        let listed = (state.file_bytes, state.foot_crc);
        let file = RunFile::open(&self.files, state.uid, listed, content)?;
        let run = Arc::new(Run::durable(file));
        let Some(marks) = state.marks else {
            let part = Part { run, live: state.live, serial: None };
            self.parts.insert(state.uid, part);
            return Ok(());
        };
        if marks.records() != run.records {
            let foot_at = state.file_bytes - format::FOOT_BYTES as u64;
            return Err(self.files.corrupt(state.uid, foot_at, super::Damage::Foot));
        }
        self.add(run, state.live, Some(marks));
        Ok(())
    }

    fn remove_orphans(
        &mut self,
        listed: &BTreeSet<RunUid>,
        kept: &BTreeSet<RunUid>,
    ) -> Result<(), RunError> {
        let (disk, dir) = (&self.options.disk, &self.options.dir);
        for name in disk.list(dir).map_err(io_error("list", dir))? {
            let uid = format::uid_of(&name);
            let is_orphan = uid.is_some_and(|uid| !listed.contains(&uid) && !kept.contains(&uid));
            if is_orphan || format::is_leftover(&name) {
                let path = dir.join(name);
                disk.remove(&path).map_err(io_error("remove", &path))?;
            } else if let Some(uid) = uid.filter(|uid| !listed.contains(uid)) {
                self.dropped.insert(uid, None);
            }
        }
        Ok(())
    }
}

impl Member {
    /// Whether a group's records may be among these.
    pub(super) fn may_have(&self, group: Group) -> bool {
        self.run.first.group <= group && group <= self.run.last.group
    }

    /// The first untaken record from an ordinal on, if it is of the group.
    fn head(
        &self,
        serial: u64,
        ordinal: u32,
        group: Group,
    ) -> Result<Option<Reverse<(Place, u64, u32)>>, RunError> {
        let Some(ordinal) = self.marks.next_untaken(ordinal) else { return Ok(None) };
        let place = self.run.place(ordinal)?;
        Ok((place.group == group).then_some(Reverse((place, serial, ordinal))))
    }
}

impl Resident {
    /// All of it.
    pub fn total(&self) -> usize {
        self.indexes + self.marks + self.sealed + self.cache + self.cursors + self.merge
    }
}

impl std::fmt::Debug for RunSet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let runs = self.runs.len();
        formatter.debug_struct("RunSet").field("runs", &runs).finish_non_exhaustive()
    }
}
