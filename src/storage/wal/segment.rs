//! Segments: files of a fixed length that hold the records, and their heads.
//!
//! A segment in use is named `log-<number>`, and its head has the same number. Numbers only grow and
//! are never used twice. A file of that name with another number in its head is not part of the log:
//! it is one that was being recycled when the power failed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::record::NUMBER_MAX;
use super::{EntryId, WalError};
use crate::storage::Owner;
use crate::storage::background::{PIECE_BYTES_MAX, write_zeros};
use crate::storage::bytes_at::{head_crc, u32_at, u64_at, u128_at};
use crate::storage::disk::DiskFile;

/// Bytes before the first record.
pub(super) const HEAD_BYTES: usize = 128;

const MAGIC: u64 = u64::from_le_bytes(*b"beanlog\n");
const VERSION: u32 = 1;

/// A segment in use.
pub(super) struct Segment {
    pub(super) number: u64,
    /// The length of the file.
    pub(super) bytes: u64,
    /// The last entry of the log when it was begun.
    pub(super) last_before: Option<EntryId>,
    /// See [`Head::is_filled`]; it may have come to be so since.
    pub(super) is_filled: AtomicBool,
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
}

/// What stands at the front of a segment.
///
/// ```text
///  0 magic    8     40 number         8     80 chain          4
///  8 crc      4     48 bytes          8     84 has last       4
/// 12 version  4     56 previous       8     88 last term      8
/// 16 cluster 16     64 replaces       8     96 last member    8
/// 32 member   8     72 first sequence 8    104 last index     8
///                                         112 is filled      4, then 12 zeros
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) owner: Owner,
    pub(super) number: u64,
    /// The length of the file.
    pub(super) bytes: u64,
    /// The segment before this one, 0 for none.
    pub(super) previous: u64,
    /// The segment that this one is a copy of, made by a recovery; 0 for none.
    pub(super) replaces: u64,
    /// The sequence of its first record.
    pub(super) first_sequence: u64,
    /// The CRC of the record before its first one.
    pub(super) chain: u32,
    /// The last entry before it.
    pub(super) last: Option<EntryId>,
    /// Every byte of the file was written and synced before it was put to use.
    pub(super) is_filled: bool,
}

