//! The only reader of the kernel's random numbers.

use rustix::rand::{GetRandomFlags, getrandom};

/// The most bytes that the kernel gives in one piece.
const BYTES_MAX: usize = 256;

/// Fills `bytes`, at most 256, with random ones.
///
/// # Panics
///
/// When there are more of them.
pub fn fill(bytes: &mut [u8]) {
    assert!(bytes.len() <= BYTES_MAX, "{} random bytes at once", bytes.len());
    let filled = getrandom(&mut *bytes, GetRandomFlags::empty());
    assert_eq!(filled, Ok(bytes.len()), "the kernel always has random bytes");
}

/// A random number.
pub fn number() -> u64 {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
