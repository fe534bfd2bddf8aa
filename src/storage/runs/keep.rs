//! Which files are kept, and what a set takes up in memory.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use super::files::io_error;
use super::format;
use super::merge::Merging;
use super::reader::{Content, RunFile};
use super::run::Run;
use super::set::{Member, Part, RunSet};
use super::spans::Spans;
use super::state::{Frozen, FrozenPart, Held, RunState};
use super::{Damage, RunError, RunUid, removing};

/// What a set takes up in memory, bytes. Rather too much than too little.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// Indexes of durable runs: about 6 bytes for each hundred records.
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

impl RunSet {
    /// Freezes the set for a checkpoint or a transfer: a few pointers for each run.
    pub fn freeze(&self) -> Frozen {
        let parts = self.parts.values().map(|part| {
            let marks = part.serial.map(|serial| self.runs[&serial].marks.clone());
            FrozenPart { run: part.run.clone(), live: part.live, marks }
        });
        let held = self.hold(self.parts.keys().copied().collect());
        Frozen { parts: parts.collect(), held }
    }

    /// Keeps files of the directory, whether they are there or will be. They need not be this set's.
    pub fn hold(&self, uids: BTreeSet<RunUid>) -> Held {
        let uids = Arc::new(uids);
        // First: what is about to be removed stays.
        self.files.removals.keep(&uids);
        let mut held = self.held.lock();
        held.retain(|other| other.strong_count() > 0);
        held.push(Arc::downgrade(&uids));
        Held(uids)
    }

    /// Has the background writer remove files that nobody needs: neither the set, nor anything frozen
    /// or held, nor a durable checkpoint, all of whose files are `listed`. Returns how many are not
    /// removed yet: as long as there are some, call it again.
    pub fn release<'a>(&mut self, listed: impl IntoIterator<Item = &'a RunUid>) -> usize {
        self.forget_gone();
        if self.dropped.is_empty() {
            return 0;
        }
        let mut held: BTreeSet<RunUid> = listed.into_iter().copied().collect();
        self.held.lock().retain(|other| {
            let uids = other.upgrade();
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
        let unneeded: BTreeSet<RunUid> = unneeded.map(|(uid, _)| *uid).collect();
        let count = unneeded.len();
        removing::remove_later(&self.files, unneeded, &self.options.background);
        count
    }

    fn forget_gone(&mut self) {
        for uid in self.files.removals.take_removed() {
            self.dropped.remove(&uid);
        }
    }

    /// Whether somebody keeps the file.
    pub(super) fn is_held(&self, uid: RunUid) -> bool {
        let held = self.held.lock();
        held.iter().filter_map(Weak::upgrade).any(|uids| uids.contains(&uid))
    }

    /// Takes over the care for the files of another set of the same directory, which is given up:
    /// those that this one does not have are removed by and by, and what holds some of them holds
    /// them here.
    pub fn inherit(&mut self, other: &mut Self) {
        // What comes now may have the name of one that is gone.
        self.forget_gone();
        // It is for this set to remove them.
        other.files.removals.keep_all();
        other.forget_gone();
        let parts = std::mem::take(&mut other.parts);
        let dropped = std::mem::take(&mut other.dropped);
        let runs = parts.into_iter().map(|(uid, part)| (uid, Some(part.run))).chain(dropped);
        for (uid, run) in runs {
            if !self.parts.contains_key(&uid) {
                self.dropped.entry(uid).or_insert(run);
            }
        }
        other.runs.clear();
        other.spans = Spans::default();
        self.held.lock().append(&mut other.held.lock());
        if let Some(merging) = other.merging.take() {
            merging.give_up();
            self.given_up.push(merging);
        }
        self.given_up.append(&mut other.given_up);
    }

    /// What the set takes up in memory.
    pub fn resident(&self) -> Resident {
        let mut resident = Resident {
            cache: self.files.cached_bytes(),
            cursors: self.cursors.resident_bytes(),
            indexes: self.spans.heap_bytes(),
            merge: self.merging.as_ref().map_or(0, Merging::resident_bytes),
            ..Resident::default()
        };
        for run in self.known_runs() {
            let (indexes, sealed) = run.resident_bytes();
            // The entries in the tables here, with their spare room.
            resident.indexes += indexes + 2 * (size_of::<(RunUid, Part)>() + size_of::<Member>());
            resident.sealed += sealed;
        }
        resident.marks = self.runs.values().map(|member| member.marks.heap_bytes()).sum();
        resident
    }

    /// Makes the directory this set's, once it is certain that it is the one to go on with: makes it if
    /// need be, and removes what an earlier life has left there, but for the files of the set and
    /// those of `kept`, which older checkpoints list. Files that [come](super::Exchange) from another
    /// member stay.
    ///
    /// # Errors
    /// What the disk says; then some of it may be left, and the next start can do the rest.
    pub fn claim(&mut self, kept: &BTreeSet<RunUid>) -> Result<(), RunError> {
        let (disk, dir) = (&self.options.disk, &self.options.dir);
        disk.create_dir(dir).map_err(io_error("create", dir))?;
        for name in disk.list(dir).map_err(io_error("list", dir))? {
            let uid = format::uid_of(&name).filter(|uid| !self.parts.contains_key(uid));
            if let Some(uid) = uid.filter(|uid| kept.contains(uid)) {
                self.dropped.insert(uid, None);
            } else if uid.is_some() || format::is_leftover(&name) {
                let path = dir.join(name);
                disk.remove(&path).map_err(io_error("remove", &path))?;
            }
        }
        Ok(())
    }

    pub(super) fn open_file(&mut self, state: RunState) -> Result<(), RunError> {
        let content = if state.marks.is_some() { Content::All } else { Content::Bodies };
        let listed = (state.file_bytes, state.foot_crc);
        let file = RunFile::open(&self.files, state.uid, listed, content)?;
        let run = Arc::new(Run::durable(Arc::new(file)));
        let Some(marks) = state.marks else {
            let part = Part { run, live: state.live, serial: None };
            self.parts.insert(state.uid, part);
            return Ok(());
        };
        if marks.records() != run.records {
            let foot_at = state.file_bytes - format::FOOT_BYTES as u64;
            return Err(self.files.corrupt(state.uid, foot_at, Damage::Foot));
        }
        self.add(run, state.live, Some(marks));
        Ok(())
    }
}

impl Resident {
    /// All of it.
    pub fn total(&self) -> usize {
        self.indexes + self.marks + self.sealed + self.cache + self.cursors + self.merge
    }
}
