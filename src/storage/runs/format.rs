//! The bytes of a run; those of its blocks and pages are in `pages`.
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

use super::{Group, Place, RunUid};
use crate::storage::bytes_at::{head_crc, u32_at, u64_at, u128_at};

pub(super) const VERSION: u32 = 1;
pub(super) const HEAD_BYTES: usize = 64;
pub(super) const FOOT_BYTES: usize = 160;
pub(super) const PAGE_BYTES: usize = 4 << 10;

pub(super) const PLACE_BYTES: usize = 25;
const TOP_BYTES: usize = PLACE_BYTES + 4;
const RANGE_BYTES: usize = 16;
const REFERENCE_BYTES: usize = 16;

const HEAD_MAGIC: u64 = u64::from_le_bytes(*b"beanruns");
const FOOT_MAGIC: u64 = u64::from_le_bytes(*b"beanrunf");
const DRAFT_SUFFIX: &str = ".new";
const SPOOL_SUFFIX: &str = ".ids";
const ARRIVING_SUFFIX: &str = ".in";

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

/// The name under which it comes from another member.
pub(super) fn arriving_name(uid: RunUid) -> String {
    name(uid) + ARRIVING_SUFFIX
}

/// The uid in the name of a file that comes.
pub(super) fn arriving_uid_of(file_name: &str) -> Option<RunUid> {
    file_name.strip_suffix(ARRIVING_SUFFIX).and_then(uid_of)
}

/// Whether a file is one that was begun here and not finished.
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

pub(super) fn put_place(bytes: &mut Vec<u8>, place: &Place) {
    bytes.extend_from_slice(&place.group.tube.to_le_bytes());
    bytes.extend_from_slice(&place.order.to_le_bytes());
    bytes.extend_from_slice(&place.id.to_le_bytes());
    bytes.push(place.group.kind);
}

pub(super) fn place_at(bytes: &[u8], at: usize) -> Place {
    let group = Group { tube: u64_at(bytes, at), kind: bytes[at + 24] };
    Place { group, order: u64_at(bytes, at + 8), id: u64_at(bytes, at + 16) }
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
