//! A batch of commands of one kind and the check of its replies. No I/O.

use thiserror::Error;

use super::{
    ledger::{Ledger, LedgerError},
    wire::Reply,
};

/// Characters of a wrong reply that are shown.
const SHOWN_REPLY_BYTES: usize = 80;

/// A kind of command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Put,
    Reserve,
    Delete,
}

/// A reply that must not be.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum BatchError {
    /// It does not answer the command.
    #[error("{step:?} was answered with {reply:?}")]
    WrongReply { step: Step, reply: String },
    /// A job came back with another body than it was put with.
    #[error("job {id} came back with {length} bytes, not as it was put")]
    WrongBody { id: u64, length: usize },
    /// More replies than commands.
    #[error("a reply without a command")]
    Unasked,
    /// A job was put, handed out or deleted twice.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Commands under way on one connection.
pub(crate) struct Batch {
    step: Step,
    commands: usize,
    answered: usize,
    reserved_ids: Vec<u64>,
}

impl Batch {
    /// Nothing under way; room for `depth` commands.
    pub(crate) fn new(depth: usize) -> Self {
        let reserved_ids = Vec::with_capacity(depth);
        Self { step: Step::Put, commands: 0, answered: 0, reserved_ids }
    }

    /// Expects `commands` replies of one kind.
    pub(crate) fn begin(&mut self, step: Step, commands: usize) {
        if step == Step::Reserve {
            self.reserved_ids.clear();
        }
        self.step = step;
        self.commands = commands;
        self.answered = 0;
    }

    /// The kind of command.
    pub(crate) fn step(&self) -> Step {
        self.step
    }

    /// How many commands it has.
    pub(crate) fn commands(&self) -> usize {
        self.commands
    }

    /// How many of them have been answered.
    pub(crate) fn answered(&self) -> usize {
        self.answered
    }

    /// The jobs that the last batch of reserves brought, which is what is deleted next.
    pub(crate) fn reserved_ids(&self) -> &[u64] {
        &self.reserved_ids
    }

    /// Takes the next reply; jobs must come with `body`.
    ///
    /// # Errors
    /// When it is not the answer that a sound server gives.
    pub(crate) fn answer(
        &mut self,
        reply: Reply<'_>,
        body: &[u8],
        ledger: &mut Ledger,
    ) -> Result<(), BatchError> {
        if self.answered == self.commands {
            return Err(BatchError::Unasked);
        }
        match (self.step, reply) {
            (Step::Put, Reply::Inserted(id)) => ledger.put(id)?,
            (Step::Reserve, Reply::Reserved { id, body: got }) => {
                if got != body {
                    return Err(BatchError::WrongBody { id, length: got.len() });
                }
                ledger.reserved(id)?;
                self.reserved_ids.push(id);
            }
            (Step::Delete, Reply::Deleted) => ledger.deleted(self.reserved_ids[self.answered])?,
            (step, reply) => return Err(BatchError::WrongReply { step, reply: shown(reply) }),
        }
        self.answered += 1;
        Ok(())
    }
}

fn shown(reply: Reply<'_>) -> String {
    match reply {
        Reply::Line(line) => {
            String::from_utf8_lossy(&line[..line.len().min(SHOWN_REPLY_BYTES)]).into_owned()
        }
        Reply::Inserted(id) => format!("INSERTED {id}"),
        Reply::Reserved { id, body } => format!("RESERVED {id} {}", body.len()),
        Reply::Deleted => String::from("DELETED"),
        Reply::Ok(data) => format!("OK {}", data.len()),
    }
}
