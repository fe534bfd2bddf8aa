//! A full disk under a backlog that does not fit in memory: jobs that wait to be written to run files
//! do not keep the queue from being emptied, and the room comes back.

use std::fs;
use std::thread;
use std::time::Duration;

use super::disk::{SmallDisk, with_small_disk};
use crate::support::{Client, Server, ServerOptions, Target, now};

const DISK_BYTES: u64 = 160 << 20;
static BODY: [u8; 60_000] = [b'y'; 60_000];
const SEGMENT_FLAGS: [&str; 2] = ["-s", "1048576"];

/// More than the disk holds.
const PUTS_MAX: usize = 10_000;

/// More than may be hot with the least budget, and less than with [`LARGER_MEMORY`], all together.
const HOT_JOBS: usize = 450;
const LEAST_MEMORY: &str = "96M";
const LARGER_MEMORY: &str = "192M";

const PATIENCE: Duration = Duration::from_secs(30);

fn start(disk: &SmallDisk, memory: &str) -> Server {
    let mut flags = SEGMENT_FLAGS.map(str::to_owned).to_vec();
    flags.extend(["--memory".to_owned(), memory.to_owned()]);
    let options = ServerOptions { flags, data: Some(disk.data()), ..Default::default() };
    Server::start(Target::Beanpole, options)
}

fn put(client: &mut Client) -> bool {
    let reply = client.put("0 0 600", &BODY).expect("a put is answered");
    assert!(reply.starts_with("INSERTED ") || reply == "OUT_OF_MEMORY", "{reply}");
    reply != "OUT_OF_MEMORY"
}

fn put_until_full(client: &mut Client) -> usize {
    (0..PUTS_MAX).take_while(|_| put(client)).count()
}

/// Puts again and again until so many are taken.
fn put_until_taken(client: &mut Client, count: usize) {
    let (mut last, mut taken) = (now(), 0);
    while taken < count {
        if put(client) {
            (last, taken) = (now(), taken + 1);
            continue;
        }
        assert!(now() < last + PATIENCE, "puts do not resume: {taken} of {count} are taken");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Reserves and deletes so many jobs: they come in order, and each comes once.
fn empty(client: &mut Client, last: &mut u64, count: usize) {
    for _ in 0..count {
        let reply = client.ask("reserve-with-timeout 0").expect("answered");
        let id = reply.strip_prefix("RESERVED ").and_then(|rest| rest.split_once(' '));
        let id: u64 = id.unwrap_or_else(|| panic!("{reply}")).0.parse().expect("an id");
        assert!(id > *last, "{id} after {last}");
        *last = id;
        assert_eq!(client.ask(&format!("delete {id}")).expect("answered"), "DELETED");
    }
}

fn expect_empty(client: &mut Client) {
    assert_eq!(client.ask("reserve-with-timeout 0").expect("answered"), "TIMED_OUT");
}

fn has_run_files(disk: &SmallDisk) -> bool {
    fs::read_dir(disk.data().join("runs")).expect("it is there").next().is_some()
}

#[test]
fn a_disk_that_cold_jobs_have_filled_is_emptied_and_takes_puts_again() {
    with_small_disk(DISK_BYTES, "the disk full of cold jobs", |disk| {
        let mut server = start(disk, LEAST_MEMORY);
        let mut client = server.connect();
        let taken = put_until_full(&mut client);
        assert!(taken > HOT_JOBS && has_run_files(disk), "full after {taken} jobs");
        let mut last = 0;
        empty(&mut client, &mut last, taken / 3);
        server.restart();
        let mut client = server.connect();
        empty(&mut client, &mut last, taken - taken / 3);
        expect_empty(&mut client);
        put_until_taken(&mut client, taken / 2);
        server.restart();
        empty(&mut server.connect(), &mut last, taken / 2);
    });
}

#[test]
fn a_disk_that_others_have_filled_lets_cold_jobs_be_taken() {
    with_small_disk(DISK_BYTES, "cold jobs on a full disk", |disk| {
        let mut server = start(disk, LEAST_MEMORY);
        let mut client = server.connect();
        let count = HOT_JOBS * 2;
        put_until_taken(&mut client, count);
        assert!(has_run_files(disk));
        disk.fill();
        let mut last = 0;
        empty(&mut client, &mut last, count / 3);
        server.kill();
        disk.fill();
        server.restart();
        let mut client = server.connect();
        empty(&mut client, &mut last, count - count / 3);
        expect_empty(&mut client);
        disk.drain();
        put_until_taken(&mut client, count / 2);
        server.restart();
        empty(&mut server.connect(), &mut last, count / 2);
    });
}

#[test]
fn jobs_that_are_too_many_to_be_hot_and_cannot_be_written_are_all_there() {
    with_small_disk(DISK_BYTES, "a start with less memory on a full disk", |disk| {
        let mut server = start(disk, LARGER_MEMORY);
        put_until_taken(&mut server.connect(), HOT_JOBS);
        assert!(!has_run_files(disk));
        server.kill();
        drop(server);
        disk.fill();
        let mut server = start(disk, LEAST_MEMORY);
        let mut client = server.connect();
        let mut last = 0;
        empty(&mut client, &mut last, HOT_JOBS / 3);
        assert!(server.log().contains("no room for run files"), "they were written");
        server.kill();
        disk.fill();
        server.restart();
        let mut client = server.connect();
        empty(&mut client, &mut last, HOT_JOBS - HOT_JOBS / 3);
        expect_empty(&mut client);
        disk.drain();
        put_until_taken(&mut client, HOT_JOBS / 2);
    });
}
