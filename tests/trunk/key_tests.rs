//! Puts with a key: by anybody, over a connection of its own or a trunk.

use super::Trunk;
use super::frames::token;
use crate::support::{Client, Server, ServerOptions, Target, Transport, left_out};

fn put(client: &mut Client, key: &str, body: &str) -> String {
    assert_eq!(client.ask(&format!("key {key}")).expect("a reply"), "KEYED");
    client.put("0 0 60", body.as_bytes()).expect("a reply")
}

#[test]
fn a_put_that_comes_again_is_the_same_job_over_any_connection_and_after_a_restart() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let data = Some(directory.path().into());
    let options = ServerOptions { data, transport: Transport::Tcp, ..Default::default() };
    let mut server = Server::start(Target::Beanpole, options);
    let mut client = server.connect();
    assert_eq!(put(&mut client, "order/17", "body"), "INSERTED 1");
    assert_eq!(put(&mut server.connect(), "order/17", "body"), "INSERTED 1");
    // Only the next put has the key.
    assert_eq!(client.put("0 0 60", b"body").expect("a reply"), "INSERTED 2");
    assert_eq!(put(&mut client, "order/17", "other"), "KEY_IN_USE");
    assert_eq!(client.ask("delete 1").expect("a reply"), "DELETED");
    server.restart();
    let mut client = server.connect();
    assert_eq!(put(&mut client, "order/17", "body"), "INSERTED 1");
    assert_eq!(client.ask("peek 1").expect("a reply"), "NOT_FOUND");
    let mut trunk = Trunk::to(&mut server);
    trunk.send(&format!("open 1 {} 10000\r\n", token(1)));
    assert_eq!(trunk.frame(), "opened 1");
    trunk.ask(1, 1, "key order/17\r\nput 0 0 60 4\r\nbody");
    assert_eq!(trunk.frame(), "re 1 1 INSERTED 1|");
    trunk.ask(1, 2, "key order/18\r\nput 0 0 60 4\r\nbody");
    assert_eq!(trunk.frame(), "re 1 2 INSERTED 3|");
}

#[test]
fn a_put_that_is_refused_uses_up_its_key() {
    let mut server = Server::with_flags(Target::Beanpole, &[]);
    let mut client = server.connect();
    let refused: [(&[u8], &str); 3] = [
        (b"put 0 0 60 70000\r\n", "JOB_TOO_BIG"),
        (b"put 0 0 60 x\r\n", "BAD_FORMAT"),
        (b"put 0 0 60 1\r\nxyz", "EXPECTED_CRLF"),
    ];
    for ((command, reply), id) in refused.into_iter().zip(1..) {
        assert_eq!(client.ask("key once").expect("a reply"), "KEYED");
        client.send(command).expect("it reads");
        if reply == "JOB_TOO_BIG" {
            client.send(&[b'x'; 70_002]).expect("it reads");
        }
        assert_eq!(client.reply_line().expect("a reply"), reply);
        let inserted = format!("INSERTED {id}");
        assert_eq!(client.put("0 0 60", reply.as_bytes()).expect("a reply"), inserted);
    }
    assert_eq!(put(&mut client, "once", "right"), "INSERTED 4");
}

#[test]
fn a_key_that_is_none_is_unknown_and_beanstalkd_knows_none() {
    let mut server = Server::with_flags(Target::Beanpole, &[]);
    let mut client = server.connect();
    for wrong in ["key ", "key a b", &format!("key {}", "x".repeat(201))] {
        assert_eq!(client.ask(wrong).expect("a reply"), "UNKNOWN_COMMAND", "{wrong}");
    }
    assert_eq!(client.put("0 0 60", b"body").expect("a reply"), "INSERTED 1");
    assert_eq!(client.put("0 0 60", b"body").expect("a reply"), "INSERTED 2");
    if Target::Beanstalkd.program().is_none() {
        return left_out("beanstalkd is not installed");
    }
    let mut server = Server::with_flags(Target::Beanstalkd, &[]);
    assert_eq!(server.connect().ask("key a").expect("a reply"), "UNKNOWN_COMMAND");
}
