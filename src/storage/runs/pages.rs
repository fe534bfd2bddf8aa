//! Blocks of records, and pages of the indexes: what is read of a run while it is used.

use bytes::Bytes;
use crc32fast::Hasher;

use super::format::{PAGE_BYTES, PLACE_BYTES, place_at, put_place};
use super::{FACTS_BYTES_MAX, Place, RunUid};
use crate::storage::bytes_at::{u32_at, u64_at};

pub(super) const FRAME_BYTES: usize = 24;

/// A block ends when it has so many bytes; the last record may go beyond.
pub(super) const BLOCK_BYTES: usize = 16 << 10;
pub(super) const BLOCK_BYTES_MAX: usize = BLOCK_BYTES + RECORD_BYTES + FACTS_BYTES_MAX;

/// How many blocks an index page covers.
pub(super) const INDEX_ENTRIES_MAX: usize = 64;
/// How many ids an id page has.
pub(super) const ID_ENTRIES_MAX: usize = (PAGE_BYTES - FRAME_BYTES) / ID_ENTRY_BYTES;

/// A record without its facts.
const RECORD_BYTES: usize = PLACE_BYTES + 21;
const INDEX_ENTRY_BYTES: usize = PLACE_BYTES + 16;
const ID_ENTRY_BYTES: usize = 12;

/// What a block or page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageKind {
    Records,
    Index,
    Ids,
}

/// A record in a block; the file of its body is a number in this run's list of references.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BlockRecord {
    pub(super) place: Place,
    pub(super) facts: Bytes,
    /// 0 is this file, else one more than the position in the list.
    pub(super) file: u32,
    pub(super) offset: u64,
    pub(super) length: u32,
    pub(super) crc: u32,
}

/// A block of records.
pub(super) struct Block {
    bytes: Vec<u8>,
    /// The ordinal of its first record.
    pub(super) first: u32,
    /// Where its records begin.
    starts: Vec<u16>,
}

/// What an index page says of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockEntry {
    /// The place of its first record.
    pub(super) place: Place,
    pub(super) offset: u64,
    /// The ordinal of its first record.
    pub(super) first: u32,
    pub(super) length: u32,
}

