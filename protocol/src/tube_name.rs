//! The name of a tube, checked once.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest name of a tube, in bytes (protocol.txt, "Tubes").
pub const TUBE_NAME_LENGTH_MAX: usize = 200;

/// The name of a tube: 1 to 200 bytes of `A-Z a-z 0-9 - + / ; . $ _ ( )`, not starting with `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TubeName(Box<str>);

/// The bytes offered are not the name of a tube.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a tube name: 1 to 200 bytes of A-Za-z0-9-+/;.$_(), the first not '-'")]
pub struct InvalidTubeName;

impl TubeName {
    /// Checks `bytes` and makes them a name.
    ///
    /// # Errors
    ///
    /// [`InvalidTubeName`] when the length or a byte is outside of what a name may have.
    pub fn new(bytes: &[u8]) -> Result<Self, InvalidTubeName> {
        let first = *bytes.first().ok_or(InvalidTubeName)?;
        if first == b'-' || bytes.len() > TUBE_NAME_LENGTH_MAX || !bytes.iter().all(is_name_byte) {
            return Err(InvalidTubeName);
        }
        let name = std::str::from_utf8(bytes).map_err(|_| InvalidTubeName)?;
        Ok(Self(name.into()))
    }

    /// The tube that every connection uses and watches at first, and that always exists.
    pub fn default_tube() -> Self {
        Self("default".into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TubeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for TubeName {
    type Error = InvalidTubeName;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(name.as_bytes())
    }
}

impl From<TubeName> for String {
    fn from(name: TubeName) -> Self {
        name.0.into()
    }
}

pub(crate) fn is_name_byte(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-+/;.$_()".contains(byte)
}
