//! What a session's client sends and answers, frame by frame; and in `model`, with a member that loses
//! connections at random.

mod model;

use beanpole_protocol::{Command, PutKey, Refusal, Request, TubeName};

use super::*;

const CHANNEL: ChannelNumber = ChannelNumber(1);
const SIZE_MAX: u32 = 1 << 20;

#[test]
fn commands_wait_until_the_session_is_there() {
    let mut core = SessionCore::new(token(), 10_000);
    core.push(ask(Command::Reserve));
    assert_eq!(core.next_frame(), None);
    let open = ClientFrame::Open { channel: CHANNEL, token: token(), lease_millis: 10_000 };
    assert_eq!(core.attach(CHANNEL, SIZE_MAX), open);
    assert_eq!(core.next_frame(), None);
    assert_eq!(core.receive(MemberFrame::Opened { channel: CHANNEL }), Ok(Event::Attached));
    assert_eq!(sent(&mut core), ["1 0 reserve"]);
}

#[test]
fn one_that_was_not_begun_for_certain_is_begun_again() {
    let mut core = SessionCore::new(token(), 10_000);
    let open = core.attach(CHANNEL, SIZE_MAX);
    core.detach();
    assert_eq!(core.attach(CHANNEL, SIZE_MAX), open);
}

#[test]
fn replies_are_taken_in_the_order_of_their_commands() {
    let mut core = attached();
    core.push(ask(Command::Delete(1)));
    core.push(Ask::of(Request::Refused(Refusal::UnknownCommand)).expect("it can be answered"));
    core.push(ask(Command::Delete(2)));
    assert_eq!(sent(&mut core), ["1 0 delete 1", "2 0 delete 2"]);
    reply(&mut core, 2, "DELETED");
    assert_eq!(replies(&mut core), [""; 0]);
    reply(&mut core, 1, "NOT_FOUND");
    assert_eq!(replies(&mut core), ["NOT_FOUND", "UNKNOWN_COMMAND", "DELETED"]);
}

#[test]
fn no_more_is_under_way_than_a_member_keeps() {
    let mut core = attached();
    for job in 1..=40 {
        core.push(ask(Command::Delete(job)));
    }
    assert_eq!(sent(&mut core).len(), UNDER_WAY_MAX);
    reply(&mut core, 2, "DELETED");
    assert_eq!(
        sent(&mut core),
        [""; 0],
        "what came of the second is kept as long as the first waits"
    );
    reply(&mut core, 1, "DELETED");
    assert_eq!(replies(&mut core).len(), 2);
    assert_eq!(sent(&mut core), ["33 2 delete 33", "34 2 delete 34"]);
}

#[test]
fn payload_beside_the_first_is_bounded_and_one_command_may_be_of_any_size() {
    let mut core = attached();
    for _ in 0..3 {
        core.push(ask(put(UNDER_WAY_BYTES_MAX - 100)));
    }
    assert_eq!(sent(&mut core).len(), 2);
    reply(&mut core, 1, "INSERTED 1");
    assert_eq!(sent(&mut core).len(), 1);
    let mut core = attached();
    core.push(ask(put(2 * UNDER_WAY_BYTES_MAX)));
    core.push(ask(put(2 * UNDER_WAY_BYTES_MAX)));
    assert_eq!(sent(&mut core).len(), 1);
    reply(&mut core, 1, "INSERTED 1");
    assert_eq!(sent(&mut core).len(), 1);
}

#[test]
fn nothing_is_sent_behind_a_read() {
    let mut core = attached();
    for command in [Command::Delete(1), Command::Stats, Command::Delete(2), Command::PeekReady] {
        core.push(ask(command));
    }
    assert_eq!(sent(&mut core), ["1 0 delete 1", "2 0 stats"]);
    reply(&mut core, 1, "DELETED");
    assert_eq!(sent(&mut core), [""; 0]);
    reply(&mut core, 2, "OK 0\r\n");
    assert_eq!(sent(&mut core), ["3 2 delete 2", "4 2 peek-ready"]);
}

#[test]
fn a_put_that_the_member_does_not_take_is_not_sent() {
    let mut core = attached();
    core.push(ask(put(SIZE_MAX as usize + 1)));
    core.push(ask(Command::Delete(1)));
    assert_eq!(sent(&mut core), ["1 0 delete 1"]);
    assert_eq!(replies(&mut core), ["JOB_TOO_BIG"]);
}

