//! An agent is taken for a server, and needs little.

use std::thread;
use std::time::Duration;

use crate::support::{Client, agent_before, cluster_of, now};

fn expect(client: &mut Client, command: &str, reply: &str) {
    assert_eq!(client.ask(command).expect("a reply"), reply, "to {command}");
}

#[test]
fn a_connection_to_the_agent_is_one_to_a_server() {
    let cluster = cluster_of(3);
    let mut agent = agent_before(&cluster);
    let mut client = agent.client();
    expect(&mut client, "use jobs", "USING jobs");
    assert_eq!(client.put("0 0 60", b"body").expect("a reply"), "INSERTED 1");
    expect(&mut client, "watch jobs", "WATCHING 2");
    expect(&mut client, "reserve", "RESERVED 1 4\r\nbody");
    expect(&mut client, "nonsense", "UNKNOWN_COMMAND");
    expect(&mut client, "delete x", "BAD_FORMAT");
    assert_eq!(client.put("0 0 60", &[b'x'; 70_000]).expect("a reply"), "JOB_TOO_BIG");
    expect(&mut client, "key once", "KEYED");
    assert_eq!(client.put("0 0 60", b"b").expect("a reply"), "INSERTED 2");
    expect(&mut client, "key once", "KEYED");
    assert_eq!(client.put("0 0 60", b"b").expect("a reply"), "INSERTED 2");
    // Commands in one piece are answered in their order, also behind one that waits.
    expect(&mut client, "ignore jobs", "WATCHING 1");
    client
        .send(b"reserve-with-timeout 1\r\ndelete 1\r\nstats-job 1\r\npeek 2\r\n")
        .expect("it reads");
    for reply in ["TIMED_OUT", "DELETED", "NOT_FOUND", "FOUND 2 1\r\nb"] {
        assert_eq!(client.reply_line().expect("a reply"), reply);
    }
    client.send(b"quit\r\n").expect("it reads");
    assert!(client.is_closed_within(Duration::from_secs(5)));
    assert!(agent.terminate().success());
}

#[test]
fn what_a_library_held_is_ready_again_when_it_leaves() {
    let cluster = cluster_of(3);
    let agent = agent_before(&cluster);
    let mut holder = agent.client();
    assert_eq!(holder.put("0 0 600", b"held").expect("a reply"), "INSERTED 1");
    expect(&mut holder, "reserve", "RESERVED 1 4\r\nheld");
    let mut other = agent.client();
    other.send(b"reserve\r\n").expect("it reads");
    assert!(other.is_silent_for(Duration::from_millis(300)));
    drop(holder);
    assert_eq!(other.reply_line().expect("a reply"), "RESERVED 1 4\r\nheld");
    // An end of the input that is none of the connection ends a wait, as at a server.
    other.send(b"reserve\r\n").expect("it reads");
    other.half_close().expect("it can be");
    assert_eq!(other.reply_line().expect("a reply"), "TIMED_OUT");
}

#[test]
fn jobs_of_an_agent_that_is_asked_to_end_are_ready_at_once() {
    let cluster = cluster_of(3);
    let mut agent = agent_before(&cluster);
    let mut holder = agent.client();
    assert_eq!(holder.put("0 0 600", b"held").expect("a reply"), "INSERTED 1");
    expect(&mut holder, "reserve", "RESERVED 1 4\r\nheld");
    // It waits for more, which does not hold the agent up, nor does what is asked for behind that.
    holder.send(b"reserve\r\ntouch 1\r\n").expect("it reads");
    assert!(holder.is_silent_for(Duration::from_millis(200)));
    let began = now();
    assert!(agent.terminate().success());
    assert!(now() - began < Duration::from_secs(4), "it waited as well");
    let mut other = cluster.client(0);
    expect(&mut other, "reserve-with-timeout 3", "RESERVED 1 4\r\nheld");
}

#[test]
fn a_thousand_idle_connections_take_less_than_20_mib() {
    let cluster = cluster_of(1);
    let agent = agent_before(&cluster);
    let mut clients: Vec<Client> = (0..1000).map(|_| agent.client()).collect();
    for client in &mut clients {
        expect(client, "watch jobs", "WATCHING 2");
    }
    thread::sleep(Duration::from_millis(500));
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).expect("it runs");
    let resident =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split(' ').rev().nth(1));
    let resident: u64 = resident.and_then(|kib| kib.trim().parse().ok()).expect("a size");
    eprintln!("1000 idle connections: {resident} KiB resident");
    assert!(resident < 20 << 10, "{resident} KiB");
}
