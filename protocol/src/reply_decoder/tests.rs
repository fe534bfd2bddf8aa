//! Replies as beanstalkd writes them, and what must hold for every input.

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::BODY_BUFFERED_BYTES_MAX;
use crate::samples::{any_pieces, any_reply, feed, tube};

#[test]
fn every_reply_is_written_as_beanstalkd_does() {
    let body = || Bytes::from_static(b"hello");
    for (reply, wire) in [
        (Reply::Inserted(1), "INSERTED 1\r\n"),
        (Reply::Inserted(u64::MAX), "INSERTED 18446744073709551615\r\n"),
        (Reply::PutBuried(7), "BURIED 7\r\n"),
        (Reply::Using(tube("default")), "USING default\r\n"),
        (Reply::Reserved { id: 3, body: body() }, "RESERVED 3 5\r\nhello\r\n"),
        (Reply::Reserved { id: 3, body: Bytes::new() }, "RESERVED 3 0\r\n\r\n"),
        (Reply::DeadlineSoon, "DEADLINE_SOON\r\n"),
        (Reply::TimedOut, "TIMED_OUT\r\n"),
        (Reply::Deleted, "DELETED\r\n"),
        (Reply::Released, "RELEASED\r\n"),
        (Reply::Buried, "BURIED\r\n"),
        (Reply::Touched, "TOUCHED\r\n"),
        (Reply::Watching(2), "WATCHING 2\r\n"),
        (Reply::NotIgnored, "NOT_IGNORED\r\n"),
        (Reply::Found { id: 4, body: body() }, "FOUND 4 5\r\nhello\r\n"),
        (Reply::Kicked(0), "KICKED 0\r\n"),
        (Reply::JobKicked, "KICKED\r\n"),
        (Reply::Paused, "PAUSED\r\n"),
        (Reply::Ok(Bytes::from_static(b"---\n- default\n")), "OK 14\r\n---\n- default\n\r\n"),
        (Reply::Trunk { member: 3, job_size_max: 65535 }, "TRUNK 1 3 65535\r\n"),
        (Reply::Keyed, "KEYED\r\n"),
        (Reply::KeyInUse, "KEY_IN_USE\r\n"),
        (Reply::NotFound, "NOT_FOUND\r\n"),
        (Reply::OutOfMemory, "OUT_OF_MEMORY\r\n"),
        (Reply::InternalError, "INTERNAL_ERROR\r\n"),
        (Reply::Draining, "DRAINING\r\n"),
        (Reply::BadFormat, "BAD_FORMAT\r\n"),
        (Reply::UnknownCommand, "UNKNOWN_COMMAND\r\n"),
        (Reply::ExpectedCrlf, "EXPECTED_CRLF\r\n"),
        (Reply::JobTooBig, "JOB_TOO_BIG\r\n"),
    ] {
        let mut written = BytesMut::new();
        reply.encode(&mut written);
        assert_eq!(written, wire);
        let read = ReplyDecoder::default().next_reply(&mut written).expect("it is a reply");
        assert_eq!((read, written.len()), (Some(reply), 0));
    }
}

#[test]
fn what_no_server_sends_is_refused() {
    for line in [
        "",
        "HELLO",
        "inserted 1",
        "INSERTED",
        "INSERTED ",
        "INSERTED x",
        "INSERTED 1 2",
        "INSERTED 18446744073709551616",
        "USING",
        "USING a b",
        "DELETED 1",
        "KICKED x",
        "RESERVED 1",
        "RESERVED 1 2 3",
        "OK -1",
        "TRUNK 2 1 1",
        "TRUNK 1 1",
        "TRUNK 1 1 4294967296",
    ] {
        let error = error_of(&format!("{line}\r\n"));
        let ReplyDecodeError::NotAReply { line: shown } = error else {
            panic!("{line:?} gave {error:?}");
        };
        assert_eq!(shown, line);
    }
}

#[test]
fn every_length_has_its_limit() {
    let long = "x".repeat(LINE_BYTES_MAX);
    assert!(matches!(error_of(&long), ReplyDecodeError::LineTooLong));
    let over = format!("OK {}\r\n", u64::from(REPLY_BODY_BYTES_MAX) + 1);
    assert!(matches!(error_of(&over), ReplyDecodeError::BodyTooBig { bytes, bytes_max }
        if bytes == u64::from(REPLY_BODY_BYTES_MAX) + 1 && bytes_max == REPLY_BODY_BYTES_MAX));
    let mut small = ReplyDecoder::new(2);
    let mut input = BytesMut::from("FOUND 1 2\r\nab\r\nFOUND 1 3\r\n");
    assert!(matches!(small.next_reply(&mut input), Ok(Some(Reply::Found { id: 1, .. }))));
    let error = small.next_reply(&mut input);
    assert!(matches!(error, Err(ReplyDecodeError::BodyTooBig { bytes: 3, bytes_max: 2 })));
}

#[test]
fn a_body_must_be_followed_by_cr_lf() {
    let error = error_of("RESERVED 1 3\r\nabcdef\r\n");
    assert!(matches!(error, ReplyDecodeError::MissingCrlf { bytes: 3 }));
}

#[test]
fn the_end_of_input_within_a_reply_is_an_error_and_between_two_is_not() {
    for (input, is_whole) in [
        ("", true),
        ("DELETED\r\n", true),
        ("DEL", false),
        ("OK 3\r\n", false),
        ("OK 3\r\na", false),
    ] {
        let mut decoder = ReplyDecoder::default();
        let mut bytes = BytesMut::from(input);
        let last = loop {
            match decoder.decode_eof(&mut bytes) {
                Ok(Some(_)) => {}
                last => break last,
            }
        };
        assert_eq!(last.is_ok(), is_whole, "{input:?} gave {last:?}");
    }
}

#[test]
fn a_line_and_its_body_can_be_sent_apart() {
    let reply = Reply::Reserved { id: 1, body: Bytes::from_static(b"abc") };
    let mut line = BytesMut::new();
    assert_eq!(reply.encode_line(&mut line), Some(&Bytes::from_static(b"abc")));
    assert_eq!(line, "RESERVED 1 3\r\n");
    assert_eq!(Reply::Deleted.encode_line(&mut line), None);
}

proptest! {
    #[test]
    fn replies_survive_the_wire_in_any_pieces(
        replies in prop::collection::vec(any_reply(), 1..8),
        pieces in any_pieces(),
    ) {
        let mut stream = BytesMut::new();
        replies.iter().for_each(|reply| reply.encode(&mut stream));
        let mut decoder = ReplyDecoder::default();
        let mut read = Vec::new();
        feed(&stream, &pieces, |input| {
            while let Some(reply) = decoder.next_reply(input).expect("all of them are replies") {
                read.push(reply);
            }
            assert!(input.len() <= BODY_BUFFERED_BYTES_MAX + 1, "{} unread", input.len());
        });
        prop_assert_eq!(read, replies);
        prop_assert!(decoder.is_idle());
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(
        stream in prop::collection::vec(any::<u8>(), 0..2000),
        pieces in any_pieces(),
    ) {
        let mut decoder = ReplyDecoder::default();
        feed(&stream, &pieces, |input| while let Ok(Some(_)) = decoder.next_reply(input) {});
    }
}

fn error_of(input: &str) -> ReplyDecodeError {
    let mut bytes = BytesMut::from(input);
    ReplyDecoder::default().next_reply(&mut bytes).expect_err("the input is wrong")
}
