//! Reads a log from its oldest segment to its last record, and judges what ends it.
//!
//! At the first record that cannot be read, all that is known to have been synced is weighed: the
//! floor, what the records before say, and what records after it say that survived. If the missing
//! record had been synced, the log is damaged. If not, its writing was cut short, and the log ends
//! there.

use bytes::Bytes;

use super::error::Context;
use super::index::{Event, Point, PointRule};
use super::queue::next_after;
use super::reader::{Record, Scanner};
use super::record::{ALIGNMENT, Invalid, Kind};
use super::segment::{HEAD_BYTES, Head};
use super::survey::Found;
use super::{Damage, EntryId, WalError};
use crate::planted::{self, Bug};

/// What was read so far.
pub(super) struct Replay {
    /// The sequence of the next record.
    pub(super) sequence: u64,
    /// The CRC of the last record.
    pub(super) chain: u32,
    /// All records up to this sequence are known to have been synced.
    pub(super) synced_upto: u64,
    pub(super) last: Option<EntryId>,
    pub(super) purged: Option<EntryId>,
    pub(super) vote: Option<Bytes>,
    pub(super) note: Option<Bytes>,
    pub(super) events: Vec<Event>,
    pub(super) position: u64,
    /// Where the last segment ends.
    pub(super) end: End,
    points: PointRule,
}

/// How the last segment ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct End {
    /// Where the next record would begin.
    pub(super) offset: u64,
    /// The last record is a seal.
    pub(super) is_sealed: bool,
    /// How many bytes after `offset` were begun and not finished.
    pub(super) torn_bytes: u64,
}

impl Replay {
    /// Before the first record.
    pub(super) fn new(floor: u64) -> Self {
        Self {
            sequence: 1,
            chain: 0,
            synced_upto: floor,
            last: None,
            purged: None,
            vote: None,
            note: None,
            events: Vec::new(),
            position: 0,
            end: End { offset: HEAD_BYTES as u64, ..End::default() },
            points: PointRule::default(),
        }
    }

    /// Reads the next segment.
    pub(super) fn segment(
        &mut self,
        head: &Head,
        found: &Found,
        is_oldest: bool,
    ) -> Result<(), WalError> {
        let corrupt = |offset, why| WalError::Corrupt { file: found.path.clone(), offset, why };
        if is_oldest {
            (self.sequence, self.chain, self.last) = (head.first_sequence, head.chain, head.last);
        }
        if (head.first_sequence, head.chain) != (self.sequence, self.chain) {
            let (expected, found) = (self.sequence, head.first_sequence);
            return Err(corrupt(0, Damage::Order { expected, found }));
        }
        // A segment is begun only when all before it is synced.
        self.synced_upto = self.synced_upto.max(head.first_sequence - 1);
        self.points.demand();
        self.end = End { offset: HEAD_BYTES as u64, ..End::default() };
        let bytes = head.bytes.min(found.file_bytes);
        let mut scanner = Scanner::new(&*found.file, head.owner, head.number, bytes);
        while !self.end.is_sealed {
            let offset = self.end.offset;
            match scanner.record(offset).context("read", &found.path)? {
                Err(invalid) => {
                    self.judge_tail(&mut scanner, found, invalid)?;
                    return Ok(());
                }
                Ok(record) => {
                    let payload = scanner.payload(&record);
                    self.record(&record, payload).map_err(|why| corrupt(offset, why))?;
                }
            }
        }
        Ok(())
    }

    /// A segment follows this one, so this one must be complete.
    pub(super) fn require_sealed(&self, found: &Found) -> Result<(), WalError> {
        if self.end.is_sealed {
            return Ok(());
        }
        let (sequence, synced_upto) = (self.sequence, self.sequence.max(self.synced_upto));
        let why = Damage::SyncedRecord { sequence, synced_upto };
        Err(WalError::Corrupt { file: found.path.clone(), offset: self.end.offset, why })
    }

