//! A member whose log says something else than that of the others, with every checksum right: what
//! a mistake of ours, or memory that forgets, would do to it.
//!
//! The entry is changed by the product's own log, because only that knows the checksums.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use beanpole::storage::background::{Background, BackgroundOptions};
use beanpole::storage::disk::RealDisk;
use beanpole::storage::identity::DataDirectory;
use beanpole::storage::wal::{EntryId, Payload, SyncPolicy, Wal, WalOptions};
use beanpole::storage::{Now, Owner};
use bytes::Bytes;

use crate::support::now;

/// More than the log of a test has.
const LOG_BYTES_MAX: usize = 64 << 20;

/// Changes the one job with the priority `from` in the log of a member that does not run: it was
/// put with the priority `to`. Both take the same bytes.
///
/// # Panics
///
/// When there is not exactly one put like that.
pub(super) fn change_priority(data: &Path, from: u32, to: u32) {
    let [from, to] = [from, to].map(varint);
    assert_eq!(from.len(), to.len(), "an entry keeps its length");
    let wal = open(data);
    let state = wal.state();
    let entries = wal.read(state.first_index, state.next_index, LOG_BYTES_MAX);
    let entries = entries.expect("the log of a member that has ended can be read");
    let places: Vec<(usize, usize)> = entries
        .iter()
        .enumerate()
        .flat_map(|(entry, (_, bytes))| {
            let starts = bytes.windows(from.len()).enumerate();
            starts.filter(|(_, it)| *it == from).map(move |(at, _)| (entry, at))
        })
        .collect();
    let &[(changed, at)] = places.as_slice() else {
        panic!("{} puts of that priority among {} entries", places.len(), entries.len());
    };
    let rest = entries[changed..].iter().enumerate().map(|(place, (id, bytes))| {
        let mut bytes = bytes.to_vec();
        if place == 0 {
            bytes[at..at + to.len()].copy_from_slice(&to);
        }
        (*id, Arc::new(Bytes::from(bytes)) as Arc<dyn Payload>)
    });
    let rest: Vec<(EntryId, Arc<dyn Payload>)> = rest.collect();
    let before = changed.checked_sub(1).map(|before| entries[before].0).or(state.purged);
    wal.truncate_after(before);
    // Dropping the log writes and syncs what waits.
    wal.append(rest, Box::new(|| {}));
}

fn open(data: &Path) -> Wal {
    let disk = Arc::new(RealDisk);
    let nobody = Owner { cluster: 0, member: 0 };
    let directory = DataDirectory::open(disk.clone(), data, nobody, true);
    let directory = directory.expect("a member has lived here");
    let started = now();
    let clock: Now = Arc::new(move || now().saturating_duration_since(started));
    let background = Background::start(BackgroundOptions::new(Arc::clone(&clock)));
    let background = background.expect("a thread can be started");
    let options = WalOptions {
        sync: SyncPolicy::Every(Duration::from_secs(1)),
        lock: Some(directory.lock()),
        ..WalOptions::new(directory.identity().owner, clock)
    };
    let fatal = Arc::new(|error| panic!("the log of a member: {error}"));
    let opened = Wal::open(disk, &data.join("wal"), options, background.handle(), fatal);
    opened.expect("a member that ended in good order has a log").0
}

/// A number as the entries have it: seven bits a byte, the least first.
fn varint(number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut left = number;
    while left >= 0x80 {
        bytes.push(u8::try_from(left & 0x7f).expect("seven bits") | 0x80);
        left >>= 7;
    }
    bytes.push(u8::try_from(left).expect("the rest is less than seven bits"));
    bytes
}
