//! What the log thread does to the disk: encodes records, writes, syncs, goes on to the next segment.
//!
//! No thread and no queue in here, so that tests can drive it step by step.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::error::{Context, outcome};
use super::hard::{Hard, HardState};
use super::index::{Event, Point, PointRule, Written};
use super::queue::next_after;
use super::record::{self, Frame, HEADER_BYTES, Header, Kind};
use super::segment::{self, HEAD_BYTES, Head, Segment};
use super::shared::{Shared, Spare};
use super::{ENTRY_BYTES_MAX, EntryId, Payload, WalError};
use crate::planted::{self, Bug};

/// The buffer is written when it holds so much, also in the middle of a group.
const WRITE_BYTES_MAX: usize = 4 << 20;

/// The unit in which the system caches files, or a multiple of it.
const PAGE_BYTES: u64 = 4096;

/// Every segment keeps room for the record that ends it.
pub(super) const SEAL_BYTES: u64 = HEADER_BYTES as u64;

/// Lengths of segments made for one long entry are multiples of this.
const SEGMENT_BYTES_UNIT: u64 = 4096;

/// Where the log stands.
pub(super) struct Position {
    pub(super) segment: Arc<Segment>,
    /// Where in the segment the next record begins.
    pub(super) offset: u64,
    /// Its last record is a seal.
    pub(super) is_sealed: bool,
    /// The sequence of the next record.
    pub(super) sequence: u64,
    /// The CRC of the last record.
    pub(super) chain: u32,
    /// The last entry; the purged one when there is none after it.
    pub(super) last: Option<EntryId>,
    pub(super) purged: Option<EntryId>,
    pub(super) vote: Option<Bytes>,
    pub(super) note: Option<Bytes>,
    /// Bytes of log so far.
    pub(super) position: u64,
    /// The number of the next segment.
    pub(super) next_number: u64,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    at: Position,
    frame: Frame,
    hard: Hard,
    /// Records that are not written yet; they go to `at.offset`.
    buffer: Vec<u8>,
    /// The greatest sequence that was synced.
    synced_upto: u64,
    /// The greatest sequence that was written.
    written_upto: u64,
    events: Vec<Event>,
    records: u64,
    points: PointRule,
}

/// What is in a record, but for its payload.
struct Content<'a> {
    kind: Kind,
    id: EntryId,
    fill: &'a dyn Fn(&mut Vec<u8>),
}

/// Whether there was room for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Room {
    /// It is in the buffer, or written.
    Taken,
    /// There is none. What came before can still be written.
    Missing,
}

impl Writer {
    /// A writer that goes on at `at`. All before it is synced, and `hard` says so.
    pub(super) fn new(shared: Arc<Shared>, at: Position, hard: Hard) -> Self {
        let frame = Frame::new(shared.options.owner, at.segment.number);
        let synced_upto = at.sequence - 1;
        Self {
            shared,
            at,
            frame,
            hard,
            buffer: Vec::new(),
            synced_upto,
            written_upto: synced_upto,
            events: Vec::new(),
            records: 0,
            points: PointRule::default(),
        }
    }

    pub(super) fn push_entry(
        &mut self,
        id: EntryId,
        payload: &dyn Payload,
    ) -> Result<Room, WalError> {
        let expected = next_after(self.at.last);
        assert!(id.index == expected, "entry {} after {expected}", id.index);
        let room =
            self.push(&Content { kind: Kind::Entry, id, fill: &|out| payload.encode(out) })?;
        if room == Room::Taken {
            self.at.last = Some(id);
        }
        Ok(room)
    }

    pub(super) fn push_vote(&mut self, vote: &Bytes) -> Result<Room, WalError> {
        let room = self.push_small(Kind::Vote, vote)?;
        if room == Room::Taken {
            self.at.vote = Some(vote.clone());
        }
        Ok(room)
    }

