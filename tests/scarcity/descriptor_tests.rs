//! No file descriptors left: clients wait, and are served when others leave.

use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::process::processor_time;
use crate::support::{Client, PATIENCE, Server, ServerOptions, Target, alone};

/// So many descriptors for everything: 26 for clients.
const DESCRIPTORS: u64 = 50;
const CLIENTS: usize = 60;

/// How long the server is watched while it has none left.
const WATCHED: Duration = Duration::from_secs(2);

/// A twentieth of one processor, beside what it needs without clients.
const PROCESSOR_TIME_MAX: Duration = Duration::from_millis(100);

#[test]
fn clients_beyond_the_descriptors_wait_and_are_served_when_others_leave() {
    let _alone = alone();
    let mut server = Server::with_flags(Target::Beanpole, &[]);
    lower_limit(&server, DESCRIPTORS);
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

/// With room for some 50 clients beside what the server needs itself.
const DESCRIPTORS_ON_DISK: u64 = 400;
const CROWD: usize = 450;

/// Jobs that do not fit the memory of the server: most become cold, in tens of run files.
const JOBS: usize = 1500;
const JOB_SIZE: usize = 40_000;

#[test]
fn clients_leave_descriptors_for_run_files() {
    let _alone = alone();
    let data = tempfile::tempdir().expect("a temporary directory");
    let flags = ["--memory", "96M"].map(str::to_owned).to_vec();
    let data = Some(data.path().to_owned());
    let mut server =
        Server::start(Target::Beanpole, ServerOptions { flags, data, ..Default::default() });
    let mut producer = server.connect();
    assert_eq!(producer.ask("use cold").expect("answered"), "USING cold");
    lower_limit(&server, DESCRIPTORS_ON_DISK);
    let mut crowd: Vec<Client> = (0..CROWD).map(|_| server.connect()).collect();
    for client in &mut crowd {
        client.send(b"list-tube-used\r\n").expect("the server answers");
    }
    for number in 0..JOBS {
        let reply = producer.put("0 0 600", &body(number)).expect("answered");
        assert!(reply.starts_with("INSERTED "), "{reply} for job {number}:\n{}", server.log());
    }
    assert_eq!(producer.ask("watch cold").expect("answered"), "WATCHING 2");
    for number in 0..JOBS {
        let reply = producer.ask("reserve-with-timeout 5").expect("answered");
        let (head, job) = reply.split_once("\r\n").unwrap_or_else(|| panic!("{reply}"));
        assert_eq!(job.as_bytes(), body(number), "job {number}");
        let id = head.split(' ').nth(1).expect("it has an id");
        assert_eq!(producer.ask(&format!("delete {id}")).expect("answered"), "DELETED");
    }
    let served = crowd.iter_mut().map(|client| is_served(client, WATCHED)).take_while(|&it| it);
    let served = served.count();
    assert!((20..80).contains(&served), "{served} of {CROWD} are served");
    drop(crowd);
    assert!(is_served_anew(&mut server), "{}", server.log());
}

fn body(number: usize) -> Vec<u8> {
    format!("{number:0JOB_SIZE$}").into_bytes()
}

fn is_served_anew(server: &mut Server) -> bool {
    let mut client = server.connect();
    client.send(b"list-tube-used\r\n").expect("the server answers");
    is_served(&mut client, PATIENCE)
}

/// After its start, in which it raises the limit to the hard one.
fn lower_limit(server: &Server, descriptors: u64) {
    let pid = Pid::from_raw(server.pid().try_into().expect("a pid")).expect("not zero");
    let limit = Rlimit { current: Some(descriptors), maximum: Some(descriptors) };
    prlimit(Some(pid), Resource::Nofile, limit).expect("a limit can be lowered");
}

fn is_served(client: &mut Client, timeout: Duration) -> bool {
    client.reply(timeout).is_some_and(|reply| reply == b"USING default\r\n")
}
