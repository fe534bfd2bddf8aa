//! A start with a checkpoint that came from another member, and a log that was not told of it.
//!
//! The file is durable before openraft hears of it, so a crash in between leaves a log that ends before
//! the checkpoint, or has entries there that were never committed, and a vote older than the leader
//! whose entries the checkpoint covers. openraft would mend the first, and refuses or fails at the
//! others.

use bytes::Bytes;

use super::super::encoding;
use super::super::opening::OpenError;
use super::super::types::Vote;
use crate::storage::wal::{EntryId, Recovered, Wal};

/// Has vote and log follow a checkpoint of everything up to `applied`, and `recovered` with them. A
/// crash before that is durable leaves the same to be done again.
///
/// # Errors
///
/// What the log says, or what is wrong with the vote in it.
pub(in crate::raft) fn follow_checkpoint(
    wal: &Wal,
    recovered: &mut Recovered,
    applied: EntryId,
) -> Result<(), OpenError> {
    follow_vote(wal, recovered, applied)?;
    if agrees(wal, recovered, applied)? {
        return Ok(());
    }
    tracing::warn!(checkpoint = applied.index, last = ?recovered.last, "the log follows a checkpoint");
    // All of it: what is not in the checkpoint comes after an entry that was never committed.
    wal.truncate_after(recovered.purged);
    wal.purge(applied);
    (recovered.purged, recovered.last) = (Some(applied), Some(applied));
    Ok(())
}

/// Whether the log has the entry with which the checkpoint ends, or had it.
fn agrees(wal: &Wal, recovered: &Recovered, applied: EntryId) -> Result<bool, OpenError> {
    if recovered.purged.is_some_and(|purged| purged.index >= applied.index) {
        return Ok(true);
    }
    let read = wal.read(applied.index, applied.index + 1, 1)?;
    Ok(read.first().is_some_and(|(id, _)| *id == applied))
}

/// Grants its vote to the leader of the last entry, who led, unless it went to a later one.
fn follow_vote(wal: &Wal, recovered: &mut Recovered, applied: EntryId) -> Result<(), OpenError> {
    let vote = recovered.vote.as_ref().map(|vote| encoding::decode_vote(vote)).transpose()?;
    let voted = vote.map(|vote| (vote.leader_id.term, vote.leader_id.node_id));
    if voted < Some((applied.term, applied.member)) {
        let vote = Bytes::from(encoding::encode_vote(&Vote::new(applied.term, applied.member)));
        recovered.vote = Some(vote.clone());
        wal.save_vote(vote, Box::new(|| {}));
    }
    Ok(())
}
