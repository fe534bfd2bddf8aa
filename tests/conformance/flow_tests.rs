//! What a transcript cannot say: a client that sends and does not read.

use std::time::Duration;

use crate::support::{Server, Target, left_out};

/// More replies than the sockets between client and server can hold, in commands.
const COMMANDS_MAX: usize = 200_000;

#[test]
fn beanstalkd_stops_reading_from_a_client_that_does_not_read() {
    if Target::Beanstalkd.program().is_none() {
        return left_out("a client that does not read: beanstalkd is not installed");
    }
    check(Target::Beanstalkd);
}

#[test]
fn beanpole_stops_reading_from_a_client_that_does_not_read() {
    check(Target::Beanpole);
}

/// The client is held up, others are not, and nothing of what it sent is lost.
fn check(target: Target) {
    let mut server = Server::with_flags(target, &[]);
    let mut client = server.connect();
    client.limit_sending(Duration::from_millis(300)).expect("a limit can be set");
    let held_up = (0..COMMANDS_MAX).position(|_| client.send(b"stats\r\n").is_err());
    let sent = held_up.expect("the server reads on though nobody takes its replies");

    let mut other = server.connect();
    assert_eq!(other.put("0 0 10", b"x").expect("another client is served"), "INSERTED 1");
    for reply in 0..sent {
        let answer = client.reply(Duration::from_secs(10));
        assert!(
            answer.is_some_and(|answer| answer.starts_with(b"OK ")),
            "reply {reply} is missing"
        );
    }
}
