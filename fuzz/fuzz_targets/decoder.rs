//! Arbitrary bytes from a client: the decoder never panics, and how the bytes are cut into packets
//! makes no difference. The first byte says where to cut.

#![no_main]

use beanpole_protocol::{CommandDecoder, Request};
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use tokio_util::codec::Decoder;

const JOB_SIZE_MAX: u32 = 100;

fuzz_target!(|data: &[u8]| {
    let Some((&cut, input)) = data.split_first() else { return };
    let whole = decode(&[input]);
    let at = usize::from(cut).min(input.len());
    let (left, right) = input.split_at(at);
    assert_eq!(whole, decode(&[left, right]));
});

fn decode(packets: &[&[u8]]) -> Vec<Request> {
    let mut decoder = CommandDecoder::new(JOB_SIZE_MAX);
    let mut buffer = BytesMut::new();
    let mut requests = Vec::new();
    for packet in packets {
        buffer.extend_from_slice(packet);
        while let Some(request) = decoder.decode(&mut buffer).expect("the decoder never errs") {
            requests.push(request);
        }
    }
    requests
}
