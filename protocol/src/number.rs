//! Numbers as beanstalkd reads and writes them, and as frames have them.

use bytes::BytesMut;

/// The numbers of a command line, taken from the left.
pub(crate) struct Numbers<'a>(&'a [u8]);

impl<'a> Numbers<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self(text)
    }

    /// Takes any number of spaces (0x20) and then at least one digit: no sign, no other base,
    /// leading zeros allowed. `None` when there is no such number or when it is above 64 bits.
    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.skip_spaces();
        let (value, rest) = digits(self.0)?;
        self.0 = rest;
        Some(value)
    }

    /// Like [`Self::u64`], within 32 bits.
    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.u64()?.try_into().ok()
    }

    /// Takes spaces and then the bytes that satisfy `is_wanted`, possibly none.
    pub(crate) fn word(&mut self, is_wanted: impl Fn(&u8) -> bool) -> &'a [u8] {
        self.skip_spaces();
        let length = self.0.iter().position(|byte| !is_wanted(byte)).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(length);
        self.0 = rest;
        word
    }

    /// True when nothing is left, not even a space.
    pub(crate) fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    fn skip_spaces(&mut self) {
        while let [b' ', rest @ ..] = self.0 {
            self.0 = rest;
        }
    }
}

/// Reads like C's `strtoul(text, &end, 10)` with 64 bits: white space, a sign (minus negates
/// modulo 2^64), digits; whatever follows is ignored. `None` without a digit or above 64 bits.
pub(crate) fn strtoul(text: &[u8]) -> Option<u64> {
    let start = text.iter().position(|byte| !is_c_space(*byte))?;
    let (is_negative, text) = match &text[start..] {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        text => (false, text),
    };
    let (value, _) = digits(text)?;
    Some(if is_negative { value.wrapping_neg() } else { value })
}

/// Reads all of `text` as [`push_number`] writes numbers: no sign, no leading zero, no space. `None`
/// when it is not that, or above 64 bits.
pub(crate) fn plain_number(text: &[u8]) -> Option<u64> {
    let (value, rest) = digits(text)?;
    let is_plain = rest.is_empty() && (text.len() == 1 || text[0] != b'0');
    is_plain.then_some(value)
}

/// Appends `number` in decimal.
pub(crate) fn push_number(output: &mut BytesMut, number: impl Into<u64>) {
    output.extend_from_slice(itoa::Buffer::new().format(number.into()).as_bytes());
}

fn digits(text: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    let mut length = 0;
    while let Some(byte @ b'0'..=b'9') = text.get(length) {
        value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
        length += 1;
    }
    (length > 0).then(|| (value, &text[length..]))
}

fn is_c_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\x0b' | b'\x0c' | b'\r')
}
