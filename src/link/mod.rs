//! The way between members: authenticated, framed TCP. Knows nothing of Raft or of the queue.
//!
//! `identity` says who speaks, `handshake` proves it, `dial` and `port` are the two ends of a new
//! connection, `frame` has the bytes, `stream` a [`Link`] that reads and writes them, `call` asks
//! and answers over one.
//!
//! # Who may speak
//!
//! All members of a cluster share one secret. Both sides prove that they have it, over numbers
//! drawn afresh by both, before anything else is read (DESIGN D14). All integers are little-endian:
//!
//! | # | From | Bytes |
//! |---|---|---|
//! | 1 | dialler | `bnpl`, version u16, 0 u16, 32 random bytes |
//! | 2 | acceptor | `bnpl`, version u16, 0 u16, 32 random bytes |
//! | 3 | dialler | purpose u8, cluster u128, own id u64, id it wants to reach u64, proof |
//! | 4 | acceptor | verdict u16, own cluster u128, own id u64, proof |
//!
//! A proof is HMAC-SHA256 with the secret over a label that differs for the two sides, and all
//! bytes of the handshake so far. So a recorded handshake is worth nothing, a proof cannot be sent
//! back to who made it, and an answer meant for another member is noticed.
//!
//! **The dialler proves first.** Anybody can dial a member: such a stranger must learn nothing but
//! the version, neither who is there nor a proof to try guesses of the secret on. Without a valid
//! proof in message 3 its claims are not looked at, and message 4 is the word "bad proof" with
//! zeros in all other fields. After a valid one the acceptor checks whether it is the one that is
//! wanted, and signs its answer whatever it is: two members with swapped addresses find out here.
//! Who waits at an address that we dial sees ids and a proof; that is the price of one side having
//! to begin, and the reason why a secret should be random bytes and not a word.
//!
//! A process that belongs to no cluster yet has the id 0, and lets in only [`Purpose::Join`] to 0.
//!
//! **Nothing is encrypted, and frames are not signed**: who can read or change packets on the way
//! reads jobs, and can take a connection over after its handshake. The member port belongs on a
//! network of its own.

mod call;
mod dial;
mod error;
mod frame;
mod handshake;
mod identity;
mod port;
mod refusals;
mod stream;
#[cfg(test)]
mod tests;

pub use call::{Caller, serve};
pub use dial::{DialError, dial};
pub use error::LinkError;
pub use frame::{FRAME_BYTES_MAX, Frame, FrameDecoder, write_frame};
pub use handshake::{PROTOCOL_VERSION, RejectReason};
pub use identity::{Peer, Purpose, Secret, SecretError, Us};
pub use port::{HANDSHAKES_MAX, MemberPort};
pub use stream::{BUFFERED_BYTES_MAX, Link, LinkReader, LinkWriter};
