//! Where in which segment an entry is: sparse, in memory.
//!
//! A *point* says that the entry at some index begins at some place, and that those after it follow
//! it there, up to the next point. There is one at the first entry of each segment, at the first
//! one after a truncation, and every [`POINT_BYTES`] or [`POINT_ENTRIES`].

use std::collections::VecDeque;
use std::sync::Arc;

use super::queue::next_after;
use super::segment::Segment;
use super::{EntryId, WalState};

/// At most so many bytes of records lie between two points, and one record.
const POINT_BYTES: u64 = 64 << 10;

/// At most so many entries lie between two points.
const POINT_ENTRIES: u64 = 256;

/// A place to start reading from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) index: u64,
    /// The number of the segment.
    pub(super) segment: u64,
    /// Where in it the record begins.
    pub(super) offset: u64,
    /// How many bytes of the log are before it, since the start.
    pub(super) position: u64,
}

/// Says which entries get a point.
#[derive(Default)]
pub(super) struct PointRule {
    bytes: u64,
    entries: u64,
    has_one: bool,
}

impl PointRule {
    /// The next entry gets a point: it does not follow the one before it on the disk.
    pub(super) fn demand(&mut self) {
        self.has_one = false;
    }

    /// So many bytes were written.
    pub(super) fn add_bytes(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// Whether the entry that is written now gets a point.
    pub(super) fn is_due_at_entry(&mut self) -> bool {
        let is_due = !self.has_one || self.bytes >= POINT_BYTES || self.entries >= POINT_ENTRIES;
        if is_due {
            *self = Self { bytes: 0, entries: 0, has_one: true };
        }
        self.entries += 1;
        is_due
    }
}

/// What the log thread has written, in order.
pub(super) enum Event {
    Point(Point),
    Segment(Arc<Segment>),
    /// Entries from this index on are gone.
    Cut {
        next: u64,
    },
}

/// The state after these events.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    /// The ticket of the last op that is written.
    pub(super) ticket: u64,
    /// The index after the last entry.
    pub(super) next_index: u64,
    /// Bytes written since the start.
    pub(super) position: u64,
    /// Records written since the start.
    pub(super) records: u64,
}

/// The index. Empty until the recovery publishes what it found.
#[derive(Default)]
pub(super) struct Index {
    /// Oldest first; the last one is written to.
    segments: VecDeque<Arc<Segment>>,
    points: VecDeque<Point>,
    /// Entries from here on cannot be read.
    next: u64,
    purged: Option<EntryId>,
    /// Truncations that were asked for and are not written yet: ticket and index.
    cuts: VecDeque<(u64, u64)>,
    position: u64,
    records: u64,
}

