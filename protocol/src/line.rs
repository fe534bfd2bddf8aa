//! Where a line ends. Knows nothing of what lines mean.

use bytes::{Buf, BytesMut};
use memchr::{memchr, memmem};

/// The longest line, of a command or of a reply, in bytes with its CR LF.
///
/// It is beanstalkd's `LINE_BUF_SIZE`: `pause-tube` with a name of 200 bytes and a delay of 10
/// digits fits exactly.
pub const LINE_BYTES_MAX: usize = 224;

/// What ends a line. A CR or an LF alone is an ordinary byte.
pub(crate) const CRLF: &[u8] = b"\r\n";

/// The search for the end of one line, resumable at any byte.
#[derive(Debug, Default)]
pub(crate) struct LineScanner {
    /// How many bytes at the front of the input are known not to end the line.
    scanned: usize,
}

/// What a look at the input showed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Scan {
    /// A line of so many bytes, CR LF not counted.
    Line(usize),
    /// No end yet.
    Incomplete,
    /// No end within [`LINE_BYTES_MAX`].
    TooLong,
}

impl LineScanner {
    /// Looks at what has arrived since the last call. `input` starts with the line, and holds at
    /// least what it held at the last call if that one gave [`Scan::Incomplete`].
    pub(crate) fn scan(&mut self, input: &[u8]) -> Scan {
        let window = &input[..input.len().min(LINE_BYTES_MAX)];
        // Looking for the LF, and then back, needs no care for a CR LF that arrives in two pieces.
        while let Some(offset) = memchr(b'\n', &window[self.scanned..]) {
            let line_feed = self.scanned + offset;
            if window[..line_feed].ends_with(b"\r") {
                self.scanned = 0;
                return Scan::Line(line_feed - 1);
            }
            self.scanned = line_feed + 1;
        }
        if window.len() == LINE_BYTES_MAX {
            self.scanned = 0;
            return Scan::TooLong;
        }
        self.scanned = window.len();
        Scan::Incomplete
    }

    /// True before the first byte of a line.
    pub(crate) fn is_at_start(&self) -> bool {
        self.scanned == 0
    }
}

/// Drops `input` up to and with the next CR LF; `None` when there is none yet.
///
/// A CR at the very end stays, because its LF may be still to come.
pub(crate) fn discard_line(input: &mut BytesMut) -> Option<()> {
    if let Some(end) = memmem::find(input, CRLF) {
        input.advance(end + CRLF.len());
        return Some(());
    }
    let kept = usize::from(input.ends_with(b"\r"));
    input.advance(input.len() - kept);
    None
}