#[test]
fn what_no_member_would_take_is_answered_here() {
    let mut core = attached();
    core.push(ask(Command::ReserveWithTimeout(u32::MAX)));
    core.push(ask(Command::Trunk { version: 1 }));
    assert_eq!(sent(&mut core), [""; 0]);
    assert_eq!(replies(&mut core), ["BAD_FORMAT", "UNKNOWN_COMMAND"]);
    assert!(Ask::of(Request::Command(Command::Quit)).is_none());
}

#[test]
fn a_key_goes_with_the_next_put_and_no_other() {
    let mut core = attached();
    let key = |text: &str| Command::Key(PutKey::new(text.as_bytes()).expect("it is a key"));
    for command in [key("lost"), key("k"), Command::Delete(1), put(1), put(2)] {
        core.push(ask(command));
    }
    let mut keyed = ask(put(1));
    keyed.set_key(PutKey::new(b"own").expect("it is a key"));
    core.push(ask(key("other")));
    core.push(keyed);
    core.push(ask(key("m")));
    core.push(Ask::of(Request::Refused(Refusal::ExpectedCrlf)).expect("it can be answered"));
    core.push(ask(put(3)));
    core.push(ask(key("n")));
    let unread = Refusal::BadFormat { counts: None };
    core.push(Ask::of(Request::Refused(unread)).expect("it can be answered"));
    core.push(ask(put(4)));
    let payloads: Vec<_> = std::iter::from_fn(|| core.next_frame())
        .map(|frame| match frame {
            ClientFrame::Do { payload, .. } => payload,
            other => panic!("{other:?} was sent"),
        })
        .collect();
    let expected = [
        "delete 1\r\n",
        "key k\r\nput 0 0 1 1\r\nx\r\n",
        "put 0 0 1 2\r\nxx\r\n",
        "key own\r\nput 0 0 1 1\r\nx\r\n",
        "put 0 0 1 3\r\nxxx\r\n",
        "put 0 0 1 4\r\nxxxx\r\n",
    ];
    assert_eq!(payloads, expected);
    assert_eq!(replies(&mut core), ["KEYED", "KEYED"]);
    reply(&mut core, 1, "NOT_FOUND");
    reply(&mut core, 2, "KEY_IN_USE");
    reply(&mut core, 3, "INSERTED 1");
    reply(&mut core, 4, "INSERTED 2");
    let answered =
        ["NOT_FOUND", "KEY_IN_USE", "INSERTED 1", "KEYED", "INSERTED 2", "KEYED", "EXPECTED_CRLF"];
    assert_eq!(replies(&mut core), answered);
}

#[test]
fn what_was_put_off_is_sent_again_under_its_number_with_all_behind_it() {
    let mut core = attached();
    for job in 1..=3 {
        core.push(ask(Command::Delete(job)));
    }
    core.end_input();
    assert_eq!(sent(&mut core), ["1 0 delete 1", "2 0 delete 2", "3 0 delete 3", "stop"]);
    let later = MemberFrame::Later { channel: CHANNEL, number: 2, millis: 50 };
    assert_eq!(core.receive(later), Ok(Event::PutOff { millis: 50 }));
    assert_eq!(sent(&mut core), [""; 0]);
    reply(&mut core, 1, "DELETED");
    core.resend();
    assert_eq!(sent(&mut core), ["2 1 delete 2", "3 1 delete 3", "stop"]);
}

#[test]
fn what_was_not_carried_out_before_a_move_is_sent_again() {
    let mut core = attached();
    for command in [put(1), Command::Delete(2), put(1), Command::Stats] {
        core.push(ask(command));
    }
    assert_eq!(sent(&mut core).len(), 4);
    move_to(&mut core, 0, 2, None, &[(1, "INSERTED 7"), (2, "DELETED")]);
    assert_eq!(replies(&mut core), ["INSERTED 7", "DELETED"]);
    assert_eq!(sent(&mut core), ["5 4 put 0 0 1 1", "6 4 stats"]);
}

#[test]
fn a_put_that_was_overtaken_was_refused() {
    let mut core = attached();
    core.push(ask(put(1)));
    core.push(ask(Command::Delete(2)));
    sent(&mut core);
    move_to(&mut core, 0, 2, None, &[(2, "DELETED")]);
    assert_eq!(replies(&mut core), ["OUT_OF_MEMORY", "DELETED"]);
    assert_eq!(sent(&mut core), [""; 0]);
}

