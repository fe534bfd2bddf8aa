//! What a connection makes of a server's answers, and of none.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use super::super::body::body_bytes;
use super::super::fake::{Act, FakeServer, read, send};
use super::*;
use crate::clock::Clock;
use crate::history::{Body, Line};

const LIMIT: Duration = Duration::from_millis(300);
const PLACE: Place = Place { client: 3, connection: 1, member: 2 };

/// A connection to a server that plays this script, and where its records go.
fn connect_to(script: Vec<Act>) -> (FakeServer, Connection, Receiver<Line>) {
    let server = FakeServer::start(vec![script]);
    let (sender, receiver) = sync_channel(100);
    let recorder = Arc::new(Recorder::new(Clock::start(), sender));
    let connection = Connection::open(PLACE, server.address, LIMIT, &recorder).unwrap();
    (server, connection, receiver)
}

/// Records in the order in which they were written; all have the place of the connection.
fn records(receiver: &Receiver<Line>) -> Vec<Record> {
    let record = |line| match line {
        Line::Record(record) => record,
        line => panic!("{line:?} is no record"),
    };
    let records: Vec<Record> = receiver.try_iter().map(record).collect();
    for record in &records {
        let Record { client, connection, member, .. } = *record;
        assert_eq!(Place { client, connection, member }, PLACE);
        assert!(record.invoked <= record.returned, "{record:?}");
    }
    records
}

fn commands(records: &[Record]) -> Vec<&Command> {
    records.iter().map(|record| &record.command).collect()
}

fn put(body: Body) -> Command {
    Command::Put { tube: "default".to_owned(), priority: 5, delay: 0, ttr: 30, body, under: None }
}

fn reserve() -> Command {
    Command::Reserve { tubes: vec!["default".to_owned()], timeout: Some(0) }
}

#[test]
fn every_command_is_a_record_with_its_reply() {
    let body = Body { key: 0xabc, bytes: 20, is_intact: true };
    let bytes = body_bytes(0xabc, 20);
    let put_bytes = [b"put 5 0 30 20\r\n".as_slice(), &bytes, b"\r\n"].concat();
    let reserved = [b"RESERVED 7 20\r\n".as_slice(), &bytes, b"\r\n"].concat();
    let (server, mut connection, receiver) = connect_to(vec![
        Act::Read(put_bytes),
        send("INSERTED 7\r\n"),
        read("reserve-with-timeout 0\r\n"),
        Act::Send(reserved),
        Act::Read(Vec::new()),
    ]);
    assert_eq!(connection.ask(put(body)), Ok(Reply::Inserted { id: 7 }));
    assert_eq!(connection.ask(reserve()), Ok(Reply::Reserved { id: 7, body }));
    connection.close();
    drop(server);
    let records = records(&receiver);
    assert_eq!(commands(&records), [&Command::Connect, &put(body), &reserve(), &Command::Close]);
    assert!(records.iter().all(|record| matches!(record.outcome, Outcome::Replied(_))));
}

#[test]
fn reply_in_pieces_is_one_reply() {
    let (_server, mut connection, _receiver) = connect_to(vec![
        read("reserve-with-timeout 0\r\n"),
        send("RESERVED 7"),
        Act::Pause,
        send(" 20\r"),
        Act::Pause,
        send("\n0000000000000abc"),
        Act::Pause,
        Act::Send([&body_bytes(0xabc, 20)[16..], b"\r"].concat()),
        Act::Pause,
        send("\n"),
        read("delete 7\r\n"),
        send("DELETED\r\n"),
    ]);
    let body = Body { key: 0xabc, bytes: 20, is_intact: true };
    assert_eq!(connection.ask(reserve()), Ok(Reply::Reserved { id: 7, body }));
    assert_eq!(connection.ask(Command::Delete { id: 7 }), Ok(Reply::Deleted));
}

#[test]
fn reply_that_is_cut_off_is_unknown_and_ends_the_connection() {
    for end in [Act::Pause, Act::Reset] {
        let (_server, mut connection, receiver) = connect_to(vec![
            read("touch 6\r\n"),
            send("TOUCHED\r\n"),
            read("delete 7\r\n"),
            send("DELE"),
            Act::Pause,
            end,
        ]);
        assert_eq!(connection.ask(Command::Touch { id: 6 }), Ok(Reply::Touched));
        assert_eq!(connection.ask(Command::Delete { id: 7 }), Err(Ended));
        let records = records(&receiver);
        let [_connect, touch, delete, broken] = records.as_slice() else {
            panic!("other records: {records:?}")
        };
        assert!(matches!(delete.outcome, Outcome::Unknown { .. }));
        assert_eq!(broken.command, Command::Broken);
        assert_eq!(broken.invoked, touch.invoked);
        assert!(broken.returned >= delete.returned);
    }
}

#[test]
fn frozen_member_is_given_up_after_the_limit() {
    let (_server, mut connection, receiver) =
        connect_to(vec![read("reserve-with-timeout 1\r\n"), Act::Freeze]);
    let command = Command::Reserve { tubes: Vec::new(), timeout: Some(1) };
    assert_eq!(connection.ask(command), Err(Ended));
    let records = records(&receiver);
    let [connect, reserve, broken] = records.as_slice() else {
        panic!("other records: {records:?}")
    };
    assert!(matches!(reserve.outcome, Outcome::Unknown { .. }));
    assert!(reserve.returned.since(reserve.invoked) >= LIMIT + Duration::from_secs(1));
    assert_eq!((&broken.command, broken.invoked), (&Command::Broken, connect.invoked));
}

