//! Arbitrary bytes from another member: refused or read as frames, whatever the pieces in which
//! they arrive; written again, the frames are the bytes that were read. Never is more memory held
//! than has arrived and a fixed amount. The first byte says whether the checksums are put right
//! first, the next two how long a piece is.

#![no_main]

use beanpole::link::{Frame, FrameDecoder, LinkError, write_frame};
use bytes::BufMut;
use crc32fast::Hasher;
use libfuzzer_sys::fuzz_target;

const HEADER_BYTES: usize = 17;
/// A step of a long body, and the buffer of the short ones.
const SPARE_BYTES: usize = (1 << 20) + (128 << 10);

fuzz_target!(|data: &[u8]| {
    let Some((&[mode, low, high], bytes)) = data.split_first_chunk() else { return };
    let mut bytes = bytes.to_vec();
    if mode % 2 == 1 {
        repair(&mut bytes);
    }
    let piece = usize::from(u16::from_le_bytes([low, high])).max(1);
    let (frames, end) = decode(&bytes, piece);
    let (frames_of_the_whole, end_of_the_whole) = decode(&bytes, usize::MAX);
    assert_eq!(frames, frames_of_the_whole);
    assert_eq!(format!("{end:?}"), format!("{end_of_the_whole:?}"));

    let mut written = Vec::new();
    for Frame { kind, id, body } in &frames {
        write_frame(&mut written, *kind, *id, |buffer| buffer.extend_from_slice(body));
    }
    assert!(bytes.starts_with(&written));
    if end.is_ok_and(|is_between_frames| is_between_frames) {
        assert_eq!(bytes.len(), written.len());
    }
});

/// The frames, and how it ended: whether between two frames.
fn decode(bytes: &[u8], piece: usize) -> (Vec<Frame>, Result<bool, LinkError>) {
    let mut decoder = FrameDecoder::new();
    let mut frames = Vec::new();
    let mut rest = bytes;
    loop {
        match decoder.take() {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) if rest.is_empty() => return (frames, Ok(decoder.is_between_frames())),
            Ok(None) => {
                let mut space = decoder.space();
                let count = rest.len().min(piece).min(space.remaining_mut());
                assert!(count > 0, "there is room for more");
                space.put_slice(&rest[..count]);
                rest = &rest[count..];
                assert!(decoder.memory_bytes() <= bytes.len() - rest.len() + SPARE_BYTES);
            }
            Err(error) => return (frames, Err(error)),
        }
    }
}

/// Puts the checksums of whole frames right: random bytes never have a right one.
fn repair(bytes: &mut [u8]) {
    let mut rest = bytes;
    while let Some((header, behind)) = rest.split_first_chunk_mut::<HEADER_BYTES>() {
        let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        let Some((body, next)) = behind.split_at_mut_checked(length as usize) else { return };
        let mut sum = Hasher::new();
        sum.update(&header[4..13]);
        sum.update(body);
        header[13..].copy_from_slice(&sum.finalize().to_le_bytes());
        rest = next;
    }
}
