//! Arbitrary bytes at either end of a trunk: the decoders never panic, how the bytes are cut into
//! packets makes no difference, what is behind an error is not read, and a frame has one way to be
//! written. The first byte says where to cut.

#![no_main]

use beanpole_protocol::trunk::{
    ClientFrame, ClientFrameDecoder, FrameError, MemberFrame, MemberFrameDecoder,
};
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;

const PAYLOAD_BYTES_MAX: usize = 100;

fuzz_target!(|data: &[u8]| {
    let Some((&cut, input)) = data.split_first() else { return };
    let cut = usize::from(cut).min(input.len());
    check(input, cut, client_decoder, ClientFrame::encode);
    check(input, cut, member_decoder, MemberFrame::encode);
});

type Next<F> = Box<dyn FnMut(&mut BytesMut) -> Result<Option<F>, FrameError>>;

fn client_decoder() -> Next<ClientFrame> {
    let mut decoder = ClientFrameDecoder::new(PAYLOAD_BYTES_MAX);
    Box::new(move |input| decoder.next_frame(input))
}

fn member_decoder() -> Next<MemberFrame> {
    let mut decoder = MemberFrameDecoder::new(PAYLOAD_BYTES_MAX);
    Box::new(move |input| decoder.next_frame(input))
}

fn check<F: std::fmt::Debug + PartialEq>(
    input: &[u8],
    cut: usize,
    decoder: impl Fn() -> Next<F>,
    encode: impl Fn(&F, &mut BytesMut),
) {
    let (left, right) = input.split_at(cut);
    let whole = decode(&[input], decoder());
    assert_eq!(whole, decode(&[left, right], decoder()));
    let mut written = BytesMut::new();
    whole.0.iter().for_each(|frame| encode(frame, &mut written));
    assert!(input.starts_with(&written), "{:?} are written as {written:?}", whole.0);
}

fn decode<F>(packets: &[&[u8]], mut next_frame: Next<F>) -> (Vec<F>, Option<FrameError>) {
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    let mut failure = None;
    for packet in packets {
        buffer.extend_from_slice(packet);
        loop {
            match next_frame(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
    }
    (frames, failure)
}
