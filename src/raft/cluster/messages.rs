//! What members say to each other, in our own bytes: openraft's types never meet an encoder.
//!
//! The frame (length, checksum, kind) is the link's; here is only what is inside. A new form of the
//! same thing gets a new kind.

use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize, Serializer};

use super::super::encoding::{self, DecodeError};
use super::super::types::{LogId, TypeConfig, Vote};
use crate::queue::{Incarnation, LogicalTime};
use crate::storage::wal::EntryId;

/// The kinds of frames.
pub(super) mod kind {
    pub(in super::super) const APPEND: u8 = 1;
    pub(in super::super) const VOTE: u8 = 2;
    pub(in super::super) const PRE_VOTE: u8 = 3;
    pub(in super::super) const TRANSFER: u8 = 4;
    pub(in super::super) const PING: u8 = 5;
    pub(in super::super) const READ_INDEX: u8 = 6;
    pub(in super::super) const CLOCK: u8 = 7;
    pub(in super::super) const GOODBYE: u8 = 8;
    pub(in super::super) const ADMIN: u8 = 9;
    pub(in super::super) const START: u8 = 10;
    pub(in super::super) const PART: u8 = 11;
    pub(in super::super) const SNAPSHOT: u8 = 12;
    pub(in super::super) const WELCOME: u8 = 13;
    pub(in super::super) const HELLO: u8 = 14;
    pub(in super::super) const REMOVED: u8 = 15;
    /// The answer to a request that cannot be carried out; its body is a reason.
    pub(in super::super) const REFUSED: u8 = 255;
}

type Id = (u64, u64, u64);

#[derive(Serialize, Deserialize)]
struct VoteMessage {
    term: u64,
    member: u64,
    committed: bool,
}

/// Entries for a follower. The leader's clock goes with every one (DESIGN D5).
#[derive(Serialize, Deserialize)]
struct AppendMessage<'a> {
    now: LogicalTime,
    vote: VoteMessage,
    prev: Option<Id>,
    commit: Option<Id>,
    #[serde(borrow)]
    entries: Vec<(Id, Piece<'a>)>,
}

/// Bytes that stay where they are.
#[derive(Serialize, Deserialize)]
struct Piece<'a>(#[serde(borrow, serialize_with = "in_one_piece")] &'a [u8]);

fn in_one_piece<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

#[derive(Serialize, Deserialize)]
enum AppendedMessage {
    Success(Option<Id>),
    Conflict(Id),
    HigherVote(VoteMessage),
}

#[derive(Serialize, Deserialize)]
struct AskVoteMessage {
    vote: VoteMessage,
    last: Option<Id>,
    transfer: bool,
}

#[derive(Serialize, Deserialize)]
struct VotedMessage {
    vote: VoteMessage,
    granted: bool,
    last: Option<Id>,
}

#[derive(Serialize, Deserialize)]
struct TransferMessage {
    from: VoteMessage,
    to: u64,
    last: Option<Id>,
}

#[derive(Serialize, Deserialize)]
enum TransferredMessage {
    Accepted,
    VoteChanged { expected: VoteMessage, actual: VoteMessage },
    NotSynced { expected: Option<Id>, actual: Option<Id> },
}

/// What a member says of itself when it gets in touch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct About {
    /// Where its clients connect.
    pub(in super::super) client_address: String,
    /// Which beanpole it runs.
    pub(in super::super) version: String,
}

/// A member tells the leader that it lives, and asks to be told that it was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ping {
    /// When it was sent, in the sender's ticks.
    pub(super) sent: u64,
    pub(super) incarnation: Incarnation,
    /// An entry that it has applied, and its running digest there.
    pub(super) applied: u64,
    pub(super) chain: u64,
    /// Its disk has been full for a while: it does not get on, and wants to serve nobody.
    pub(super) steps_out: bool,
    /// It cannot write jobs out as fast as they come: its copy waits for memory.
    pub(super) is_overfull: bool,
}

/// The leader's answer to a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pong {
    /// The ping's.
    pub(super) sent: u64,
    pub(super) now: LogicalTime,
    /// Whether the leader is the leader of a majority at this moment: if not, the answer proves
    /// nothing.
    pub(super) leads: bool,
    /// A member that serves cannot write jobs out as fast as they come: puts should slow down.
    pub(super) slows: bool,
    /// The member's digest is not that of the two others, which agree.
    pub(super) differs: bool,
    /// The member is not part of the cluster any more, or will not be in a moment: its clients must
    /// be closed.
    pub(super) removed: bool,
}

/// Up to where a member must have applied to be up to date.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct ReadIndexMessage {
    pub(super) index: u64,
    pub(super) now: LogicalTime,
}

/// What a member knows of the cluster's time.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct ClockMessage {
    pub(super) now: LogicalTime,
    pub(super) is_running: bool,
}

/// Whether the log says that the member that asks was removed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct RemovedMessage {
    pub(super) is_removed: bool,
}

/// The leader's word to a newcomer: its cluster and its number.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct WelcomeMessage {
    pub(super) member: u64,
}

/// The bytes of a message of our own.
pub(super) fn bytes<T: Serialize>(message: &T) -> Vec<u8> {
    let mut out = Vec::new();
    encoding::append(message, &mut out);
    out
}

pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, DecodeError> {
    encoding::decode("message", body)
}

