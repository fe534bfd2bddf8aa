//! Arbitrary bytes as the segment of a log: they are refused without a change to any file, or
//! recovered, and then recovered again as the same after a power failure. The first byte says
//! whether the checksums are put right first.

#![no_main]

use std::sync::LazyLock;
use std::sync::mpsc;

use beanpole::storage::disk::Disk;
use beanpole::storage::sim::{Crash, SimDisk};
use beanpole::storage::wal::{EntryId, Recovered, WalError};
use beanpole_fuzz::log_image::{Repair, dir, first_segment, open, repair};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

/// A log with nothing in it, whose first segment is then replaced.
static EMPTY: LazyLock<SimDisk> = LazyLock::new(|| {
    let disk = SimDisk::new();
    let log = open(&disk, true).expect("a log can be made");
    let made = disk.crash(Crash::LoseAll);
    drop(log);
    made
});

fuzz_target!(|data: &[u8]| {
    let Some((&mode, bytes)) = data.split_first() else { return };
    let mut segment = bytes.to_vec();
    match mode % 3 {
        0 => {}
        1 => repair(&mut segment, Repair::Checksums),
        _ => repair(&mut segment, Repair::Chain),
    }
    let disk = EMPTY.kill();
    assert!(disk.edit(&first_segment(), |bytes| *bytes = segment));
    let before = files(&disk);
    match open(&disk, false) {
        Ok(log) => {
            let (recovered, entries) = (log.recovered.clone(), log.entries());
            let after_power_failure = disk.crash(Crash::LoseAll);
            drop(log);
            recovers_the_same(&after_power_failure, &recovered, &entries);
            goes_on(&disk.kill(), &recovered, &entries);
        }
        Err(
            WalError::Corrupt { .. }
            | WalError::ForeignOwner { .. }
            | WalError::UnknownVersion { .. },
        ) => {
            assert_eq!(files(&disk), before, "refused, and changed something");
        }
        Err(other) => panic!("bytes in a file are no reason for: {other}"),
    }
});

fn recovers_the_same(disk: &SimDisk, before: &Recovered, entries: &[(EntryId, Bytes)]) {
    let again = open(disk, false).expect("what was recovered can be recovered again");
    assert_eq!(again.recovered, Recovered { torn_bytes: 0, ..before.clone() });
    assert_eq!(again.entries(), entries);
}

/// One more entry can be added, and is there at the next start.
fn goes_on(disk: &SimDisk, before: &Recovered, entries: &[(EntryId, Bytes)]) {
    let log = open(disk, false).expect("what was recovered can be recovered again");
    let next = log.wal.state().next_index;
    if next == u64::MAX {
        return;
    }
    let id = EntryId { index: next, ..before.last.unwrap_or_default() };
    let body = Bytes::from_static(b"one more");
    let (done, wait) = mpsc::channel();
    let tell = move || done.send(()).expect("it is waited for");
    log.wal.append(vec![(id, std::sync::Arc::new(body.clone()))], Box::new(tell));
    wait.recv().expect("the append is durable");
    let after = disk.crash(Crash::LoseAll);
    drop(log);
    let expected: Vec<_> = entries.iter().cloned().chain([(id, body)]).collect();
    let again = open(&after, false).expect("what was appended can be recovered");
    assert_eq!(again.entries(), expected);
}

fn files(disk: &SimDisk) -> Vec<(String, Option<Vec<u8>>)> {
    let names = disk.list(dir()).expect("the directory is there");
    names.into_iter().map(|name| (name.clone(), disk.bytes(&dir().join(name)))).collect()
}
