//! Many connections, each with something that takes up memory.

use super::*;
use crate::support::alone;

const CONNECTIONS: usize = 400;
const SIZE: usize = 65_000;

/// A client beside the crowd is served as ever.
fn serves(client: &mut Client) {
    assert!(client.put("0 0 60", b"beside").expect("answered").starts_with("INSERTED "));
    let reserved = client.ask("reserve-with-timeout 5").expect("answered");
    let id = reserved.split(' ').nth(1).unwrap_or_else(|| panic!("{reserved}"));
    assert_eq!(client.ask(&format!("delete {id}")).expect("answered"), "DELETED");
}

#[test]
fn bodies_that_never_become_whole_do_not_fill_the_memory() {
    let _alone = alone();
    let data = tempfile::tempdir().expect("a temporary directory");
    let mut server = server(Some(data.path()), FLOOR);
    let mut beside = server.connect();
    let unfinished = format!("put 0 0 60 {SIZE}\r\n{}", "x".repeat(SIZE - 1));
    let mut crowd: Vec<Client> = (0..CONNECTIONS)
        .map(|_| {
            let mut client = server.connect();
            client.send(unfinished.as_bytes()).expect("the server takes it");
            client
        })
        .collect();
    serves(&mut beside);
    let peak = peak_bytes(&server);
    assert!(peak < PEAK_BYTES_MAX, "{peak} bytes were resident");
    let mut refused = 0;
    for client in &mut crowd {
        client.send(b"x\r\n").expect("the server takes it");
        let reply = client.reply(PATIENCE).expect("answered");
        refused += usize::from(reply == b"OUT_OF_MEMORY\r\n");
    }
    assert!(refused > CONNECTIONS / 2, "{refused} were refused");
    drop(crowd);
    let reply = beside.put("0 0 60", unfinished.as_bytes()).expect("answered");
    assert!(reply.starts_with("INSERTED "), "{reply}");
    assert_eq!(beside.ask(&reply.replace("INSERTED", "delete")).expect("answered"), "DELETED");
    serves(&mut beside);
}

#[test]
fn clients_that_ask_for_bodies_and_read_none_do_not_fill_the_memory() {
    let _alone = alone();
    let data = tempfile::tempdir().expect("a temporary directory");
    let mut server = server(Some(data.path()), FLOOR);
    let mut beside = server.connect();
    beside.ask("use slow").expect("answered");
    let replies = put_all(&mut beside, 0..4 * CONNECTIONS, SIZE);
    assert_eq!(count(&replies, "INSERTED "), 4 * CONNECTIONS);
    let slow: Vec<Client> = (0..CONNECTIONS)
        .map(|_| {
            let mut client = server.connect();
            let asks = format!("watch slow\r\n{}", "peek-ready\r\nreserve\r\n".repeat(100));
            client.send(asks.as_bytes()).expect("the server takes it");
            client
        })
        .collect();
    beside.ask("use default").expect("answered");
    serves(&mut beside);
    // What the kernel holds of the replies is not the process's.
    let peak = peak_bytes(&server);
    assert!(peak < PEAK_BYTES_MAX, "{peak} bytes were resident");
    drop(slow);
    serves(&mut beside);
}

#[test]
fn idle_connections_beyond_the_share_are_closed_and_the_others_served() {
    let _alone = alone();
    let mut server = server(None, FLOOR);
    let mut beside = server.connect();
    let idle: Vec<Client> = (0..6000).map(|_| server.connect()).collect();
    serves(&mut beside);
    let peak = peak_bytes(&server);
    assert!(peak < PEAK_BYTES_MAX, "{peak} bytes were resident");
    drop(idle);
    let mut later = server.connect();
    serves(&mut later);
}