    pub(super) fn push_note(&mut self, note: &Bytes) -> Result<Room, WalError> {
        let room = self.push_small(Kind::Note, note)?;
        if room == Room::Taken {
            self.at.note = Some(note.clone());
        }
        Ok(room)
    }

    pub(super) fn push_truncate(&mut self, last: Option<EntryId>) -> Result<Room, WalError> {
        let kind = if last.is_some() { Kind::Truncate } else { Kind::Clear };
        let id = last.unwrap_or_default();
        let room = self.push(&Content { kind, id, fill: &|_| {} })?;
        if room == Room::Taken {
            let keeps_purged = next_after(last) <= next_after(self.at.purged);
            self.at.last = if keeps_purged { self.at.purged } else { last };
            self.events.push(Event::Cut { next: next_after(self.at.last) });
            self.points.demand();
        }
        Ok(room)
    }

    pub(super) fn push_purge(&mut self, upto: EntryId) -> Result<Room, WalError> {
        let room = self.push(&Content { kind: Kind::Purge, id: upto, fill: &|_| {} })?;
        if room == Room::Taken && next_after(self.at.purged) <= upto.index {
            self.at.purged = Some(upto);
            if next_after(self.at.last) <= upto.index {
                self.at.last = Some(upto);
                self.points.demand();
            }
        }
        Ok(room)
    }

    /// Pushes a mark, if it fits: it is additional evidence, not worth a segment.
    pub(super) fn push_mark(&mut self) -> Result<(), WalError> {
        let fits = self.at.offset + SEAL_BYTES + HEADER_BYTES as u64 <= self.at.segment.bytes;
        if fits && !self.at.is_sealed {
            let room = self.push_small(Kind::Mark, &Bytes::new())?;
            assert!(room == Room::Taken, "a mark that fits finds room");
        }
        Ok(())
    }

