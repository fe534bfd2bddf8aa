//! What a session keeps from one connection to the next.

use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::Trunk;
use super::figures::wait_for;
use super::frames::token;
use crate::support::{PATIENCE, Server, ServerOptions, Target, Transport};

fn server(data: Option<&std::path::Path>) -> Server {
    let data = data.map(Into::into);
    let options = ServerOptions { data, transport: Transport::Tcp, ..Default::default() };
    Server::start(Target::Beanpole, options)
}

#[test]
fn a_session_goes_on_at_another_trunk_and_tells_what_became_of_its_commands() {
    let mut server = server(None);
    let mut first = Trunk::to(&mut server);
    first.open(1, 1);
    first.expect((1, 1), "use jobs", "USING jobs");
    first.expect((1, 2), "watch jobs", "WATCHING 2");
    first.put(1, 3, "7 0 60", "body");
    assert_eq!(first.frame(), "re 1 3 INSERTED 1|");
    first.expect((1, 4), "reserve", "RESERVED 1 4|body");
    first.expect((1, 5), "bury 99 0", "NOT_FOUND");
    let mut second = Trunk::to(&mut server);
    second.send(&format!("resume 8 {} 10000 4\r\n", token(1)));
    assert_eq!(second.frame(), "resumed 8 5 0 1, 5 NOT_FOUND");
    assert_eq!(first.frame(), "moved 1");
    second.expect((8, 6), "list-tube-used", "USING jobs");
    second.expect((8, 7), "touch 1", "TOUCHED");
    second.expect((8, 8), "delete 1", "DELETED");
}

#[test]
fn a_session_survives_the_death_of_its_server_with_jobs_and_wait() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let mut server = server(Some(directory.path()));
    let mut trunk = Trunk::to(&mut server);
    trunk.open(1, 1);
    trunk.put(1, 1, "0 0 60", "held");
    assert_eq!(trunk.frame(), "re 1 1 INSERTED 1|");
    trunk.expect((1, 2), "reserve", "RESERVED 1 4|held");
    trunk.ask(1, 3, "reserve");
    let mut other = server.connect();
    wait_for(&mut other, "current-waiting", 1);
    server.restart();
    let mut trunk = Trunk::to(&mut server);
    trunk.send(&format!("resume 1 {} 10000 2\r\n", token(1)));
    assert_eq!(trunk.frame(), "resumed 1 3 3 0");
    let mut other = server.connect();
    assert_eq!(other.put("0 0 60", b"next").expect("a reply"), "INSERTED 2");
    assert_eq!(trunk.frame(), "re 1 3 RESERVED 2 4|next|");
    trunk.expect((1, 4), "release 1 0 0", "RELEASED");
}

#[test]
fn the_body_of_a_job_comes_before_the_end_of_a_wait_behind_it() {
    let mut server = server(None);
    let mut first = Trunk::to(&mut server);
    first.open(1, 1);
    first.put(1, 1, "0 0 600", "job");
    assert_eq!(first.frame(), "re 1 1 INSERTED 1|");
    // Nobody reads what comes of these.
    first.ask(1, 2, "reserve");
    first.ask_behind((1, 3), 1, "reserve");
    wait_for(&mut server.connect(), "current-waiting", 1);
    let mut second = Trunk::to(&mut server);
    second.send(&format!("resume 1 {} 10000 1\r\n", token(1)));
    assert_eq!(second.frame(), "resumed 1 3 3 1, 2 RESERVED 1");
    second.ask(1, 2, "peek 1");
    assert_eq!(second.frame(), "re 1 2 FOUND 1 3|job|");
    // One behind the wait comes after it.
    second.ask_behind((1, 4), 2, "peek 1");
    second.ask_behind((1, 2), 1, "peek 1");
    assert_eq!(second.frame(), "re 1 2 FOUND 1 3|job|");
    let mut other = server.connect();
    assert_eq!(other.put("0 0 600", b"next").expect("a reply"), "INSERTED 2");
    assert_eq!(second.frame(), "re 1 3 RESERVED 2 4|next|");
    assert_eq!(second.frame(), "re 1 4 FOUND 1 3|job|");
}

#[test]
fn the_end_of_the_input_behind_a_list_holds_nothing_up() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let mut server = server(Some(directory.path()));
    let mut trunk = Trunk::to(&mut server);
    let mut other = server.connect();
    for channel in 1..=300 {
        trunk.open(channel, channel);
        trunk.ask(channel, 1, "reserve");
        trunk.ask_behind((channel, 2), 0, "list-tubes");
        wait_for(&mut server.connect(), "current-waiting", 1);
        // The wait is over at about the time at which that comes.
        other.send(b"put 0 0 600 3\r\njob\r\n").expect("the server reads");
        trunk.send(&format!("stop {channel}\r\n"));
        let reserved = trunk.frame();
        assert!(reserved.contains(" RESERVED ") || reserved.contains(" TIMED_OUT"), "{reserved}");
        assert_eq!(trunk.frame(), format!("re {channel} 2 OK 14|---\n- default\n|"));
        trunk.expect((channel, 3), "use default", "USING default");
        trunk.send(&format!("close {channel}\r\n"));
        assert_eq!(trunk.frame(), format!("closed {channel}"));
        let inserted = other.reply_line().expect("a reply");
        assert!(inserted.starts_with("INSERTED "), "{inserted}");
        let reserved = other.ask("reserve-with-timeout 1").expect("a reply");
        let id = reserved.split(' ').nth(1).unwrap_or_else(|| panic!("{reserved}"));
        assert_eq!(other.ask(&format!("delete {id}")).expect("a reply"), "DELETED");
    }
}

