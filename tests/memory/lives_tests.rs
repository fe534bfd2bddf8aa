//! A server that was killed soon after its start, again and again.

use super::*;
use crate::support::alone;

const SIZE: usize = 4096;
const JOBS: usize = 20_000;

#[test]
fn after_three_short_lives_a_server_makes_room_before_it_takes_jobs() {
    let _alone = alone();
    let data = tempfile::tempdir().expect("a temporary directory");
    let mut server = server(Some(data.path()), FLOOR);
    let replies = put_all(&mut server.connect(), 0..JOBS, SIZE);
    assert_eq!(count(&replies, "INSERTED "), JOBS);
    for _ in 0..3 {
        server.restart();
    }
    assert!(server.log().contains("were all shorter than a minute"), "{}", server.log());
    let mut client = server.connect();
    assert!(client.ask("reserve").expect("answered").starts_with("RESERVED 1 "));
    for _ in 0..1000 {
        match client.put("0 0 60", b"a").expect("answered").as_str() {
            "DRAINING" => std::thread::sleep(std::time::Duration::from_millis(10)),
            reply => {
                assert!(reply.starts_with("INSERTED "), "{reply}");
                assert!(server.log().contains("jobs are taken again"), "{}", server.log());
                return;
            }
        }
    }
    panic!("no room within 10 s:\n{}", server.log());
}

/// They take up more than half of what jobs may, and the limits allow many more.
const TUBES: usize = 20_000;

#[test]
fn a_queue_of_many_tubes_takes_jobs_again_however_much_the_tubes_take_up() {
    let _alone = alone();
    let data = tempfile::tempdir().expect("a temporary directory");
    let mut server = server(Some(data.path()), FLOOR);
    let mut client = server.connect();
    for tubes in (0..TUBES).collect::<Vec<_>>().chunks(100) {
        let puts = |tube| format!("use {tube}\r\nput 0 0 600 1\r\na\r\n");
        client.send(tubes.iter().map(puts).collect::<String>().as_bytes()).expect("it is taken");
        for tube in tubes {
            assert_eq!(client.reply_line().expect("answered"), format!("USING {tube}"));
            let reply = client.reply_line().expect("answered");
            assert!(reply.starts_with("INSERTED "), "{reply} for tube {tube}:\n{}", server.log());
        }
    }
    for _ in 0..3 {
        server.restart();
    }
    assert!(
        server.log().contains("percent of each"),
        "limits that fit are told:\n{}",
        server.log()
    );
    let mut client = server.connect();
    for _ in 0..1000 {
        match client.put("0 0 60", b"a").expect("answered").as_str() {
            "DRAINING" => std::thread::sleep(std::time::Duration::from_millis(10)),
            reply => return assert!(reply.starts_with("INSERTED "), "{reply}"),
        }
    }
    panic!("no room within 10 s:\n{}", server.log());
}

#[test]
fn a_small_queue_is_served_as_ever_however_often_it_is_killed() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let mut server = server(Some(data.path()), FLOOR);
    for _ in 0..4 {
        let mut client = server.connect();
        assert!(client.put("0 0 60", b"a").expect("answered").starts_with("INSERTED "));
        server.restart();
    }
    assert!(!server.log().contains("shorter than a minute"), "{}", server.log());
}
