//! Runs from outside: one file, then a set of them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::mpsc;

use super::*;
use crate::storage::background::{Background, BackgroundOptions};
use crate::storage::sim::SimDisk;
use crate::storage::tests::test_now;

mod file;
mod model;
mod room;
mod set;

const CLUSTER: u128 = 0xC1;
const DIR: &str = "/data/runs";

fn background() -> Background {
    Background::start(BackgroundOptions {
        rate_bytes_per_second: u64::MAX,
        ..BackgroundOptions::new(test_now())
    })
    .unwrap()
}

/// Options for a set on that disk, and what is told of changes.
fn options(disk: &SimDisk, background: &Background) -> (RunOptions, mpsc::Receiver<()>) {
    let (told, heard) = mpsc::channel();
    let options = RunOptions {
        disk: Arc::new(disk.clone()),
        dir: DIR.into(),
        cluster: CLUSTER,
        member: 7,
        life: 99,
        background: background.handle(),
        cache_bytes_max: 4 << 20,
        cursor_bytes_max: 1 << 20,
        on_change: Arc::new(move || {
            let _ = told.send(());
        }),
    };
    (options, heard)
}

fn place(tube: u64, order: u64, id: u64) -> Place {
    Place { group: Group { tube, kind: 0 }, order, id }
}

fn body_of(id: u64) -> Bytes {
    Bytes::from(vec![id as u8; 20 + id as usize % 50])
}

fn facts_of(id: u64) -> Bytes {
    Bytes::from(vec![!id as u8; id as usize % 40])
}

/// A record of which everything follows from its place.
fn record(place: Place) -> Record {
    Record { place, facts: facts_of(place.id), body: RecordBody::Given(body_of(place.id)) }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// A set, its background writer, and what is heard of it.
struct Bench {
    set: RunSet,
    heard: mpsc::Receiver<()>,
    _background: Background,
}

fn bench(disk: &SimDisk) -> Bench {
    open(disk, Vec::new(), &BTreeSet::new()).unwrap()
}

fn open(disk: &SimDisk, listed: Vec<RunState>, kept: &BTreeSet<RunUid>) -> Result<Bench, RunError> {
    let background = background();
    let (options, heard) = options(disk, &background);
    // A new life has a number of its own.
    let options = RunOptions { life: disk.changes(), ..options };
    let mut set = RunSet::open(options, listed)?;
    set.claim(kept)?;
    Ok(Bench { set, heard, _background: background })
}

impl Bench {
    /// Waits until all runs are durable.
    fn settle(&mut self) {
        loop {
            let failures = self.set.write_sealed();
            assert!(failures.is_empty(), "{failures:?}");
            if self.set.sealed_runs() == 0 {
                return;
            }
            self.heard.recv().unwrap();
        }
    }

    /// Waits until a merge has ended, and publishes it.
    fn publish(&mut self) {
        while self.set.is_merging() {
            if !self.set.publish().unwrap() {
                self.heard.recv().unwrap();
            }
        }
    }

    /// A merge of these runs, counted from the oldest, which moves the bodies of some files.
    fn merge(&mut self, positions: &[usize], rewrites: &[RunUid]) {
        let serials: Vec<_> = self.set.runs.keys().copied().collect();
        let inputs = positions.iter().map(|position| serials[*position]).collect();
        let rewrites = rewrites.iter().copied().collect();
        assert!(self.set.merge(Merge { inputs, rewrites }));
    }

    /// Removes what nobody needs, and waits until it is gone. Returns how many files that were.
    fn release(&mut self, listed: &[RunUid]) -> usize {
        let count = self.set.release(listed);
        while self.set.release(listed) > 0 {
            std::thread::yield_now();
        }
        count
    }

    fn take(&mut self, id: u64) -> BodyPointer {
        let found = self.set.find(id).unwrap().expect("the record is there");
        self.set.take(&found).unwrap()
    }
}
