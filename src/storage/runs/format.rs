//! The bytes of a run.
//!
//! ```text
//! head 64 | bodies | blocks of records | index pages | id pages | summary | foot 160
//!
//! head                  block or page          foot
//!  0 magic      8        0 magic      4          0 magic       8    72 file crc       4
//!  8 crc        4        4 crc        4          8 crc         4    76 zero           4
//! 12 version    4        8 number     4         12 version     4    80 end of bodies  8
//! 16 cluster   16       12 count      4         16 cluster    16    88 bodies         8
//! 32 uid       16       16 length     4         32 uid        16    96 index pages at 8
//! 48 zero      16       20 zero       4         48 records     4   104 id pages at    8
//!                       24 payload              52 blocks      4   112 summary at     8
//!                                               56 index pages 4   120 file length    8
//!                                               60 id pages    4   128 last place    25
//!                                               64 references  4   153 zero           7
//!                                               68 summary crc 4
//! ```
//!
//! Little-endian. The CRC of a block or page covers the uid and its offset too, which are not written
//! there: none of another file or place fits. *Number* is the ordinal of the first record in a block,
//! else the number of the page; *file crc* the CRC of all before the foot. A place is tube 8, order 8,
//! id 8, kind 1.

use bytes::Bytes;
use crc32fast::Hasher;

use super::{FACTS_BYTES_MAX, Group, Place, RunUid};
use crate::storage::bytes_at::{head_crc, u32_at, u64_at, u128_at};

pub(super) const VERSION: u32 = 1;
pub(super) const HEAD_BYTES: usize = 64;
pub(super) const FOOT_BYTES: usize = 160;
pub(super) const FRAME_BYTES: usize = 24;
pub(super) const PAGE_BYTES: usize = 4 << 10;

/// A block ends when it has so many bytes; the last record may go beyond.
pub(super) const BLOCK_BYTES: usize = 16 << 10;
pub(super) const BLOCK_BYTES_MAX: usize = BLOCK_BYTES + RECORD_BYTES + FACTS_BYTES_MAX;

/// How many blocks an index page covers.
pub(super) const INDEX_ENTRIES_MAX: usize = 64;
/// How many ids an id page has.
pub(super) const ID_ENTRIES_MAX: usize = (PAGE_BYTES - FRAME_BYTES) / ID_ENTRY_BYTES;

const PLACE_BYTES: usize = 25;
/// A record without its facts.
const RECORD_BYTES: usize = PLACE_BYTES + 21;
const INDEX_ENTRY_BYTES: usize = PLACE_BYTES + 16;
const ID_ENTRY_BYTES: usize = 12;
const TOP_BYTES: usize = PLACE_BYTES + 4;
const RANGE_BYTES: usize = 16;
const REFERENCE_BYTES: usize = 16;

const HEAD_MAGIC: u64 = u64::from_le_bytes(*b"beanruns");
const FOOT_MAGIC: u64 = u64::from_le_bytes(*b"beanrunf");
const DRAFT_SUFFIX: &str = ".new";
const SPOOL_SUFFIX: &str = ".ids";

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

/// What the summary says of an index page: its first record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Top {
    pub(super) place: Place,
    pub(super) first: u32,
}

/// What stays in memory of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) tops: Vec<Top>,
    /// The first and the last id of each id page.
    pub(super) id_ranges: Vec<(u64, u64)>,
    /// Other files with bodies of these records.
    pub(super) references: Vec<RunUid>,
}

/// What stands at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Foot {
    pub(super) version: u32,
    pub(super) cluster: u128,
    pub(super) uid: RunUid,
    pub(super) records: u32,
    pub(super) blocks: u32,
    pub(super) index_pages: u32,
    pub(super) id_pages: u32,
    pub(super) references: u32,
    pub(super) summary_crc: u32,
    pub(super) file_crc: u32,
    pub(super) bodies_end: u64,
    pub(super) bodies: u64,
    pub(super) index_at: u64,
    pub(super) ids_at: u64,
    pub(super) summary_at: u64,
    pub(super) file_bytes: u64,
    pub(super) last: Place,
}

