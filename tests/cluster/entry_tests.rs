//! Nobody gets in who does not belong there, and each refusal is said.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use super::scene::expect;
use crate::support::{Client, alone, cluster_of};

const NOTICED_WITHIN: Duration = Duration::from_secs(5);

#[test]
fn a_process_with_another_secret_is_not_taken_in() {
    let _alone = alone();
    let mut cluster = cluster_of(1);
    let stranger = cluster.stranger();
    let reason = cluster.add(0, stranger).expect_err("it is refused");
    assert!(reason.contains("secret"), "{reason}");
    let view = cluster.status(0).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(view.members.len(), 1, "{view:?}");
    expect(&mut cluster.client(0), "list-tube-used", "USING default");
}

#[test]
fn a_member_of_another_cluster_is_not_taken_in() {
    let _alone = alone();
    let mut cluster = cluster_of(1);
    let other = cluster.newcomer();
    cluster.init(other).unwrap_or_else(|why| panic!("init: {why}"));
    cluster.wait_serving(other);
    let reason = cluster.add(0, other).expect_err("it is refused");
    assert!(reason.len() > 10, "{reason}");
    assert_ne!(cluster.log(other), "", "it says so");
    for member in [0, other] {
        let view = cluster.status(member).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(view.members.len(), 1, "{view:?}");
    }
}

#[test]
fn a_known_member_with_an_empty_directory_does_not_vote() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let leader = cluster.leader();
    let emptied = cluster.follower_beside(leader);
    let third = 3 - leader - emptied;
    let put = cluster.client(leader).put("0 0 100", b"kept").expect("the member serves");
    assert!(put.starts_with("INSERTED "), "{put}");
    cluster.kill(emptied);
    cluster.lose_disk(emptied);
    cluster.spawn(emptied);
    cluster.wait_for("a word on how to go on", NOTICED_WITHIN, |it| {
        !it.is_running(emptied) || it.log(emptied).contains("replace")
    });
    // Two of three run, but one of them knows nothing: with its vote they would be a majority.
    cluster.kill(leader);
    std::thread::sleep(Duration::from_secs(3));
    assert!(cluster.refuses(third), "a majority of one\n{}", cluster.logs());
    cluster.restart(leader);
    expect(&mut cluster.client(leader), "peek 1", "FOUND 1 4\r\nkept");
}

#[test]
fn strangers_on_the_member_port_disturb_nobody() {
    let _alone = alone();
    let mut cluster = cluster_of(3);
    let mut address = cluster.address(0);
    address.set_port(11400);
    let mut strangers = Vec::new();
    for noise in [&b""[..], b"stats\r\n", b"bnpl", &[0xff; 4096]] {
        for _ in 0..50 {
            let mut stranger = TcpStream::connect(address).expect("the port is open");
            // It may have been closed already.
            drop(stranger.write_all(noise));
            strangers.push(stranger);
        }
    }
    let mut client = cluster.client(1);
    let put = client.put("0 0 100", b"x").expect("the member serves");
    assert!(put.starts_with("INSERTED "), "{put}");
    let first = &mut Client::to(address).expect("the port is open");
    assert!(first.is_closed_within(NOTICED_WITHIN), "a stranger is kept");
    cluster.wait_in_step();
}

#[test]
fn nothing_is_done_for_who_asks_for_nonsense() {
    let _alone = alone();
    let cluster = cluster_of(1);
    for request in [json!({"do": "nonsense"}), json!({}), json!("init"), json!({"do": "add"})] {
        assert!(cluster.change(0, &request).is_err(), "{request}");
    }
    expect(&mut cluster.client(0), "list-tube-used", "USING default");
}
