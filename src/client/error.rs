//! Why something did not come about.

use beanpole_protocol::{CommandName, ReplyDecodeError};

use super::core::Breach;
use super::options::OptionsError;

/// Why a session has ended: what was under way may have been carried out or not.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum End {
    /// No member heard of it for as long as its lease. What it held is ready again.
    #[error("the lease of the session has run out")]
    Lapsed,
    /// It could not begin, or no member had room to carry it on: a limit of the cluster is reached.
    #[error("no member takes the session: a limit is reached")]
    Refused,
    /// For as long as [`Options::patience`](super::Options::patience), no member could be reached.
    #[error("no member can be reached")]
    Unavailable,
    /// It was closed here.
    #[error("the session was closed")]
    Closed,
    /// A member does not keep to the protocol.
    #[error("a member does not keep to the protocol: {0}")]
    Breach(Breach),
}

/// Why a command brought no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The client cannot be made so.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The session has ended.
    #[error(transparent)]
    Ended(#[from] End),
    /// `NOT_FOUND`: there is no such job or tube, or it is not in the state that the command needs.
    #[error("not found")]
    NotFound,
    /// `DEADLINE_SOON`: the time to run of a job that the session holds ends within a second.
    #[error("the time to run of a job that is held ends soon")]
    DeadlineSoon,
    /// `NOT_IGNORED`: it is the only tube that is watched.
    #[error("the only tube that is watched cannot be ignored")]
    NotIgnored,
    /// `KEY_IN_USE`: another put had the key.
    #[error("the key is that of another put")]
    KeyInUse,
    /// `JOB_TOO_BIG`.
    #[error("the body is longer than the member takes")]
    JobTooBig,
    /// `DRAINING`: the member takes no new jobs.
    #[error("the member takes no new jobs")]
    Draining,
    /// `OUT_OF_MEMORY`: nothing was done, there is no room.
    #[error("there is no room for it")]
    OutOfMemory,
    /// The command is `quit`: a session is ended by closing it.
    #[error("a session is not ended by `quit`")]
    Quit,
    /// A reply that the command cannot have.
    #[error("`{command}` was answered {reply:?}")]
    UnexpectedReply {
        /// What was asked for.
        command: CommandName,
        /// The first line of the reply, without its CR LF; what is not UTF-8 is replaced.
        reply: String,
    },
    /// A reply that is none.
    #[error("a reply cannot be read")]
    UnreadableReply(#[from] ReplyDecodeError),
}