/// A stretch of the log that lies in one piece.
pub(super) struct Stretch {
    pub(super) segment: Arc<Segment>,
    pub(super) offset: u64,
    /// Entries from here, included, to `to`, excluded.
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Index {
    /// Takes over what has been written.
    pub(super) fn publish(&mut self, events: impl IntoIterator<Item = Event>, written: Written) {
        for event in events {
            match event {
                Event::Point(point) => self.points.push_back(point),
                Event::Segment(segment) => self.segments.push_back(segment),
                Event::Cut { next } => self.cut_at(next),
            }
        }
        self.next = written.next_index;
        self.position = written.position;
        self.records = written.records;
        self.cuts.retain(|(ticket, _)| *ticket > written.ticket);
        // What was written may be older than a truncation that waits, or than a purge.
        if let Some(next) = self.cuts.iter().map(|(_, next)| *next).min() {
            self.cut_at(next);
        }
        self.forget_purged();
    }

    /// Adds the segment that is written to from now on.
    pub(super) fn add_segment(&mut self, segment: Arc<Segment>) {
        self.segments.push_back(segment);
    }

    /// What is said to be in the segment `from` is in `to`, at the same offsets.
    pub(super) fn move_points(&mut self, from: u64, to: u64) {
        for point in self.points.iter_mut().rev().take_while(|point| point.segment == from) {
            point.segment = to;
        }
    }

    /// A truncation was asked for: readers see it at once.
    pub(super) fn cut(&mut self, ticket: u64, last: Option<EntryId>) {
        let next = next_after(last);
        self.cuts.push_back((ticket, next));
        self.cut_at(next);
        self.forget_purged();
    }

    /// A purge was asked for: readers see it at once.
    pub(super) fn purge(&mut self, upto: EntryId) {
        if next_after(self.purged) <= upto.index {
            self.purged = Some(upto);
            self.forget_purged();
        }
    }

    /// The lowest index that a segment has an entry of.
    pub(super) fn first_held(&self) -> Option<u64> {
        self.points.front().map(|point| point.index)
    }

    pub(super) fn purged(&self) -> Option<EntryId> {
        self.purged
    }

    /// Takes the segments out of which no entry is needed, oldest first, but never the last one.
    pub(super) fn take_purged(&mut self) -> Vec<Arc<Segment>> {
        let first = next_after(self.purged);
        let is_purged = |next: &Arc<Segment>| next_after(next.last_before) <= first;
        // The last segment that begins with all before it purged is the first one needed.
        let count = self.segments.iter().rposition(is_purged).unwrap_or(0);
        let taken: Vec<_> = self.segments.drain(..count).collect();
        if let Some(oldest) = self.segments.front() {
            self.points.retain(|point| point.segment >= oldest.number);
        }
        taken
    }

    pub(super) fn oldest_segment(&self) -> Option<u64> {
        self.segments.front().map(|segment| segment.number)
    }

    /// Where the entries `from..to` lie, as far as they are written, and as far as is needed for
    /// `bytes_max`. The first index there may be when `from` is purged.
    pub(super) fn stretches(
        &self,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> Result<Vec<Stretch>, u64> {
        let first = next_after(self.purged);
        if from < first {
            return Err(first);
        }
        let to = to.min(self.next);
        if from >= to {
            return Ok(Vec::new());
        }
        let start = self.points.partition_point(|point| point.index <= from).saturating_sub(1);
        let mut stretches = Vec::new();
        let enough = self.points.get(start).map_or(0, |point| point.position) + bytes_max as u64;
        let mut points = self.points.iter().skip(start).peekable();
        while let Some(point) = points.next() {
            if point.index >= to || (point.position > enough + POINT_BYTES && point.index > from) {
                break;
            }
            let end = points.peek().map_or(self.next, |next| next.index);
            let segment = self.segment(point.segment);
            let (from, to) = (point.index.max(from), end.min(to));
            stretches.push(Stretch { segment, offset: point.offset, from, to });
        }
        Ok(stretches)
    }

    /// How many bytes were written after the entry at `index`.
    pub(super) fn bytes_since(&self, index: u64) -> u64 {
        let after = self.points.partition_point(|point| point.index <= index);
        let point = after.checked_sub(1).and_then(|before| self.points.get(before));
        let position = point.or(self.points.front()).map_or(self.position, |point| point.position);
        if index + 1 >= self.next { 0 } else { self.position - position }
    }

    pub(super) fn state(&self) -> WalState {
        WalState {
            first_index: next_after(self.purged),
            next_index: self.next,
            purged: self.purged,
            oldest_segment: self.oldest_segment().unwrap_or(0),
            current_segment: self.segments.back().map_or(0, |segment| segment.number),
            records_written: self.records,
            segment_bytes: self.segments.iter().map(|segment| segment.bytes).sum(),
            full: false,
            stalled: false,
        }
    }

    fn segment(&self, number: u64) -> Arc<Segment> {
        let position = self.segments.partition_point(|segment| segment.number < number);
        let segment = &self.segments[position];
        assert!(segment.number == number, "point in segment {number}, not in the list");
        segment.clone()
    }

    fn cut_at(&mut self, next: u64) {
        self.next = self.next.min(next);
        while self.points.back().is_some_and(|point| point.index >= next) {
            self.points.pop_back();
        }
    }

    fn forget_purged(&mut self) {
        let first = next_after(self.purged);
        self.next = self.next.max(first);
        while self.points.get(1).is_some_and(|second| second.index <= first) {
            self.points.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(ticket: u64, next_index: u64) -> Written {
        Written { ticket, next_index, position: 0, records: 0 }
    }

    fn point(index: u64) -> Event {
        Event::Point(Point { index, segment: 1, offset: 0, position: 0 })
    }

    fn id(index: u64) -> EntryId {
        EntryId { term: 1, member: 1, index }
    }

    #[test]
    fn what_is_written_after_a_cut_was_asked_for_and_is_older_stays_hidden() {
        let mut index = Index::default();
        index.publish([point(0)], written(1, 10));
        index.cut(3, Some(id(4)));
        index.publish([point(10)], written(2, 20));
        assert_eq!((index.next, index.points.len()), (5, 1));
        index.publish([Event::Cut { next: 5 }, point(5)], written(4, 7));
        assert_eq!((index.next, index.points.len()), (7, 2));
    }

    #[test]
    fn a_purge_beyond_the_end_hides_what_is_written_later_and_is_older() {
        let mut index = Index::default();
        index.publish([point(0)], written(1, 10));
        index.purge(id(30));
        index.publish([point(10)], written(2, 20));
        assert_eq!(index.state().next_index, 31);
        assert!(index.stretches(20, 40, 1).is_err());
        assert!(index.stretches(31, 40, 1).unwrap().is_empty());
    }
}
