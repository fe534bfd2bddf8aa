//! Damage to what was written: refused, or shown to be no more than a torn tail.

use super::stepper::{Change, Outcome, Random, Stepper, check, recover_all, script};
use super::*;
use crate::storage::sim::SECTOR_BYTES;

/// A log that was closed in good order: all of it is known to have been synced.
fn closed(seed: u64, length: usize) -> (SimDisk, Vec<Change>, Outcome) {
    let disk = SimDisk::new();
    let changes = script(seed, length);
    {
        let bench = open(&disk);
        for change in &changes {
            let done: Done = Box::new(|| {});
            match change {
                Change::Entry(id, bytes) => {
                    bench.append_later(id.term, id.index..id.index + 1, *bytes, done);
                }
                Change::Vote(vote) => bench.wal.save_vote(vote.clone(), done),
                Change::Truncate(last) => bench.wal.truncate_after(*last),
                Change::Purge(upto) => bench.wal.purge(*upto),
            }
        }
    }
    let outcome = recover_all(&disk.kill()).unwrap();
    check(&changes, changes.len(), &outcome).unwrap();
    (disk, changes, outcome)
}

/// Files of the log that count.
fn files(disk: &SimDisk) -> Vec<PathBuf> {
    let names = disk.list(&dir()).unwrap();
    let counts = |name: &String| name.starts_with("log-") || name == "hard";
    names.into_iter().filter(counts).map(|name| dir().join(name)).collect()
}

/// Whether a byte is between the slots of the file `hard`, where nothing is.
fn is_unused(path: &Path, at: usize) -> bool {
    path.ends_with("hard") && at % 4096 >= 128
}

/// Recovers a copy with one file changed: it must be refused, or be as if nothing had happened.
fn refused(
    disk: &SimDisk,
    path: &Path,
    whole: &Outcome,
    change: impl FnOnce(&mut Vec<u8>),
) -> bool {
    let damaged = disk.kill();
    assert!(damaged.edit(path, change));
    match recover_all(&damaged) {
        Ok(outcome) => {
            assert_eq!(outcome.entries, whole.entries, "{}", path.display());
            assert_eq!(outcome.recovered.vote, whole.recovered.vote, "{}", path.display());
            assert_eq!(outcome.recovered.last, whole.recovered.last, "{}", path.display());
            false
        }
        Err(WalError::Io { action, path, source }) => {
            panic!("damage is not an error of the system: {action} {}: {source}", path.display())
        }
        Err(_) => true,
    }
}

#[test]
fn no_flipped_bit_of_a_synced_log_changes_what_is_recovered() {
    let (disk, _, whole) = closed(3, 25);
    let (mut flips, mut refusals) = (0, 0);
    for path in files(&disk) {
        let length = disk.bytes(&path).unwrap().len();
        // One bit in each byte, another one each time: the tests of the formats flip all of them.
        for bit in (0..length * 8).step_by(7).filter(|bit| !is_unused(&path, bit / 8)) {
            flips += 1;
            refusals += u32::from(refused(&disk, &path, &whole, |bytes| {
                bytes[bit / 8] ^= 1 << (bit % 8);
            }));
        }
    }
    // Most of the bytes are records; the rest are unused.
    assert!(refusals * 3 > flips, "{refusals} of {flips} were refused");
}

#[test]
fn no_cut_of_a_synced_log_is_taken_for_its_end() {
    let (disk, _, whole) = closed(4, 25);
    for path in files(&disk) {
        for length in (0..disk.bytes(&path).unwrap().len()).step_by(5) {
            refused(&disk, &path, &whole, |bytes| bytes.truncate(length));
        }
    }
}

#[test]
fn no_zeroed_doubled_or_swapped_sector_of_a_synced_log_goes_unnoticed() {
    let (disk, _, whole) = closed(5, 40);
    for path in files(&disk) {
        let sectors = disk.bytes(&path).unwrap().len() / SECTOR_BYTES;
        let at = |sector: usize| sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
        for sector in 0..sectors {
            refused(&disk, &path, &whole, |bytes| bytes[at(sector)].fill(0));
            for other in 0..sectors {
                refused(&disk, &path, &whole, |bytes| {
                    bytes.copy_within(at(sector), other * SECTOR_BYTES)
                });
                refused(&disk, &path, &whole, |bytes| {
                    let saved = bytes[at(other)].to_vec();
                    bytes.copy_within(at(sector), other * SECTOR_BYTES);
                    bytes[at(sector)].copy_from_slice(&saved);
                });
            }
        }
    }
}

#[test]
fn a_missing_file_is_refused() {
    let (disk, _, whole) = closed(6, 60);
    let mut refusals = 0;
    for path in files(&disk) {
        let damaged = disk.kill();
        damaged.remove(&path).unwrap();
        match recover_all(&damaged) {
            Ok(outcome) => assert_eq!(outcome.entries, whole.entries, "{}", path.display()),
            Err(_) => refusals += 1,
        }
    }
    assert!(refusals > 2, "{refusals}");
}

