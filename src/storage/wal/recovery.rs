//! What a start believes of what it finds, and how it makes that durable again.
//!
//! The last segment is never written to again: what is valid in it is copied into a new one, which
//! is synced before anything counts. (On a full disk it is written again in its own place.) A failed sync of an earlier life may have left bytes that can
//! be read from the page cache and are not on the disk; and a tail that was cut short stays as it
//! is, for somebody to look at, until the copy is complete.

use std::path::PathBuf;
use std::sync::Arc;

use super::error::Context;
use super::hard::{Hard, HardState};
use super::index::{Event, Written};
use super::queue::next_after;
use super::reader::Scanner;
use super::record::{Frame, HEADER_BYTES};
use super::replay::Replay;
use super::segment::{self, HEAD_BYTES, Head, Segment};
use super::shared::Shared;
use super::survey::{Found, Survey};
use super::writer::{Position, SEAL_BYTES, Writer};
use super::{Damage, Recovered, WalError};
use crate::storage::background::{PIECE_BYTES_MAX, write_zeros};

/// No more of a torn tail is kept than this.
const TORN_BYTES_MAX: u64 = 1 << 20;

/// Reads the log, makes what it holds durable, and returns a writer that goes on after it.
pub(super) fn recover(shared: &Arc<Shared>) -> Result<(Writer, Recovered), WalError> {
    shared.disk.create_dir(&shared.dir).context("create", &shared.dir)?;
    let mut survey = Survey::take(shared)?;
    let mut hard = open_hard(shared, &survey)?;
    let mut chain = survey.chain(hard.state(), shared)?;
    let mut replay = replay(&survey, &chain, &hard)?;
    publish(shared, &survey, &chain, &mut replay)?;
    // From here on the log is believed, and things are changed.
    shared.reserve.load().context("look for a reserve in", &shared.dir)?;
    survey.take_spares(shared)?;
    let next_number = survey.next_number;
    let old = chain.pop();
    let copy = Copy { shared, number: next_number, old: old.and_then(|old| survey.source(old)) };
    copy.keep_torn_tail(&replay);
    let (segment, last_crc) = copy.make(&replay)?;
    replay.chain = last_crc;
    place(shared, &segment, old);
    chain.push(segment.number);
    let (first, floor) = (chain[0], replay.sequence - 1);
    hard.write(HardState { first, active: segment.number, floor, purged: replay.purged })?;
    survey.recycle_others(shared, &chain)?;
    shared.reserve.set_wanted(segment.bytes);
    shared.reserve.refill(&shared.background);
    let recovered = Recovered {
        vote: replay.vote.clone(),
        purged: replay.purged,
        last: replay.last,
        note: replay.note.clone(),
        torn_bytes: replay.end.torn_bytes,
    };
    Ok((Writer::new(shared.clone(), position(segment, replay, next_number + 1), hard), recovered))
}

/// Tells the readers of the segment that is written to, and that it has what `old` had.
fn place(shared: &Shared, segment: &Arc<Segment>, old: Option<u64>) {
    let mut index = shared.index.lock();
    if let Some(old) = old {
        index.move_points(old, segment.number);
    }
    index.add_segment(segment.clone());
}

fn position(segment: Arc<Segment>, replay: Replay, next_number: u64) -> Position {
    Position {
        segment,
        offset: replay.end.offset,
        is_sealed: replay.end.is_sealed,
        sequence: replay.sequence,
        chain: replay.chain,
        last: replay.last,
        purged: replay.purged,
        vote: replay.vote,
        note: replay.note,
        position: replay.position,
        next_number,
    }
}

fn open_hard(shared: &Shared, survey: &Survey) -> Result<Hard, WalError> {
    let (dir, owner) = (&shared.dir, shared.options.owner);
    if survey.has_hard {
        return Hard::open(&*shared.disk, dir, owner);
    }
    if !survey.named.is_empty() {
        let file = dir.join(super::hard::NAME);
        return Err(WalError::Corrupt { file, offset: 0, why: Damage::Hard });
    }
    if !shared.options.may_create {
        return Err(WalError::Missing { dir: dir.clone() });
    }
    Hard::create(&*shared.disk, dir, owner)
}

