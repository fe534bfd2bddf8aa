//! The body of a job, or the text of a statistic, as it comes in: so many bytes, and CR LF. And the
//! payload of a frame, which is as many bytes without anything behind it.
//!
//! Memory follows what has arrived, never what was announced, and a finished body holds on to
//! nothing but itself.

use bytes::{Buf, Bytes, BytesMut};

use crate::line::CRLF;

/// Bodies up to this many bytes wait in the input buffer until they are whole and are then copied
/// once. Longer ones are taken out of the input buffer as they arrive, so that it need not grow
/// with them.
pub const BODY_BUFFERED_BYTES_MAX: usize = 16 * 1024;

/// So many bytes on their way in.
#[derive(Debug)]
pub(crate) struct IncomingBytes {
    size_bytes: usize,
    /// What has arrived of more than [`BODY_BUFFERED_BYTES_MAX`]; otherwise empty.
    arrived: Vec<u8>,
}

/// A body on its way in, with the CR LF behind it.
#[derive(Debug)]
pub(crate) struct IncomingBody(IncomingBytes);

/// The bytes after the body are not CR LF. They were consumed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MissingCrlf;

impl IncomingBody {
    pub(crate) fn new(size_bytes: u32) -> Self {
        Self(IncomingBytes::new(size_bytes as usize))
    }

    /// Takes what it can from `input`; gives the body once it and the two bytes after it are there.
    pub(crate) fn take(&mut self, input: &mut BytesMut) -> Option<Result<Bytes, MissingCrlf>> {
        self.0.take_arrived(input);
        let rest_bytes = self.0.missing_bytes();
        let trailer = input.get(rest_bytes..rest_bytes + CRLF.len())?;
        if trailer != CRLF {
            input.advance(rest_bytes + CRLF.len());
            return Some(Err(MissingCrlf));
        }
        let body = self.0.take_rest(input);
        input.advance(CRLF.len());
        Some(Ok(body))
    }

    /// The memory held outside of the input buffer, in bytes: less than [`BODY_BUFFERED_BYTES_MAX`]
    /// or at most twice what has arrived.
    pub(crate) fn held_bytes(&self) -> usize {
        self.0.held_bytes()
    }

    /// How much of the body was not taken out of the input buffer yet, in bytes.
    pub(crate) fn missing_bytes(&self) -> usize {
        self.0.missing_bytes()
    }
}

impl IncomingBytes {
    pub(crate) fn new(size_bytes: usize) -> Self {
        Self { size_bytes, arrived: Vec::new() }
    }

    /// Takes what it can from `input`; gives the bytes once they are all there.
    pub(crate) fn take(&mut self, input: &mut BytesMut) -> Option<Bytes> {
        self.take_arrived(input);
        (input.len() >= self.missing_bytes()).then(|| self.take_rest(input))
    }

    /// As [`IncomingBody::held_bytes`].
    pub(crate) fn held_bytes(&self) -> usize {
        self.arrived.capacity()
    }

    /// As [`IncomingBody::missing_bytes`].
    pub(crate) fn missing_bytes(&self) -> usize {
        self.size_bytes - self.arrived.len()
    }

    /// Takes all, the missing ones from the front of `input`, where they are.
    fn take_rest(&mut self, input: &mut BytesMut) -> Bytes {
        let rest_bytes = self.missing_bytes();
        let all = if self.arrived.is_empty() {
            Bytes::copy_from_slice(&input[..rest_bytes])
        } else {
            Bytes::from(std::mem::take(&mut self.arrived))
        };
        input.advance(rest_bytes);
        all
    }

    fn take_arrived(&mut self, input: &mut BytesMut) {
        if self.size_bytes <= BODY_BUFFERED_BYTES_MAX {
            return;
        }
        let taken = input.len().min(self.missing_bytes());
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
