//! Runs from outside: one file, then a set of them.

use std::path::Path;
use std::sync::mpsc;

use super::*;
use crate::storage::background::{Background, BackgroundOptions};
use crate::storage::sim::SimDisk;
use crate::storage::tests::test_now;

mod file;

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