    fn record(&mut self, record: &Record, payload: &[u8]) -> Result<(), Damage> {
        let header = &record.header;
        if header.sequence != self.sequence || header.chain != self.chain {
            return Err(Damage::Order { expected: self.sequence, found: header.sequence });
        }
        let (sequence, synced_upto) = (header.sequence, header.synced_upto);
        if synced_upto >= sequence {
            // No writer knows of a sync that is yet to come. Believed, it would have the next start
            // miss records that never were.
            return Err(Damage::SyncedRecord { sequence, synced_upto });
        }
        let offset = self.end.offset;
        match header.kind {
            Kind::Entry => self.entry(header.id, header.segment, offset)?,
            Kind::Truncate => self.truncate(Some(header.id))?,
            Kind::Clear => self.truncate(None)?,
            Kind::Purge => self.purge(header.id),
            Kind::Vote => self.vote = Some(Bytes::copy_from_slice(payload)),
            Kind::Note => self.note = Some(Bytes::copy_from_slice(payload)),
            Kind::Mark => {}
            Kind::Seal => self.end.is_sealed = true,
        }
        self.sequence += 1;
        self.chain = record.crc;
        self.synced_upto = self.synced_upto.max(header.synced_upto);
        self.end.offset += record.bytes;
        self.position += record.bytes;
        self.points.add_bytes(record.bytes);
        Ok(())
    }

    fn entry(&mut self, id: EntryId, segment: u64, offset: u64) -> Result<(), Damage> {
        let expected = next_after(self.last);
        if id.index != expected {
            return Err(Damage::EntryOrder { expected, found: id.index });
        }
        self.last = Some(id);
        if self.points.is_due_at_entry() {
            let (index, position) = (id.index, self.position);
            self.events.push(Event::Point(Point { index, segment, offset, position }));
        }
        Ok(())
    }

    fn truncate(&mut self, last: Option<EntryId>) -> Result<(), Damage> {
        let expected = next_after(self.last).max(next_after(self.purged));
        if let Some(beyond) = last.filter(|last| last.index >= expected) {
            return Err(Damage::EntryOrder { expected, found: beyond.index });
        }
        let keeps_purged = next_after(last) <= next_after(self.purged);
        self.last = if keeps_purged { self.purged } else { last };
        self.events.push(Event::Cut { next: next_after(self.last) });
        self.points.demand();
        Ok(())
    }

    /// Takes over a purge point, from a record or from `hard`.
    pub(super) fn purge(&mut self, upto: EntryId) {
        if next_after(self.purged) <= upto.index {
            self.purged = Some(upto);
            if next_after(self.last) <= upto.index {
                self.last = Some(upto);
                self.points.demand();
            }
        }
    }

    /// Decides between a torn tail and damage; a tail is measured.
    fn judge_tail(
        &mut self,
        scanner: &mut Scanner<'_>,
        found: &Found,
        invalid: Invalid,
    ) -> Result<(), WalError> {
        let start = self.end.offset;
        let mut tail_end = if invalid == Invalid::Foreign { start } else { start + 1 };
        let mut offset = start + ALIGNMENT as u64;
        while let Some(place) = scanner.candidate(offset).context("read", &found.path)? {
            offset = place + ALIGNMENT as u64;
            if let Ok(record) = scanner.record(place).context("read", &found.path)? {
                // It survived what the records before it did not.
                self.synced_upto = self.synced_upto.max(record.header.synced_upto);
                offset = place + record.bytes;
                tail_end = offset;
            }
        }
        let (sequence, synced_upto) = (self.sequence, self.synced_upto);
        if synced_upto >= sequence && !planted::is(Bug::DamageTruncated) {
            let why = Damage::SyncedRecord { sequence, synced_upto };
            return Err(WalError::Corrupt { file: found.path.clone(), offset: start, why });
        }
        self.end.torn_bytes = tail_end - start;
        Ok(())
    }
}
