//! The body of a job, or the text of a statistic, as it comes in: so many bytes, and CR LF.
//!
//! Memory follows what has arrived, never what was announced, and a finished body holds on to
//! nothing but itself.

use bytes::{Buf, Bytes, BytesMut};

use crate::line::CRLF;

/// Bodies up to this many bytes wait in the input buffer until they are whole and are then copied
/// once. Longer ones are taken out of the input buffer as they arrive, so that it need not grow
/// with them.
pub const BODY_BUFFERED_BYTES_MAX: usize = 16 * 1024;

/// A body on its way in.
#[derive(Debug)]
pub(crate) struct IncomingBody {
    size_bytes: usize,
    /// What has arrived of a body longer than [`BODY_BUFFERED_BYTES_MAX`]; otherwise empty.
    arrived: Vec<u8>,
}

/// The bytes after the body are not CR LF. They were consumed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MissingCrlf;

impl IncomingBody {
    pub(crate) fn new(size_bytes: u32) -> Self {
        Self { size_bytes: size_bytes as usize, arrived: Vec::new() }
    }

    /// Takes what it can from `input`; gives the body once it and the two bytes after it are there.
    pub(crate) fn take(&mut self, input: &mut BytesMut) -> Option<Result<Bytes, MissingCrlf>> {
        if self.size_bytes > BODY_BUFFERED_BYTES_MAX {
            self.take_arrived(input);
        }
        let rest_bytes = self.size_bytes - self.arrived.len();
        let trailer = input.get(rest_bytes..rest_bytes + CRLF.len())?;
        let body = if trailer != CRLF {
            Err(MissingCrlf)
        } else if self.arrived.is_empty() {
            Ok(Bytes::copy_from_slice(&input[..rest_bytes]))
        } else {
            Ok(Bytes::from(std::mem::take(&mut self.arrived)))
        };
        input.advance(rest_bytes + CRLF.len());
        Some(body)
    }

    /// The memory held outside of the input buffer, in bytes: less than [`BODY_BUFFERED_BYTES_MAX`]
    /// or at most twice what has arrived.
    pub(crate) fn held_bytes(&self) -> usize {
        self.arrived.capacity()
    }

    /// How much of the body was not taken out of the input buffer yet, in bytes.
    pub(crate) fn missing_bytes(&self) -> usize {
        self.size_bytes - self.arrived.len()
    }

    fn take_arrived(&mut self, input: &mut BytesMut) {
        let taken = input.len().min(self.size_bytes - self.arrived.len());
        let needed = self.arrived.len() + taken;
        if needed > self.arrived.capacity() {
            // Doubling keeps the copying linear; the bound makes it end at the exact size.
            let capacity = needed
                .max(self.arrived.len() * 2)
                .max(BODY_BUFFERED_BYTES_MAX)
                .min(self.size_bytes);
            self.arrived.reserve_exact(capacity - self.arrived.len());
        }
        self.arrived.extend_from_slice(&input[..taken]);
        input.advance(taken);
    }
}
