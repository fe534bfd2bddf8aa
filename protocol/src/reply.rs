//! What a server can answer.

use bytes::Bytes;

use crate::TubeName;

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
