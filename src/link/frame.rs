//! A frame, and its bytes:
//!
//! | Bytes | What |
//! |---|---|
//! | 4 | length of the body, at most [`FRAME_BYTES_MAX`] |
//! | 1 | kind |
//! | 8 | id |
//! | 4 | CRC-32 over kind, id and body |
//! | length | body |
//!
//! Integers are little-endian. The version is agreed on in the handshake.

use bytes::buf::Limit;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use crc32fast::Hasher;

use super::error::LinkError;

/// The longest body, included: the longest job and what is said of it.
pub const FRAME_BYTES_MAX: usize = 72 << 20;

/// What a body takes at once while it arrives.
const GROWTH_BYTES: usize = 1 << 20;

/// What is read at once when no long body is under way.
const READ_BYTES: usize = 64 << 10;

/// Less room than this is not worth a read.
const READ_BYTES_MIN: usize = 16 << 10;

/// A longer body has memory of its own, a shorter one shares it with its neighbours.
const SHARED_BODY_BYTES_MAX: usize = 32 << 10;

const HEADER_BYTES: usize = 17;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is; the meaning is the user's.
    pub kind: u8,
    /// Which one it is; an answer has the id of its request.
    pub id: u64,
    /// The rest. Short bodies share up to 64 KiB of memory with the frames that came with them, and
    /// keep all of it as long as one of them lives.
    pub body: Bytes,
}

/// Appends a frame to `buffer`. `write` appends the body.
///
/// # Panics
///
/// When the body is over [`FRAME_BYTES_MAX`], or `write` took away what was there before.
pub fn write_frame(buffer: &mut Vec<u8>, kind: u8, id: u64, write: impl FnOnce(&mut Vec<u8>)) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEADER_BYTES]);
    write(buffer);
    let len = buffer.len().checked_sub(start + HEADER_BYTES).expect("a body is only appended");
    assert!(len <= FRAME_BYTES_MAX, "a body of {len} bytes, kind {kind}");
    let (header, body) = buffer[start..].split_at_mut(HEADER_BYTES);
    let sum = checksum(kind, id, body);
    let len = u32::try_from(len).expect("at most FRAME_BYTES_MAX");
    let mut header = header;
    header.put_u32_le(len);
    header.put_u8(kind);
    header.put_u64_le(id);
    header.put_u32_le(sum);
}

/// Makes frames of bytes as they arrive. A body takes memory as it arrives, not when it is
/// announced.
///
/// After an error it is of no use: nobody knows where the next frame begins.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    /// What has come and is not yet handed out.
    buffer: BytesMut,
    /// A long body that has come in part; the buffer is empty then.
    long: Option<LongBody>,
}

#[derive(Debug)]
struct LongBody {
    header: Header,
    bytes: Vec<u8>,
}

impl FrameDecoder {
    /// With nothing read.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where the next bytes that arrive are to be put. There is room for some once
    /// [`take`](Self::take) has answered that no frame is whole.
    pub fn space(&mut self) -> Limit<&mut (dyn BufMut + Send)> {
        if let Some(long) = &mut self.long {
            let missing = long.header.body_len - long.bytes.len();
            long.grow();
            let room = missing.min(long.bytes.capacity() - long.bytes.len());
            let bytes: &mut (dyn BufMut + Send) = &mut long.bytes;
            return bytes.limit(room);
        }
        if self.buffer.capacity() - self.buffer.len() < READ_BYTES_MIN {
            self.buffer.reserve(READ_BYTES);
        }
        let room = self.buffer.capacity() - self.buffer.len();
        let buffer: &mut (dyn BufMut + Send) = &mut self.buffer;
        buffer.limit(room)
    }

    /// The next frame that has arrived whole, if there is one.
    ///
    /// # Errors
    ///
    /// [`LinkError::Corrupt`] and [`LinkError::TooLarge`].
    pub fn take(&mut self) -> Result<Option<Frame>, LinkError> {
        let long = match self.long.take() {
            Some(long) => long,
            None => {
                let Some(header) = self.header()? else { return Ok(None) };
                if header.body_len <= SHARED_BODY_BYTES_MAX {
                    return self.next_short(header);
                }
                LongBody::begin(header, &mut self.buffer)
            }
        };
        if long.bytes.len() < long.header.body_len {
            self.long = Some(long);
            return Ok(None);
        }
        long.header.frame(Bytes::from(long.bytes)).map(Some)
    }

    /// Whether all that arrived has been handed out, so that the bytes may end here.
    pub fn is_between_frames(&self) -> bool {
        self.buffer.is_empty() && self.long.is_none()
    }

    /// The memory it holds, bytes.
    pub fn memory_bytes(&self) -> usize {
        self.buffer.capacity() + self.long.as_ref().map_or(0, |long| long.bytes.capacity())
    }

    fn header(&self) -> Result<Option<Header>, LinkError> {
        let Some(bytes) = self.buffer.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        Header::decode(bytes).map(Some)
    }

    fn next_short(&mut self, header: Header) -> Result<Option<Frame>, LinkError> {
        let len = HEADER_BYTES + header.body_len;
        if self.buffer.len() < len {
            return Ok(None);
        }
        let mut bytes = self.buffer.split_to(len).freeze();
        bytes.advance(HEADER_BYTES);
        header.frame(bytes).map(Some)
    }
}

impl LongBody {
    /// Moves what has come of it out of `buffer`.
    fn begin(header: Header, buffer: &mut BytesMut) -> Self {
        buffer.advance(HEADER_BYTES);
        let come = buffer.split_to(header.body_len.min(buffer.len()));
        let mut long = Self { header, bytes: Vec::new() };
        long.grow();
        long.bytes.extend_from_slice(&come);
        long
    }

    /// Makes room when there is none. By a fixed step, for doubling would take as much as came.
    fn grow(&mut self) {
        if self.bytes.len() == self.bytes.capacity() {
            let missing = self.header.body_len - self.bytes.len();
            self.bytes.reserve_exact(missing.min(GROWTH_BYTES));
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Header {
    body_len: usize,
    kind: u8,
    id: u64,
    checksum: u32,
}

impl Header {
    fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, LinkError> {
        let mut rest = bytes.as_slice();
        let len = usize::try_from(rest.get_u32_le()).unwrap_or(usize::MAX);
        if len > FRAME_BYTES_MAX {
            return Err(LinkError::TooLarge { len, max: FRAME_BYTES_MAX });
        }
        let (kind, id) = (rest.get_u8(), rest.get_u64_le());
        Ok(Self { body_len: len, kind, id, checksum: rest.get_u32_le() })
    }

    fn frame(self, body: Bytes) -> Result<Frame, LinkError> {
        let Self { kind, id, checksum: said, .. } = self;
        let found = checksum(kind, id, &body);
        if found != said {
            return Err(LinkError::Corrupt { said, found });
        }
        Ok(Frame { kind, id, body })
    }
}

fn checksum(kind: u8, id: u64, body: &[u8]) -> u32 {
    let mut sum = Hasher::new();
    sum.update(&[kind]);
    sum.update(&id.to_le_bytes());
    sum.update(body);
    sum.finalize()
}