pub(super) fn append(
    request: &AppendEntriesRequest<TypeConfig>,
    now: LogicalTime,
    out: &mut Vec<u8>,
) {
    let pieces: Vec<(Id, Bytes)> = request
        .entries
        .iter()
        .map(|entry| (id(&entry.log_id), encoding::entry_bytes(entry)))
        .collect();
    let message = AppendMessage {
        now,
        vote: vote(&request.vote),
        prev: request.prev_log_id.as_ref().map(id),
        commit: request.leader_commit.as_ref().map(id),
        entries: pieces.iter().map(|(id, bytes)| (*id, Piece(bytes))).collect(),
    };
    encoding::append(&message, out);
}

pub(super) fn read_append(
    body: &Bytes,
) -> Result<(AppendEntriesRequest<TypeConfig>, LogicalTime), DecodeError> {
    let message: AppendMessage = read(body)?;
    let entry = |(at, bytes): &(Id, Piece<'_>)| {
        encoding::decode_entry(entry_id(*at), &body.slice_ref(bytes.0))
    };
    let request = AppendEntriesRequest {
        vote: message.vote.read(),
        prev_log_id: message.prev.map(log_id),
        entries: message.entries.iter().map(entry).collect::<Result<_, _>>()?,
        leader_commit: message.commit.map(log_id),
    };
    Ok((request, message.now))
}

pub(super) fn appended(result: &StreamAppendResult<TypeConfig>) -> Vec<u8> {
    bytes(&match result {
        Ok(last) => AppendedMessage::Success(last.as_ref().map(id)),
        Err(StreamAppendError::Conflict(at)) => AppendedMessage::Conflict(id(at)),
        Err(StreamAppendError::HigherVote(higher)) => AppendedMessage::HigherVote(vote(higher)),
    })
}

pub(super) fn read_appended(body: &[u8]) -> Result<StreamAppendResult<TypeConfig>, DecodeError> {
    Ok(match read(body)? {
        AppendedMessage::Success(last) => Ok(last.map(log_id)),
        AppendedMessage::Conflict(at) => Err(StreamAppendError::Conflict(log_id(at))),
        AppendedMessage::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote.read())),
    })
}

pub(super) fn ask_vote(request: &VoteRequest<TypeConfig>) -> Vec<u8> {
    bytes(&AskVoteMessage {
        vote: vote(&request.vote),
        last: request.last_log_id.as_ref().map(id),
        transfer: request.leadership_transfer,
    })
}

pub(super) fn read_ask_vote(body: &[u8]) -> Result<VoteRequest<TypeConfig>, DecodeError> {
    let message: AskVoteMessage = read(body)?;
    let mut request = VoteRequest::new(message.vote.read(), message.last.map(log_id));
    request.leadership_transfer = message.transfer;
    Ok(request)
}

pub(super) fn voted(response: &VoteResponse<TypeConfig>) -> Vec<u8> {
    bytes(&VotedMessage {
        vote: vote(&response.vote),
        granted: response.vote_granted,
        last: response.last_log_id.as_ref().map(id),
    })
}

pub(super) fn read_voted(body: &[u8]) -> Result<VoteResponse<TypeConfig>, DecodeError> {
    let message: VotedMessage = read(body)?;
    Ok(VoteResponse::new(message.vote.read(), message.last.map(log_id), message.granted))
}

pub(super) fn transfer(request: &TransferLeaderRequest<TypeConfig>) -> Vec<u8> {
    bytes(&TransferMessage {
        from: vote(request.from_leader()),
        to: *request.to_node_id(),
        last: request.last_log_id().map(id),
    })
}

pub(super) fn read_transfer(body: &[u8]) -> Result<TransferLeaderRequest<TypeConfig>, DecodeError> {
    let message: TransferMessage = read(body)?;
    Ok(TransferLeaderRequest::new(message.from.read(), message.to, message.last.map(log_id)))
}

pub(super) fn transferred(response: &TransferLeaderResponse<TypeConfig>) -> Vec<u8> {
    bytes(&match response {
        Ok(()) => TransferredMessage::Accepted,
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            TransferredMessage::VoteChanged { expected: vote(expected), actual: vote(actual) }
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            let (expected, actual) = (expected.as_ref().map(id), actual.as_ref().map(id));
            TransferredMessage::NotSynced { expected, actual }
        }
    })
}

pub(super) fn read_transferred(
    body: &[u8],
) -> Result<TransferLeaderResponse<TypeConfig>, DecodeError> {
    Ok(match read(body)? {
        TransferredMessage::Accepted => Ok(()),
        TransferredMessage::VoteChanged { expected, actual } => {
            let (expected, actual) = (expected.read(), actual.read());
            Err(TransferLeaderError::VoteChanged { expected, actual })
        }
        TransferredMessage::NotSynced { expected, actual } => {
            let (expected, actual) = (expected.map(log_id), actual.map(log_id));
            Err(TransferLeaderError::LogNotFlushed { expected, actual })
        }
    })
}

fn id(log_id: &LogId) -> Id {
    let EntryId { term, member, index } = encoding::entry_id(log_id);
    (term, member, index)
}

fn entry_id((term, member, index): Id) -> EntryId {
    EntryId { term, member, index }
}

fn log_id(id: Id) -> LogId {
    encoding::log_id(entry_id(id))
}

fn vote(vote: &Vote) -> VoteMessage {
    let leader = &vote.leader_id;
    VoteMessage { term: leader.term, member: leader.node_id, committed: vote.committed }
}

impl VoteMessage {
    fn read(&self) -> Vote {
        match self.committed {
            true => Vote::new_committed(self.term, self.member),
            false => Vote::new(self.term, self.member),
        }
    }
}