/// Nothing of it was synced: every cut is a torn tail, and what is before it is there.
#[test]
fn an_unsynced_log_cut_at_any_byte_is_recovered_to_a_prefix() {
    let disk = SimDisk::new();
    let changes: Vec<_> = (0..12).map(|index| Change::Entry(id(1, index), 20)).collect();
    let options =
        WalOptions { sync: SyncPolicy::Never, segment_bytes_first: 4096, ..small_options() };
    let stopped = {
        let bench = try_open(&(Arc::new(disk.clone()) as Arc<dyn Disk>), &dir(), options).unwrap();
        for index in 0..12 {
            bench.append(1, index..index + 1, 20);
        }
        disk.kill()
    };
    let path = dir().join("log-1");
    let whole = stopped.bytes(&path).unwrap();
    let mut found = Vec::new();
    for length in 128..whole.len() {
        let cut = stopped.kill();
        // The rest is what it was before: zeros.
        cut.edit(&path, |bytes| bytes[length..].fill(0));
        let outcome = recover_all(&cut).unwrap();
        check(&changes, 0, &outcome).unwrap();
        found.push(outcome.entries.len());
    }
    assert!(found.is_sorted());
    assert_eq!((found.first(), found.last()), (Some(&0), Some(&12)));
    // And the torn record was kept for somebody to look at.
    let cut = stopped.kill();
    cut.edit(&path, |bytes| bytes[128 + 180..].fill(0));
    let torn = recover_all(&cut).unwrap().recovered.torn_bytes;
    assert!(torn > 0);
    assert!(cut.bytes(&dir().join("torn-1")).is_some());
}

/// A log in one segment, of entries of 20 bytes in groups of one, with no floor.
fn without_floor(terms: &[u64]) -> SimDisk {
    let disk = SimDisk::new();
    let options = WalOptions { segment_bytes_first: 8192, ..small_options() };
    let mut stepper = Stepper::new(&disk, options).unwrap();
    for (index, term) in (0..).zip(terms) {
        stepper.group(&[Change::Entry(id(*term, index), 20)]).unwrap();
    }
    disk
}

/// Where in the segment the record of an entry of [`without_floor`] begins.
fn record_at(index: usize) -> usize {
    128 + index * (72 + 24)
}

#[test]
fn damage_is_told_from_a_torn_tail_by_what_survives_behind_it() {
    let disk = without_floor(&[1; 10]);
    let path = dir().join("log-1");
    for index in 0..9 {
        let damaged = disk.kill();
        damaged.edit(&path, |bytes| bytes[record_at(index) + 80] ^= 1);
        let refused = recover_all(&damaged);
        let sequence = index as u64 + 1;
        assert!(
            matches!(
                refused,
                Err(WalError::Corrupt {
                    why: Damage::SyncedRecord { sequence: found, synced_upto: 9 }, ..
                }) if found == sequence
            ),
            "{index}: {refused:?}"
        );
    }
    // Of the last group nothing says that it was synced: the one case in which damage passes for a
    // torn tail. The mark of the idle time and the floor are there to make it short.
    disk.edit(&path, |bytes| bytes[record_at(9) + 80] ^= 1);
    let outcome = recover_all(&disk).unwrap();
    assert_eq!(outcome.recovered.last, Some(id(1, 8)));
    assert!(outcome.recovered.torn_bytes > 0);
}

#[test]
fn a_record_of_another_history_does_not_fit_into_the_chain() {
    let (disk, other) = (without_floor(&[1; 6]), without_floor(&[1, 1, 2, 2, 2, 2]));
    let path = dir().join("log-1");
    let foreign = other.bytes(&path).unwrap();
    let range = record_at(3)..record_at(6);
    disk.edit(&path, |bytes| bytes[range.clone()].copy_from_slice(&foreign[range]));
    let refused = recover_all(&disk);
    assert!(
        matches!(refused, Err(WalError::Corrupt { why: Damage::Order { expected: 4, .. }, .. })),
        "{refused:?}"
    );
}

#[test]
fn a_damaged_vote_is_never_taken_for_a_torn_one() {
    let disk = SimDisk::new();
    let bench = open(&disk);
    bench.vote("me in 1");
    let damaged = disk.kill();
    damaged.edit(&dir().join("log-1"), |bytes| bytes[128 + 75] ^= 1);
    let refused = recover_all(&damaged);
    assert!(matches!(refused, Err(WalError::Corrupt { .. })), "{refused:?}");
}

#[test]
fn an_unreadable_file_is_an_error_of_the_system_and_changes_nothing() {
    let (disk, _, _) = closed(7, 25);
    for path in files(&disk) {
        let failing = disk.kill();
        failing.fail_reads(&path);
        let before = failing.list(&dir()).unwrap();
        assert!(matches!(recover_all(&failing), Err(WalError::Io { .. })));
        assert_eq!(failing.list(&dir()).unwrap(), before);
    }
}

#[test]
fn a_refusal_changes_no_file() {
    let (disk, _, _) = closed(8, 40);
    let newest = files(&disk).into_iter().filter_map(|path| {
        let number = path.file_name()?.to_str()?.strip_prefix("log-")?.parse::<u64>().ok()?;
        Some((number, path))
    });
    let (_, path) = newest.max().unwrap();
    let damaged = disk.kill();
    damaged.edit(&path, |bytes| bytes[140] ^= 1);
    let before = damaged.changes();
    assert!(matches!(recover_all(&damaged), Err(WalError::Corrupt { .. })));
    // One: the directory is created if it is not there.
    assert_eq!(damaged.changes(), before + 1);
}

#[test]
fn no_garbage_is_accepted_or_brings_recovery_down() {
    let (disk, _, whole) = closed(9, 40);
    let paths = files(&disk);
    for seed in 0..400 {
        let mut random = Random(seed);
        let path = &paths[random.below(paths.len() as u64) as usize];
        refused(&disk, path, &whole, |bytes| {
            let start = random.below(bytes.len() as u64) as usize;
            let length = (1 << random.below(13)).min(bytes.len() - start);
            for byte in &mut bytes[start..start + length] {
                *byte = random.below(256) as u8;
            }
        });
    }
}
