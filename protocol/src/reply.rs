//! What a server can answer.

use bytes::{Bytes, BytesMut};

use crate::TubeName;
use crate::line::CRLF;
use crate::number::push_number;
use crate::trunk::TRUNK_VERSION;

/// One answer of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `INSERTED <id>`.
    Inserted(u64),
    /// `BURIED <id>`, the answer to a `put` that could not be queued; beanpole never sends it.
    PutBuried(u64),
    /// `USING <tube>`.
    Using(TubeName),
    /// `RESERVED <id> <bytes>` and the body.
    Reserved {
        /// The job.
        id: u64,
        /// Its body, without CR LF.
        body: Bytes,
    },
    /// `DEADLINE_SOON`.
    DeadlineSoon,
    /// `TIMED_OUT`.
    TimedOut,
    /// `DELETED`.
    Deleted,
    /// `RELEASED`.
    Released,
    /// `BURIED`.
    Buried,
    /// `TOUCHED`.
    Touched,
    /// `WATCHING <count>`.
    Watching(u64),
    /// `NOT_IGNORED`.
    NotIgnored,
    /// `FOUND <id> <bytes>` and the body.
    Found {
        /// The job.
        id: u64,
        /// Its body, without CR LF.
        body: Bytes,
    },
    /// `KICKED <count>`.
    Kicked(u64),
    /// `KICKED`, the answer to `kick-job`.
    JobKicked,
    /// `PAUSED`.
    Paused,
    /// `OK <bytes>` and YAML.
    Ok(Bytes),
    /// `TRUNK 1 <member> <bytes>`, of beanpole alone: [frames](crate::trunk) follow.
    Trunk {
        /// The member's number.
        member: u64,
        /// The longest body of a job that it takes, in bytes, itself included.
        job_size_max: u32,
    },
    /// `KEYED`, the answer to `key`.
    Keyed,
    /// `KEY_IN_USE`, the answer to a put whose key is that of another put.
    KeyInUse,
    /// `NOT_FOUND`.
    NotFound,
    /// `OUT_OF_MEMORY`.
    OutOfMemory,
    /// `INTERNAL_ERROR`.
    InternalError,
    /// `DRAINING`.
    Draining,
    /// `BAD_FORMAT`.
    BadFormat,
    /// `UNKNOWN_COMMAND`.
    UnknownCommand,
    /// `EXPECTED_CRLF`.
    ExpectedCrlf,
    /// `JOB_TOO_BIG`.
    JobTooBig,
}

impl Reply {
    /// Appends the reply to `output` as a server sends it, a body with it.
    pub fn encode(&self, output: &mut BytesMut) {
        if let Some(body) = self.encode_line(output) {
            output.reserve(body.len() + CRLF.len());
            output.extend_from_slice(body);
            output.extend_from_slice(CRLF);
        }
    }

    /// Appends only the first line to `output`, and gives the body that has to follow it on the
    /// wire, before one more CR LF: for a writer that sends large bodies from where they are.
    pub fn encode_line<'a>(&'a self, output: &mut BytesMut) -> Option<&'a Bytes> {
        match self {
            Self::Inserted(id) => push_line(output, b"INSERTED ", *id),
            Self::PutBuried(id) => push_line(output, b"BURIED ", *id),
            Self::Using(tube) => push_using(output, tube),
            Self::Reserved { id, body } => return push_job_line(output, b"RESERVED ", *id, body),
            Self::DeadlineSoon => output.extend_from_slice(b"DEADLINE_SOON\r\n"),
            Self::TimedOut => output.extend_from_slice(b"TIMED_OUT\r\n"),
            Self::Deleted => output.extend_from_slice(b"DELETED\r\n"),
            Self::Released => output.extend_from_slice(b"RELEASED\r\n"),
            Self::Buried => output.extend_from_slice(b"BURIED\r\n"),
            Self::Touched => output.extend_from_slice(b"TOUCHED\r\n"),
            Self::Watching(count) => push_line(output, b"WATCHING ", *count),
            Self::NotIgnored => output.extend_from_slice(b"NOT_IGNORED\r\n"),
            Self::Found { id, body } => return push_job_line(output, b"FOUND ", *id, body),
            Self::Kicked(count) => push_line(output, b"KICKED ", *count),
            Self::JobKicked => output.extend_from_slice(b"KICKED\r\n"),
            Self::Paused => output.extend_from_slice(b"PAUSED\r\n"),
            Self::Ok(text) => {
                push_line(output, b"OK ", text.len() as u64);
                return Some(text);
            }
            Self::Trunk { member, job_size_max } => push_trunk(output, *member, *job_size_max),
            Self::Keyed => output.extend_from_slice(b"KEYED\r\n"),
            Self::KeyInUse => output.extend_from_slice(b"KEY_IN_USE\r\n"),
            Self::NotFound => output.extend_from_slice(b"NOT_FOUND\r\n"),
            Self::OutOfMemory => output.extend_from_slice(b"OUT_OF_MEMORY\r\n"),
            Self::InternalError => output.extend_from_slice(b"INTERNAL_ERROR\r\n"),
            Self::Draining => output.extend_from_slice(b"DRAINING\r\n"),
            Self::BadFormat => output.extend_from_slice(b"BAD_FORMAT\r\n"),
            Self::UnknownCommand => output.extend_from_slice(b"UNKNOWN_COMMAND\r\n"),
            Self::ExpectedCrlf => output.extend_from_slice(b"EXPECTED_CRLF\r\n"),
            Self::JobTooBig => output.extend_from_slice(b"JOB_TOO_BIG\r\n"),
        }
        None
    }
}

fn push_line(output: &mut BytesMut, word: &[u8], number: u64) {
    output.extend_from_slice(word);
    push_number(output, number);
    output.extend_from_slice(CRLF);
}

fn push_trunk(output: &mut BytesMut, member: u64, job_size_max: u32) {
    output.extend_from_slice(b"TRUNK ");
    push_number(output, TRUNK_VERSION);
    output.extend_from_slice(b" ");
    push_number(output, member);
    push_line(output, b" ", u64::from(job_size_max));
}

fn push_job_line<'a>(
    output: &mut BytesMut,
    word: &[u8],
    id: u64,
    body: &'a Bytes,
) -> Option<&'a Bytes> {
    output.extend_from_slice(word);
    push_number(output, id);
    push_line(output, b" ", body.len() as u64);
    Some(body)
}

fn push_using(output: &mut BytesMut, tube: &TubeName) {
    output.extend_from_slice(b"USING ");
    output.extend_from_slice(tube.as_str().as_bytes());
    output.extend_from_slice(CRLF);
}