#[test]
fn a_lease_does_not_run_while_the_only_server_is_stopped() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let mut server = server(Some(directory.path()));
    let mut trunk = Trunk::to(&mut server);
    trunk.send(&format!("open 1 {} 1000\r\n", token(1)));
    assert_eq!(trunk.frame(), "opened 1");
    trunk.put(1, 1, "0 0 600", "job");
    assert_eq!(trunk.frame(), "re 1 1 INSERTED 1|");
    trunk.expect((1, 2), "reserve", "RESERVED 1 3|job");
    server.signal(Signal::TERM).expect("it runs");
    assert!(server.wait_for_end(PATIENCE).expect("it ends").success());
    thread::sleep(Duration::from_millis(2_500));
    server.restart();
    let mut other = server.connect();
    let mut trunk = Trunk::to(&mut server);
    trunk.send(&format!("resume 1 {} 1000 2\r\n", token(1)));
    assert_eq!(trunk.frame(), "resumed 1 2 0 0");
    assert_eq!(other.ask("reserve-with-timeout 0").expect("a reply"), "TIMED_OUT");
    trunk.expect((1, 3), "delete 1", "DELETED");
}

#[test]
fn a_lease_that_is_over_ends_the_session_and_gives_its_jobs_to_others() {
    let mut server = server(None);
    let mut trunk = Trunk::to(&mut server);
    trunk.send(&format!("open 1 {} 1000\r\n", token(1)));
    assert_eq!(trunk.frame(), "opened 1");
    trunk.put(1, 1, "0 0 600", "job");
    assert_eq!(trunk.frame(), "re 1 1 INSERTED 1|");
    trunk.expect((1, 2), "reserve", "RESERVED 1 3|job");
    drop(trunk);
    let mut other = server.connect();
    assert_eq!(other.ask("reserve-with-timeout 0").expect("a reply"), "TIMED_OUT");
    other.send(b"reserve\r\n").expect("the server reads");
    let reply = other.reply(Duration::from_secs(10)).expect("the lease ends");
    assert_eq!(reply, b"RESERVED 1 3\r\njob\r\n");
    let mut trunk = Trunk::to(&mut server);
    trunk.send(&format!("resume 1 {} 1000 2\r\n", token(1)));
    assert_eq!(trunk.frame(), "lapsed 1");
}

#[test]
fn who_did_not_hear_that_its_session_was_opened_opens_it_again() {
    let mut server = server(None);
    let mut first = Trunk::to(&mut server);
    first.open(1, 1);
    let mut second = Trunk::to(&mut server);
    second.open(1, 1);
    assert_eq!(first.frame(), "moved 1");
    second.expect((1, 1), "use jobs", "USING jobs");
    first.send(&format!("open 1 {} 10000\r\n", token(1)));
    assert_eq!(first.frame(), "resumed 1 1 0 1, 1 USING");
}

#[test]
fn closing_a_channel_ends_its_session_at_once() {
    let mut server = server(None);
    let mut trunk = Trunk::to(&mut server);
    trunk.open(1, 1);
    trunk.put(1, 1, "0 0 600", "job");
    assert_eq!(trunk.frame(), "re 1 1 INSERTED 1|");
    trunk.expect((1, 2), "reserve", "RESERVED 1 3|job");
    trunk.send("close 1\r\n");
    assert_eq!(trunk.frame(), "closed 1");
    let mut other = server.connect();
    assert_eq!(other.ask("reserve-with-timeout 1").expect("a reply"), "RESERVED 1 3\r\njob");
    trunk.send(&format!("resume 1 {} 10000 0\r\n", token(1)));
    assert_eq!(trunk.frame(), "lapsed 1");
}

#[test]
fn channels_do_not_wait_for_each_other_and_each_keeps_its_order() {
    let mut server = server(None);
    let mut trunk = Trunk::to(&mut server);
    for channel in 1..=500 {
        trunk.send(&format!("open {channel} {} 10000\r\n", token(channel)));
        trunk.ask(channel, 1, "reserve");
        trunk.ask(channel, 2, "touch 9999");
    }
    for _ in 0..500 {
        assert!(trunk.frame().starts_with("opened "));
    }
    let mut producer = server.connect();
    // At once: a client that says nothing for five seconds is taken for dead.
    producer.send("put 0 0 60 1\r\nx\r\n".repeat(500).as_bytes()).expect("it reads");
    for job in 1..=500 {
        assert_eq!(producer.reply_line().expect("a reply"), format!("INSERTED {job}"));
    }
    let mut seen = vec![0; 501];
    for _ in 0..1000 {
        let frame = trunk.frame();
        let words: Vec<&str> = frame.split(' ').collect();
        let channel: usize = words[1].parse().expect("a channel");
        seen[channel] += 1;
        assert_eq!(words[2], seen[channel].to_string(), "{frame}");
        let expected = if seen[channel] == 1 { "RESERVED" } else { "NOT_FOUND|" };
        assert_eq!(words[3], expected, "{frame}");
    }
    // First come, first served, over all channels: job n went to channel n.
    trunk.expect((7, 3), "delete 7", "DELETED");
    trunk.expect((7, 4), "delete 8", "NOT_FOUND");
}

#[test]
fn the_end_of_the_input_ends_a_wait_as_on_a_connection_of_its_own() {
    let mut server = server(None);
    let mut trunk = Trunk::to(&mut server);
    trunk.open(1, 1);
    trunk.ask(1, 1, "reserve");
    wait_for(&mut server.connect(), "current-waiting", 1);
    trunk.send("stop 1\r\n");
    assert_eq!(trunk.frame(), "re 1 1 TIMED_OUT|");
    trunk.expect((1, 2), "reserve", "TIMED_OUT");
}
