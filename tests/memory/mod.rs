//! The budget for memory: a backlog far larger than it, a restart within it, and who feels it.

mod backlog_tests;
mod crowd_tests;
mod lives_tests;

use std::path::Path;

use crate::support::{Client, PATIENCE, Server, ServerOptions, Target};

/// The least budget.
const FLOOR: &str = "96M";

/// What a server of the floor may have at any moment beside its code, bytes. A build for tests needs
/// some 20 MiB more than one for use, which `benches/backlog` holds to its budget.
const PEAK_BYTES_MAX: u64 = 108 << 20;

fn server(data: Option<&Path>, budget: &str) -> Server {
    let flags = vec!["--memory".to_owned(), budget.to_owned()];
    let data = data.map(Path::to_owned);
    Server::start(Target::Beanpole, ServerOptions { flags, data, ..Default::default() })
}

/// The body of a job, by its number.
fn body(number: usize, size: usize) -> String {
    format!("{number:0size$}")
}

/// Puts jobs with the numbers of `numbers` and returns the replies.
fn put_all(client: &mut Client, numbers: std::ops::Range<usize>, size: usize) -> Vec<String> {
    let mut replies = Vec::new();
    let mut next = numbers.start;
    while next < numbers.end {
        let end = (next + 100).min(numbers.end);
        let puts: String =
            (next..end).map(|it| format!("put 0 0 600 {size}\r\n{}\r\n", body(it, size))).collect();
        client.send(puts.as_bytes()).expect("the server takes it");
        for _ in next..end {
            let reply = client.reply(PATIENCE * 3).expect("answered");
            replies.push(String::from_utf8(reply).expect("replies are text"));
        }
        next = end;
    }
    replies
}

fn count(replies: &[String], front: &str) -> usize {
    replies.iter().filter(|reply| reply.starts_with(front)).count()
}

/// The most memory the process has had beside its code, bytes: what there is of that when it is asked
/// is taken off.
fn peak_bytes(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()))
        .expect("the process runs");
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("proc(5) has it");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib << 10
    };
    bytes("VmHWM:") - bytes("RssFile:")
}
