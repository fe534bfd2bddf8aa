//! Frames as they stand on the wire, and what must hold for every input.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::BODY_BUFFERED_BYTES_MAX;
use crate::samples::{any_body, any_pieces, feed};
use crate::trunk::{COMMAND_NUMBER_MAX, LEASE_MILLIS_MAX, LEASE_MILLIS_MIN, Token};

const PAYLOAD_BYTES_MAX: usize = 4 * BODY_BUFFERED_BYTES_MAX;
const HEX: &str = "000102030405060708090a0b0c0d0eff";

#[test]
fn every_frame_of_a_client_is_written_as_documented() {
    let channel = ChannelNumber(7);
    let token = token();
    for (frame, wire) in [
        (
            ClientFrame::Open { channel, token, lease_millis: 10_000 },
            format!("open 7 {HEX} 10000\r\n"),
        ),
        (
            ClientFrame::Resume { channel, token, lease_millis: 1_000, answered: 0 },
            format!("resume 7 {HEX} 1000 0\r\n"),
        ),
        (
            ClientFrame::Do {
                channel,
                number: 3,
                answered: 2,
                payload: "put 0 0 1 1\r\na\r\n".into(),
            },
            "do 7 3 2 16\r\nput 0 0 1 1\r\na\r\n".to_owned(),
        ),
        (ClientFrame::Stop { channel }, "stop 7\r\n".to_owned()),
        (
            ClientFrame::Close { channel: ChannelNumber(u32::MAX) },
            "close 4294967295\r\n".to_owned(),
        ),
        (ClientFrame::Ping(u64::MAX), "ping 18446744073709551615\r\n".to_owned()),
    ] {
        let mut written = BytesMut::new();
        frame.encode(&mut written);
        assert_eq!(written, wire);
        assert_eq!(ClientFrameDecoder::new(16).next_frame(&mut written), Ok(Some(frame)));
        assert!(written.is_empty());
    }
}

#[test]
fn every_frame_of_a_member_is_written_as_documented() {
    let channel = ChannelNumber(7);
    let kept = vec![(3, Bytes::from("INSERTED 9\r\n")), (5, Bytes::from("GONE\r\n"))];
    for (frame, wire) in [
        (MemberFrame::Opened { channel }, "opened 7\r\n"),
        (
            MemberFrame::Resumed { channel, last: 5, waiting: None, kept },
            "resumed 7 5 0 2\r\nwas 3 12\r\nINSERTED 9\r\nwas 5 6\r\nGONE\r\n",
        ),
        (
            MemberFrame::Resumed { channel, last: 5, waiting: Some(4), kept: vec![] },
            "resumed 7 5 4 0\r\n",
        ),
        (MemberFrame::Lapsed { channel }, "lapsed 7\r\n"),
        (MemberFrame::Refused { channel }, "refused 7\r\n"),
        (MemberFrame::Moved { channel }, "moved 7\r\n"),
        (MemberFrame::Closed { channel }, "closed 7\r\n"),
        (
            MemberFrame::Reply { channel, number: 8, payload: "FOUND 1 1\r\na\r\n".into() },
            "re 7 8 14\r\nFOUND 1 1\r\na\r\n",
        ),
        (MemberFrame::Later { channel, number: 8, millis: 50 }, "later 7 8 50\r\n"),
        (MemberFrame::Pong(0), "pong 0\r\n"),
    ] {
        let mut written = BytesMut::new();
        frame.encode(&mut written);
        assert_eq!(written, wire);
        assert_eq!(MemberFrameDecoder::new(16).next_frame(&mut written), Ok(Some(frame)));
        assert!(written.is_empty());
    }
}

#[test]
fn a_malformed_line_of_a_client_is_refused() {
    for (line, word) in [
        (format!("open 0 {HEX} 10000"), "open"),
        (format!("open 4294967296 {HEX} 10000"), "open"),
        (format!("open 1 {} 10000", &HEX[1..]), "open"),
        (format!("open 1 {}0 10000", HEX), "open"),
        (format!("open 1 {} 10000", HEX.to_uppercase()), "open"),
        (format!("open 1 {HEX} {}", LEASE_MILLIS_MIN - 1), "open"),
        (format!("open 1 {HEX} {}", LEASE_MILLIS_MAX + 1), "open"),
        (format!("open 1 {HEX} 10000 0"), "open"),
        (format!("open 1 {HEX} 10000 "), "open"),
        (format!("resume 1 {HEX} 10000"), "resume"),
        ("do 1 0 0 2".to_owned(), "do"),
        ("do 1 1 0".to_owned(), "do"),
        ("do 1 01 0 2".to_owned(), "do"),
        ("do 1 +1 0 2".to_owned(), "do"),
        ("do 1  1 0 2".to_owned(), "do"),
        ("do 1 18446744073709551616 0 2".to_owned(), "do"),
        (format!("do 1 {} 0 2", COMMAND_NUMBER_MAX + 1), "do"),
        ("stop".to_owned(), "stop"),
        ("stop 1\r".to_owned(), "stop"),
        ("close\t1".to_owned(), ""),
        ("ping -1".to_owned(), "ping"),
        ("ping 1\n".to_owned(), "ping"),
        ("opened 1".to_owned(), ""),
        ("PING 1".to_owned(), ""),
        (" ping 1".to_owned(), ""),
        (String::new(), ""),
    ] {
        let mut decoder = ClientFrameDecoder::new(PAYLOAD_BYTES_MAX);
        let mut input = BytesMut::from(format!("{line}\r\nping 1\r\n").as_str());
        let expected = match word {
            "" => FrameError::UnknownWord,
            word => FrameError::Malformed { word },
        };
        assert_eq!(decoder.next_frame(&mut input), Err(expected.clone()), "{line:?}");
        let unread = input.clone();
        assert_eq!(decoder.next_frame(&mut input), Err(expected), "behind {line:?}");
        assert_eq!(input, unread, "something behind {line:?} was read");
    }
}

