//! Where each group begins in each run: derived from the marks, and forgotten when room is needed.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::lru::Lru;
use super::set::{Handle, Member};
use super::{Group, Place, RunError};

/// What an entry of a tree takes up beside itself, bytes, about.
const TREE_ENTRY_BYTES: usize = 16;

/// How many first records of groups are remembered by their ids. A power of two.
const HEADS: usize = 1024;

/// Where a record of this id was when a cursor stood on it.
type Head = Option<(u64, Handle)>;

/// The cursors of the groups that were asked for lately.
pub(super) struct Cursors {
    groups: Mutex<Lru<Group, GroupCursors>>,
    /// Where a record is that a cursor stood on, by the last digits of its id: it will be taken, and
    /// then it need not be looked for by its id, which costs a read of a page.
    heads: Mutex<Box<[Head; HEADS]>>,
}

/// The cursors of one group: for each run a place before which it has nothing of the group, and the
/// first record there that nobody had taken, once it was looked for. Runs are looked into only when
/// their place is the least, so that those of a queue that is first in, first out stay closed until
/// it is their turn.
#[derive(Default)]
struct GroupCursors {
    /// The runs up to this serial have been looked at.
    seen: u64,
    /// By place and by serial.
    cursors: BTreeMap<(Place, u64), Option<u32>>,
}

impl Cursors {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { groups: Mutex::new(Lru::new(bytes_max)), heads: Mutex::new(Box::new([None; HEADS])) }
    }

    /// The first untaken place of a group in all the runs.
    pub(super) fn first(
        &self,
        runs: &BTreeMap<u64, Member>,
        group: Group,
    ) -> Result<Option<Place>, RunError> {
        // Others may read meanwhile; two that build the same cursors do no harm.
        let mut cursors = self.groups.lock().remove(&group).unwrap_or_default();
        cursors.see_new(runs, group);
        let first = cursors.first(runs, group)?;
        let entry_bytes = size_of::<((Place, u64), Option<u32>)>() + TREE_ENTRY_BYTES;
        let bytes = size_of::<GroupCursors>()
            + cursors.cursors.len() * entry_bytes
            + Lru::<Group, GroupCursors>::entry_bytes();
        self.groups.lock().insert(group, cursors, bytes);
        let Some((place, handle)) = first else { return Ok(None) };
        self.heads.lock()[slot(place.id)] = Some((place.id, handle));
        Ok(Some(place))
    }

    /// Where the record of this id was when a cursor stood on it. It may be another's place by now.
    pub(super) fn head(&self, id: u64) -> Option<Handle> {
        let head = self.heads.lock()[slot(id)];
        head.filter(|(of, _)| *of == id).map(|(_, handle)| handle)
    }

    /// Forgets all: runs were replaced by others.
    pub(super) fn clear(&self) {
        self.groups.lock().clear();
    }

    /// What they take up in memory, bytes.
    pub(super) fn resident_bytes(&self) -> usize {
        self.groups.lock().cost() + size_of::<[Head; HEADS]>()
    }
}

fn slot(id: u64) -> usize {
    (id % HEADS as u64) as usize
}

impl GroupCursors {
    /// Adds cursors for the runs that came since.
    fn see_new(&mut self, runs: &BTreeMap<u64, Member>, group: Group) {
        for (&serial, member) in runs.range(self.seen + 1..) {
            if member.may_have(group) {
                let place = member.run.first.max(group.start());
                self.cursors.insert((place, serial), None);
            }
            self.seen = serial;
        }
    }

    /// Moves the least cursor over what was taken, until it stands on a record that was not.
    fn first(
        &mut self,
        runs: &BTreeMap<u64, Member>,
        group: Group,
    ) -> Result<Option<(Place, Handle)>, RunError> {
        while let Some((&(place, serial), &ordinal)) = self.cursors.first_key_value() {
            let member = runs.get(&serial);
            let is_free = |ordinal: &u32| member.is_some_and(|it| !it.marks.is_taken(*ordinal));
            if let Some(ordinal) = ordinal.filter(is_free) {
                return Ok(Some((place, Handle { serial, ordinal })));
            }
            let next = match member {
                Some(member) => member.first_of(group, ordinal)?,
                None => None,
            };
            self.cursors.remove(&(place, serial));
            if let Some((place, ordinal)) = next {
                self.cursors.insert((place, serial), Some(ordinal));
            }
        }
        Ok(None)
    }
}

impl Member {
    /// The first untaken record of a group from an ordinal on, or of all.
    fn first_of(&self, group: Group, from: Option<u32>) -> Result<Option<(Place, u32)>, RunError> {
        let from = match from {
            Some(ordinal) => ordinal,
            None => self.run.partition(|place| *place < group.start())?,
        };
        let Some(ordinal) = self.marks.next_untaken(from) else { return Ok(None) };
        let place = self.run.place(ordinal)?;
        Ok((place.group == group).then_some((place, ordinal)))
    }
}