    /// Writes what is in the buffer.
    pub(super) fn write(&mut self) -> Result<(), WalError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let segment = &self.at.segment;
        let end = self.at.offset + self.buffer.len() as u64;
        // Up to the end of the page, zeros: a page that is not in the cache and is written in part
        // is read first. (Almost half of the time of a small append that begins a page; measured.)
        let padded_end = end.next_multiple_of(PAGE_BYTES).min(segment.bytes);
        self.buffer.resize((padded_end - self.at.offset) as usize, 0);
        let written = segment.file.write_all_at(&self.buffer, self.at.offset);
        outcome(written).context("write", &segment.path)?;
        self.at.offset = end;
        self.written_upto = self.at.sequence - 1;
        self.buffer.clear();
        self.buffer.shrink_to(2 * WRITE_BYTES_MAX);
        Ok(())
    }

    /// Syncs what is written.
    pub(super) fn sync(&mut self) -> Result<(), WalError> {
        if self.is_synced() {
            return Ok(());
        }
        let segment = &self.at.segment;
        outcome(segment.sync()).context("sync", &segment.path)?;
        self.synced_upto = self.written_upto;
        Ok(())
    }

    pub(super) fn is_synced(&self) -> bool {
        self.synced_upto == self.written_upto
    }

    /// Lets readers see what is written, all ops up to `ticket`.
    pub(super) fn publish(&mut self, ticket: u64) {
        let written = Written {
            ticket,
            next_index: next_after(self.at.last),
            position: self.at.position,
            records: self.records,
        };
        self.shared.index.lock().publish(self.events.drain(..), written);
    }

    /// Whether the floor is below what is synced.
    pub(super) fn is_floor_behind(&self) -> bool {
        self.hard.state().floor < self.synced_upto
    }

    /// Writes down, apart from the log, that what is synced is synced.
    pub(super) fn raise_floor(&mut self) -> Result<(), WalError> {
        let floor = self.synced_upto;
        self.hard.write(HardState { floor, ..self.hard.state() })
    }

    /// Recycles the segments that the purge mark has made useless. What they held must not be
    /// needed once the mark is durable, which is before they are touched.
    pub(super) fn recycle(&mut self) -> Result<(), WalError> {
        let (taken, purged, first) = {
            let mut index = self.shared.index.lock();
            (index.take_purged(), index.purged(), index.oldest_segment())
        };
        let Some(first) = first.filter(|_| !taken.is_empty()) else { return Ok(()) };
        self.hard.write(HardState { first, purged, ..self.hard.state() })?;
        let wanted = self.next_bytes();
        taken.into_iter().try_for_each(|segment| self.shared.recycle(segment, wanted))
    }

    /// Asks for the next segment to be made ready, when it is time.
    pub(super) fn prepare_next(&self) {
        let is_full = self.shared.full.load(Ordering::Relaxed);
        if is_full || self.at.offset * 2 >= self.at.segment.bytes {
            self.shared.request_spare(self.next_bytes());
        }
    }

    /// How long the next segment is to be.
    fn next_bytes(&self) -> u64 {
        let options = &self.shared.options;
        let doubled = self.at.segment.bytes.saturating_mul(2);
        doubled.max(options.segment_bytes_first).min(options.segment_bytes_max)
    }

    fn push_small(&mut self, kind: Kind, payload: &Bytes) -> Result<Room, WalError> {
        let fill = &|out: &mut Vec<u8>| out.extend_from_slice(payload);
        self.push(&Content { kind, id: EntryId::default(), fill })
    }

    /// Encodes a record at the end of the buffer, in the next segment if it has to be.
    fn push(&mut self, content: &Content<'_>) -> Result<Room, WalError> {
        let start = self.buffer.len();
        self.buffer.resize(start + HEADER_BYTES, 0);
        (content.fill)(&mut self.buffer);
        let length = self.buffer.len() - start - HEADER_BYTES;
        assert!(length <= ENTRY_BYTES_MAX, "an entry of {length} bytes");
        self.buffer.resize(start + record::record_bytes(length), 0);
        let end = self.at.offset + self.buffer.len() as u64;
        if self.at.is_sealed || end + SEAL_BYTES > self.at.segment.bytes {
            let record = self.buffer.split_off(start);
            if self.next_segment(record.len())? == Room::Missing {
                let is_dropped = planted::is(Bug::FullDiskIgnored);
                return Ok(if is_dropped { Room::Taken } else { Room::Missing });
            }
            self.buffer.extend_from_slice(&record);
            self.finish(0, length, content);
        } else {
            self.finish(start, length, content);
        }
        if self.buffer.len() >= WRITE_BYTES_MAX {
            self.write()?;
        }
        Ok(Room::Taken)
    }

    /// Completes the record that begins at `start` in the buffer.
    fn finish(&mut self, start: usize, length: usize, content: &Content<'_>) {
        let offset = self.at.offset + start as u64;
        let header = Header {
            kind: content.kind,
            length: u32::try_from(length).expect("entries are bounded"),
            segment: self.at.segment.number,
            sequence: self.at.sequence,
            synced_upto: self.synced_upto,
            chain: self.at.chain,
            id: content.id,
        };
        let record = &mut self.buffer[start..];
        let bytes = record.len() as u64;
        self.at.chain = self.frame.finish(record, &header, offset);
        self.at.sequence += 1;
        self.records += 1;
        if content.kind == Kind::Entry && self.points.is_due_at_entry() {
            self.events.push(Event::Point(Point {
                index: content.id.index,
                segment: self.at.segment.number,
                offset,
                position: self.at.position,
            }));
        }
        self.at.position += bytes;
        self.points.add_bytes(bytes);
    }

    /// Ends this segment and begins the next one, which has room for a record of `record_bytes`.
    /// When it returns, all before is synced.
    fn next_segment(&mut self, record_bytes: usize) -> Result<Room, WalError> {
        let needed = (HEAD_BYTES + record_bytes) as u64 + self.repeated_bytes() + SEAL_BYTES;
        let wanted = self.next_bytes();
        let needed_unit = needed.next_multiple_of(SEGMENT_BYTES_UNIT);
        let wanted = if wanted < needed { needed_unit } else { wanted };
        let Some(spare) = self.shared.take_file(wanted, needed)? else { return Ok(Room::Missing) };
        if !self.at.is_sealed {
            let start = self.buffer.len();
            self.buffer.resize(start + HEADER_BYTES, 0);
            let id = EntryId::default();
            self.finish(start, 0, &Content { kind: Kind::Seal, id, fill: &|_| {} });
        }
        self.write()?;
        self.sync()?;
        let ended = &self.at.segment;
        ended.fill_rest(self.at.offset).context("fill with zeros", &ended.path)?;
        self.begin_segment(spare)?;
        Ok(Room::Taken)
    }

    fn begin_segment(&mut self, spare: Spare) -> Result<(), WalError> {
        let number = self.at.next_number;
        let path = self.shared.dir.join(segment::name(number));
        let Spare { path: spare_path, bytes, is_filled, file } = spare;
        let disk = &*self.shared.disk;
        // The name first: then no file has this number in its head under another name.
        disk.rename(&spare_path, &path).context("rename", &spare_path)?;
        disk.sync_dir(&self.shared.dir).context("sync", &self.shared.dir)?;
        let head = Head {
            owner: self.shared.options.owner,
            number,
            bytes,
            previous: self.at.segment.number,
            replaces: 0,
            first_sequence: self.at.sequence,
            chain: self.at.chain,
            last: self.at.last,
            is_filled,
        };
        file.write_all_at(&head.encode(), 0).context("write", &path)?;
        let last_before = self.at.last;
        let is_filled = is_filled.into();
        let segment = Arc::new(Segment { number, bytes, last_before, is_filled, path, file });
        self.at.segment = segment.clone();
        self.at.offset = HEAD_BYTES as u64;
        self.at.is_sealed = false;
        self.at.next_number += 1;
        self.frame = Frame::new(self.shared.options.owner, number);
        self.shared.reserve.set_wanted(bytes.min(self.shared.options.segment_bytes_first));
        self.shared.reserve.refill(&self.shared.background);
        self.events.push(Event::Segment(segment));
        self.points.demand();
        self.repeat();
        self.write()?;
        // Also when nothing was repeated: the head has to be there.
        self.at.segment.sync().context("sync", &self.at.segment.path)?;
        self.synced_upto = self.written_upto;
        // From here on the segment counts, and only now are records put into it.
        let state = HardState { active: number, floor: self.synced_upto, ..self.hard.state() };
        self.hard.write(state)
    }

    /// Puts what must outlive older segments into this one.
    fn repeat(&mut self) {
        let small = [(Kind::Vote, self.at.vote.clone()), (Kind::Note, self.at.note.clone())];
        for (kind, payload) in small {
            if let Some(payload) = payload {
                let fill = &|out: &mut Vec<u8>| out.extend_from_slice(&payload);
                self.repeat_one(&Content { kind, id: EntryId::default(), fill });
            }
        }
        if let Some(id) = self.at.purged {
            self.repeat_one(&Content { kind: Kind::Purge, id, fill: &|_| {} });
        }
    }

    fn repeat_one(&mut self, content: &Content<'_>) {
        let start = self.buffer.len();
        self.buffer.resize(start + HEADER_BYTES, 0);
        (content.fill)(&mut self.buffer);
        let length = self.buffer.len() - start - HEADER_BYTES;
        self.buffer.resize(start + record::record_bytes(length), 0);
        self.finish(start, length, content);
    }

    fn repeated_bytes(&self) -> u64 {
        let small = [&self.at.vote, &self.at.note].into_iter().flatten();
        let small: usize = small.map(|payload| record::record_bytes(payload.len())).sum();
        (small + if self.at.purged.is_some() { record::record_bytes(0) } else { 0 }) as u64
    }
}
