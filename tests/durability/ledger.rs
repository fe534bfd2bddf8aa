//! What the workers know of their jobs: what they sent, what was acknowledged, and what must
//! therefore be true after a crash.

use crate::support::Random;

/// The greatest filler behind the key of a body, in bytes.
const FILLER_SIZE_MAX: u64 = 1500;

/// How much is known of something that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Never sent.
    Not,
    /// Sent, and not answered.
    Sent,
    /// Acknowledged.
    Done,
}

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In one of the states of `stats-job`, with this priority.
    Resting { state: &'static str, priority: u32 },
    /// Reserved by a worker; ready again, with this priority, when that is gone.
    Held { priority: u32 },
    /// A change was sent and not answered.
    Unsure,
}

/// One job of a worker.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// Names the job in its body.
    pub(crate) key: u64,
    /// Its id, once known.
    pub(crate) id: Option<u64>,
    pub(crate) put: Progress,
    pub(crate) delete: Progress,
    pub(crate) place: Place,
}

/// What a server shows of a job after a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sighting {
    pub(crate) id: u64,
    pub(crate) state: String,
    pub(crate) priority: u32,
}

impl Job {
    /// A job that is about to be put.
    pub(crate) fn new(key: u64, place: Place) -> Self {
        Self { key, id: None, put: Progress::Sent, delete: Progress::Not, place }
    }

    /// Whether the job can be worked with: its id is known and it was not deleted.
    pub(crate) fn is_live(&self) -> bool {
        self.put == Progress::Done && self.delete == Progress::Not
    }

    /// Holds what a server shows after a crash against what was acknowledged, and takes it over:
    /// what it shows now, it must go on showing.
    ///
    /// # Errors
    ///
    /// What was broken.
    pub(crate) fn audit(&mut self, seen: Option<&Sighting>) -> Result<(), String> {
        let Some(seen) = seen else {
            if self.is_live() {
                return Err(format!("an acknowledged job is gone: {self:?}"));
            }
            self.delete = Progress::Done;
            return Ok(());
        };
        if self.delete == Progress::Done {
            return Err(format!("a deleted job is back: {self:?} as {seen:?}"));
        }
        if self.id.is_some_and(|id| id != seen.id) {
            return Err(format!("a job has another id: {self:?} as {seen:?}"));
        }
        let (state, priority) = match self.place {
            Place::Resting { state, priority } => (state, priority),
            Place::Held { priority } => ("ready", priority),
            Place::Unsure => (seen.state.as_str(), seen.priority),
        };
        if (state, priority) != (seen.state.as_str(), seen.priority) && self.delete == Progress::Not
        {
            return Err(format!("a job is in another place: {self:?} as {seen:?}"));
        }
        let state = ["ready", "delayed", "buried"].into_iter().find(|&name| name == seen.state);
        let state = state.ok_or_else(|| format!("a job without a holder is {seen:?}"))?;
        self.id = Some(seen.id);
        self.put = Progress::Done;
        self.delete = Progress::Not;
        self.place = Place::Resting { state, priority: seen.priority };
        Ok(())
    }
}

/// The body of the job with this key: the key, and bytes that follow from it.
pub(crate) fn body(key: u64) -> Vec<u8> {
    let mut body = format!("{key:016x} ").into_bytes();
    let mut random = Random::new(key);
    for _ in 0..random.within(0..FILLER_SIZE_MAX) {
        body.extend_from_slice(&random.bits().to_le_bytes()[..1]);
    }
    body
}

/// The key in a body.
///
/// # Errors
///
/// When the body is not the one of its key.
pub(crate) fn key_of(found: &[u8]) -> Result<u64, String> {
    let key = found.get(..16).and_then(|digits| str::from_utf8(digits).ok());
    let key = key.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let key = key.ok_or_else(|| format!("a body without a key: {found:?}"))?;
    if found == body(key) { Ok(key) } else { Err(format!("the body of job {key:016x} is damaged")) }
}

#[cfg(test)]
mod tests {
    use super::{Job, Place, Progress, Sighting, body, key_of};

    const READY: Place = Place::Resting { state: "ready", priority: 5 };

    fn job(put: Progress, delete: Progress, place: Place) -> Job {
        let id = (put == Progress::Done).then_some(7);
        Job { key: 1, id, put, delete, place }
    }

    fn sighting(state: &str, priority: u32) -> Option<Sighting> {
        Some(Sighting { id: 7, state: state.to_owned(), priority })
    }

    #[test]
    fn what_was_acknowledged_is_demanded_and_what_was_only_sent_is_not() {
        use Progress::{Done, Not, Sent};
        let cases = [
            (job(Done, Not, READY), None, "is gone"),
            (job(Done, Not, READY), sighting("ready", 5), ""),
            (job(Done, Not, READY), sighting("ready", 6), "another place"),
            (job(Done, Not, READY), sighting("buried", 5), "another place"),
            (job(Done, Not, READY), sighting("reserved", 5), "another place"),
            (job(Done, Not, Place::Held { priority: 5 }), sighting("ready", 5), ""),
            (job(Done, Not, Place::Held { priority: 5 }), sighting("delayed", 5), "another place"),
            (job(Done, Not, Place::Unsure), sighting("buried", 9), ""),
            (job(Done, Not, Place::Unsure), sighting("reserved", 9), "without a holder"),
            (job(Done, Sent, READY), None, ""),
            (job(Done, Sent, READY), sighting("ready", 5), ""),
            (job(Done, Done, READY), None, ""),
            (job(Done, Done, READY), sighting("ready", 5), "is back"),
            (job(Sent, Not, READY), None, ""),
            (job(Sent, Not, READY), sighting("ready", 5), ""),
        ];
        for (mut job, seen, complaint) in cases {
            let before = format!("{job:?} {seen:?}");
            match job.audit(seen.as_ref()) {
                Ok(()) => assert_eq!(complaint, "", "{before}"),
                Err(error) => {
                    assert!(
                        !complaint.is_empty() && error.contains(complaint),
                        "{before}: {error}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_job_that_was_seen_gone_may_not_come_back() {
        let mut job = job(Progress::Sent, Progress::Not, READY);
        assert_eq!(job.audit(None), Ok(()));
        assert!(job.audit(sighting("ready", 5).as_ref()).is_err());
    }

    #[test]
    fn a_changed_body_is_noticed() {
        let mut bytes = body(3);
        assert_eq!(key_of(&bytes), Ok(3));
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert!(key_of(&bytes).is_err());
        assert!(key_of(b"").is_err());
    }
}
