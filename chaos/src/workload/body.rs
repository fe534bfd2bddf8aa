//! What jobs say: bytes that follow from a key and a length, so that whoever reads a job knows
//! whether each byte is the one that was put.
//!
//! The key's parts are for the clients of this folder only: they tell the tube of a job that was
//! reserved from several. To a history a key is a name.

use crate::history::Body;

use crate::testbed::Random;

/// The least length of a body: the key in hex.
pub const BODY_BYTES_MIN: u32 = 16;

const KEY_DIGITS: usize = BODY_BYTES_MIN as usize;
const CLIENT_SHIFT: u32 = 40;
const TUBE_SHIFT: u32 = 32;

/// The bytes of the body of this key and length: the key in hex, then anything, also line ends.
///
/// # Panics
///
/// When the length is less than [`BODY_BYTES_MIN`].
pub fn body_bytes(key: u64, bytes: u32) -> Vec<u8> {
    assert!(bytes >= BODY_BYTES_MIN, "no room for a key in {bytes} bytes");
    let length = usize::try_from(bytes).expect("a length fits");
    let mut body = format!("{key:0KEY_DIGITS$x}").into_bytes();
    let mut random = Random::new(key ^ u64::from(bytes).rotate_left(TUBE_SHIFT));
    while body.len() < length {
        body.extend_from_slice(&random.bits().to_le_bytes());
    }
    body.truncate(length);
    body
}

/// What these bytes are as a body.
pub fn read_body(bytes: &[u8]) -> Body {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let key = key_of(bytes).unwrap_or_default();
    let is_intact = key != 0 && body_bytes(key, length) == bytes;
    Body { key, bytes: length, is_intact }
}

/// The key of a client's put. Never 0; no other of the run is the same.
pub(super) fn new_key(client: u32, tube: usize, count: u32) -> u64 {
    let tube = u8::try_from(tube).expect("at most TUBES_MAX tubes");
    (u64::from(client) + 1) << CLIENT_SHIFT | u64::from(tube) << TUBE_SHIFT | u64::from(count)
}

/// The place of the tube that a job with this key was put into.
pub(super) fn tube_of(key: u64) -> usize {
    usize::from((key >> TUBE_SHIFT) as u8)
}

fn key_of(bytes: &[u8]) -> Option<u64> {
    let digits = str::from_utf8(bytes.get(..KEY_DIGITS)?).ok()?;
    let is_hex = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_hex { u64::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_is_read_as_what_was_put() {
        for (count, bytes) in [16, 17, 24, 100, 65_535].into_iter().enumerate() {
            let key = new_key(3, 250, u32::try_from(count).unwrap());
            let body = read_body(&body_bytes(key, bytes));
            assert_eq!(body, Body { key, bytes, is_intact: true });
            assert_eq!(tube_of(key), 250);
        }
    }

    #[test]
    fn any_other_byte_or_length_is_noticed() {
        let bytes = body_bytes(new_key(0, 0, 0), 40);
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            assert!(!read_body(&changed).is_intact, "byte {place}");
        }
        let whole = read_body(&bytes);
        for length in 0..bytes.len() {
            assert_ne!(read_body(&bytes[..length]), whole, "cut at {length}");
        }
        // The key alone is a body too, of another length.
        assert!(!read_body(&bytes[..17]).is_intact);
        assert!(!read_body(&[bytes, vec![0]].concat()).is_intact);
    }

    #[test]
    fn bytes_that_are_no_body_have_no_key() {
        assert_eq!(read_body(b"+00000000000000f").key, 0);
        assert_eq!(read_body(b"hello").key, 0);
        assert_eq!(read_body("ü".repeat(8).as_bytes()).key, 0);
    }
}
