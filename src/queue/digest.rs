//! One number for the whole state.

use super::Queue;

/// The parameters of 64-bit FNV-1a (draft-eastlake-fnv).
const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

impl Queue {
    /// A digest of the whole state, which two states share if and only if they have the same
    /// records (but for a chance of one in 2^64), and so the same future. For tests and checks: it
    /// reads everything.
    pub fn digest(&self) -> u64 {
        let mut digest = OFFSET_BASIS;
        for record in self.records() {
            let bytes = postcard::to_stdvec(&record).expect("a record has an encoding");
            for byte in bytes {
                digest = (digest ^ u64::from(byte)).wrapping_mul(PRIME);
            }
        }
        digest
    }
}