pub(super) fn name(uid: RunUid) -> String {
    format!("run-{:032x}", uid.0)
}

/// The name under which it is written.
pub(super) fn draft_name(uid: RunUid) -> String {
    name(uid) + DRAFT_SUFFIX
}

/// The name of what is put aside while it is written.
pub(super) fn spool_name(uid: RunUid) -> String {
    name(uid) + SPOOL_SUFFIX
}

/// Whether a file is one that was begun and not finished.
pub(super) fn is_leftover(file_name: &str) -> bool {
    let front = file_name.strip_suffix(DRAFT_SUFFIX).or(file_name.strip_suffix(SPOOL_SUFFIX));
    front.is_some_and(|name| uid_of(name).is_some())
}

/// The uid in a name, in the one way in which it is written.
pub(super) fn uid_of(file_name: &str) -> Option<RunUid> {
    let digits = file_name.strip_prefix("run-")?;
    let uid = RunUid(u128::from_str_radix(digits, 16).ok()?);
    (name(uid) == file_name).then_some(uid)
}

pub(super) fn encode_head(cluster: u128, uid: RunUid) -> [u8; HEAD_BYTES] {
    let mut bytes = [0; HEAD_BYTES];
    bytes[0..8].copy_from_slice(&HEAD_MAGIC.to_le_bytes());
    bytes[12..16].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..32].copy_from_slice(&cluster.to_le_bytes());
    bytes[32..48].copy_from_slice(&uid.0.to_le_bytes());
    let crc = head_crc(&bytes);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Whether this is the head of that file.
