//! What is asked of a set. Nothing here changes it, and any number of threads may ask.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use std::sync::atomic::AtomicU64;

use bytes::Bytes;

use super::set::{Found, Handle, Member, RunSet};
use super::{BodyPointer, Group, Place, RunError, RunUid};

/// The next record of a run in a merge: its place, the run's serial, its ordinal.
type Head = Reverse<(Place, u64, u32)>;

impl RunSet {
    /// How many records are there.
    pub fn records(&self) -> u64 {
        self.runs.values().map(|member| u64::from(member.marks.untaken())).sum()
    }

    /// The untaken record of that id. Reads one page of ids and one block in the usual case; only the
    /// block when it is the first of its group, and that was asked for.
    ///
    /// # Errors
    /// [`RunError::Corrupt`], or what the disk says.
    pub fn find(&self, id: u64) -> Result<Option<Found>, RunError> {
        if let Some(found) = self.find_head(id)? {
            return Ok(Some(found));
        }
        for serial in self.spans.of(id) {
            let member = &self.runs[&serial];
            let ordinal = member.run.find(id)?;
            if let Some(ordinal) = ordinal.filter(|ordinal| !member.marks.is_taken(*ordinal)) {
                return self.found(Handle { serial, ordinal }).map(Some);
            }
        }
        Ok(None)
    }

    /// Says that these will be looked for, one after the other: the disk reads what is needed of all
    /// of them at the same time, first the pages of ids and then the blocks. What cannot be read is
    /// told to those who look for it.
    pub fn expect(&self, ids: &[u64]) {
        let runs = |id| self.spans.of(id).map(|serial| &self.runs[&serial]);
        for &id in ids {
            runs(id).for_each(|member| member.run.expect_id(id));
        }
        for &id in ids {
            for member in runs(id) {
                if let Ok(Some(ordinal)) = member.run.find(id) {
                    member.run.expect_record(ordinal);
                }
            }
        }
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

    /// Reads all of a file of the set through, which takes its time, and checks it. One that is not
    /// durable yet is fine.
    ///
    /// # Errors
    /// [`RunError::Corrupt`], or what the disk says; [`RunError::Missing`] when the set does not have
    /// the file.
    pub fn verify(&self, uid: RunUid) -> Result<(), RunError> {
        match self.parts.get(&uid) {
            Some(part) => part.run.file().map_or(Ok(()), |file| file.verify(&AtomicU64::new(0))),
            None => Err(RunError::Missing { file: self.files.path(uid) }),
        }
    }

    /// The untaken record of that id, if a cursor stands on it.
    fn find_head(&self, id: u64) -> Result<Option<Found>, RunError> {
        let is_there = |handle: &Handle| {
            let member = self.runs.get(&handle.serial);
            member.is_some_and(|member| !member.marks.is_taken(handle.ordinal))
        };
        let Some(handle) = self.cursors.head(id).filter(is_there) else { return Ok(None) };
        self.found(handle).map(|found| Some(found).filter(|found| found.place.id == id))
    }

    fn found(&self, handle: Handle) -> Result<Found, RunError> {
        let stored = self.runs[&handle.serial].run.record(handle.ordinal)?;
        Ok(Found { place: stored.place, facts: stored.facts, body: stored.body, handle })
    }
}

impl Member {
    /// The first untaken record from an ordinal on, if it is of the group.
    fn head(&self, serial: u64, ordinal: u32, group: Group) -> Result<Option<Head>, RunError> {
        let Some(ordinal) = self.marks.next_untaken(ordinal) else { return Ok(None) };
        let place = self.run.place(ordinal)?;
        Ok((place.group == group).then_some(Reverse((place, serial, ordinal))))
    }
}
