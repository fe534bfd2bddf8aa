//! Our own bytes for what the log and the checkpoints keep of openraft's types.
//!
//! openraft's types never meet an encoder: an upgrade of openraft touches this file and not the
//! disk. The frame (length, checksum, position) is the log's; here is only what is inside. The
//! first byte of an entry says what follows, and a new form of the same thing gets a new byte.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use openraft::vote::RaftLeaderId;
use serde::{Deserialize, Serialize};

use super::types::{Command, Entry, LogId, Membership, Payload, StoredMembership, Vote};
use crate::planted::{self, Bug};
use crate::queue::{Action, Batch, Op, Part};
use crate::storage::wal::{self, EntryId};

const BLANK: u8 = 0;
const BATCH_V1: u8 = 1;
const MEMBERSHIP_V1: u8 = 2;

/// Bytes that passed their checksum are not what this version writes.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The entry begins with a byte that no version up to this one writes.
    #[error("log entry of unknown kind {0}: written by a newer version?")]
    UnknownKind(u8),
    /// The entry has no bytes at all.
    #[error("log entry without a kind")]
    Empty,
    /// The inside does not parse.
    #[error("malformed {what}: {source}")]
    Malformed {
        /// What was being read.
        what: &'static str,
        /// Where the parser stopped.
        source: postcard::Error,
    },
    /// The membership parses but makes no sense.
    #[error("membership that cannot be: {0}")]
    Membership(String),
}

#[derive(Serialize, Deserialize)]
struct VoteBytes {
    term: u64,
    member: u64,
    committed: bool,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct MembershipBytes {
    log_id: Option<(u64, u64, u64)>,
    configs: Vec<BTreeSet<u64>>,
    nodes: BTreeMap<u64, String>,
}

/// An entry on its way to the log, encoded there and not before.
pub(crate) struct EntryPayload(pub(crate) Entry);

impl wal::Payload for EntryPayload {
    fn encode(&self, out: &mut Vec<u8>) {
        match &self.0.payload {
            Payload::Blank => out.push(BLANK),
            Payload::Normal(command) if planted::is(Bug::DeleteNotLogged) => {
                encode_batch(&without_deletes(command.batch()), out);
            }
            Payload::Normal(command) => match command.known_bytes() {
                Some(bytes) => out.extend_from_slice(bytes),
                None => encode_batch(command.batch(), out),
            },
            Payload::Membership(membership) => {
                out.push(MEMBERSHIP_V1);
                append(&membership_bytes(None, membership), out);
            }
        }
    }
}

/// What [`EntryPayload`] writes, in a piece of its own. That of a batch is made once for all the
/// members it goes to, and for the log if that comes later.
pub(super) fn entry_bytes(entry: &Entry) -> Bytes {
    let made = |encode: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        encode(&mut bytes);
        bytes.shrink_to_fit();
        Bytes::from(bytes)
    };
    match &entry.payload {
        Payload::Normal(command) => {
            command.bytes(|batch| made(&|out| encode_batch(batch, out))).clone()
        }
        Payload::Blank | Payload::Membership(_) => {
            made(&|out| wal::Payload::encode(&EntryPayload(entry.clone()), out))
        }
    }
}

/// Of a planted bug: the same batch with as many ops, of which none deletes.
fn without_deletes(batch: &Batch) -> Batch {
    let kept = |op: &Op| match op.action {
        Action::Delete { job } => Op { action: Action::Touch { job }, ..op.clone() },
        _ => op.clone(),
    };
    let mut batch = batch.clone();
    for part in &mut batch.parts {
        if let Part::Ops { ops, .. } = part {
            *ops = ops.iter().map(kept).collect();
        }
    }
    batch
}

fn encode_batch(batch: &Batch, out: &mut Vec<u8>) {
    out.push(BATCH_V1);
    append(batch, out);
}

/// The plain numbers of a log id.
pub(crate) fn entry_id(log_id: &LogId) -> EntryId {
    let leader = &log_id.leader_id;
    EntryId { term: leader.term, member: leader.node_id, index: log_id.index }
}

