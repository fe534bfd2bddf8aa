//! What the owner of a session learns from applying.

use beanpole_protocol::TubeName;

use super::{Attachment, Body, JobId};

/// What happened to a session's op. Each op but `StopWaiting`, `Detach` and the `Close` of a
/// session that is not leased has exactly one outcome, in the order of the ops, except that
/// [`Waiting`](Self::Waiting) is followed by a second one when the wait ends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the reply of that name")]
pub enum Outcome {
    Inserted {
        job: JobId,
    },
    Using {
        tube: TubeName,
    },
    Watching {
        count: u64,
    },
    NotIgnored,
    Reserved {
        job: JobId,
        body: Body,
    },
    TimedOut,
    DeadlineSoon,
    Deleted,
    Released,
    Buried,
    Touched,
    Kicked {
        count: u64,
    },
    JobKicked,
    Paused,
    NotFound,
    /// A limit of what is not a job is reached (see [`Limits`](super::Limits)): nothing happened.
    OutOfMemory,
    /// The key of a put is that of another put, with another body or in another tube: nothing happened.
    KeyInUse,
    /// The session is held up (see [`Turn`](super::Turn)): its turn is now one higher, and the
    /// real outcome follows.
    Waiting,
    /// The op was under way behind one that waits: nothing happened, and it wants to be sent again.
    Deferred,
    /// The connection is that of a leased session now.
    Attached(Box<Attachment>),
    /// The leased session of the connection is not its any more. Comes unasked.
    Detached,
    /// The leased session of the connection ends, whatever becomes of this member.
    Closed,
}
