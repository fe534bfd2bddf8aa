//! The bytes of frames.

use bytes::BufMut;
use proptest::prelude::*;

use crate::link::{FRAME_BYTES_MAX, Frame, FrameDecoder, LinkError, write_frame};

const MIB: usize = 1 << 20;
const HEADER_BYTES: usize = 17;

/// What a decoder may hold besides what has come: a step of a long body, and its buffer.
const SPARE_BYTES: usize = MIB + (128 << 10);

/// Feeds `bytes` in pieces of at most `piece` and returns the frames.
fn decode(decoder: &mut FrameDecoder, bytes: &[u8], piece: usize) -> Result<Vec<Frame>, LinkError> {
    let mut frames = Vec::new();
    let mut rest = bytes;
    loop {
        while let Some(frame) = decoder.take()? {
            frames.push(frame);
        }
        if rest.is_empty() {
            return Ok(frames);
        }
        let mut space = decoder.space();
        let count = rest.len().min(piece).min(space.remaining_mut());
        assert!(count > 0, "there is room");
        space.put_slice(&rest[..count]);
        rest = &rest[count..];
    }
}

fn written(bodies: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (id, body) in (0..).zip(bodies) {
        write_frame(&mut bytes, 1, id, |buffer| buffer.extend_from_slice(body));
    }
    bytes
}

#[test]
fn bytes_of_a_frame_are_those_that_are_described() {
    let mut bytes = Vec::new();
    write_frame(&mut bytes, 7, 0x0102_0304_0506_0708, |buffer| buffer.extend(b"beans"));
    let described = [
        b"\x05\x00\x00\x00".as_slice(),
        b"\x07",
        b"\x08\x07\x06\x05\x04\x03\x02\x01",
        b"\x25\x98\xbc\x8f",
        b"beans",
    ];
    assert_eq!(bytes, described.concat());
    let frames = decode(&mut FrameDecoder::new(), &bytes, 1).expect("it is one");
    let body = b"beans".as_slice().into();
    assert_eq!(frames, [Frame { kind: 7, id: 0x0102_0304_0506_0708, body }]);
}

#[test]
fn any_length_of_body_survives() {
    let long = vec![b'b'; 3 * MIB + 5];
    let lengths = [0, 1, 17, 32 << 10, (32 << 10) + 1, 64 << 10, MIB - 1, MIB, MIB + 1, long.len()];
    let bodies: Vec<_> = lengths.into_iter().map(|length| &long[..length]).collect();
    let bytes = written(&bodies);
    for piece in [1000, 65_536, usize::MAX] {
        let mut decoder = FrameDecoder::new();
        let frames = decode(&mut decoder, &bytes, piece).expect("all are whole");
        assert!(decoder.is_between_frames());
        let ids: Vec<_> = frames.iter().map(|frame| frame.id).collect();
        assert_eq!(ids, (0..).take(bodies.len()).collect::<Vec<_>>());
        assert!(frames.iter().zip(&bodies).all(|(frame, body)| frame.body == body));
    }
}

proptest! {
    #[test]
    fn frames_are_the_same_however_they_are_cut(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
        piece in 1_usize..400,
    ) {
        let bodies: Vec<_> = bodies.iter().map(Vec::as_slice).collect();
        let bytes = written(&bodies);
        let frames = decode(&mut FrameDecoder::new(), &bytes, piece).expect("all are whole");
        prop_assert_eq!(frames.len(), bodies.len());
        prop_assert!(frames.iter().zip(&bodies).all(|(frame, body)| frame.body == body));
    }
}

#[test]
fn flipped_bit_is_no_frame() {
    let bytes = written(&[b"a job"]);
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let frames = decode(&mut FrameDecoder::new(), &changed, usize::MAX);
        // Or it is still waiting for the rest of a body that is said to be longer.
        assert!(frames.is_err() || frames.is_ok_and(|frames| frames.is_empty()), "bit {bit}");
    }
}

#[test]
fn body_announced_too_long_is_refused_by_its_header() {
    let header = |length: usize| {
        let mut bytes = u32::try_from(length).expect("it is short").to_le_bytes().to_vec();
        bytes.resize(HEADER_BYTES, 0);
        decode(&mut FrameDecoder::new(), &bytes, usize::MAX)
    };
    assert!(header(FRAME_BYTES_MAX).is_ok_and(|frames| frames.is_empty()));
    for len in [FRAME_BYTES_MAX + 1, u32::MAX as usize] {
        let refused = header(len);
        let max = FRAME_BYTES_MAX;
        assert!(
            matches!(refused, Err(LinkError::TooLarge { len: l, max: m }) if (l, m) == (len, max)),
            "{len}: {refused:?}"
        );
    }
}

#[test]
fn body_takes_memory_as_it_arrives() {
    let mut bytes = (64_u32 << 20).to_le_bytes().to_vec();
    bytes.resize(HEADER_BYTES, 0);
    let mut decoder = FrameDecoder::new();
    assert!(decode(&mut decoder, &bytes, usize::MAX).expect("it may be that long").is_empty());
    for come in (0..4 * MIB).step_by(100_000) {
        let held = decoder.memory_bytes();
        assert!(held <= come + SPARE_BYTES, "{held} bytes held for {come}");
        assert!(decode(&mut decoder, &[1; 100_000], usize::MAX).expect("a part").is_empty());
    }
    assert!(!decoder.is_between_frames());
}

#[test]
fn memory_of_frames_that_are_done_is_given_back() {
    let bytes = written(&[&vec![1; 8 * MIB], b"short"]);
    let mut decoder = FrameDecoder::new();
    let frames = decode(&mut decoder, &bytes, usize::MAX).expect("all are whole");
    assert_eq!(frames.len(), 2);
    let held = decoder.memory_bytes();
    assert!(held <= SPARE_BYTES, "{held} bytes held for nothing");
}
