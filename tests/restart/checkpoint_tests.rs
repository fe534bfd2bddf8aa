//! A server that makes checkpoints by itself, with the limits it has in earnest.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::support::{Client, PATIENCE, Server, ServerOptions, Target, alone, now};

const BODY_SIZE: usize = 60_000;
const AT_ONCE: usize = 64;

/// Four checkpoints' worth: one is due after 256 MiB.
const WRITTEN_BYTES: usize = 1_100_000_000;

/// Two stretches of log, and something.
const DISK_BYTES_MAX: u64 = 720_000_000;

fn disk_bytes(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).expect("the directory is there").flatten();
    // A file may go while it is looked at.
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => disk_bytes(&entry.path()),
        Ok(found) => found.blocks() * 512,
        Err(_) => 0,
    });
    bytes.sum()
}

/// Puts many jobs at once and deletes them.
fn churn(client: &mut Client, body: &[u8]) {
    let mut command = format!("put 0 0 60 {BODY_SIZE}\r\n").into_bytes();
    command.extend_from_slice(body);
    command.extend_from_slice(b"\r\n");
    client.send(&command.repeat(AT_ONCE)).expect("the server answers");
    let mut deletes = String::new();
    for _ in 0..AT_ONCE {
        let reply = client.reply(PATIENCE).expect("a put is answered");
        let reply = String::from_utf8(reply).expect("replies are text");
        let id = reply.strip_prefix("INSERTED ").unwrap_or_else(|| panic!("{reply}"));
        deletes += &format!("delete {id}");
    }
    client.send(deletes.as_bytes()).expect("the server answers");
    for _ in 0..AT_ONCE {
        assert_eq!(client.reply(PATIENCE).expect("a delete is answered"), b"DELETED\r\n");
    }
}

fn stat(client: &mut Client, name: &str) -> u64 {
    let stats = client.ask("stats").expect("the server answers");
    let value = stats.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {stats}"))
}

/// There are two, but while the next is being written.
fn wait_for_two_checkpoints(dir: &Path) {
    let deadline = now() + PATIENCE;
    loop {
        let names: Vec<_> = fs::read_dir(dir).expect("it is there").flatten().collect();
        if names.len() == 2 {
            return;
        }
        assert!(now() < deadline, "{names:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_log_is_recycled_behind_checkpoints_and_old_jobs_stay() {
    let _alone = alone();
    let data = tempfile::tempdir().expect("a temporary directory can be made");
    let flags = ["-s", "1048576"].map(str::to_owned).to_vec();
    let options = ServerOptions { flags, data: Some(data.path().to_owned()), ..Default::default() };
    let mut server = Server::start(Target::Beanpole, options);
    let mut client = server.connect();
    assert_eq!(client.ask("use old").expect("the server answers"), "USING old");
    assert_eq!(client.put("3 0 60", b"the oldest job").expect("the server answers"), "INSERTED 1");
    assert_eq!(client.ask("use default").expect("the server answers"), "USING default");
    let body = vec![b'x'; BODY_SIZE];
    let (mut written, mut used_max) = (0, 0);
    while written < WRITTEN_BYTES {
        churn(&mut client, &body);
        written += AT_ONCE * BODY_SIZE;
        used_max = used_max.max(disk_bytes(data.path()));
    }
    assert!(used_max < DISK_BYTES_MAX, "{used_max} bytes on disk for one job");
    assert!(stat(&mut client, "binlog-oldest-index") > 1, "the first file is still there");
    wait_for_two_checkpoints(&data.path().join("checkpoints"));
    server.restart();
    let mut client = server.connect();
    assert_eq!(client.ask("peek 1").expect("the server answers"), "FOUND 1 14\r\nthe oldest job");
    assert_eq!(stat(&mut client, "current-jobs-ready"), 1);
    let next = written / BODY_SIZE + 2;
    assert_eq!(client.put("0 0 60", b"").expect("the server answers"), format!("INSERTED {next}"));
}
