//! The queue: a pure state machine (DESIGN D1).
//!
//! It does no I/O, reads no clock, draws no random number and iterates no hash map: the same
//! batches give the same outcomes and the same state on every member.

mod op;
mod outcome;

pub use op::{
    Action, Batch, ConnectionNumber, Incarnation, JobId, LogicalTime, MemberId, Op, OpNumber, Part,
    SessionId, Turn, Wait,
};
pub use outcome::Outcome;
