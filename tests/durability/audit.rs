//! Looks at every job of a server after a crash and holds it against the ledger.

use std::collections::{BTreeMap, BTreeSet};

use super::ledger::{Progress, Sighting, key_of};
use super::worker::Worker;
use crate::support::{Client, PATIENCE};

/// Questions that are sent at once.
const QUESTIONS_AT_ONCE: usize = 64;

/// Looks at all jobs with ids from `first_id` on, and at those of the ledger that are older.
/// Returns an id that is greater than all given so far.
///
/// # Errors
///
/// The first promise that was broken.
pub(crate) fn audit(
    client: &mut Client,
    workers: &mut [Worker],
    first_id: u64,
) -> Result<u64, String> {
    let probe = client.put("0 0 1", b"probe").map_err(|error| error.to_string())?;
    let next_id = probe.strip_prefix("INSERTED ").and_then(|id| id.parse().ok());
    let next_id: u64 = next_id.ok_or_else(|| format!("a put is answered {probe}"))?;
    client.ask(&format!("delete {next_id}")).map_err(|error| error.to_string())?;

    let mut ids: BTreeSet<u64> = (first_id..next_id).collect();
    ids.extend(workers.iter().flat_map(|worker| &worker.jobs).filter_map(|job| job.id));
    let greatest_known = ids.last().copied().unwrap_or_default();
    let mut sightings = look_at(client, &ids.into_iter().collect::<Vec<_>>())?;
    for worker in workers {
        worker.forget_what_is_not_kept();
        for job in &mut worker.jobs {
            job.audit(sightings.remove(&job.key).as_ref())?;
        }
        worker.jobs.retain(|job| job.delete != Progress::Done);
    }
    if let Some((key, seen)) = sightings.first_key_value() {
        return Err(format!("job {key:016x}, deleted before, is back: {seen:?}"));
    }
    if greatest_known >= next_id {
        return Err(format!("the id {next_id} is given though {greatest_known} was"));
    }
    Ok(next_id)
}

/// What there is of the jobs `ids`, by key.
fn look_at(client: &mut Client, ids: &[u64]) -> Result<BTreeMap<u64, Sighting>, String> {
    let mut found = Vec::new();
    for (id, reply) in ask_all(client, "peek", ids)? {
        if let Some(body) = body_of(&reply) {
            found.push((id, key_of(body)?));
        }
    }
    let ids: Vec<u64> = found.iter().map(|&(id, _)| id).collect();
    let mut sightings = BTreeMap::new();
    for ((id, reply), (_, key)) in ask_all(client, "stats-job", &ids)?.into_iter().zip(found) {
        let text = String::from_utf8_lossy(&reply).into_owned();
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        let state = field("state: ").ok_or("no state")?.to_owned();
        let priority = field("pri: ").and_then(|pri| pri.parse().ok()).ok_or("no priority")?;
        if let Some(twin) = sightings.insert(key, Sighting { id, state, priority }) {
            return Err(format!("job {key:016x} is there twice: {twin:?} and {id}"));
        }
    }
    Ok(sightings)
}

/// The replies to `command` about each of `ids`.
fn ask_all(client: &mut Client, command: &str, ids: &[u64]) -> Result<Vec<(u64, Vec<u8>)>, String> {
    let mut replies = Vec::new();
    for some in ids.chunks(QUESTIONS_AT_ONCE) {
        let questions: String = some.iter().map(|id| format!("{command} {id}\r\n")).collect();
        client.send(questions.as_bytes()).map_err(|error| error.to_string())?;
        for &id in some {
            let reply = client.reply(PATIENCE).ok_or_else(|| format!("{command} {id}: nothing"))?;
            replies.push((id, reply));
        }
    }
    Ok(replies)
}

/// The body in a reply to `peek`, if the job was found.
fn body_of(reply: &[u8]) -> Option<&[u8]> {
    if !reply.starts_with(b"FOUND ") {
        return None;
    }
    let line_end = reply.windows(2).position(|bytes| bytes == b"\r\n")?;
    reply[line_end + 2..].strip_suffix(b"\r\n")
}
