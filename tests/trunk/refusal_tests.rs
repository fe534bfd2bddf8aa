//! What is no trunk, or does not keep to the protocol of one.

use super::Trunk;
use super::frames::token;
use crate::support::{Server, Target};

fn server() -> Server {
    Server::with_flags(Target::Beanpole, &[])
}

#[test]
fn the_word_is_unknown_where_it_is_not_the_first_or_of_another_version() {
    let mut server = server();
    let mut client = server.connect();
    assert_eq!(client.ask("use a").expect("a reply"), "USING a");
    assert_eq!(client.ask("trunk 1").expect("a reply"), "UNKNOWN_COMMAND");
    for word in ["trunk 2", "trunk", "trunk x", "trunk 1 2"] {
        let mut client = server.connect();
        assert_eq!(client.ask(word).expect("a reply"), "UNKNOWN_COMMAND", "{word}");
        // An ordinary connection it stays.
        assert_eq!(client.ask("use a").expect("a reply"), "USING a");
    }
}

#[test]
fn beanstalkd_does_not_know_the_word_either() {
    if Target::Beanstalkd.program().is_none() {
        return crate::support::left_out("beanstalkd is not installed");
    }
    let mut server = Server::with_flags(Target::Beanstalkd, &[]);
    assert_eq!(server.connect().ask("trunk 1").expect("a reply"), "UNKNOWN_COMMAND");
}

#[test]
fn whoever_does_not_keep_to_the_protocol_is_closed_and_changes_nothing() {
    let mut server = server();
    let opened = format!("open 1 {} 10000\r\n", token(1));
    let breaches = [
        "nonsense\r\n".to_owned(),
        "do 1 1 0\r\n".to_owned(),
        "do 1 1 0 99999999\r\n".to_owned(),
        format!("open 2 {} 10\r\n", token(2)),
        format!("open 2 {} 10000000\r\n", token(2)),
        "open 2 short 10000\r\n".to_owned(),
        opened.clone(),
        "do 1 1 0 3\r\nput".to_owned(),
        "do 1 1 0 14\r\nuse a\r\nuse b\r\n".to_owned(),
        "do 1 1 0 6\r\nquit\r\n".to_owned(),
        "do 1 5 0 9\r\ntouch 1\r\ndo 1 5 0 7\r\nuse b\r\n".to_owned(),
        "x".repeat(5000),
    ];
    for breach in &breaches {
        let mut trunk = Trunk::to(&mut server);
        trunk.send(&opened);
        let first = trunk.frame();
        assert!(first.starts_with("opened 1") || first.starts_with("resumed 1"), "{first}");
        trunk.send(breach);
        assert!(trunk.is_closed(), "{breach:.60} is put up with");
    }
    let mut client = server.connect();
    assert_eq!(client.ask("list-tubes").expect("a reply"), "OK 14\r\n---\n- default\n");
}

#[test]
fn nobody_gets_a_session_without_its_token() {
    let mut server = server();
    let mut trunk = Trunk::to(&mut server);
    trunk.send(&format!("open 1 {} 10000\r\n", token(1)));
    assert_eq!(trunk.frame(), "opened 1");
    let mut other = Trunk::to(&mut server);
    for guess in [token(0), token(2), token(u32::MAX)] {
        other.send(&format!("resume 1 {guess} 10000 0\r\n"));
        assert_eq!(other.frame(), "lapsed 1");
    }
    trunk.expect((1, 1), "use mine", "USING mine");
    // What is sent on a channel that has no session is nobody's.
    other.ask(1, 1, "use theirs");
    other.send("ping 1\r\n");
    assert_eq!(other.frame(), "pong 1");
    let mut client = server.connect();
    let tubes = client.ask("list-tubes").expect("a reply");
    assert!(tubes.contains("mine") && !tubes.contains("theirs"), "{tubes}");
}

#[test]
fn one_client_cannot_take_all_sessions() {
    let mut server = Server::with_flags(Target::Beanpole, &["--memory", "96M"]);
    let mut trunk = Trunk::to(&mut server);
    let (mut opened, mut refused) = (0, 0);
    // In portions, so that neither side has to hold much.
    for portion in 0..20 {
        for channel in 1..=1000 {
            let channel = portion * 1000 + channel;
            trunk.send(&format!("open {channel} {} 1000\r\n", token(channel)));
        }
        for _ in 0..1000 {
            match trunk.frame().split(' ').next() {
                Some("opened") => opened += 1,
                Some("refused") => refused += 1,
                other => panic!("{other:?} is no answer"),
            }
        }
    }
    assert!(opened >= 1_000 && refused > 0, "{opened} opened, {refused} refused");
    let mut client = server.connect();
    assert_eq!(client.ask("use still").expect("a reply"), "USING still");
    // Their leases end when it is gone, and there is room again.
    drop(trunk);
    let mut trunk = Trunk::to(&mut server);
    let deadline = crate::support::now() + crate::support::PATIENCE;
    loop {
        trunk.send(&format!("open 1 {} 1000\r\n", token(90_001)));
        match trunk.frame().as_str() {
            "opened 1" => return,
            "refused 1" => assert!(crate::support::now() < deadline, "there is no room again"),
            other => panic!("{other} is no answer"),
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
