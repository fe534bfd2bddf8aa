//! What the disk has room for, and what waits for it.
//!
//! Runs that cannot be written stay in memory. Whoever cannot wait for room, because a checkpoint
//! would free some, takes their records back out.

use std::collections::BTreeSet;

use super::set::RunSet;
use super::{Place, RunUid};

/// More than a run takes up in memory, its file does not need; so much beside it is left, bytes.
const MARGIN_BYTES: u64 = 1 << 20;

/// How much room there is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskRoom {
    /// All of it, bytes.
    pub free_bytes: u64,
    /// What nothing is kept for, bytes.
    pub spare_bytes: u64,
}

impl Default for DiskRoom {
    /// As long as nobody has measured, there is always some.
    fn default() -> Self {
        Self { free_bytes: u64::MAX, spare_bytes: u64::MAX }
    }
}

/// What would be lost with the memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unwritten {
    /// The ids of untaken records, those that stand last first.
    pub ids: Vec<u64>,
    /// The files that are not durable: bodies are in them, of these records and of others.
    pub files: BTreeSet<RunUid>,
}

impl RunSet {
    /// Says how much room there is on the disk. Runs that had none are tried again when there is
    /// enough, and a merge that there is none for is given up.
    pub fn measured(&mut self, room: DiskRoom) {
        self.room = room;
        if room.free_bytes >= self.no_room_for.saturating_add(MARGIN_BYTES) {
            self.no_room_for = 0;
        }
        if room.spare_bytes == 0
            && let Some(merging) = &self.merging
        {
            merging.give_up();
        }
    }

    /// Whether a run could not be written for want of room, and there is not more since.
    pub fn is_out_of_room(&self) -> bool {
        self.no_room_for > 0
    }

    /// What the disk will be needed for, bytes: runs that are not durable, and a merge under way.
    pub fn needed_bytes(&self) -> (u64, u64) {
        let sealed = self.sealed.lock();
        let waiting =
            sealed.iter().filter(|run| run.file().is_none() && self.parts.contains_key(&run.uid));
        let runs = waiting.map(|run| run.resident_bytes().1 as u64).sum();
        (runs, self.merging.as_ref().map_or(0, super::merge::Merging::bytes_left))
    }

    /// What is in runs that are not durable: at most so many ids. A body that is there for a record
    /// of another run is not among them: there is none.
    pub fn unwritten(&self, ids_max: usize) -> Unwritten {
        let mut unwritten = Unwritten::default();
        let mut places: Vec<Place> = Vec::new();
        for (uid, part) in self.parts.iter().filter(|(_, part)| part.run.file().is_none()) {
            unwritten.files.insert(*uid);
            let Some(member) = part.serial.map(|serial| &self.runs[&serial]) else { continue };
            let untaken = (0..member.run.records).filter(|at| !member.marks.is_taken(*at));
            // It may be durable since; then it need not be taken out.
            let found = untaken.rev().take(ids_max).map_while(|at| member.run.place(at).ok());
            places.extend(found);
        }
        places.sort_unstable_by(|one, other| other.cmp(one));
        places.truncate(ids_max);
        unwritten.ids = places.iter().map(|place| place.id).collect();
        unwritten
    }
}
