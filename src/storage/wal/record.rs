//! The frame of a record of the log.
//!
//! ```text
//!  0 magic      4     24 sequence     8     48 entry term    8
//!  4 crc        4     32 synced upto  8     56 entry member  8
//!  8 kind       4     40 chain        4     64 entry index   8
//! 12 length     4     44 zero         4     72 payload, filled with zeros to a multiple of 8
//! 16 segment    8
//! ```
//!
//! Little-endian. The CRC covers everything else, and the owner and the offset in the segment,
//! which are not written: a record that ended up elsewhere, or that was there before the segment was
//! recycled, does not fit. *Sequence* numbers all records of a log, votes and marks too.
//! *Synced upto* is the greatest sequence known to be on the disk when the record was made, and
//! *chain* the CRC of the record before: the evidence by which recovery tells a torn tail from
//! damage.

use crc32fast::Hasher;

use super::EntryId;
use crate::storage::Owner;
use crate::storage::bytes_at::{u32_at, u64_at};

/// Bytes before the payload.
pub(super) const HEADER_BYTES: usize = 72;

/// Records begin at multiples of this, so that a scan for survivors has few places to look at.
pub(super) const ALIGNMENT: usize = 8;

/// No sequence, number of a segment, term or index gets this far. Beyond it a sum might not fit.
pub(super) const NUMBER_MAX: u64 = u64::MAX / 2;

const MAGIC: u32 = 0x3163_6572; // "rec1"

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An entry of the Raft log.
    Entry,
    /// The payload is the vote.
    Vote,
    /// Entries after this one are gone.
    Truncate,
    /// All entries are gone.
    Clear,
    /// Entries up to this one are not needed any more.
    Purge,
    /// The payload is the caller's note.
    Note,
    /// Nothing; carries the evidence that what is before it was synced.
    Mark,
    /// The last record of its segment.
    Seal,
}

/// A record without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// Bytes of payload.
    pub(super) length: u32,
    /// The number of the segment it was made for.
    pub(super) segment: u64,
    pub(super) sequence: u64,
    pub(super) synced_upto: u64,
    pub(super) chain: u32,
    pub(super) id: EntryId,
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Invalid {
    /// No record was ever begun here: other bytes than the magic, or another segment's record.
    Foreign,
    /// A record of this segment was begun here, and it does not fit the segment.
    Length,
    /// A record of this segment was begun here, and its checksum does not match.
    Checksum,
}

/// The bytes that a record with so much payload takes up.
pub(super) fn record_bytes(payload_bytes: usize) -> usize {
    HEADER_BYTES + payload_bytes.next_multiple_of(ALIGNMENT)
}

/// Computes the checksums of one segment.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    segment: u64,
    hasher: Hasher,
}