/// Reads all segments.
fn replay(survey: &Survey, chain: &[u64], hard: &Hard) -> Result<Replay, WalError> {
    let mut replay = Replay::new(hard.state().floor);
    for (position, &segment) in chain.iter().enumerate() {
        let (head, found) = survey.source(segment).expect("a chain is made of segments with heads");
        let is_last = position + 1 == chain.len();
        replay.segment(head, found, position == 0)?;
        if !is_last {
            replay.require_sealed(found)?;
        }
    }
    if let Some(purged) = hard.state().purged {
        replay.purge(purged);
    }
    Ok(replay)
}

/// Tells the readers where everything is, but for the segment that is yet to be made. Refuses when
/// entries are missing at the front.
fn publish(
    shared: &Shared,
    survey: &Survey,
    chain: &[u64],
    replay: &mut Replay,
) -> Result<(), WalError> {
    let sealed = chain.iter().take(chain.len().saturating_sub(1)).map(|number| {
        let (head, found) = survey.source(*number).expect("a chain is made of segments with heads");
        Arc::new(Segment {
            number: *number,
            bytes: head.bytes.min(found.file_bytes),
            last_before: head.last,
            is_filled: head.is_filled.into(),
            path: found.path.clone(),
            file: found.file.clone(),
        })
    });
    let segments = sealed.map(Event::Segment);
    let written = Written {
        ticket: 0,
        next_index: next_after(replay.last),
        position: replay.position,
        records: 0,
    };
    let mut index = shared.index.lock();
    if let Some(purged) = replay.purged {
        index.purge(purged);
    }
    index.publish(segments.chain(replay.events.drain(..)), written);
    let expected = next_after(replay.purged);
    let found = index.first_held().unwrap_or(next_after(replay.last));
    if expected < found && expected < next_after(replay.last) {
        let why = Damage::Hole { expected, found };
        return Err(WalError::Corrupt { file: shared.dir.clone(), offset: 0, why });
    }
    shared.queue.set_start(next_after(replay.last), expected);
    Ok(())
}

impl Survey {
    fn source(&self, number: u64) -> Option<(&Head, &Found)> {
        Some((self.head(number)?, self.named.get(&number)?))
    }
}

/// The making of the segment that a life begins with.
struct Copy<'a> {
    shared: &'a Shared,
    /// Its number.
    number: u64,
    /// What is copied; nothing in a new log.
    old: Option<(&'a Head, &'a Found)>,
}

