//! Without a data directory the log is in memory, and is cut there.

use super::process::resident_bytes;
use crate::support::{Client, PATIENCE, Server, Target, alone};

const AT_ONCE: usize = 500;
const BODY_SIZE: usize = 1000;

/// Jobs put and deleted before memory is looked at: until then it may grow.
const WARM_UP: usize = 40_000;
const JOBS: usize = 200_000;

/// What it may still grow: a sixth of the bodies that went through.
const GROWTH_BYTES_MAX: u64 = 32 << 20;

fn churn(client: &mut Client, jobs: usize) {
    let put = format!("put 0 0 60 {BODY_SIZE}\r\n{}\r\n", "x".repeat(BODY_SIZE));
    for _ in 0..jobs / AT_ONCE {
        client.send(put.repeat(AT_ONCE).as_bytes()).expect("the server answers");
        let mut deletes = String::new();
        for _ in 0..AT_ONCE {
            let reply = String::from_utf8(client.reply(PATIENCE).expect("answered"))
                .expect("replies are text");
            let id = reply.strip_prefix("INSERTED ").unwrap_or_else(|| panic!("{reply}"));
            deletes += &format!("delete {id}");
        }
        client.send(deletes.as_bytes()).expect("the server answers");
        for _ in 0..AT_ONCE {
            assert_eq!(client.reply(PATIENCE).expect("answered"), b"DELETED\r\n");
        }
    }
}

#[test]
fn memory_does_not_grow_with_the_jobs_that_went_through() {
    let _alone = alone();
    let mut server = Server::with_flags(Target::Beanpole, &[]);
    let mut client = server.connect();
    churn(&mut client, WARM_UP);
    let before = resident_bytes(server.pid());
    churn(&mut client, JOBS);
    let growth = resident_bytes(server.pid()).saturating_sub(before);
    assert!(growth < GROWTH_BYTES_MAX, "{before} bytes grew by {growth}");
}
