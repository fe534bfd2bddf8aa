//! A log on a disk in memory, and checksums for segments made up by a fuzzer.
//!
//! Random bytes never have a right checksum, so without the second part no mutation of a record
//! would get further than its frame. The places of the fields are those that the modules `segment`
//! and `record` of the log describe.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use beanpole::storage::background::{Background, BackgroundOptions};
use beanpole::storage::disk::Disk;
use beanpole::storage::sim::SimDisk;
use beanpole::storage::wal::{EntryId, Recovered, Wal, WalError, WalOptions};
use beanpole::storage::{Now, Owner};
use bytes::Bytes;
use crc32fast::Hasher;

const OWNER: Owner = Owner { cluster: 0xBEA9, member: 1 };
const HEAD_BYTES: usize = 128;
const RECORD_HEADER_BYTES: usize = 72;
const RECORD_MAGIC: &[u8] = b"rec1";
const ALIGNMENT: usize = 8;

/// The directory of the log.
pub fn dir() -> &'static Path {
    Path::new("/log")
}

/// The segment of a log that was just made.
pub fn first_segment() -> PathBuf {
    dir().join("log-1")
}

/// An open log, and what it needs.
pub struct OpenLog {
    /// The log.
    pub wal: Wal,
    /// What opening it found.
    pub recovered: Recovered,
    // After the log, which uses it.
    _background: Background,
}

/// Opens the log, or makes one if it may.
///
/// # Errors
///
/// When the log is refused.
///
/// # Panics
///
/// When the log fails later, which a disk in memory is no reason for.
pub fn open(disk: &SimDisk, may_create: bool) -> Result<OpenLog, WalError> {
    let now: Now = Arc::new(|| Duration::ZERO);
    let pace = BackgroundOptions {
        rate_bytes_per_second: u64::MAX,
        ..BackgroundOptions::new(now.clone())
    };
    let background = Background::start(pace).expect("the system has a thread to give");
    let options = WalOptions {
        segment_bytes_first: 1024,
        segment_bytes_max: 4096,
        may_create,
        ..WalOptions::new(OWNER, now)
    };
    let fatal = Arc::new(|error| panic!("the log failed: {error}"));
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let (wal, recovered) = Wal::open(disk, dir(), options, background.handle(), fatal)?;
    Ok(OpenLog { wal, recovered, _background: background })
}

impl OpenLog {
    /// All entries that can be read.
    ///
    /// # Panics
    ///
    /// When the log cannot read what it said it had, or gives it out of order.
    pub fn entries(&self) -> Vec<(EntryId, Bytes)> {
        let state = self.wal.state();
        let mut entries = Vec::new();
        let mut next = state.first_index;
        while next < state.next_index {
            let read = self.wal.read(next, state.next_index, 4096).expect("entries can be read");
            assert!(!read.is_empty(), "no entry {next} of {state:?}");
            for (id, bytes) in read {
                assert_eq!(id.index, next);
                entries.push((id, bytes));
                next += 1;
            }
        }
        entries
    }
}

/// What else is put right, besides the checksums.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Nothing.
    Checksums,
    /// That each record has the checksum of the one before and the number after its.
    Chain,
}

/// Gives the head and all that begins like a record the checksums they should have.
pub fn repair(segment: &mut [u8], repair: Repair) {
    let Some(head) = segment.get_mut(..HEAD_BYTES) else { return };
    let mut hasher = Hasher::new();
    hasher.update(&head[..8]);
    hasher.update(&head[12..]);
    head[8..12].copy_from_slice(&hasher.finalize().to_le_bytes());
    let number: [u8; 8] = eight(head, 40);
    let mut sequence = u64::from_le_bytes(eight(head, 72));
    let mut chain: [u8; 4] = head[80..84].try_into().expect("four bytes");

    let mut offset = HEAD_BYTES;
    while let Some(header) = segment.get(offset..offset + RECORD_HEADER_BYTES) {
        let length = u32::from_le_bytes(header[12..16].try_into().expect("four bytes")) as usize;
        let bytes = RECORD_HEADER_BYTES + length.next_multiple_of(ALIGNMENT);
        let begins = header.starts_with(RECORD_MAGIC);
        let Some(record) = segment.get_mut(offset..offset + bytes).filter(|_| begins) else {
            offset += ALIGNMENT;
            continue;
        };
        if repair == Repair::Chain {
            record[16..24].copy_from_slice(&number);
            record[24..32].copy_from_slice(&sequence.to_le_bytes());
            record[40..44].copy_from_slice(&chain);
            sequence = sequence.wrapping_add(1);
        }
        chain = record_crc(record, offset);
        record[4..8].copy_from_slice(&chain);
        offset += bytes;
    }
}

fn record_crc(record: &[u8], offset: usize) -> [u8; 4] {
    let mut hasher = Hasher::new();
    hasher.update(&OWNER.cluster.to_le_bytes());
    hasher.update(&OWNER.member.to_le_bytes());
    hasher.update(&(offset as u64).to_le_bytes());
    hasher.update(&record[..4]);
    hasher.update(&record[8..]);
    hasher.finalize().to_le_bytes()
}

fn eight(bytes: &[u8], at: usize) -> [u8; 8] {
    bytes[at..at + 8].try_into().expect("eight bytes")
}