impl Frame {
    pub(super) fn new(owner: Owner, segment: u64) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(&owner.cluster.to_le_bytes());
        hasher.update(&owner.member.to_le_bytes());
        Self { segment, hasher }
    }

    /// Writes the header into the front of `record`, which holds room for it, then the payload, then
    /// zeros. Returns the CRC.
    pub(super) fn finish(&self, record: &mut [u8], header: &Header, offset: u64) -> u32 {
        debug_assert_eq!(record.len(), record_bytes(header.length as usize));
        debug_assert_eq!(header.segment, self.segment);
        record[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        record[8..12].copy_from_slice(&header.kind.code().to_le_bytes());
        record[12..16].copy_from_slice(&header.length.to_le_bytes());
        record[16..24].copy_from_slice(&header.segment.to_le_bytes());
        record[24..32].copy_from_slice(&header.sequence.to_le_bytes());
        record[32..40].copy_from_slice(&header.synced_upto.to_le_bytes());
        record[40..44].copy_from_slice(&header.chain.to_le_bytes());
        record[44..48].fill(0);
        record[48..56].copy_from_slice(&header.id.term.to_le_bytes());
        record[56..64].copy_from_slice(&header.id.member.to_le_bytes());
        record[64..72].copy_from_slice(&header.id.index.to_le_bytes());
        let crc = self.crc(record, offset);
        record[4..8].copy_from_slice(&crc.to_le_bytes());
        crc
    }

    /// Whether a record may begin with these bytes.
    pub(super) fn may_begin(word: &[u8]) -> bool {
        word.starts_with(&MAGIC.to_le_bytes())
    }

    /// How long the record is whose first [`HEADER_BYTES`] these are, if its header can be believed
    /// so far. `room` is how much of the segment is left.
    pub(super) fn claimed_bytes(&self, header: &[u8], room: u64) -> Result<usize, Invalid> {
        if u32_at(header, 0) != MAGIC || u64_at(header, 16) != self.segment {
            return Err(Invalid::Foreign);
        }
        let bytes = record_bytes(u32_at(header, 12) as usize);
        if bytes as u64 > room { Err(Invalid::Length) } else { Ok(bytes) }
    }

    /// Checks a whole record and reads its header. Returns the header and the CRC.
    pub(super) fn check(&self, record: &[u8], offset: u64) -> Result<(Header, u32), Invalid> {
        let crc = u32_at(record, 4);
        if self.crc(record, offset) != crc || u32_at(record, 44) != 0 {
            return Err(Invalid::Checksum);
        }
        let header = Header {
            kind: Kind::from_code(u32_at(record, 8)).ok_or(Invalid::Checksum)?,
            length: u32_at(record, 12),
            segment: u64_at(record, 16),
            sequence: u64_at(record, 24),
            synced_upto: u64_at(record, 32),
            chain: u32_at(record, 40),
            id: EntryId {
                term: u64_at(record, 48),
                member: u64_at(record, 56),
                index: u64_at(record, 64),
            },
        };
        let id = header.id;
        let numbers = [header.sequence, header.synced_upto, id.term, id.index];
        if numbers.iter().any(|number| *number > NUMBER_MAX) {
            return Err(Invalid::Checksum);
        }
        Ok((header, crc))
    }

    fn crc(&self, record: &[u8], offset: u64) -> u32 {
        let mut hasher = self.hasher.clone();
        hasher.update(&offset.to_le_bytes());
        hasher.update(&record[0..4]);
        hasher.update(&record[8..]);
        hasher.finalize()
    }
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Entry,
        Self::Vote,
        Self::Truncate,
        Self::Clear,
        Self::Purge,
        Self::Note,
        Self::Mark,
        Self::Seal,
    ];

    fn code(self) -> u32 {
        match self {
            Self::Entry => 1,
            Self::Vote => 2,
            Self::Truncate => 3,
            Self::Clear => 4,
            Self::Purge => 5,
            Self::Note => 6,
            Self::Mark => 7,
            Self::Seal => 8,
        }
    }

    fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = Owner { cluster: 7, member: 1 };

    fn sample() -> (Header, Vec<u8>) {
        let id = EntryId { term: 3, member: 1, index: 9 };
        let header = Header {
            kind: Kind::Entry,
            length: 5,
            segment: 4,
            sequence: 20,
            synced_upto: 18,
            chain: 0xABCD,
            id,
        };
        let mut record = vec![0; record_bytes(5)];
        record[HEADER_BYTES..HEADER_BYTES + 5].copy_from_slice(b"hello");
        Frame::new(OWNER, 4).finish(&mut record, &header, 128);
        (header, record)
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let (header, record) = sample();
        let frame = Frame::new(OWNER, 4);
        assert_eq!(frame.claimed_bytes(&record[..HEADER_BYTES], 80), Ok(80));
        assert_eq!(frame.claimed_bytes(&record[..HEADER_BYTES], 79), Err(Invalid::Length));
        assert_eq!(frame.check(&record, 128).unwrap().0, header);
    }

    #[test]
    fn a_record_of_another_owner_segment_or_offset_does_not_fit() {
        let (_, record) = sample();
        let other = Owner { cluster: 7, member: 2 };
        assert_eq!(Frame::new(other, 4).check(&record, 128), Err(Invalid::Checksum));
        assert_eq!(Frame::new(OWNER, 4).check(&record, 136), Err(Invalid::Checksum));
        let elsewhere = Frame::new(OWNER, 5).claimed_bytes(&record[..HEADER_BYTES], 80);
        assert_eq!(elsewhere, Err(Invalid::Foreign));
    }

    #[test]
    fn no_flipped_bit_is_accepted() {
        let (header, record) = sample();
        let frame = Frame::new(OWNER, 4);
        for bit in 0..record.len() * 8 {
            let mut flipped = record.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let accepted = frame.claimed_bytes(&flipped[..HEADER_BYTES], 80).is_ok_and(|bytes| {
                bytes == 80 && frame.check(&flipped, 128).is_ok_and(|(found, _)| found == header)
            });
            assert!(!accepted, "bit {bit}");
        }
    }
}
