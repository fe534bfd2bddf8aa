//! No file descriptors left: clients wait, and are served when others leave.

use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::process::processor_time;
use crate::support::{Client, PATIENCE, Server, Target, alone};

/// So many descriptors for everything.
const DESCRIPTORS: u64 = 40;
const CLIENTS: usize = 60;

/// How long the server is watched while it has none left.
const WATCHED: Duration = Duration::from_secs(2);

/// A twentieth of one processor, beside what it needs without clients.
const PROCESSOR_TIME_MAX: Duration = Duration::from_millis(100);

#[test]
fn clients_beyond_the_descriptors_wait_and_are_served_when_others_leave() {
    let _alone = alone();
    let mut server = Server::with_flags(Target::Beanpole, &[]);
    let pid = Pid::from_raw(server.pid().try_into().expect("a pid")).expect("not zero");
    // After its start, in which it raises the limit to the hard one.
    let limit = Rlimit { current: Some(DESCRIPTORS), maximum: Some(DESCRIPTORS) };
    prlimit(Some(pid), Resource::Nofile, limit).expect("a limit can be lowered");
    let time = processor_time(server.pid());
    thread::sleep(WATCHED);
    let idle = processor_time(server.pid()) - time;
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(b"list-tube-used\r\n").expect("the server answers");
    }
    // Connections are accepted in order: the first ones have all the descriptors.
    let served =
        clients.iter_mut().map(|client| is_served(client, WATCHED)).take_while(|&it| it).count();
    assert!((10..40).contains(&served), "{served} of {CLIENTS} are served");

    let (time, lines) = (processor_time(server.pid()), server.log().lines().count());
    thread::sleep(WATCHED);
    let spent = processor_time(server.pid()) - time;
    assert!(
        spent < PROCESSOR_TIME_MAX + idle,
        "{spent:?} of processor time in {WATCHED:?} of waiting, {idle:?} without clients"
    );
    let lines = server.log().lines().count() - lines;
    assert!(lines <= 2, "{lines} lines of log in {WATCHED:?} of waiting");

    let waiting = clients.split_off(served);
    drop(clients);
    let (mut early, mut late) = (waiting, Vec::new());
    late.extend(early.split_off(early.len().min(served)));
    for client in &mut early {
        assert!(is_served(client, PATIENCE), "a client is not served after others have left");
    }
    drop(early);
    for client in &mut late {
        assert!(is_served(client, PATIENCE), "a late client is not served");
    }
    assert!(server.log().contains("cannot accept"), "the log says nothing of it");
}

fn is_served(client: &mut Client, timeout: Duration) -> bool {
    client.reply(timeout).is_some_and(|reply| reply == b"USING default\r\n")
}
