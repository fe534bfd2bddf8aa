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
