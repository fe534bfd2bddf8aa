//! Reads records back, in chunks, and checks every one of them.

use std::io;
use std::ops::Range;

use bytes::Bytes;

use super::error::Context;
use super::index::Stretch;
use super::record::{ALIGNMENT, Frame, HEADER_BYTES, Header, Invalid, Kind};
use super::segment::{HEAD_BYTES, Segment};
use super::shared::Shared;
use super::{Damage, EntryId, WalError};
use crate::storage::Owner;
use crate::storage::disk::DiskFile;

/// How much is read at once, when a record is not longer.
const CHUNK_BYTES: usize = 128 << 10;

/// Reads the records of one segment, forwards.
pub(super) struct Scanner<'a> {
    file: &'a dyn DiskFile,
    frame: Frame,
    /// The length of the segment.
    end: u64,
    buffer: Vec<u8>,
    /// The offset of the front of the buffer.
    start: u64,
}

/// A record that was read and checked.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) header: Header,
    pub(super) crc: u32,
    /// The length of the record on the disk.
    pub(super) bytes: u64,
    payload: Range<usize>,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(file: &'a dyn DiskFile, owner: Owner, number: u64, end: u64) -> Self {
        Self { file, frame: Frame::new(owner, number), end, buffer: Vec::new(), start: 0 }
    }

    /// Reads the record at `offset`.
    pub(super) fn record(&mut self, offset: u64) -> io::Result<Result<Record, Invalid>> {
        let room = self.end.saturating_sub(offset);
        if room < HEADER_BYTES as u64 {
            return Ok(Err(Invalid::Foreign));
        }
        self.fill(offset, HEADER_BYTES)?;
        let at = (offset - self.start) as usize;
        let bytes = match self.frame.claimed_bytes(&self.buffer[at..at + HEADER_BYTES], room) {
            Ok(bytes) => bytes,
            Err(invalid) => return Ok(Err(invalid)),
        };
        self.fill(offset, bytes)?;
        let at = (offset - self.start) as usize;
        Ok(self.frame.check(&self.buffer[at..at + bytes], offset).map(|(header, crc)| {
            let payload = at + HEADER_BYTES;
            let payload = payload..payload + header.length as usize;
            Record { header, crc, bytes: bytes as u64, payload }
        }))
    }

    /// The payload of the record that was read last.
    pub(super) fn payload(&self, record: &Record) -> &[u8] {
        &self.buffer[record.payload.clone()]
    }

    /// The first place at or after `offset`, which is aligned, where a record may begin, judged by
    /// its first bytes.
    pub(super) fn candidate(&mut self, mut offset: u64) -> io::Result<Option<u64>> {
        while self.end.saturating_sub(offset) >= HEADER_BYTES as u64 {
            self.fill(offset, HEADER_BYTES)?;
            let words = self.buffer[(offset - self.start) as usize..].chunks_exact(ALIGNMENT);
            let count = words.len() as u64;
            if let Some(position) = words.into_iter().position(Frame::may_begin) {
                return Ok(Some(offset + (position * ALIGNMENT) as u64));
            }
            offset += count * ALIGNMENT as u64;
        }
        Ok(None)
    }

    /// Makes sure that `bytes` from `offset` on are in the buffer. They must lie in the segment.
    fn fill(&mut self, offset: u64, bytes: usize) -> io::Result<()> {
        let has = self.start..self.start + self.buffer.len() as u64;
        if has.contains(&offset) && offset + bytes as u64 <= has.end {
            return Ok(());
        }
        let rest = usize::try_from(self.end - offset).unwrap_or(usize::MAX);
        self.buffer.resize(bytes.max(CHUNK_BYTES).min(rest), 0);
        self.start = offset;
        let read = self.file.read_exact_at(&mut self.buffer, offset);
        if read.is_err() {
            self.buffer.clear();
        }
        read
    }
}

/// See [`Wal::read`](super::Wal::read).
pub(super) fn read(
    shared: &Shared,
    from: u64,
    to: u64,
    bytes_max: usize,
) -> Result<Vec<(EntryId, Bytes)>, WalError> {
    let stretches = shared.index.lock().stretches(from, to, bytes_max);
    let stretches = stretches.map_err(|first| WalError::Purged { from, first })?;
    let mut found = Found { entries: Vec::new(), bytes: 0, bytes_max };
    for stretch in stretches {
        if !found.read(shared.options.owner, &stretch)? {
            break;
        }
    }
    Ok(found.entries)
}

struct Found {
    entries: Vec<(EntryId, Bytes)>,
    bytes: usize,
    bytes_max: usize,
}

impl Found {
    /// Returns false when there is enough.
    fn read(&mut self, owner: Owner, stretch: &Stretch) -> Result<bool, WalError> {
        let segment = &*stretch.segment;
        let mut scanner = Scanner::new(&*segment.file, owner, segment.number, segment.bytes);
        let mut offset = stretch.offset;
        loop {
            let read = scanner.record(offset).context("read", &segment.path)?;
            let record = read.map_err(|_| written_record(segment, offset))?;
            offset += record.bytes;
            let index = record.header.id.index;
            if record.header.kind != Kind::Entry || index < stretch.from {
                continue;
            }
            let payload = scanner.payload(&record);
            let is_enough = self.bytes + payload.len() > self.bytes_max;
            if is_enough && !self.entries.is_empty() {
                return Ok(false);
            }
            let expected = self.entries.last().map_or(stretch.from, |(id, _)| id.index + 1);
            if index != expected {
                return Err(written_record(segment, offset - record.bytes));
            }
            self.bytes += payload.len();
            self.entries.push((record.header.id, Bytes::copy_from_slice(payload)));
            if index + 1 >= stretch.to {
                return Ok(self.bytes < self.bytes_max);
            }
        }
    }
}

fn written_record(segment: &Segment, offset: u64) -> WalError {
    debug_assert!(offset >= HEAD_BYTES as u64);
    WalError::Corrupt { file: segment.path.clone(), offset, why: Damage::WrittenRecord }
}
