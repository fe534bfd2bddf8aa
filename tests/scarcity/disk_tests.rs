//! A full disk: `put` is refused, what empties the queue goes on, puts resume by themselves, and
//! nothing that was acknowledged is lost, also not by a start on the full disk.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use super::disk::{SmallDisk, with_small_disk};
use crate::support::{Client, Server, ServerOptions, Target, now};

const DISK_BYTES: u64 = 64 << 20;
const BODY: [u8; 10_000] = [b'x'; 10_000];

/// Short segments: with those of 64 MiB a disk of this size has no room for the next one, ever.
const SEGMENT_FLAGS: [&str; 2] = ["-s", "1048576"];

/// More than the disk holds.
const PUTS_MAX: usize = 20_000;

/// How long the server may take to find room again for one more job.
const RESUME_WITHIN: Duration = Duration::from_secs(20);

fn start(disk: &SmallDisk) -> Server {
    let flags = SEGMENT_FLAGS.map(str::to_owned).to_vec();
    let options = ServerOptions { flags, data: Some(disk.data()), ..Default::default() };
    Server::start(Target::Beanpole, options)
}

/// Puts until there is no room. Returns how many jobs were taken.
fn put_until_full(client: &mut Client, jobs: &mut BTreeSet<u64>) -> usize {
    for count in 0..PUTS_MAX {
        let reply = client.put("0 0 600", &BODY).expect("a put is answered");
        match reply.strip_prefix("INSERTED ") {
            Some(id) => drop(jobs.insert(id.parse().expect("an id"))),
            None => {
                assert_eq!(reply, "OUT_OF_MEMORY");
                return count;
            }
        }
    }
    panic!("the disk is never full");
}

/// Puts again and again until `count` jobs are taken: room comes back bit by bit, and never all of
/// it, because two checkpoints and the room for a third stay beside the log.
fn put_until_taken(client: &mut Client, jobs: &mut BTreeSet<u64>, count: usize) {
    let mut deadline = now() + RESUME_WITHIN;
    let mut taken = 0;
    while taken < count {
        let reply = client.put("0 0 600", &BODY).expect("a put is answered");
        if let Some(id) = reply.strip_prefix("INSERTED ") {
            jobs.insert(id.parse().expect("an id"));
            taken += 1;
            deadline = now() + RESUME_WITHIN;
            continue;
        }
        assert_eq!(reply, "OUT_OF_MEMORY");
        assert!(now() < deadline, "puts do not resume: {taken} of {count} are taken");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Everything but `put` works. `job` is any that is ready.
fn expect_the_rest_works(client: &mut Client, job: u64) {
    let reserved = format!("RESERVED {job} {}\r\n{}", BODY.len(), String::from_utf8_lossy(&BODY));
    for (command, reply) in [
        (format!("reserve-job {job}"), reserved.as_str()),
        (format!("touch {job}"), "TOUCHED"),
        (format!("bury {job} 5"), "BURIED"),
        (format!("kick-job {job}"), "KICKED"),
        (format!("reserve-job {job}"), reserved.as_str()),
        (format!("release {job} 6 0"), "RELEASED"),
    ] {
        assert_eq!(client.ask(&command).expect("answered"), reply, "{command}");
    }
}

fn delete(client: &mut Client, jobs: &mut BTreeSet<u64>, count: usize) {
    for _ in 0..count {
        let job = jobs.pop_last().expect("there are so many");
        assert_eq!(client.ask(&format!("delete {job}")).expect("answered"), "DELETED");
    }
}

fn expect_jobs(client: &mut Client, jobs: &BTreeSet<u64>) {
    let stats = client.ask("stats").expect("answered");
    let ready = stats.lines().find_map(|line| line.strip_prefix("current-jobs-ready: "));
    assert_eq!(ready, Some(jobs.len().to_string().as_str()));
    for job in jobs {
        let reply = client.ask(&format!("stats-job {job}")).expect("answered");
        assert!(reply.starts_with("OK "), "job {job}: {reply}");
    }
}

#[test]
fn a_full_disk_refuses_puts_until_there_is_room_and_nothing_else() {
    with_small_disk(DISK_BYTES, "the full disk", |disk| {
        let mut server = start(disk);
        let mut client = server.connect();
        let mut jobs = BTreeSet::new();
        let taken = put_until_full(&mut client, &mut jobs);
        assert!(taken > 500, "full after {taken} jobs");
        for _ in 0..3 {
            let first = *jobs.first().expect("there are some");
            expect_the_rest_works(&mut client, first);
            let count = jobs.len() * 9 / 10;
            delete(&mut client, &mut jobs, count);
            put_until_taken(&mut client, &mut jobs, count / 4);
            put_until_full(&mut client, &mut jobs);
        }
        expect_jobs(&mut client, &jobs);
        server.restart();
        expect_jobs(&mut server.connect(), &jobs);
    });
}

#[test]
fn a_start_on_a_full_disk_loses_nothing_and_the_queue_can_be_emptied() {
    with_small_disk(DISK_BYTES, "the start on a full disk", |disk| {
        let mut server = start(disk);
        let mut jobs = BTreeSet::new();
        put_until_full(&mut server.connect(), &mut jobs);
        server.kill();
        disk.fill();
        server.restart();
        let mut client = server.connect();
        expect_jobs(&mut client, &jobs);
        put_until_full(&mut client, &mut jobs);
        expect_the_rest_works(&mut client, *jobs.first().expect("there are some"));
        let count = jobs.len() / 2;
        delete(&mut client, &mut jobs, count);
        disk.drain();
        put_until_taken(&mut client, &mut jobs, count / 4);
        server.restart();
        expect_jobs(&mut server.connect(), &jobs);
    });
}

#[test]
fn a_disk_with_less_room_than_is_to_be_left_takes_no_jobs_and_serves_all_else() {
    let home = tempfile::tempdir().expect("a temporary directory can be made");
    let start = |flags: &[&str]| {
        let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        let data = Some(home.path().join("data"));
        Server::start(Target::Beanpole, ServerOptions { flags, data, ..Default::default() })
    };
    std::fs::create_dir(home.path().join("data")).expect("a directory can be made");
    let mut server = start(&[]);
    let mut client = server.connect();
    assert_eq!(client.put("0 0 600", b"one").expect("a put is answered"), "INSERTED 1");
    drop((client, server));
    let mut server = start(&["--disk-free-min", "1000000G"]);
    let mut client = server.connect();
    assert_eq!(client.put("0 0 600", b"two").expect("a put is answered"), "OUT_OF_MEMORY");
    client.send(b"reserve\r\nbury 1 0\r\nkick 1\r\ndelete 1\r\n").expect("it takes commands");
    for awaited in ["RESERVED 1 3\r\none", "BURIED", "KICKED 1", "DELETED"] {
        assert_eq!(client.reply_line().expect("it answers"), awaited);
    }
}
