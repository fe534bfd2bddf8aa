//! The bytes of a checkpoint.
//!
//! ```text
//! head                       block, many                     foot
//!  0 magic          8         0 magic        4                0 magic     8
//!  8 crc            4         4 crc          4                8 crc       4
//! 12 version        4         8 number       8               12 file crc  4
//! 16 cluster       16        16 length       4               16 records   8
//! 32 index          8        20 records      4               24 blocks    8
//! 40 meta length    4        24 the records: each a length   32 before    8
//! 44 meta crc       4           in 4 bytes, and its bytes    40 zero      8
//! 48 meta
//! ```
//!
//! Little-endian. The CRC of a block covers cluster and index too, which are not written there: no
//! block of another checkpoint fits. *Before* is the number of bytes before the foot, and *file crc*
//! their CRC.

use bytes::Bytes;
use crc32fast::Hasher;

use super::{CheckpointHead, META_BYTES_MAX};
use crate::planted::{self, Bug};
use crate::storage::bytes_at::{head_crc, u32_at, u64_at, u128_at};

pub(super) const VERSION: u32 = 1;
pub(super) const HEAD_BYTES: usize = 48;
pub(super) const BLOCK_HEAD_BYTES: usize = 24;
pub(super) const FOOT_BYTES: usize = 48;

/// A block ends when it has so many bytes. Only a long record makes it much longer.
pub(super) const BLOCK_BYTES: usize = 64 << 10;

/// Before each record: its length.
pub(super) const RECORD_HEAD_BYTES: usize = 4;

const HEAD_MAGIC: u64 = u64::from_le_bytes(*b"beanchkp");
const FOOT_MAGIC: u64 = u64::from_le_bytes(*b"beanfoot");
const BLOCK_MAGIC: u32 = u32::from_le_bytes(*b"blk1");
const DRAFT_SUFFIX: &str = ".new";

/// The name of the checkpoint of this index.
pub(super) fn name(index: u64) -> String {
    format!("checkpoint-{index}")
}

/// The name under which it is written.
pub(super) fn draft_name(index: u64) -> String {
    name(index) + DRAFT_SUFFIX
}

pub(super) fn is_draft_name(name: &str) -> bool {
    name.strip_suffix(DRAFT_SUFFIX).is_some_and(|name| index_of(name).is_some())
}

/// The index in a name, in the one way in which it is written.
pub(super) fn index_of(file_name: &str) -> Option<u64> {
    let index = file_name.strip_prefix("checkpoint-")?.parse().ok()?;
    (name(index) == file_name).then_some(index)
}

/// The name of one that comes from another member and is not whole yet.
pub(super) fn incoming_name(index: u64, file_crc: u32) -> String {
    format!("incoming-{index}-{file_crc:08x}")
}

/// The index in such a name, in the one way in which it is written.
pub(super) fn incoming_index_of(file_name: &str) -> Option<u64> {
    let (index, crc) = file_name.strip_prefix("incoming-")?.split_once('-')?;
    let (index, crc) = (index.parse().ok()?, u32::from_str_radix(crc, 16).ok()?);
    (incoming_name(index, crc) == file_name).then_some(index)
}

pub(super) fn encode_head(head: &CheckpointHead) -> Vec<u8> {
    let mut bytes = vec![0; HEAD_BYTES];
    let length = u32::try_from(head.meta.len()).expect("the caller's description is bounded");
    bytes[0..8].copy_from_slice(&HEAD_MAGIC.to_le_bytes());
    bytes[12..16].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..32].copy_from_slice(&head.cluster.to_le_bytes());
    bytes[32..40].copy_from_slice(&head.applied_index.to_le_bytes());
    bytes[40..44].copy_from_slice(&length.to_le_bytes());
    bytes[44..48].copy_from_slice(&crc32fast::hash(&head.meta).to_le_bytes());
    let crc = head_crc(&bytes);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(&head.meta);
    bytes
}

/// A head without its meta.
pub(super) struct Head {
    pub(super) version: u32,
    cluster: u128,
    index: u64,
    pub(super) meta_bytes: usize,
    meta_crc: u32,
}

