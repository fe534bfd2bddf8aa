//! What happened to each job: put once, handed out once, deleted once.

use thiserror::Error;

const PUT: u8 = 1;
const RESERVED: u8 = 2;
const DELETED: u8 = 4;

/// The highest job id that is believed; a wilder one is a server's mistake, not a bigger table.
const JOB_ID_MAX: u64 = 1 << 28;

/// A server broke the promise of exactly once.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum LedgerError {
    /// The same step was acknowledged twice for one job.
    #[error("job {id} was {step} twice")]
    Twice { id: u64, step: &'static str },
    /// No such id was ever given by a sane server.
    #[error("job id {0} is out of any range")]
    WildId(u64),
    /// Jobs were handed out that nobody was told of, or the sums differ.
    #[error("{put} jobs put, {reserved} reserved, {deleted} deleted: {reason}")]
    Unbalanced { put: u64, reserved: u64, deleted: u64, reason: &'static str },
}

/// The account of one server's jobs. A job may be handed out before its put is answered.
#[derive(Default)]
pub(crate) struct Ledger {
    jobs: Vec<u8>,
    put: u64,
    reserved: u64,
    deleted: u64,
}

impl Ledger {
    /// `INSERTED <id>` was read.
    pub(crate) fn put(&mut self, id: u64) -> Result<(), LedgerError> {
        self.put += 1;
        self.mark(id, PUT, "put")
    }

    /// `RESERVED <id>` was read.
    pub(crate) fn reserved(&mut self, id: u64) -> Result<(), LedgerError> {
        self.reserved += 1;
        self.mark(id, RESERVED, "handed out")
    }

    /// `DELETED` was read for this job.
    pub(crate) fn deleted(&mut self, id: u64) -> Result<(), LedgerError> {
        self.deleted += 1;
        self.mark(id, DELETED, "deleted")
    }

    /// Jobs whose put was answered.
    pub(crate) fn put_jobs(&self) -> u64 {
        self.put
    }

    /// Jobs that should be in the server once nothing is under way.
    pub(crate) fn left(&self) -> u64 {
        self.put.saturating_sub(self.deleted)
    }

    /// Checks the sums when nothing is under way: each job handed out was put and then deleted.
    pub(crate) fn check_settled(&self) -> Result<(), LedgerError> {
        let unbalanced = |reason| {
            let Self { put, reserved, deleted, .. } = *self;
            Err(LedgerError::Unbalanced { put, reserved, deleted, reason })
        };
        if self.reserved != self.deleted {
            return unbalanced("each job handed out must have been deleted");
        }
        if self.jobs.iter().any(|&steps| !matches!(steps, 0 | PUT | 7)) {
            return unbalanced("a job was handed out that was not put");
        }
        Ok(())
    }

    fn mark(&mut self, id: u64, step: u8, name: &'static str) -> Result<(), LedgerError> {
        if id > JOB_ID_MAX {
            return Err(LedgerError::WildId(id));
        }
        let index = usize::try_from(id).map_err(|_| LedgerError::WildId(id))?;
        if index >= self.jobs.len() {
            self.jobs.resize(index + 1 + index / 2, 0);
        }
        let steps = &mut self.jobs[index];
        if *steps & step != 0 {
            return Err(LedgerError::Twice { id, step: name });
        }
        *steps |= step;
        Ok(())
    }
}
