//! Libraries that leave in the middle of it, as at a server.

use std::time::Duration;

use crate::support::{agent_before, cluster_of};

/// More than a session has under way, and more than the agent asks for at once.
const BEHIND: usize = 300;

#[test]
fn the_end_of_the_input_is_heard_behind_more_than_there_is_room_for() {
    let cluster = cluster_of(1);
    let agent = agent_before(&cluster);
    let mut client = agent.client();
    client.send(b"reserve\r\n").expect("it reads");
    client
        .send("list-tube-used\r\nput 0 0 60 1\r\nx\r\n".repeat(BEHIND).as_bytes())
        .expect("it reads");
    assert!(client.is_silent_for(Duration::from_millis(200)));
    client.half_close().expect("it can be");
    assert_eq!(client.reply_line().expect("a reply"), "TIMED_OUT");
    for job in 1..=BEHIND {
        assert_eq!(client.reply_line().expect("a reply"), "USING default");
        assert_eq!(client.reply_line().expect("a reply"), format!("INSERTED {job}"));
    }
    assert!(client.is_closed_within(Duration::from_secs(5)));
}

#[test]
fn who_goes_away_behind_more_than_there_is_room_for_holds_nothing_any_more() {
    let cluster = cluster_of(1);
    let agent = agent_before(&cluster);
    let mut client = agent.client();
    assert_eq!(client.put("0 0 600", b"held").expect("a reply"), "INSERTED 1");
    assert_eq!(client.ask("reserve").expect("a reply"), "RESERVED 1 4\r\nheld");
    client.send(b"reserve\r\n").expect("it reads");
    client.send("touch 1\r\n".repeat(BEHIND).as_bytes()).expect("it reads");
    let mut other = cluster.client(0);
    assert_eq!(other.ask("reserve-with-timeout 0").expect("a reply"), "TIMED_OUT");
    drop(client);
    assert_eq!(other.ask("reserve-with-timeout 5").expect("a reply"), "RESERVED 1 4\r\nheld");
}
