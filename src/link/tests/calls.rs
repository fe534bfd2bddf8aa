//! Requests and their answers.

use std::future::{pending, ready};
use std::time::Duration;

use tokio::sync::oneshot;

use super::{LONG, links};
use crate::link::{Caller, LinkError, serve};

const SHORT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn each_call_gets_its_answer_until_the_caller_leaves() {
    let (one, other) = links().await;
    let serving = serve(other, |request| ready((request.kind + 1, request.body.to_vec())));
    let calling = async {
        let mut caller = Caller::new(one);
        for number in 0..200_u64 {
            let body = number.to_le_bytes();
            let answer = caller.call(3, &body, LONG).await.expect("it is answered");
            assert_eq!((answer.kind, &answer.body[..]), (4, &body[..]));
        }
    };
    let (served, ()) = tokio::join!(serving, calling);
    assert!(served.is_ok(), "{served:?}");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let (one, other) = links().await;
    let serving = serve(other, |request| ready((request.kind, request.body.to_vec())));
    let (mut reader, mut writer) = one.split();
    let calling = async {
        for id in 0..5_000_u64 {
            writer.feed(1, id, &[b'p'; 100]);
        }
        let reading = async {
            for id in 0..5_000 {
                let answer = reader.next().await.expect("whole").expect("an answer");
                assert_eq!(answer.id, id);
            }
        };
        let (flushed, ()) = tokio::join!(writer.flush(), reading);
        flushed.expect("it is read");
        drop((reader, writer));
    };
    let (served, ()) = tokio::join!(serving, calling);
    assert!(served.is_ok(), "{served:?}");
}

#[tokio::test]
async fn answer_that_is_ready_does_not_wait_for_one_that_is_not() {
    let (one, other) = links().await;
    let (release, released) = oneshot::channel::<()>();
    let mut released = Some(released);
    let serving = serve(other, |request| {
        let gate = released.take_if(|_| request.id == 2);
        async move {
            if let Some(gate) = gate {
                gate.await.expect("it is released");
            }
            (request.kind, Vec::new())
        }
    });
    let (mut reader, mut writer) = one.split();
    let calling = async {
        writer.feed(1, 1, b"quick");
        writer.feed(1, 2, b"slow");
        writer.flush().await.expect("it is read");
        let quick = reader.next_within(LONG).await.expect("in time").expect("an answer");
        assert_eq!(quick.id, 1);
        release.send(()).expect("it waits");
        let slow = reader.next_within(LONG).await.expect("in time").expect("an answer");
        assert_eq!(slow.id, 2);
        drop((reader, writer));
    };
    let (served, ()) = tokio::join!(serving, calling);
    assert!(served.is_ok(), "{served:?}");
}

#[tokio::test]
async fn late_answer_closes_the_link() {
    let (one, other) = links().await;
    let mut caller = Caller::new(one);
    let serving = tokio::spawn(serve(other, async |request| {
        tokio::time::sleep(4 * SHORT).await;
        (request.kind, Vec::new())
    }));
    let late = caller.call(1, b"", SHORT).await;
    assert!(matches!(late, Err(LinkError::TimedOut)), "{late:?}");
    let next = caller.call(1, b"", LONG).await;
    assert!(matches!(next, Err(LinkError::ClosedHere)), "{next:?}");
    let served = tokio::time::timeout(LONG, serving).await.expect("it ends").expect("no panic");
    assert!(matches!(served, Ok(()) | Err(LinkError::Closed)), "{served:?}");
}

#[tokio::test]
async fn dropped_call_closes_the_link() {
    let (one, other) = links().await;
    let mut caller = Caller::new(one);
    let (mut reader, mut writer) = other.split();
    let dropped = tokio::time::timeout(SHORT, caller.call(1, b"first", LONG)).await;
    assert!(dropped.is_err());
    let first = reader.next().await.expect("whole").expect("a request");
    writer.feed(1, first.id, b"of the first");
    writer.flush().await.expect("the socket is open");
    let second = caller.call(1, b"second", LONG).await;
    assert!(matches!(second, Err(LinkError::ClosedHere)), "{second:?}");
}

#[tokio::test]
async fn answer_to_something_else_closes_the_link() {
    let (one, other) = links().await;
    let mut caller = Caller::new(one);
    let (mut reader, mut writer) = other.split();
    let answering = async {
        reader.next().await.expect("whole").expect("a request");
        writer.feed(1, 99, b"");
        writer.flush().await.expect("it is read");
    };
    let (answer, ()) = tokio::join!(caller.call(1, b"", LONG), answering);
    assert!(matches!(answer, Err(LinkError::Misanswered { asked: 1, answered: 99 })), "{answer:?}");
    let next = caller.call(1, b"", LONG).await;
    assert!(matches!(next, Err(LinkError::ClosedHere)), "{next:?}");
}

#[tokio::test]
async fn call_to_one_that_leaves_is_closed_and_not_late() {
    let (one, other) = links().await;
    let mut caller = Caller::new(one);
    let leaving = async {
        let (mut reader, _writer) = other.split();
        reader.next().await.expect("whole").expect("a request");
    };
    let (answer, ()) = tokio::join!(caller.call(1, b"", LONG), leaving);
    assert!(matches!(answer, Err(LinkError::Closed)), "{answer:?}");
    let (one, other) = links().await;
    let mut caller = Caller::new(one);
    let stopped = tokio::spawn(serve(other, async |_| pending().await));
    let (answer, ()) = tokio::join!(caller.call(1, b"", LONG), async {
        tokio::task::yield_now().await;
        stopped.abort();
    });
    assert!(matches!(answer, Err(LinkError::Closed)), "{answer:?}");
}