impl Segment {
    /// Syncs what is written.
    ///
    /// Where a file has room that was allocated and never written, ext4 has to note in its journal
    /// what was written. A journal that ends meanwhile (its device fails, the file system is shut
    /// down) loses the note, and the sync succeeds all the same: seen in 32 of 400 shutdowns, and
    /// never with a second sync, which finds that the journal has ended.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()?;
        if self.is_filled() { Ok(()) } else { self.file.sync_data() }
    }

    /// Whether every byte of the file was written and synced.
    pub(super) fn is_filled(&self) -> bool {
        self.is_filled.load(Ordering::Relaxed)
    }

    /// Writes zeros after `used`, where nothing is written yet, and syncs: then it is filled. Leaves
    /// it as it is when there are many.
    pub(super) fn fill_rest(&self, used: u64) -> io::Result<()> {
        let rest = self.bytes - used;
        if self.is_filled() || rest > PIECE_BYTES_MAX as u64 {
            return Ok(());
        }
        write_zeros(&*self.file, used, rest)?;
        self.sync()?;
        self.is_filled.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Head {
    pub(super) fn encode(&self) -> [u8; HEAD_BYTES] {
        let last = self.last.unwrap_or_default();
        let mut head = [0; HEAD_BYTES];
        head[0..8].copy_from_slice(&MAGIC.to_le_bytes());
        head[12..16].copy_from_slice(&VERSION.to_le_bytes());
        head[16..32].copy_from_slice(&self.owner.cluster.to_le_bytes());
        head[32..40].copy_from_slice(&self.owner.member.to_le_bytes());
        head[40..48].copy_from_slice(&self.number.to_le_bytes());
        head[48..56].copy_from_slice(&self.bytes.to_le_bytes());
        head[56..64].copy_from_slice(&self.previous.to_le_bytes());
        head[64..72].copy_from_slice(&self.replaces.to_le_bytes());
        head[72..80].copy_from_slice(&self.first_sequence.to_le_bytes());
        head[80..84].copy_from_slice(&self.chain.to_le_bytes());
        head[84..88].copy_from_slice(&u32::from(self.last.is_some()).to_le_bytes());
        head[88..96].copy_from_slice(&last.term.to_le_bytes());
        head[96..104].copy_from_slice(&last.member.to_le_bytes());
        head[104..112].copy_from_slice(&last.index.to_le_bytes());
        head[112..116].copy_from_slice(&u32::from(self.is_filled).to_le_bytes());
        let crc = head_crc(&head);
        head[8..12].copy_from_slice(&crc.to_le_bytes());
        head
    }

    /// `None` when these bytes are no head.
    ///
    /// # Errors
    /// When they are one of another version.
    pub(super) fn decode(head: &[u8; HEAD_BYTES], file: &Path) -> Result<Option<Self>, WalError> {
        if u64_at(head, 0) != MAGIC || u32_at(head, 8) != head_crc(head) {
            return Ok(None);
        }
        let version = u32_at(head, 12);
        if version != VERSION {
            let file = file.to_path_buf();
            return Err(WalError::UnknownVersion { file, found: version, known: VERSION });
        }
        let last =
            EntryId { term: u64_at(head, 88), member: u64_at(head, 96), index: u64_at(head, 104) };
        let head = Self {
            owner: Owner { cluster: u128_at(head, 16), member: u64_at(head, 32) },
            number: u64_at(head, 40),
            bytes: u64_at(head, 48),
            previous: u64_at(head, 56),
            replaces: u64_at(head, 64),
            first_sequence: u64_at(head, 72),
            chain: u32_at(head, 80),
            last: (u32_at(head, 84) == 1).then_some(last),
            is_filled: u32_at(head, 112) == 1,
        };
        let numbers = [head.number, head.bytes, head.first_sequence, last.term, last.index];
        let is_possible = numbers.iter().all(|number| *number <= NUMBER_MAX);
        Ok((is_possible && head.first_sequence > 0).then_some(head))
    }
}

/// The name of a segment in use.
pub(super) fn name(number: u64) -> String {
    format!("log-{number}")
}

/// The name of a file that waits to become a segment, and is filled.
pub(super) fn spare_name(serial: u64) -> String {
    format!("spare-{serial}")
}

/// The name of one that is not filled, or not yet. A start has no use for it.
pub(super) fn blank_name(serial: u64) -> String {
    format!("blank-{serial}")
}

/// The number in a name like `log-12`, in the one way in which it is written.
pub(super) fn number_after(prefix: &str, name: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?;
    let number = digits.parse::<u64>().ok()?;
    (number.to_string() == digits).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_reads_back_and_no_flipped_bit_is_accepted() {
        let head = Head {
            owner: Owner { cluster: 1 << 100, member: 3 },
            number: 9,
            bytes: 4096,
            previous: 8,
            replaces: 7,
            first_sequence: 1000,
            chain: 5,
            last: Some(EntryId { term: 2, member: 3, index: 77 }),
            is_filled: true,
        };
        let bytes = head.encode();
        assert_eq!(Head::decode(&bytes, Path::new("log-9")).unwrap(), Some(head));
        for bit in 0..HEAD_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Head::decode(&flipped, Path::new("log-9")).unwrap(), None, "bit {bit}");
        }
    }

    #[test]
    fn names_are_read_in_one_spelling_only() {
        assert_eq!(number_after("log-", "log-12"), Some(12));
        for other in ["log-", "log-012", "log-+1", "log-1.new", "spare-1"] {
            assert_eq!(number_after("log-", other), None, "{other}");
        }
    }
}