/// Writes the frame into the front of a block or page, which holds room for it. Its payload ends
/// where `length` says.
pub(super) fn seal_page(
    kind: PageKind,
    (uid, offset): (RunUid, u64),
    page: &mut [u8],
    (number, count): (u32, u32),
    length: usize,
) {
    let length = u32::try_from(length).expect("blocks and pages are small");
    page[0..4].copy_from_slice(&kind.magic().to_le_bytes());
    page[8..12].copy_from_slice(&number.to_le_bytes());
    page[12..16].copy_from_slice(&count.to_le_bytes());
    page[16..20].copy_from_slice(&length.to_le_bytes());
    let crc = page_crc(uid, offset, page);
    page[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// Checks a whole block or page. Returns number, count and payload.
pub(super) fn open_page(
    kind: PageKind,
    (uid, offset): (RunUid, u64),
    page: &[u8],
) -> Option<(u32, usize, &[u8])> {
    if page.len() < FRAME_BYTES || u32_at(page, 0) != kind.magic() {
        return None;
    }
    let (number, count, length) = (u32_at(page, 8), u32_at(page, 12), u32_at(page, 16));
    let payload = page[FRAME_BYTES..].get(..length as usize)?;
    (u32_at(page, 4) == page_crc(uid, offset, page)).then_some((number, count as usize, payload))
}

fn page_crc(uid: RunUid, offset: u64, page: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&uid.0.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(&page[0..4]);
    hasher.update(&page[8..]);
    hasher.finalize()
}

pub(super) fn put_record(block: &mut Vec<u8>, record: &BlockRecord) {
    put_place(block, &record.place);
    block.extend_from_slice(&record.offset.to_le_bytes());
    block.extend_from_slice(&record.length.to_le_bytes());
    block.extend_from_slice(&record.crc.to_le_bytes());
    block.extend_from_slice(&record.file.to_le_bytes());
    block.push(u8::try_from(record.facts.len()).expect("facts are at most 128 bytes"));
    block.extend_from_slice(&record.facts);
}

/// The page of these blocks.
pub(super) fn index_page(at: (RunUid, u64), number: u32, entries: &[BlockEntry]) -> Vec<u8> {
    let mut page = vec![0; FRAME_BYTES];
    for entry in entries {
        put_place(&mut page, &entry.place);
        page.extend_from_slice(&entry.offset.to_le_bytes());
        page.extend_from_slice(&entry.first.to_le_bytes());
        page.extend_from_slice(&entry.length.to_le_bytes());
    }
    fixed_page(PageKind::Index, at, page, (number, entries.len()))
}

/// The page of these ids, each with its record's ordinal.
pub(super) fn id_page(at: (RunUid, u64), number: u32, entries: &[(u64, u32)]) -> Vec<u8> {
    let mut page = Vec::with_capacity(PAGE_BYTES);
    page.resize(FRAME_BYTES, 0);
    for (id, ordinal) in entries {
        page.extend_from_slice(&id.to_le_bytes());
        page.extend_from_slice(&ordinal.to_le_bytes());
    }
    fixed_page(PageKind::Ids, at, page, (number, entries.len()))
}

fn fixed_page(
    kind: PageKind,
    at: (RunUid, u64),
    mut page: Vec<u8>,
    (number, count): (u32, usize),
) -> Vec<u8> {
    let length = page.len() - FRAME_BYTES;
    page.resize(PAGE_BYTES, 0);
    let count = u32::try_from(count).expect("a page is small");
    seal_page(kind, at, &mut page, (number, count), length);
    page
}

pub(super) fn decode_index_page(at: (RunUid, u64), page: &[u8]) -> Option<(u32, Vec<BlockEntry>)> {
    let (number, count, payload) = open_page(PageKind::Index, at, page)?;
    let entries = payload.chunks_exact(INDEX_ENTRY_BYTES).map(|bytes| BlockEntry {
        place: place_at(bytes, 0),
        offset: u64_at(bytes, PLACE_BYTES),
        first: u32_at(bytes, PLACE_BYTES + 8),
        length: u32_at(bytes, PLACE_BYTES + 12),
    });
    let fits = payload.len() == count * INDEX_ENTRY_BYTES && count > 0;
    fits.then(|| (number, entries.collect()))
}

pub(super) fn decode_id_page(at: (RunUid, u64), page: &[u8]) -> Option<(u32, Vec<(u64, u32)>)> {
    let (number, count, payload) = open_page(PageKind::Ids, at, page)?;
    let entries =
        payload.chunks_exact(ID_ENTRY_BYTES).map(|bytes| (u64_at(bytes, 0), u32_at(bytes, 8)));
    let fits = payload.len() == count * ID_ENTRY_BYTES && count > 0;
    fits.then(|| (number, entries.collect()))
}

impl PageKind {
    fn magic(self) -> u32 {
        u32::from_le_bytes(*match self {
            Self::Records => b"recs",
            Self::Index => b"indx",
            Self::Ids => b"ids_",
        })
    }
}

impl Block {
    pub(super) fn decode(at: (RunUid, u64), bytes: Vec<u8>) -> Option<Self> {
        let (first, count, payload) = open_page(PageKind::Records, at, &bytes)?;
        let mut starts = Vec::with_capacity(count.min(BLOCK_BYTES_MAX / RECORD_BYTES));
        let mut start = 0;
        while start < payload.len() {
            let facts = *payload.get(start + RECORD_BYTES - 1)?;
            starts.push(u16::try_from(start).ok()?);
            start += RECORD_BYTES + usize::from(facts);
        }
        let fits = start == payload.len() && starts.len() == count && count > 0;
        fits.then_some(Self { bytes, first, starts })
    }

    /// How many records it has.
    pub(super) fn count(&self) -> usize {
        self.starts.len()
    }

    /// Whether it has the record of this ordinal.
    pub(super) fn has(&self, ordinal: u32) -> bool {
        ordinal.checked_sub(self.first).is_some_and(|position| (position as usize) < self.count())
    }

    pub(super) fn place(&self, position: usize) -> Place {
        place_at(&self.bytes, FRAME_BYTES + usize::from(self.starts[position]))
    }

    pub(super) fn record(&self, position: usize) -> BlockRecord {
        let start = FRAME_BYTES + usize::from(self.starts[position]);
        let rest = start + PLACE_BYTES;
        let facts = start + RECORD_BYTES;
        let facts_bytes = usize::from(self.bytes[facts - 1]);
        BlockRecord {
            place: place_at(&self.bytes, start),
            offset: u64_at(&self.bytes, rest),
            length: u32_at(&self.bytes, rest + 8),
            crc: u32_at(&self.bytes, rest + 12),
            file: u32_at(&self.bytes, rest + 16),
            facts: Bytes::copy_from_slice(&self.bytes[facts..facts + facts_bytes]),
        }
    }

    /// How many of its records stand before a place, by a test that holds for them alone.
    pub(super) fn partition(&self, is_before: impl Fn(&Place) -> bool) -> usize {
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = low.midpoint(high);
            if is_before(&self.place(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// What it takes up in memory.
    pub(super) fn resident_bytes(&self) -> usize {
        self.bytes.capacity() + self.starts.capacity() * size_of::<u16>()
    }
}