#[test]
fn using_is_told_without_the_name() {
    let mut core = attached();
    core.push(ask(Command::Use(TubeName::new(b"mail").expect("it is a name"))));
    sent(&mut core);
    move_to(&mut core, 0, 1, None, &[(1, "USING")]);
    assert_eq!(replies(&mut core), ["USING mail"]);
}

#[test]
fn a_reserve_that_waits_goes_on_waiting() {
    let mut core = attached();
    core.push(ask(Command::Reserve));
    core.push(ask(Command::Delete(1)));
    sent(&mut core);
    assert!(!core.is_quiet());
    move_to(&mut core, 0, 1, Some(1), &[]);
    assert_eq!(sent(&mut core), ["3 0 delete 1"]);
    reply(&mut core, 1, "RESERVED 1 1\r\na");
    assert_eq!(replies(&mut core), ["RESERVED 1 1\r\na"]);
}

#[test]
fn the_body_of_a_job_that_is_held_is_asked_for() {
    for told in ["RESERVED 9", "RESERVED 9 1"] {
        let mut core = attached();
        core.push(ask(Command::Reserve));
        core.push(ask(Command::Delete(1)));
        sent(&mut core);
        move_to(&mut core, 0, 1, None, &[(1, told)]);
        assert_eq!(sent(&mut core), ["1 0 peek 9"]);
        // The reserve is not answered yet: another move asks for it again.
        move_to(&mut core, 0, 1, None, &[(1, told)]);
        assert_eq!(sent(&mut core), ["1 0 peek 9"]);
        reply(&mut core, 1, "FOUND 9 1\r\na");
        assert_eq!(replies(&mut core), ["RESERVED 9 1\r\na"]);
        assert_eq!(sent(&mut core), ["3 2 delete 1"]);
    }
}

#[test]
fn the_body_of_a_job_is_asked_for_before_the_wait_behind_it() {
    let mut core = attached();
    core.push(ask(Command::Reserve));
    core.push(ask(Command::Reserve));
    sent(&mut core);
    move_to(&mut core, 0, 2, Some(2), &[(1, "RESERVED 9")]);
    assert_eq!(sent(&mut core), ["1 0 peek 9"]);
    // There is no room for the body yet; the wait has nothing to do with that.
    let later = MemberFrame::Later { channel: CHANNEL, number: 1, millis: 50 };
    assert_eq!(core.receive(later), Ok(Event::PutOff { millis: 50 }));
    core.resend();
    assert_eq!(sent(&mut core), ["1 0 peek 9"]);
    reply(&mut core, 1, "FOUND 9 1\r\na");
    assert_eq!(replies(&mut core), ["RESERVED 9 1\r\na"]);
    assert!(core.is_quiet());
    reply(&mut core, 2, "RESERVED 10 1\r\nb");
    assert_eq!(replies(&mut core), ["RESERVED 10 1\r\nb"]);
}

#[test]
fn a_reserve_whose_job_is_gone_is_done_again() {
    let mut core = attached();
    core.push(ask(Command::ReserveWithTimeout(3)));
    sent(&mut core);
    move_to(&mut core, 0, 1, None, &[(1, "GONE")]);
    assert_eq!(sent(&mut core), ["2 1 reserve-with-timeout 3"]);
    move_to(&mut core, 1, 2, None, &[(2, "RESERVED 9")]);
    assert_eq!(sent(&mut core), ["2 1 peek 9"]);
    reply(&mut core, 2, "NOT_FOUND");
    assert_eq!(replies(&mut core), [""; 0]);
    assert_eq!(sent(&mut core), ["3 2 reserve-with-timeout 3"]);
    reply(&mut core, 3, "TIMED_OUT");
    assert_eq!(replies(&mut core), ["TIMED_OUT"]);
}

#[test]
fn the_end_of_input_is_told_again_after_a_move() {
    let mut core = attached();
    core.push(ask(Command::Reserve));
    core.end_input();
    assert_eq!(sent(&mut core), ["1 0 reserve", "stop"]);
    move_to(&mut core, 0, 1, Some(1), &[]);
    assert_eq!(sent(&mut core), ["stop"]);
}

