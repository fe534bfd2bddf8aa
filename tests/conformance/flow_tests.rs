//! What a transcript cannot say: a client that sends and does not read.

use std::fs;
use std::time::Duration;

use crate::support::{Client, PATIENCE, Server, ServerOptions, Target, Transport, alone, left_out};

/// Commands whose replies, of about a kilobyte each, fill what sockets can hold.
const QUESTIONS: usize = 30_000;
/// Bytes that fill what sockets can hold once the server reads no more.
const LINES_SIZE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What the server may grow by meanwhile, in KiB.
const GROWTH_KIB_MAX: u64 = 16 * 1024;

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

/// The client is held up, others are not, the server does not grow, and no reply is lost.
fn check(target: Target) {
    let _alone = alone();
    let mut server =
        Server::start(target, ServerOptions { transport: Transport::Tcp, ..Default::default() });
    let mut client = server.connect();
    client.ask("list-tube-used").expect("the server answers");
    let size_before = resident_kib(&server);
    client.limit_sending(Duration::from_millis(300)).expect("a limit can be set");
    let answered = send_until_held_up(&mut client);

    let mut other = server.connect();
    assert_eq!(other.put("0 0 10", b"x").expect("another client is served"), "INSERTED 1");
    let growth = resident_kib(&server).saturating_sub(size_before);
    assert!(growth < GROWTH_KIB_MAX, "the server grew by {growth} KiB");
    for reply in 0..answered {
        let answer = client.reply(PATIENCE);
        assert!(
            answer.is_some_and(|answer| answer.starts_with(b"OK ")),
            "reply {reply} is missing"
        );
    }
}

/// Sends questions, and then lines as long as they may be, until no more is taken. Returns how
/// many questions were sent for certain.
fn send_until_held_up(client: &mut Client) -> usize {
    const AT_ONCE: usize = 100;
    for sent in (0..QUESTIONS).step_by(AT_ONCE) {
        if client.send(&b"stats\r\n".repeat(AT_ONCE)).is_err() {
            return sent;
        }
    }
    let line = [&[b'z'; 222][..], b"\r\n"].concat();
    let lines = line.repeat(AT_ONCE);
    let is_held_up = (0..LINES_SIZE_BYTES_MAX / lines.len()).any(|_| client.send(&lines).is_err());
    assert!(is_held_up, "the server reads on though nobody takes its replies");
    QUESTIONS
}

/// The memory of the server.
fn resident_kib(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid()));
    let status = status.expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let size = line.and_then(|line| line.split_whitespace().next());
    size.and_then(|size| size.parse().ok()).expect("the kernel tells the size in kB")
}
