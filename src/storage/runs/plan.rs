//! When to merge, and what.
//!
//! Bounded is how many runs overlap, not how many there are: the runs of a queue that is first in,
//! first out lie one behind the other, and merging them would be for nothing. Runs of about the same
//! size are merged, eight at once, so that a record is copied once for each factor of eight.

use std::collections::{BTreeMap, BTreeSet};

use super::set::{Member, RunSet};
use super::{Place, RunUid};

/// How many runs may overlap at one place.
pub const OVERLAP_MAX: usize = 16;

/// How many runs are merged at once.
pub const MERGE_RUNS: usize = 8;

/// The most records that a merge may write: its indexes are in memory, and what is taken meanwhile
/// has to be caught up with.
pub const MERGE_RECORDS_MAX: u64 = 8_000_000;

/// A merge moves no more bytes of bodies than this, or twice the bytes of the records that it copies
/// for them.
pub const MOVED_BYTES_MAX: u64 = 256 << 20;

/// A run of fewer records is of the first tier, and not worth to be rewritten for what was taken.
const TIER_RECORDS: u64 = 1 << 16;

/// Bodies are moved when at least one in so many bytes of all bodies is dead, in files of which less
/// than half is needed.
const DEAD_SHARE: u64 = 8;

/// A merge may need one in so many bytes of the room that is left for puts: they are not to be refused
/// for it.
const ROOM_SHARE: u64 = 2;

/// What is to be merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merge {
    /// The runs, by their serials.
    pub(super) inputs: Vec<u64>,
    /// The files whose bodies are moved.
    pub(super) rewrites: BTreeSet<RunUid>,
}

impl RunSet {
    /// What should be merged next; `None` when nothing, when a merge is under way, or when it would
    /// need too much of the [room](Self::measured) on the disk.
    pub fn plan_merge(&self) -> Option<Merge> {
        if self.merging.is_some() {
            return None;
        }
        let room = self.room.spare_bytes / ROOM_SHARE;
        self.plan_any_merge().filter(|plan| self.merge_bytes(plan) <= room)
    }

    /// What a merge may need of the disk, bytes: the records, and their ids once more to be sorted.
    pub(super) fn merge_bytes(&self, plan: &Merge) -> u64 {
        let records = plan.inputs.iter().map(|serial| {
            let file = self.runs[serial].run.file().expect("a plan is of durable runs");
            file.records_bytes() * 2
        });
        let bodies = plan.rewrites.iter().map(|uid| self.parts[uid].live.bytes);
        records.chain(bodies).sum()
    }

    fn plan_any_merge(&self) -> Option<Merge> {
        let durable = self.runs.iter().filter(|(_, member)| member.run.file().is_some());
        let durable: BTreeMap<u64, &Member> = durable.map(|(serial, it)| (*serial, it)).collect();
        let records_only = |inputs| Merge { inputs, rewrites: BTreeSet::new() };
        let overlap = plan_overlap(&durable).map(records_only);
        overlap.or_else(|| self.plan_moving(&durable)).or_else(|| {
            let mostly_taken = plan_mostly_taken(&durable);
            (!mostly_taken.is_empty()).then(|| records_only(mostly_taken))
        })
    }

    /// A run with bodies in files that are mostly dead.
    fn plan_moving(&self, durable: &BTreeMap<u64, &Member>) -> Option<Merge> {
        let (mut all, mut dead, mut wasted) = (0, 0, BTreeMap::new());
        for (uid, part) in &self.parts {
            let bytes = part.run.bodies_bytes();
            all += bytes;
            if part.run.file().is_some() && part.live.bytes < bytes / 2 {
                dead += bytes - part.live.bytes;
                wasted.insert(*uid, part.live.bytes);
            }
        }
        if dead == 0 || dead < all / DEAD_SHARE {
            return None;
        }
        let wasted_by = |member: &Member| -> Vec<RunUid> {
            let file = member.run.file().expect("only durable runs were given");
            let files = file.references().iter().copied().chain([member.run.uid]);
            files.filter(|uid| wasted.contains_key(uid)).collect()
        };
        let refers = durable.iter().map(|(serial, member)| (wasted_by(member), *serial));
        let (mut files, serial) = refers.max_by_key(|(files, _)| files.len())?;
        files.sort_by_key(|uid| wasted[uid]);
        let file = durable[&serial].run.file().expect("only durable runs were given");
        let moved_max = MOVED_BYTES_MAX.max(file.records_bytes() * 2);
        let (mut rewrites, mut moved) = (BTreeSet::new(), 0);
        for uid in files {
            moved += wasted[&uid];
            if rewrites.is_empty() || moved <= moved_max {
                rewrites.insert(uid);
            }
        }
        (!rewrites.is_empty()).then(|| Merge { inputs: vec![serial], rewrites })
    }
}

/// Runs that overlap in one place, when there are too many.
fn plan_overlap(durable: &BTreeMap<u64, &Member>) -> Option<Vec<u64>> {
    let deepest = deepest_overlap(durable);
    if deepest.len() <= OVERLAP_MAX {
        return None;
    }
    let mut by_size: Vec<_> =
        deepest.iter().map(|serial| (durable[serial].untaken(), *serial)).collect();
    by_size.sort_unstable();
    let mut tiers: BTreeMap<u32, Vec<(u64, u64)>> = BTreeMap::new();
    for run in &by_size {
        tiers.entry(tier(run.0)).or_default().push(*run);
    }
    // Without eight of a size, the smallest have to do.
    let chosen = tiers.into_values().find(|runs| runs.len() >= MERGE_RUNS).unwrap_or(by_size);
    let mut records = 0;
    let fits = |run: &&(u64, u64)| {
        records += run.0;
        records <= MERGE_RECORDS_MAX
    };
    let inputs: Vec<_> =
        chosen.iter().take(MERGE_RUNS).take_while(fits).map(|(_, serial)| *serial).collect();
    (inputs.len() > 1).then_some(inputs)
}

/// The runs at the place where the most overlap.
fn deepest_overlap(durable: &BTreeMap<u64, &Member>) -> BTreeSet<u64> {
    // At one place runs begin before others end: they have it in common.
    let mut ends: Vec<(Place, bool, u64)> = Vec::with_capacity(durable.len() * 2);
    for (&serial, member) in durable {
        ends.push((member.run.first, false, serial));
        ends.push((member.run.last, true, serial));
    }
    ends.sort_unstable();
    let (mut open, mut deepest) = (BTreeSet::new(), BTreeSet::new());
    for (position, &(_, is_end, serial)) in ends.iter().enumerate() {
        if is_end {
            open.remove(&serial);
            continue;
        }
        open.insert(serial);
        // Only where the depth is about to fall is it worth a copy.
        let falls = ends.get(position + 1).is_some_and(|(_, is_end, _)| *is_end);
        if falls && open.len() > deepest.len() {
            deepest.clone_from(&open);
        }
    }
    deepest
}

/// Large runs of which three in four records are taken.
fn plan_mostly_taken(durable: &BTreeMap<u64, &Member>) -> Vec<u64> {
    let mostly_taken = durable.iter().filter(|(_, member)| {
        let records = u64::from(member.marks.records());
        records >= TIER_RECORDS && member.untaken() < records / 4
    });
    mostly_taken.map(|(serial, _)| *serial).take(MERGE_RUNS).collect()
}

impl Member {
    fn untaken(&self) -> u64 {
        u64::from(self.marks.untaken())
    }
}

fn tier(records: u64) -> u32 {
    (records / TIER_RECORDS).max(1).ilog(MERGE_RUNS as u64)
}
