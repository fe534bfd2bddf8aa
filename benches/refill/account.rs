//! What members hold in the end, asked one by one.

use std::net::SocketAddr;

use super::{
    course::Backlog,
    jobs::Jobs,
    judge::{Counts, Looked},
};
use crate::common::{
    Fallible,
    client::Client,
    support::{self, PATIENCE, Random},
};

const STATES: [&str; 4] = ["ready", "reserved", "delayed", "buried"];
/// Jobs that are looked at, of all.
const LOOKED_AT: u64 = 1000;

/// What a member says that the tube of the backlog holds.
///
/// # Errors
/// When it does not answer.
pub(crate) fn of_backlog(address: SocketAddr) -> Fallible<Counts> {
    counts(address, "stats-tube default")
}

/// How many jobs a member says it holds, over all tubes and states.
///
/// # Errors
/// When it does not answer.
pub(crate) fn of_all(address: SocketAddr) -> Fallible<u64> {
    Ok(counts(address, "stats")?.values().sum())
}

fn counts(address: SocketAddr, command: &str) -> Fallible<Counts> {
    let mut client = Client::connect(address)?;
    let mut counts = Counts::new();
    for state in STATES {
        counts.insert(state, client.stat(command, &format!("current-jobs-{state}"))?);
    }
    Ok(counts)
}

/// Looks at jobs of the backlog, chosen at random, on both members.
///
/// # Errors
/// When one does not answer.
pub(crate) fn look(
    members: [SocketAddr; 2],
    backlog: Backlog,
    jobs: Jobs,
    seed: u64,
) -> Fallible<Looked> {
    let [one, other] = members.map(support::Client::to);
    let (mut one, mut other) = (one?, other?);
    let mut random = Random::new(seed);
    let mut looked = Looked::default();
    for _ in 0..LOOKED_AT {
        let id = random.within(backlog.first_id..backlog.last_id + 1);
        let replies = [peek(&mut one, id)?, peek(&mut other, id)?];
        looked.asked += 1;
        if replies[0] != replies[1] {
            eprintln!("job {id} is not the same on both members");
        } else if replies[0] == b"NOT_FOUND\r\n" {
            looked.absent += 1;
        } else if is_as_put(&replies[0], &jobs) {
            looked.same += 1;
        } else {
            eprintln!("job {id} is not as it was put");
        }
    }
    Ok(looked)
}

fn peek(client: &mut support::Client, id: u64) -> Fallible<Vec<u8>> {
    client.send(format!("peek {id}\r\n").as_bytes())?;
    let reply = client.reply(PATIENCE);
    Ok(reply.ok_or_else(|| format!("peek {id} is not answered within {PATIENCE:?}"))?)
}

/// Whether a reply of FOUND has a body of these jobs.
fn is_as_put(reply: &[u8], jobs: &Jobs) -> bool {
    let end = reply.iter().position(|&byte| byte == b'\n');
    let body = end.and_then(|end| reply[end + 1..].strip_suffix(b"\r\n"));
    body.is_some_and(|body| jobs.recognise(body).is_some())
}