impl Head {
    pub(super) fn decode(bytes: &[u8; HEAD_BYTES]) -> Option<Self> {
        if u64_at(bytes, 0) != HEAD_MAGIC || u32_at(bytes, 8) != head_crc(bytes) {
            return None;
        }
        let meta_bytes = u32_at(bytes, 40) as usize;
        (meta_bytes <= META_BYTES_MAX).then_some(Self {
            version: u32_at(bytes, 12),
            cluster: u128_at(bytes, 16),
            index: u64_at(bytes, 32),
            meta_bytes,
            meta_crc: u32_at(bytes, 44),
        })
    }

    pub(super) fn with_meta(&self, meta: Vec<u8>) -> Option<CheckpointHead> {
        let (cluster, applied_index) = (self.cluster, self.index);
        let fits = crc32fast::hash(&meta) == self.meta_crc;
        fits.then(|| CheckpointHead { cluster, applied_index, meta: Bytes::from(meta) })
    }
}

/// Computes the checksums of the blocks of one checkpoint.
pub(super) struct BlockFrame {
    hasher: Hasher,
}

/// What stands at the front of a block.
pub(super) struct BlockHead {
    pub(super) length: usize,
    pub(super) records: u32,
}

impl BlockFrame {
    pub(super) fn new(cluster: u128, index: u64) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(&cluster.to_le_bytes());
        hasher.update(&index.to_le_bytes());
        Self { hasher }
    }

    /// Writes the head into the front of a block, which holds room for it.
    pub(super) fn finish(&self, block: &mut [u8], number: u64, records: u32) {
        let length = u32::try_from(block.len() - BLOCK_HEAD_BYTES).expect("records are bounded");
        block[0..4].copy_from_slice(&BLOCK_MAGIC.to_le_bytes());
        block[8..16].copy_from_slice(&number.to_le_bytes());
        block[16..20].copy_from_slice(&length.to_le_bytes());
        block[20..24].copy_from_slice(&records.to_le_bytes());
        let crc = self.crc(block);
        block[4..8].copy_from_slice(&crc.to_le_bytes());
    }

    /// Reads the head of the block of this number. Nothing in it is proved yet.
    pub(super) fn head(bytes: &[u8], number: u64) -> Option<BlockHead> {
        let fits = u32_at(bytes, 0) == BLOCK_MAGIC && u64_at(bytes, 8) == number;
        let (length, records) = (u32_at(bytes, 16) as usize, u32_at(bytes, 20));
        fits.then_some(BlockHead { length, records })
    }

    /// Whether a whole block is as it was written.
    pub(super) fn is_valid(&self, block: &[u8]) -> bool {
        self.crc(block) == u32_at(block, 4) || planted::is(Bug::CheckpointCrcIgnored)
    }

    fn crc(&self, block: &[u8]) -> u32 {
        let mut hasher = self.hasher.clone();
        hasher.update(&block[0..4]);
        hasher.update(&block[8..]);
        hasher.finalize()
    }
}

/// What stands at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Foot {
    pub(super) file_crc: u32,
    pub(super) records: u64,
    pub(super) blocks: u64,
    /// How many bytes are before it.
    pub(super) before: u64,
}

impl Foot {
    pub(super) fn encode(&self) -> [u8; FOOT_BYTES] {
        let mut bytes = [0; FOOT_BYTES];
        bytes[0..8].copy_from_slice(&FOOT_MAGIC.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.file_crc.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.records.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.blocks.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.before.to_le_bytes());
        let crc = head_crc(&bytes);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; FOOT_BYTES]) -> Option<Self> {
        let fits = u64_at(bytes, 0) == FOOT_MAGIC && u32_at(bytes, 8) == head_crc(bytes);
        fits.then_some(Self {
            file_crc: u32_at(bytes, 12),
            records: u64_at(bytes, 16),
            blocks: u64_at(bytes, 24),
            before: u64_at(bytes, 32),
        })
    }
}
