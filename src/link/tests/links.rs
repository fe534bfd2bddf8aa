//! How links end, and what is told of it.

use std::time::Duration;

use socket2::SockRef;
use tokio::io::AsyncWriteExt;

use super::{LONG, links, streams};
use crate::link::{Link, LinkError, write_frame};

const SHORT: Duration = Duration::from_millis(50);

fn frame(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_frame(&mut bytes, 1, 1, |buffer| buffer.extend_from_slice(body));
    bytes
}

#[tokio::test]
async fn end_between_frames_is_none_and_inside_one_it_is_closed() {
    let whole = frame(b"a job");
    for length in 0..=whole.len() {
        let (mut theirs, ours) = streams().await;
        theirs.write_all(&whole[..length]).await.expect("it is read");
        drop(theirs);
        let (mut reader, _writer) = Link::new(ours).split();
        let mut came = reader.next().await;
        if length == whole.len() {
            assert!(matches!(came, Ok(Some(_))), "{came:?}");
            came = reader.next().await;
        }
        match length == 0 || length == whole.len() {
            true => assert!(matches!(came, Ok(None)), "{length} bytes: {came:?}"),
            false => assert!(matches!(came, Err(LinkError::Closed)), "{length} bytes: {came:?}"),
        }
    }
}

#[tokio::test]
async fn reset_is_closed() {
    let (theirs, ours) = streams().await;
    let (mut reader, mut writer) = Link::new(ours).split();
    SockRef::from(&theirs).set_linger(Some(Duration::ZERO)).expect("it is a socket");
    drop(theirs);
    let came = reader.next().await;
    assert!(matches!(came, Err(LinkError::Closed)), "{came:?}");
    writer.feed(1, 1, b"to nobody");
    let sent = writer.flush().await;
    assert!(matches!(sent, Err(LinkError::Closed)), "{sent:?}");
}

#[tokio::test]
async fn reader_goes_on_where_it_was_dropped() {
    let (mut theirs, ours) = streams().await;
    let (mut reader, _writer) = Link::new(ours).split();
    for body in [vec![7; 100], vec![8; 3 << 20]] {
        let bytes = frame(&body);
        let (first, second) = bytes.split_at(bytes.len() / 2);
        let (sent, early) = tokio::join!(theirs.write_all(first), reader.next_within(SHORT));
        sent.expect("it is read");
        assert!(matches!(early, Err(LinkError::TimedOut)), "{early:?}");
        let (sent, came) = tokio::join!(theirs.write_all(second), reader.next_within(LONG));
        sent.expect("it is read");
        assert_eq!(came.expect("whole").expect("a frame").body, body);
    }
}

#[tokio::test]
async fn garbage_closes_the_link_for_both() {
    let (mut theirs, ours) = streams().await;
    let (mut reader, mut writer) = Link::new(ours).split();
    let mut bytes = frame(b"a job");
    bytes[HEADER_LAST] ^= 1;
    theirs.write_all(&bytes).await.expect("it is read");
    let came = reader.next().await;
    assert!(matches!(came, Err(LinkError::Corrupt { .. })), "{came:?}");
    let again = reader.next().await;
    assert!(matches!(again, Err(LinkError::ClosedHere)), "{again:?}");
    writer.feed(1, 1, b"too late");
    let sent = writer.flush().await;
    assert!(matches!(sent, Err(LinkError::ClosedHere)), "{sent:?}");
    let (mut their_reader, _their_writer) = Link::new(theirs).split();
    let end = their_reader.next_within(LONG).await;
    assert!(matches!(end, Ok(None) | Err(LinkError::Closed)), "{end:?}");
}

/// Of the checksum.
const HEADER_LAST: usize = 16;

#[tokio::test]
async fn other_side_that_reads_nothing_ends_a_write() {
    let (_theirs, ours) = streams().await;
    let (mut reader, mut writer) = Link::with_stall_max(ours, SHORT).split();
    // More than the kernel takes for both ends.
    writer.feed(1, 1, &vec![0; 32 << 20]);
    let sent = writer.flush().await;
    assert!(matches!(sent, Err(LinkError::TimedOut)), "{sent:?}");
    let came = reader.next_within(LONG).await;
    assert!(matches!(came, Err(LinkError::ClosedHere)), "{came:?}");
}

#[tokio::test]
async fn frames_longer_than_any_buffer_pass_in_order() {
    let (one, other) = links().await;
    let (_, mut writer) = one.split();
    let (mut reader, _writer) = other.split();
    let body = vec![b'l'; 20 << 20];
    let writing = async {
        for id in 0..3 {
            writer.feed_with(9, id, |buffer| buffer.extend_from_slice(&body));
        }
        writer.flush().await.expect("it is read");
        assert_eq!(writer.buffered(), 0);
    };
    let reading = async {
        for id in 0..3 {
            let frame = reader.next().await.expect("whole").expect("a frame");
            assert_eq!((frame.kind, frame.id), (9, id));
            assert!(frame.body == body);
        }
    };
    tokio::join!(writing, reading);
}

#[tokio::test]
async fn closing_here_is_not_taken_for_the_other_sides_end() {
    let (one, other) = links().await;
    let (mut reader, mut writer) = one.split();
    let (mut their_reader, _their_writer) = other.split();
    let (came, ()) = tokio::join!(reader.next_within(LONG), async { writer.close() });
    assert!(matches!(came, Err(LinkError::ClosedHere)), "{came:?}");
    let end = their_reader.next_within(LONG).await;
    assert!(matches!(end, Ok(None)), "{end:?}");
}