#[test]
fn wrong_reply_is_illegal_and_ends_the_connection() {
    let (_server, mut connection, receiver) =
        connect_to(vec![read("delete 7\r\n"), send("RELEASED\r\n")]);
    assert_eq!(connection.ask(Command::Delete { id: 7 }), Err(Ended));
    let records = records(&receiver);
    let illegal = Outcome::Replied(Reply::Illegal { text: "RELEASED\r\n".to_owned() });
    assert_eq!(records[1].outcome, illegal);
    assert_eq!(records[2].command, Command::Broken);
}

#[test]
fn reply_that_nobody_asked_for_is_illegal() {
    let (_server, mut connection, receiver) =
        connect_to(vec![read("delete 7\r\n"), send("DELETED\r\nDELETED\r\n"), Act::Freeze]);
    assert_eq!(connection.ask(Command::Delete { id: 7 }), Ok(Reply::Deleted));
    assert_eq!(connection.ask(Command::Delete { id: 8 }), Err(Ended));
    let records = records(&receiver);
    assert!(matches!(records[2].outcome, Outcome::Replied(Reply::Illegal { .. })));
}

#[test]
fn other_bytes_than_were_put_are_noticed() {
    let mut bytes = body_bytes(0xabc, 20);
    bytes[19] ^= 1;
    let found = [b"FOUND 7 20\r\n".as_slice(), &bytes, b"\r\n"].concat();
    let (_server, mut connection, _receiver) =
        connect_to(vec![read("peek 7\r\n"), Act::Send(found)]);
    let body = Body { key: 0xabc, bytes: 20, is_intact: false };
    assert_eq!(connection.ask(Command::Peek { id: 7 }), Ok(Reply::Found { id: 7, body }));
}

#[test]
fn member_that_has_closed_is_asked_nothing() {
    let (server, mut connection, receiver) = connect_to(Vec::new());
    drop(server);
    assert_eq!(connection.ask(Command::Delete { id: 7 }), Err(Ended));
    assert_eq!(commands(&records(&receiver)), [&Command::Connect, &Command::Broken]);
}

#[test]
fn refused_connection_has_no_effect() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (sender, receiver) = sync_channel(100);
    let recorder = Arc::new(Recorder::new(Clock::start(), sender));
    assert!(Connection::open(PLACE, address, LIMIT, &recorder).is_err());
    let records = records(&receiver);
    assert_eq!(commands(&records), [&Command::Connect]);
    assert!(matches!(records[0].outcome, Outcome::NoEffect { .. }));
}

#[test]
fn large_put_that_nobody_reads_is_unknown() {
    let (_server, mut connection, receiver) = connect_to(vec![Act::Freeze]);
    let body = Body { key: 1, bytes: 32 * 1024 * 1024, is_intact: true };
    assert_eq!(connection.ask(put(body)), Err(Ended));
    let outcome = &records(&receiver)[1].outcome;
    assert!(matches!(outcome, Outcome::Unknown { why } if !why.starts_with("0 of")), "{outcome:?}");
}

#[test]
fn watched_and_used_tubes_are_those_that_were_acknowledged() {
    let tube = || "a".to_owned();
    let (_server, mut connection, _receiver) = connect_to(vec![
        read("watch a\r\n"),
        send("WATCHING 2\r\n"),
        read("watch a\r\n"),
        send("WATCHING 2\r\n"),
        read("ignore default\r\n"),
        send("WATCHING 1\r\n"),
        read("ignore a\r\n"),
        send("NOT_IGNORED\r\n"),
        read("use a\r\n"),
        send("OUT_OF_MEMORY\r\n"),
    ]);
    let default = "default".to_owned();
    assert_eq!(connection.ask(Command::Watch { tube: tube() }), Ok(Reply::Watching));
    assert_eq!(connection.ask(Command::Watch { tube: tube() }), Ok(Reply::Watching));
    assert_eq!(connection.ask(Command::Ignore { tube: default }), Ok(Reply::Watching));
    assert_eq!(connection.ask(Command::Ignore { tube: tube() }), Ok(Reply::NotIgnored));
    assert_eq!(connection.ask(Command::Use { tube: tube() }), Ok(Reply::OutOfMemory));
    assert_eq!((connection.used(), connection.watched()), ("default", [tube()].as_slice()));
}

#[test]
fn full_channel_holds_back_the_client() {
    let server = FakeServer::start(vec![vec![read("delete 7\r\n"), send("DELETED\r\n")]]);
    let (sender, receiver) = sync_channel(0);
    let recorder = Arc::new(Recorder::new(Clock::start(), sender));
    let address = server.address;
    let client = thread::spawn(move || {
        let mut connection = Connection::open(PLACE, address, LIMIT, &recorder).unwrap();
        connection.ask(Command::Delete { id: 7 }).unwrap();
        (connection, recorder)
    });
    let first = receiver.recv().unwrap();
    assert!(matches!(first, Line::Record(Record { command: Command::Connect, .. })));
    drop(receiver);
    let (_connection, recorder) = client.join().unwrap();
    assert!(recorder.is_gone(), "a record that nobody took");
}