pub(super) fn is_head_of(bytes: &[u8; HEAD_BYTES], uid: RunUid) -> bool {
    let fits = u64_at(bytes, 0) == HEAD_MAGIC && u32_at(bytes, 8) == head_crc(bytes);
    fits && u128_at(bytes, 32) == uid.0
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

fn put_place(bytes: &mut Vec<u8>, place: &Place) {
    bytes.extend_from_slice(&place.group.tube.to_le_bytes());
    bytes.extend_from_slice(&place.order.to_le_bytes());
    bytes.extend_from_slice(&place.id.to_le_bytes());
    bytes.push(place.group.kind);
}

fn place_at(bytes: &[u8], at: usize) -> Place {
    let group = Group { tube: u64_at(bytes, at), kind: bytes[at + 24] };
    Place { group, order: u64_at(bytes, at + 8), id: u64_at(bytes, at + 16) }
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

impl Summary {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for top in &self.tops {
            put_place(&mut bytes, &top.place);
            bytes.extend_from_slice(&top.first.to_le_bytes());
        }
        for (first, last) in &self.id_ranges {
            bytes.extend_from_slice(&first.to_le_bytes());
            bytes.extend_from_slice(&last.to_le_bytes());
        }
        for reference in &self.references {
            bytes.extend_from_slice(&reference.0.to_le_bytes());
        }
        bytes
    }

    /// Reads what the foot announces, which has been checked.
    pub(super) fn decode(bytes: &[u8], foot: &Foot) -> Option<Self> {
        if bytes.len() as u64 != foot.summary_bytes() || crc32fast::hash(bytes) != foot.summary_crc
        {
            return None;
        }
        let (tops, rest) = bytes.split_at(foot.index_pages as usize * TOP_BYTES);
        let (ranges, references) = rest.split_at(foot.id_pages as usize * RANGE_BYTES);
        let top = |bytes: &[u8]| Top { place: place_at(bytes, 0), first: u32_at(bytes, 25) };
        Some(Self {
            tops: tops.chunks_exact(TOP_BYTES).map(top).collect(),
            id_ranges: ranges
                .chunks_exact(RANGE_BYTES)
                .map(|bytes| (u64_at(bytes, 0), u64_at(bytes, 8)))
                .collect(),
            references: references
                .chunks_exact(REFERENCE_BYTES)
                .map(|bytes| RunUid(u128_at(bytes, 0)))
                .collect(),
        })
    }

    /// What it takes up in memory beside itself.
    pub(super) fn heap_bytes(&self) -> usize {
        self.tops.capacity() * size_of::<Top>()
            + self.id_ranges.capacity() * size_of::<(u64, u64)>()
            + self.references.capacity() * size_of::<RunUid>()
    }
}

impl Foot {
    pub(super) fn encode(&self) -> [u8; FOOT_BYTES] {
        let mut bytes = Vec::with_capacity(FOOT_BYTES);
        bytes.extend_from_slice(&FOOT_MAGIC.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.extend_from_slice(&self.cluster.to_le_bytes());
        bytes.extend_from_slice(&self.uid.0.to_le_bytes());
        let small = [
            self.records,
            self.blocks,
            self.index_pages,
            self.id_pages,
            self.references,
            self.summary_crc,
            self.file_crc,
            0,
        ];
        small.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
        let large = [
            self.bodies_end,
            self.bodies,
            self.index_at,
            self.ids_at,
            self.summary_at,
            self.file_bytes,
        ];
        large.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
        put_place(&mut bytes, &self.last);
        bytes.resize(FOOT_BYTES, 0);
        let crc = head_crc(&bytes);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        bytes.try_into().expect("it was given that length")
    }

    /// Reads a foot. All its offsets are in the file, in their order, and fit its counts; an unknown
    /// version is for the caller to refuse.
    pub(super) fn decode(bytes: &[u8; FOOT_BYTES]) -> Option<Self> {
        if u64_at(bytes, 0) != FOOT_MAGIC || u32_at(bytes, 8) != head_crc(bytes) {
            return None;
        }
        let foot = Self {
            version: u32_at(bytes, 12),
            cluster: u128_at(bytes, 16),
            uid: RunUid(u128_at(bytes, 32)),
            records: u32_at(bytes, 48),
            blocks: u32_at(bytes, 52),
            index_pages: u32_at(bytes, 56),
            id_pages: u32_at(bytes, 60),
            references: u32_at(bytes, 64),
            summary_crc: u32_at(bytes, 68),
            file_crc: u32_at(bytes, 72),
            bodies_end: u64_at(bytes, 80),
            bodies: u64_at(bytes, 88),
            index_at: u64_at(bytes, 96),
            ids_at: u64_at(bytes, 104),
            summary_at: u64_at(bytes, 112),
            file_bytes: u64_at(bytes, 120),
            last: place_at(bytes, 128),
        };
        (foot.version != VERSION || foot.is_plausible()).then_some(foot)
    }

    fn is_plausible(&self) -> bool {
        let after = |from: u64, pages: u32| from.checked_add(u64::from(pages) * PAGE_BYTES as u64);
        let end = self.summary_at.checked_add(self.summary_bytes() + FOOT_BYTES as u64);
        self.bodies_end >= HEAD_BYTES as u64
            && self.index_at >= self.bodies_end
            && after(self.index_at, self.index_pages) == Some(self.ids_at)
            && after(self.ids_at, self.id_pages) == Some(self.summary_at)
            && end == Some(self.file_bytes)
            && (self.records > 0) == (self.index_pages > 0 && self.id_pages > 0)
    }

    pub(super) fn summary_bytes(&self) -> u64 {
        u64::from(self.index_pages) * TOP_BYTES as u64
            + u64::from(self.id_pages) * RANGE_BYTES as u64
            + u64::from(self.references) * REFERENCE_BYTES as u64
    }

    /// The checksum by which a checkpoint knows the file.
    pub(super) fn crc(&self) -> u32 {
        u32_at(&self.encode(), 8)
    }
}