#[test]
fn a_malformed_line_of_a_member_is_refused() {
    for (lines, error) in [
        ("resumed 1 5 0", FrameError::Malformed { word: "resumed" }),
        ("resumed 1 5 0 65", FrameError::TooManyKept { count: 65 }),
        ("resumed 1 5 0 2\r\nwas 1 2\r\n\r\npong 1", FrameError::MissingKept { missing: 1 }),
        ("resumed 1 5 0 1\r\nwas 1 225", FrameError::Malformed { word: "was" }),
        ("resumed 1 5 0 1\r\nwas 0 2", FrameError::Malformed { word: "was" }),
        ("was 1 0", FrameError::Malformed { word: "was" }),
        ("re 1 0 2", FrameError::Malformed { word: "re" }),
        ("later 1 1 4294967296", FrameError::Malformed { word: "later" }),
        ("open 1", FrameError::UnknownWord),
    ] {
        let mut decoder = MemberFrameDecoder::new(PAYLOAD_BYTES_MAX);
        let mut input = BytesMut::from(format!("{lines}\r\npong 1\r\n").as_str());
        assert_eq!(decoder.next_frame(&mut input), Err(error.clone()), "{lines:?}");
        assert_eq!(decoder.next_frame(&mut input), Err(error), "behind {lines:?}");
    }
}

#[test]
fn every_length_has_its_limit() {
    let mut decoder = ClientFrameDecoder::new(2);
    let mut input = BytesMut::from("do 1 1 0 2\r\n\r\ndo 1 2 0 3\r\n");
    assert!(matches!(decoder.next_frame(&mut input), Ok(Some(ClientFrame::Do { .. }))));
    let error = FrameError::PayloadTooBig { bytes: 3, bytes_max: 2 };
    assert_eq!(decoder.next_frame(&mut input), Err(error));

    let mut decoder = MemberFrameDecoder::new(2);
    let mut input = BytesMut::from("re 1 1 18446744073709551615\r\n");
    let error = FrameError::PayloadTooBig { bytes: u64::MAX, bytes_max: 2 };
    assert_eq!(decoder.next_frame(&mut input), Err(error));

    let mut decoder = ClientFrameDecoder::new(2);
    let mut input = BytesMut::from("x".repeat(LINE_BYTES_MAX).as_str());
    assert_eq!(decoder.next_frame(&mut input), Err(FrameError::LineTooLong));
}

#[test]
fn a_payload_takes_memory_as_it_arrives() {
    let mut decoder = ClientFrameDecoder::new(usize::MAX);
    let mut input = BytesMut::from(format!("do 1 1 0 {}\r\nabc", u64::MAX).as_str());
    assert_eq!(decoder.next_frame(&mut input), Ok(None));
    assert!(input.is_empty());
    assert_eq!(decoder.held_bytes(), BODY_BUFFERED_BYTES_MAX);
}

#[test]
fn a_token_shows_nothing_of_itself() {
    assert_eq!(format!("{:?}", token()), "Token(..)");
    assert_eq!(token().as_bytes()[15], 0xff);
}