#[test]
fn the_end_of_input_is_told_though_commands_cannot_be_sent_before_a_wait_is_over() {
    let mut core = attached();
    for command in [Command::Reserve, Command::ListTubeUsed, put(1), Command::Reserve] {
        core.push(ask(command));
    }
    core.end_input();
    assert_eq!(sent(&mut core), ["1 0 reserve", "2 0 list-tube-used", "stop"]);
    reply(&mut core, 1, "TIMED_OUT");
    reply(&mut core, 2, "USING default");
    assert_eq!(sent(&mut core), ["3 2 put 0 0 1 1", "4 2 reserve"]);
}

#[test]
fn a_session_that_has_lapsed_is_over() {
    let mut core = attached();
    core.detach();
    core.attach(CHANNEL, SIZE_MAX);
    assert_eq!(core.receive(MemberFrame::Lapsed { channel: CHANNEL }), Ok(Event::Lapsed));
    assert!(core.is_over());
    assert_eq!(core.next_frame(), None);
}

#[test]
fn who_is_refused_or_moved_has_no_member() {
    let mut core = attached();
    assert_eq!(core.receive(MemberFrame::Moved { channel: CHANNEL }), Ok(Event::Moved));
    assert!(core.is_homeless());
    core.attach(CHANNEL, SIZE_MAX);
    assert_eq!(core.receive(MemberFrame::Refused { channel: CHANNEL }), Ok(Event::Refused));
    assert!(core.is_homeless());
}

#[test]
fn a_session_is_closed_wherever_it_is() {
    let closed = MemberFrame::Closed { channel: CHANNEL };
    let mut core = attached();
    core.push(ask(Command::Reserve));
    sent(&mut core);
    core.close();
    assert_eq!(sent(&mut core), ["close"]);
    reply(&mut core, 1, "TIMED_OUT");
    assert_eq!(core.receive(closed.clone()), Ok(Event::Closed));
    assert!(core.is_over());

    let mut core = attached();
    core.detach();
    core.close();
    assert!(!core.is_over());
    core.attach(CHANNEL, SIZE_MAX);
    let resumed =
        MemberFrame::Resumed { channel: CHANNEL, last: 0, waiting: None, kept: Vec::new() };
    assert_eq!(core.receive(resumed), Ok(Event::Attached));
    assert_eq!(sent(&mut core), ["close"]);
    assert_eq!(core.receive(closed), Ok(Event::Closed));

    // Its end is not sent yet, for want of room.
    let mut core = attached();
    core.push(ask(Command::Delete(1)));
    sent(&mut core);
    core.close();
    reply(&mut core, 1, "DELETED");
    assert_eq!(sent(&mut core), ["close"]);

    let mut core = SessionCore::new(token(), 10_000);
    core.close();
    assert!(core.is_over());
    let mut core = SessionCore::new(token(), 10_000);
    core.attach(CHANNEL, SIZE_MAX);
    core.close();
    core.detach();
    assert!(core.is_over(), "nothing was done in it");
}

#[test]
fn only_a_session_that_waits_or_does_nothing_is_quiet() {
    let mut core = attached();
    assert!(core.is_quiet());
    core.push(ask(Command::Reserve));
    assert!(!core.is_quiet());
    sent(&mut core);
    assert!(core.is_quiet());
    core.push(ask(Command::Delete(1)));
    sent(&mut core);
    assert!(!core.is_quiet());
    core.detach();
    assert!(!core.is_quiet());
}

#[test]
fn a_member_that_does_not_keep_to_the_protocol_is_found_out() {
    let channel = CHANNEL;
    let cases: [(MemberFrame, Breach); 9] = [
        (MemberFrame::Opened { channel }, Breach::Unasked),
        (MemberFrame::Lapsed { channel }, Breach::Unasked),
        (MemberFrame::Refused { channel }, Breach::Unasked),
        (MemberFrame::Closed { channel }, Breach::Unasked),
        (resumed(1, None, &[]), Breach::Unasked),
        (MemberFrame::Pong(1), Breach::Unasked),
        (
            MemberFrame::Reply { channel, number: 3, payload: "DELETED\r\n".into() },
            Breach::UnknownNumber { number: 3 },
        ),
        (MemberFrame::Later { channel, number: 3, millis: 0 }, Breach::UnknownNumber { number: 3 }),
        (MemberFrame::Moved { channel }, Breach::Unasked),
    ];
    for (frame, breach) in cases {
        let mut core = attached();
        core.push(ask(Command::Delete(1)));
        core.push(ask(Command::Reserve));
        sent(&mut core);
        if frame == (MemberFrame::Moved { channel }) {
            core.detach();
        }
        assert_eq!(core.receive(frame.clone()), Err(breach), "{frame:?}");
    }
}

