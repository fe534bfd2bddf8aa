//! The key of a put, by which it is recognised when it comes again.

use std::fmt;

use crate::tube_name::is_name_byte;

/// The longest key, in bytes.
pub const PUT_KEY_LENGTH_MAX: usize = 200;

/// The key of a put: 1 to 200 bytes of `A-Z a-z 0-9 - + / ; . $ _ ( )`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PutKey(Box<str>);

/// The bytes offered are not a key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a key: 1 to 200 bytes of A-Za-z0-9-+/;.$_()")]
pub struct InvalidPutKey;

impl PutKey {
    /// Checks `bytes` and makes them a key.
    ///
    /// # Errors
    ///
    /// [`InvalidPutKey`] when the length or a byte is outside of what a key may have.
    pub fn new(bytes: &[u8]) -> Result<Self, InvalidPutKey> {
        let is_long = bytes.is_empty() || bytes.len() > PUT_KEY_LENGTH_MAX;
        if is_long || !bytes.iter().all(is_name_byte) {
            return Err(InvalidPutKey);
        }
        let key = std::str::from_utf8(bytes).map_err(|_| InvalidPutKey)?;
        Ok(Self(key.into()))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PutKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_a_length_and_no_bytes_that_mean_something() {
        assert_eq!(PutKey::new(b"-order/17").expect("a key").as_str(), "-order/17");
        let long = [b'k'; PUT_KEY_LENGTH_MAX + 1];
        assert!(PutKey::new(&long[1..]).is_ok());
        for wrong in [&b""[..], b"a b", b"a\r", "\u{e9}".as_bytes(), &long] {
            assert_eq!(PutKey::new(wrong), Err(InvalidPutKey));
        }
    }
}