/// The log id of plain numbers.
pub(crate) fn log_id(id: EntryId) -> LogId {
    LogId {
        leader_id: openraft::impls::leader_id_adv::LeaderId::new(id.term, id.member),
        index: id.index,
    }
}

/// Reads back what [`EntryPayload`] wrote. The entry keeps `bytes`: they should have been handed out
/// for it alone.
///
/// # Errors
///
/// [`DecodeError`] when the bytes are of another version or malformed.
pub(super) fn decode_entry(id: EntryId, bytes: &Bytes) -> Result<Entry, DecodeError> {
    let (&kind, rest) = bytes.split_first().ok_or(DecodeError::Empty)?;
    let payload = match kind {
        BLANK => Payload::Blank,
        BATCH_V1 => {
            Payload::Normal(Command::received(decode::<Batch>("batch", rest)?, bytes.clone()))
        }
        MEMBERSHIP_V1 => {
            Payload::Membership(membership(&decode::<MembershipBytes>("membership", rest)?)?)
        }
        other => return Err(DecodeError::UnknownKind(other)),
    };
    Ok(Entry { log_id: log_id(id), payload })
}

/// Reads the bytes of an entry and writes what they say anew: what this version wrote comes out as it
/// went in. For checks of the format from outside this crate.
///
/// # Errors
///
/// [`DecodeError`] when the bytes are of another version or malformed.
pub fn recode_entry(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut entry = decode_entry(EntryId::default(), &Bytes::copy_from_slice(bytes))?;
    if let Payload::Normal(command) = &mut entry.payload {
        *command = Command::new(command.batch().clone());
    }
    Ok(entry_bytes(&entry).into())
}

pub(crate) fn encode_vote(vote: &Vote) -> Vec<u8> {
    let leader = &vote.leader_id;
    let bytes = VoteBytes { term: leader.term, member: leader.node_id, committed: vote.committed };
    let mut out = Vec::new();
    append(&bytes, &mut out);
    out
}

pub(crate) fn decode_vote(bytes: &[u8]) -> Result<Vote, DecodeError> {
    let vote: VoteBytes = decode("vote", bytes)?;
    Ok(match vote.committed {
        true => Vote::new_committed(vote.term, vote.member),
        false => Vote::new(vote.term, vote.member),
    })
}

pub(crate) fn stored_membership_bytes(stored: &StoredMembership) -> MembershipBytes {
    membership_bytes(stored.log_id().as_ref(), stored.membership())
}

pub(crate) fn stored_membership(bytes: &MembershipBytes) -> Result<StoredMembership, DecodeError> {
    let at = bytes.log_id.map(|(term, member, index)| log_id(EntryId { term, member, index }));
    Ok(StoredMembership::new(at, membership(bytes)?))
}

/// Appends `value` in postcard.
pub(crate) fn append<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    let taken = std::mem::take(out);
    *out = postcard::to_extend(value, taken)
        .expect("writing to memory does not fail, and no type here refuses to be written");
}

pub(crate) fn decode<'a, T: Deserialize<'a>>(
    what: &'static str,
    bytes: &'a [u8],
) -> Result<T, DecodeError> {
    postcard::from_bytes(bytes).map_err(|source| DecodeError::Malformed { what, source })
}

fn membership_bytes(at: Option<&LogId>, membership: &Membership) -> MembershipBytes {
    let nodes = membership.nodes().map(|(id, node)| (*id, node.addr.clone())).collect();
    MembershipBytes {
        log_id: at.map(entry_id).map(|id| (id.term, id.member, id.index)),
        configs: membership.get_joint_config().clone(),
        nodes,
    }
}

fn membership(bytes: &MembershipBytes) -> Result<Membership, DecodeError> {
    if bytes.configs.is_empty() && bytes.nodes.is_empty() {
        return Ok(Membership::default());
    }
    let nodes: BTreeMap<u64, openraft::BasicNode> =
        bytes.nodes.iter().map(|(id, addr)| (*id, openraft::BasicNode::new(addr))).collect();
    Membership::new(bytes.configs.clone(), nodes)
        .map_err(|error| DecodeError::Membership(error.to_string()))
}
