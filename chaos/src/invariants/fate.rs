//! What is certain about one command.

use crate::clock::Moment;
use crate::history::{Command, Outcome, Record, Reply};

/// Later than every moment of a run.
pub(super) const NEVER: Moment = Moment(u64::MAX);

/// The reply, if it says what the command did.
pub(super) fn reply(record: &Record) -> Option<&Reply> {
    match &record.outcome {
        Outcome::Replied(reply) if !is_doubtful(record) => Some(reply),
        _ => None,
    }
}

/// Whether nobody knows what the command did, or whether it will still do it.
pub(super) fn is_doubtful(record: &Record) -> bool {
    let leaves_half = matches!(record.command, Command::Release { .. } | Command::Bury { .. });
    match &record.outcome {
        Outcome::Unknown { .. } => true,
        Outcome::Replied(Reply::InternalError | Reply::Illegal { .. }) => true,
        // beanstalkd on a full disk answers so and leaves the job in no queue.
        Outcome::Replied(Reply::OutOfMemory) => leaves_half,
        Outcome::Replied(_) | Outcome::NoEffect { .. } => false,
    }
}

/// Whether the command surely changed what it was to change.
pub(super) fn has_effect(record: &Record) -> bool {
    let Some(reply) = reply(record) else { return false };
    match (&record.command, reply) {
        (Command::Put { .. }, Reply::Inserted { .. } | Reply::Buried { id: Some(_) }) => true,
        (Command::Reserve { .. } | Command::ReserveJob { .. }, Reply::Reserved { .. }) => true,
        (Command::Delete { .. }, Reply::Deleted) => true,
        (Command::Release { .. }, Reply::Released | Reply::Buried { .. }) => true,
        (Command::Bury { .. }, Reply::Buried { .. }) => true,
        (Command::Touch { .. }, Reply::Touched) => true,
        (Command::Kick { .. } | Command::KickJob { .. }, Reply::Kicked { count }) => {
            *count != Some(0)
        }
        (Command::PauseTube { .. }, Reply::Paused) => true,
        _ => false,
    }
}

/// Whether it may have had its effect, or may still have it.
pub(super) fn may_have_effect(record: &Record) -> bool {
    is_doubtful(record) || has_effect(record)
}

/// The last moment at which it may take effect.
pub(super) fn latest(record: &Record) -> Moment {
    if is_doubtful(record) { NEVER } else { record.returned }
}

/// Whether it may have taken effect at some moment of a span, both ends included.
pub(super) fn may_fall_into(record: &Record, from: Moment, until: Moment) -> bool {
    may_have_effect(record) && record.invoked <= until && latest(record) >= from
}

/// The job that a command or its reply names.
pub(super) fn job(record: &Record) -> Option<u64> {
    let told = match reply(record) {
        Some(Reply::Inserted { id } | Reply::Reserved { id, .. } | Reply::Found { id, .. }) => {
            Some(*id)
        }
        Some(Reply::Buried { id }) => *id,
        _ => None,
    };
    told.or(match record.command {
        Command::ReserveJob { id }
        | Command::Delete { id }
        | Command::Release { id, .. }
        | Command::Bury { id, .. }
        | Command::Touch { id }
        | Command::KickJob { id }
        | Command::Peek { id }
        | Command::StatsJob { id } => Some(id),
        _ => None,
    })
}

/// Whether the reply proves that the job was there at some moment between sending and reply.
pub(super) fn shows_job(record: &Record) -> bool {
    let is_told = matches!(
        reply(record),
        Some(Reply::Found { .. } | Reply::Stats { .. } | Reply::Reserved { .. })
    );
    let names_one = !matches!(record.command, Command::Stats | Command::StatsTube { .. });
    names_one && (is_told || (has_effect(record) && job(record).is_some()))
}

/// Whether a reserve of whatever job is next was sent and nobody knows what it took.
pub(super) fn is_ghost(record: &Record) -> bool {
    matches!(record.command, Command::Reserve { .. }) && is_doubtful(record)
}