impl Copy<'_> {
    /// Makes the segment, durably, with the records before `replay.end`: a new one if there is room.
    /// Returns it, and the CRC of its last record.
    fn make(&self, replay: &Replay) -> Result<(Arc<Segment>, u32), WalError> {
        let used = replay.end.offset;
        let (wanted, needed) = self.lengths(replay);
        let shared = self.shared;
        let Some(spare) = shared.take_first_file(wanted, needed)? else {
            return self.write_in_place(replay, needed);
        };
        let path = shared.dir.join(segment::name(self.number));
        shared.disk.rename(&spare.path, &path).context("rename", &spare.path)?;
        shared.disk.sync_dir(&shared.dir).context("sync", &shared.dir)?;
        let head = Head {
            owner: shared.options.owner,
            number: self.number,
            bytes: spare.bytes,
            previous: self.old.map_or(0, |(old, _)| old.previous),
            replaces: self.old.map_or(0, |(old, _)| old.number),
            first_sequence: self.old.map_or(replay.sequence, |(old, _)| old.first_sequence),
            chain: self.old.map_or(replay.chain, |(old, _)| old.chain),
            last: self.old.map_or(replay.last, |(old, _)| old.last),
            is_filled: spare.is_filled,
        };
        let last_before = head.last;
        let segment = Segment {
            number: self.number,
            bytes: spare.bytes,
            last_before,
            is_filled: spare.is_filled.into(),
            path,
            file: spare.file,
        };
        let chain = self.copy_records(&head, used, &segment)?;
        // The head last: where there is one, the records are complete.
        segment.sync().context("sync", &segment.path)?;
        segment.file.write_all_at(&head.encode(), 0).context("write", &segment.path)?;
        segment.sync().context("sync", &segment.path)?;
        Ok((Arc::new(segment), chain))
    }

    /// The last resort on a full disk. The same bytes are written over themselves, which is safe at
    /// every moment and makes them durable; the torn tail is wiped out.
    fn write_in_place(
        &self,
        replay: &Replay,
        needed_bytes: u64,
    ) -> Result<(Arc<Segment>, u32), WalError> {
        let Some((old, found)) = self.old else {
            return Err(WalError::Full { dir: self.shared.dir.clone(), needed_bytes });
        };
        let (path, file) = (found.path.clone(), found.file.clone());
        let used = replay.end.offset;
        let mut offset = 0;
        let mut buffer = vec![0; PIECE_BYTES_MAX];
        while offset < used {
            let count = (used - offset).min(PIECE_BYTES_MAX as u64);
            let piece = &mut buffer[..count as usize];
            file.read_exact_at(piece, offset).context("read", &path)?;
            file.write_all_at(piece, offset).context("write", &path)?;
            offset += count;
        }
        let torn = replay.end.torn_bytes;
        write_zeros(&*file, used, torn).context("write", &path)?;
        let segment = Segment {
            number: old.number,
            bytes: old.bytes.min(found.file_bytes),
            last_before: old.last,
            is_filled: old.is_filled.into(),
            path,
            file,
        };
        segment.sync().context("sync", &segment.path)?;
        Ok((Arc::new(segment), replay.chain))
    }

    /// How long the segment should be, and must be: in proportion to what is copied, so that a start
    /// is quick.
    fn lengths(&self, replay: &Replay) -> (u64, u64) {
        let options = &self.shared.options;
        let used = replay.end.offset;
        if replay.end.is_sealed {
            return (used, used);
        }
        let needed = used + SEAL_BYTES;
        let mut wanted = options.segment_bytes_first;
        while wanted < 2 * used && wanted < options.segment_bytes_max {
            wanted *= 2;
        }
        (wanted.min(options.segment_bytes_max).max(needed), needed)
    }

    /// Copies all records before `end` to the same offsets. Returns the CRC of the last one.
    fn copy_records(&self, head: &Head, end: u64, target: &Segment) -> Result<u32, WalError> {
        let mut chain = head.chain;
        let Some((old, found)) = self.old else { return Ok(chain) };
        let mut scanner = Scanner::new(&*found.file, head.owner, old.number, end);
        let frame = Frame::new(head.owner, head.number);
        let mut buffer = Vec::new();
        let mut offset = HEAD_BYTES as u64;
        let mut written = offset;
        while offset < end {
            let read = scanner.record(offset).context("read", &found.path)?;
            let record = read.map_err(|_| self.unreadable(found.path.clone(), offset))?;
            let start = buffer.len();
            buffer.resize(start + record.bytes as usize, 0);
            let payload = scanner.payload(&record);
            buffer[start + HEADER_BYTES..][..payload.len()].copy_from_slice(payload);
            let header = super::record::Header { segment: head.number, chain, ..record.header };
            chain = frame.finish(&mut buffer[start..], &header, offset);
            offset += record.bytes;
            if buffer.len() >= PIECE_BYTES_MAX || offset == end {
                target.file.write_all_at(&buffer, written).context("write", &target.path)?;
                written = offset;
                buffer.clear();
            }
        }
        Ok(chain)
    }

    /// Keeps what was begun and not finished in a file of its own. That it cannot be kept is no
    /// reason not to start.
    fn keep_torn_tail(&self, replay: &Replay) {
        let Some((old, found)) = self.old.filter(|_| replay.end.torn_bytes > 0) else { return };
        let path = self.shared.dir.join(format!("torn-{}", old.number));
        let (offset, bytes) = (replay.end.offset, replay.end.torn_bytes);
        tracing::warn!(
            path = %found.path.display(),
            offset,
            bytes,
            kept = %path.display(),
            "the end of the log was cut short, as by a power failure; it was never acknowledged"
        );
        let rest = found.file_bytes.saturating_sub(offset);
        let mut tail = vec![0; bytes.max(4096).min(rest).min(TORN_BYTES_MAX) as usize];
        let kept = found.file.read_exact_at(&mut tail, offset).and_then(|()| {
            let file = self.shared.disk.create(&path)?;
            file.write_all_at(&tail, 0)?;
            file.sync_all()
        });
        if let Err(error) = kept {
            tracing::warn!(path = %path.display(), %error, "cannot keep the torn end of the log");
        }
    }

    fn unreadable(&self, file: PathBuf, offset: u64) -> WalError {
        WalError::Corrupt { file, offset, why: Damage::WrittenRecord }
    }
}