#[test]
fn what_a_member_cannot_tell_of_is_found_out() {
    let cases = [
        (resumed(3, None, &[]), Breach::FromTheFuture { last: 3, sent: 2 }),
        (resumed(2, Some(7), &[]), Breach::UnknownNumber { number: 7 }),
        (resumed(2, Some(2), &[]), Breach::Untold { number: 1 }),
        (resumed(1, None, &[(1, "USING")]), Breach::NoReply { number: 1 }),
        (resumed(1, None, &[(1, "GONE")]), Breach::NoReply { number: 1 }),
        (resumed(1, None, &[(1, "OK 3")]), Breach::NoReply { number: 1 }),
        (resumed(1, None, &[(1, "")]), Breach::NoReply { number: 1 }),
        (resumed(2, None, &[(1, "DELETED"), (2, "RESERVED")]), Breach::NoReply { number: 2 }),
    ];
    for (frame, breach) in cases {
        let mut core = attached();
        core.push(ask(Command::Delete(1)));
        core.push(ask(Command::Reserve));
        sent(&mut core);
        core.detach();
        core.attach(CHANNEL, SIZE_MAX);
        assert_eq!(core.receive(frame.clone()), Err(breach), "{frame:?}");
    }
}

fn token() -> Token {
    Token::new([7; 16])
}

fn ask(command: Command) -> Ask {
    Ask::of(Request::Command(command)).expect("a session can carry it")
}

fn put(bytes: usize) -> Command {
    Command::Put { priority: 0, delay: 0, ttr: 1, body: vec![b'x'; bytes].into() }
}

/// A session that has just begun.
fn attached() -> SessionCore {
    let mut core = SessionCore::new(token(), 10_000);
    core.attach(CHANNEL, SIZE_MAX);
    core.receive(MemberFrame::Opened { channel: CHANNEL }).expect("it was asked for");
    core
}

/// Lines, without what is behind the first of each command: number, answered, payload.
fn sent(core: &mut SessionCore) -> Vec<String> {
    std::iter::from_fn(|| core.next_frame())
        .map(|frame| match frame {
            ClientFrame::Do { number, answered, payload, .. } => {
                let text = String::from_utf8_lossy(&payload);
                let line = text.split("\r\n").next().expect("there is a line");
                format!("{number} {answered} {line}")
            }
            ClientFrame::Stop { .. } => "stop".to_owned(),
            ClientFrame::Close { .. } => "close".to_owned(),
            other => panic!("{other:?} was sent"),
        })
        .collect()
}

fn reply(core: &mut SessionCore, number: u64, text: &str) {
    let payload = format!("{text}\r\n").into();
    let frame = MemberFrame::Reply { channel: CHANNEL, number, payload };
    assert_eq!(core.receive(frame), Ok(Event::None));
}

fn replies(core: &mut SessionCore) -> Vec<String> {
    std::iter::from_fn(|| core.take_reply())
        .map(|reply| {
            let text = String::from_utf8(reply.to_vec()).expect("it is text");
            text.strip_suffix("\r\n").expect("a reply ends with CR LF").to_owned()
        })
        .collect()
}

fn resumed(last: u64, waiting: Option<u64>, kept: &[(u64, &str)]) -> MemberFrame {
    let line = |(number, line): &(u64, &str)| (*number, Bytes::from(format!("{line}\r\n")));
    let kept = kept.iter().map(line).collect();
    MemberFrame::Resumed { channel: CHANNEL, last, waiting, kept }
}

/// The connection is lost, and another member asked, which knows that.
fn move_to(
    core: &mut SessionCore,
    answered: u64,
    last: u64,
    waiting: Option<u64>,
    kept: &[(u64, &str)],
) {
    core.detach();
    assert_eq!(core.next_frame(), None);
    let resume =
        ClientFrame::Resume { channel: CHANNEL, token: token(), lease_millis: 10_000, answered };
    assert_eq!(core.attach(CHANNEL, SIZE_MAX), resume);
    assert_eq!(core.receive(resumed(last, waiting, kept)), Ok(Event::Attached));
}
