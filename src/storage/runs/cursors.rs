//! Where each group begins in each run: derived from the marks, and forgotten when room is needed.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::lru::Lru;
use super::set::Member;
use super::{Group, Place, RunError};

/// The cursors of the groups that were asked for lately.
pub(super) struct Cursors {
    groups: Mutex<Lru<Group, GroupCursors>>,
}

/// The cursors of one group.
#[derive(Default)]
struct GroupCursors {
    /// The runs up to this serial have been looked at.
    seen: u64,
    cursors: Vec<Cursor>,
}

/// The first record of a group in a run that nobody has taken, as far as it is known.
#[derive(Clone, Copy)]
struct Cursor {
    serial: u64,
    ordinal: u32,
    /// The place of that record, once it was read.
    place: Option<Place>,
}

impl Cursors {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { groups: Mutex::new(Lru::new(bytes_max)) }
    }

    /// The first untaken place of a group in all the runs.
    pub(super) fn first(
        &self,
        runs: &BTreeMap<u64, Member>,
        group: Group,
    ) -> Result<Option<Place>, RunError> {
        // Others may read meanwhile; two that build the same cursors do no harm.
        let mut cursors = self.groups.lock().remove(&group).unwrap_or_default();
        cursors.see_new(runs, group)?;
        let first = cursors.first(runs, group)?;
        let bytes = size_of::<GroupCursors>()
            + cursors.cursors.capacity() * size_of::<Cursor>()
            + Lru::<Group, GroupCursors>::entry_bytes();
        self.groups.lock().insert(group, cursors, bytes);
        Ok(first)
    }

    /// Forgets all: runs were replaced by others.
    pub(super) fn clear(&self) {
        self.groups.lock().clear();
    }

    /// What they take up in memory, bytes.
    pub(super) fn resident_bytes(&self) -> usize {
        self.groups.lock().cost()
    }
}

impl GroupCursors {
    /// Adds cursors for the runs that came since.
    fn see_new(&mut self, runs: &BTreeMap<u64, Member>, group: Group) -> Result<(), RunError> {
        for (&serial, member) in runs.range(self.seen + 1..) {
            if member.may_have(group) {
                let ordinal = member.run.partition(|place| *place < group.start())?;
                self.cursors.push(Cursor { serial, ordinal, place: None });
            }
            self.seen = serial;
        }
        self.cursors.shrink_to_fit();
        Ok(())
    }

    /// Moves the cursors over what was taken, and drops those that have nothing left.
    fn first(
        &mut self,
        runs: &BTreeMap<u64, Member>,
        group: Group,
    ) -> Result<Option<Place>, RunError> {
        let mut first = None;
        let mut position = 0;
        while position < self.cursors.len() {
            let cursor = &mut self.cursors[position];
            cursor.settle(runs, group)?;
            match cursor.place {
                None => {
                    self.cursors.swap_remove(position);
                }
                Some(place) => {
                    first = Some(first.map_or(place, |first: Place| first.min(place)));
                    position += 1;
                }
            }
        }
        Ok(first)
    }
}

impl Cursor {
    /// Stands on the first untaken record of the group, or has no place.
    fn settle(&mut self, runs: &BTreeMap<u64, Member>, group: Group) -> Result<(), RunError> {
        let Some(member) = runs.get(&self.serial) else {
            self.place = None;
            return Ok(());
        };
        if self.place.is_some() && !member.marks.is_taken(self.ordinal) {
            return Ok(());
        }
        self.place = None;
        if let Some(ordinal) = member.marks.next_untaken(self.ordinal) {
            self.ordinal = ordinal;
            self.place = Some(member.run.place(ordinal)?).filter(|place| place.group == group);
        }
        Ok(())
    }
}
