//! A backlog larger than the budget.

use super::*;
use crate::support::alone;

const SIZE: usize = 4096;
const JOBS: usize = 20_000;

/// Reserves and deletes the next jobs, which must be these.
fn take(client: &mut Client, numbers: std::ops::Range<usize>) {
    for first in numbers.clone().step_by(50) {
        let last = (first + 50).min(numbers.end);
        client.send("reserve\r\n".repeat(last - first).as_bytes()).expect("the server takes it");
        let mut deletes = String::new();
        for number in first..last {
            let reply = client.reply(PATIENCE).expect("answered");
            let reply = String::from_utf8(reply).expect("text");
            let (line, rest) = reply.split_once("\r\n").expect("a line and a body");
            assert_eq!(rest.trim_end(), body(number, SIZE), "{line}");
            deletes += &format!("delete {}\r\n", line.split(' ').nth(1).expect("an id"));
        }
        client.send(deletes.as_bytes()).expect("the server takes it");
        for _ in first..last {
            assert_eq!(client.reply(PATIENCE).expect("answered"), b"DELETED\r\n");
        }
    }
}

#[test]
fn a_backlog_beyond_the_budget_is_kept_and_taken_in_order_also_after_a_kill() {
    let _alone = alone();
    let data = tempfile::tempdir().expect("a temporary directory");
    let mut server = server(Some(data.path()), FLOOR);
    let mut client = server.connect();
    let replies = put_all(&mut client, 0..JOBS, SIZE);
    assert_eq!(count(&replies, "INSERTED "), JOBS, "{:?}", replies.last());
    let peak = peak_bytes(&server);
    assert!(peak < PEAK_BYTES_MAX, "{peak} bytes were resident");
    take(&mut client, 0..100);

    server.restart();
    let mut client = server.connect();
    take(&mut client, 100..JOBS);
    assert_eq!(client.ask("reserve-with-timeout 0").expect("answered"), "TIMED_OUT");
    let peak = peak_bytes(&server);
    assert!(peak < PEAK_BYTES_MAX, "{peak} bytes were resident after the restart");
}

#[test]
fn every_command_finds_cold_jobs() {
    let _alone = alone();
    let data = tempfile::tempdir().expect("a temporary directory");
    let mut server = server(Some(data.path()), FLOOR);
    let mut client = server.connect();
    let replies = put_all(&mut client, 0..JOBS, SIZE);
    let id = |at: usize| -> u64 {
        let id = replies[at].trim_end().strip_prefix("INSERTED ").expect("inserted");
        id.parse().expect("a number")
    };
    let mut ask = |command: String| client.ask(&command).expect("answered");
    // The last ones put are needed last: they are cold.
    let cold = id(JOBS - 2000);
    assert!(ask(format!("stats-job {cold}")).contains("\nstate: ready\n"));
    assert!(ask(format!("peek {cold}")).ends_with(&body(JOBS - 2000, SIZE)));
    assert_eq!(ask(format!("delete {cold}")), "DELETED");
    assert_eq!(ask(format!("peek {cold}")), "NOT_FOUND");
    let cold = id(JOBS - 2001);
    assert!(ask(format!("reserve-job {cold}")).starts_with(&format!("RESERVED {cold} ")));
    assert_eq!(ask(format!("bury {cold} 5")), "BURIED");
    assert!(ask("peek-buried".to_owned()).starts_with(&format!("FOUND {cold} ")));
    assert_eq!(ask(format!("kick-job {cold}")), "KICKED");
    assert!(
        ask("stats-tube default".to_owned())
            .contains(&format!("\ncurrent-jobs-ready: {}\n", JOBS - 1))
    );
}

#[test]
fn in_memory_puts_are_refused_at_the_budget_and_all_else_goes_on() {
    let _alone = alone();
    let mut server = server(None, FLOOR);
    let mut client = server.connect();
    let replies = put_all(&mut client, 0..JOBS, SIZE);
    let taken = count(&replies, "INSERTED ");
    assert_eq!(taken + count(&replies, "OUT_OF_MEMORY\r\n"), JOBS, "{:?}", replies.last());
    assert!(taken > 5000 && taken < JOBS, "{taken} were taken");
    let peak = peak_bytes(&server);
    assert!(peak < PEAK_BYTES_MAX, "{peak} bytes were resident");
    take(&mut client, 0..taken / 2);
    let replies = put_all(&mut client, 0..taken / 4, SIZE);
    assert_eq!(count(&replies, "INSERTED "), taken / 4, "there is room again");
}
