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

/// Tubes with long names: a list of them is 2 MB, and there is room for one.
const TUBES: usize = 10_000;
const LISTS: usize = 8;
const LISTENERS: usize = 20;

#[test]
fn lists_of_all_tubes_take_their_turns_and_do_not_fill_the_memory() {
    let _alone = alone();
    let mut server = server(None, FLOOR);
    let mut beside = server.connect();
    for tubes in (0..TUBES).collect::<Vec<_>>().chunks(100) {
        let watches: String = tubes.iter().map(|tube| format!("watch {tube:0200}\r\n")).collect();
        beside.send(watches.as_bytes()).expect("the server takes it");
        for _ in tubes {
            assert!(beside.reply(PATIENCE).expect("answered").starts_with(b"WATCHING "));
        }
    }
    let mut crowd: Vec<Client> = (0..LISTENERS)
        .map(|_| {
            let mut client = server.connect();
            client.send("list-tubes\r\n".repeat(LISTS).as_bytes()).expect("the server takes it");
            client
        })
        .collect();
    serves(&mut beside);
    let peak = peak_bytes(&server);
    assert!(peak < PEAK_BYTES_MAX, "{peak} bytes were resident");
    let bytes = "---\n- default\n".len() + TUBES * "- \n".len() + TUBES * 200;
    let head = format!("OK {bytes}\r\n");
    // Each in a thread of its own: one that does not read holds up the others.
    std::thread::scope(|scope| {
        for client in &mut crowd {
            scope.spawn(|| {
                for _ in 0..LISTS {
                    let reply = client.reply(PATIENCE * 6).expect("answered");
                    assert!(reply.starts_with(head.as_bytes()), "{} bytes", reply.len());
                }
            });
        }
    });
    let peak = peak_bytes(&server);
    assert!(peak < PEAK_BYTES_MAX, "{peak} bytes were resident");
    let reply = beside.ask("list-tubes").expect("answered");
    assert!(reply.starts_with("OK "), "{reply}");
}