proptest! {
    #[test]
    fn frames_of_a_client_survive_the_wire_in_any_pieces(
        frames in vec(any_client_frame(), 1..8),
        pieces in any_pieces(),
    ) {
        let mut stream = BytesMut::new();
        frames.iter().for_each(|frame| frame.encode(&mut stream));
        let mut decoder = ClientFrameDecoder::new(PAYLOAD_BYTES_MAX);
        let mut read = Vec::new();
        feed(&stream, &pieces, |input| {
            while let Some(frame) = decoder.next_frame(input).expect("all of them are frames") {
                read.push(frame);
            }
            assert!(input.len() <= BODY_BUFFERED_BYTES_MAX, "{} unread", input.len());
        });
        prop_assert_eq!(read, frames);
        prop_assert_eq!(decoder.held_bytes(), 0);
    }

    #[test]
    fn frames_of_a_member_survive_the_wire_in_any_pieces(
        frames in vec(any_member_frame(), 1..8),
        pieces in any_pieces(),
    ) {
        let mut stream = BytesMut::new();
        frames.iter().for_each(|frame| frame.encode(&mut stream));
        let mut decoder = MemberFrameDecoder::new(PAYLOAD_BYTES_MAX);
        let mut read = Vec::new();
        feed(&stream, &pieces, |input| {
            while let Some(frame) = decoder.next_frame(input).expect("all of them are frames") {
                read.push(frame);
            }
        });
        prop_assert_eq!(read, frames);
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(
        stream in vec(any::<u8>(), 0..2000),
        pieces in any_pieces(),
    ) {
        let mut client = ClientFrameDecoder::new(PAYLOAD_BYTES_MAX);
        feed(&stream, &pieces, |input| while let Ok(Some(_)) = client.next_frame(input) {});
        let mut member = MemberFrameDecoder::new(PAYLOAD_BYTES_MAX);
        feed(&stream, &pieces, |input| while let Ok(Some(_)) = member.next_frame(input) {});
    }
}

#[test]
fn a_payload_that_is_refused_is_thrown_away_and_what_follows_is_read() {
    for size in [5_000, 40_000] {
        let whole = format!("do 7 3 2 {size}\r\n{}ping 1\r\n", "x".repeat(size));
        for arrived in [30, size / 2, size] {
            let mut decoder = ClientFrameDecoder::new(PAYLOAD_BYTES_MAX);
            let mut input = BytesMut::from(&whole.as_bytes()[..arrived]);
            assert_eq!(decoder.next_frame(&mut input), Ok(None));
            let refused = RefusedDo { channel: ChannelNumber(7), number: 3, answered: 2 };
            assert_eq!(decoder.refuse_payload(&mut input), Some(refused), "{size} {arrived}");
            assert_eq!((input.len(), decoder.held_bytes()), (0, 0), "{size} {arrived}");
            assert_eq!(decoder.refuse_payload(&mut input), None, "it is refused already");
            input.extend_from_slice(&whole.as_bytes()[arrived..]);
            assert_eq!(decoder.next_frame(&mut input), Ok(Some(ClientFrame::Ping(1))));
            assert_eq!(decoder.refuse_payload(&mut input), None, "none is on its way");
        }
    }
}

fn token() -> Token {
    let mut bytes: [u8; 16] = std::array::from_fn(|at| u8::try_from(at).expect("it is small"));
    bytes[15] = 0xff;
    Token::new(bytes)
}

fn any_channel() -> impl Strategy<Value = ChannelNumber> {
    (1..=u32::MAX).prop_map(ChannelNumber)
}

fn any_number() -> impl Strategy<Value = u64> {
    1..=COMMAND_NUMBER_MAX
}

fn any_claim() -> impl Strategy<Value = (ChannelNumber, Token, u32)> {
    let token = any::<[u8; 16]>().prop_map(Token::new);
    (any_channel(), token, LEASE_MILLIS_MIN..=LEASE_MILLIS_MAX)
}

fn any_client_frame() -> impl Strategy<Value = ClientFrame> {
    prop_oneof![
        any_claim().prop_map(|(channel, token, lease_millis)| {
            ClientFrame::Open { channel, token, lease_millis }
        }),
        (any_claim(), any::<u64>()).prop_map(|((channel, token, lease_millis), answered)| {
            ClientFrame::Resume { channel, token, lease_millis, answered }
        }),
        (any_channel(), any_number(), any::<u64>(), any_body()).prop_map(
            |(channel, number, answered, payload)| {
                ClientFrame::Do { channel, number, answered, payload }
            }
        ),
        any_channel().prop_map(|channel| ClientFrame::Stop { channel }),
        any_channel().prop_map(|channel| ClientFrame::Close { channel }),
        any::<u64>().prop_map(ClientFrame::Ping),
    ]
}

fn any_member_frame() -> impl Strategy<Value = MemberFrame> {
    let line = vec(any::<u8>(), 0..LINE_BYTES_MAX).prop_map(Bytes::from);
    prop_oneof![
        any_channel().prop_map(|channel| MemberFrame::Opened { channel }),
        (any_channel(), any::<u64>(), any::<u64>(), vec((any_number(), line), 0..64)).prop_map(
            |(channel, last, waiting, kept)| {
                let waiting = Some(waiting).filter(|waiting| *waiting > 0);
                MemberFrame::Resumed { channel, last, waiting, kept }
            }
        ),
        any_channel().prop_map(|channel| MemberFrame::Lapsed { channel }),
        any_channel().prop_map(|channel| MemberFrame::Refused { channel }),
        any_channel().prop_map(|channel| MemberFrame::Moved { channel }),
        any_channel().prop_map(|channel| MemberFrame::Closed { channel }),
        (any_channel(), any_number(), any_body()).prop_map(|(channel, number, payload)| {
            MemberFrame::Reply { channel, number, payload }
        }),
        (any_channel(), any_number(), any::<u32>()).prop_map(|(channel, number, millis)| {
            MemberFrame::Later { channel, number, millis }
        }),
        any::<u64>().prop_map(MemberFrame::Pong),
    ]
}
