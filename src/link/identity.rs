//! Who speaks to whom, and what both must know.

use std::fmt;
use std::net::SocketAddr;

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

/// The fewest bytes a secret has, white space at its ends left out.
const SECRET_BYTES_MIN: usize = 16;

/// What all members of a cluster share, and nobody else knows.
#[derive(Clone)]
pub struct Secret([u8; 32]);

/// The secret cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secret has {found} bytes without white space at its ends, and needs at least {min}")]
pub struct SecretError {
    /// How many it has.
    pub found: usize,
    /// How many it needs.
    pub min: usize,
}

impl Secret {
    /// Takes the contents of the secret's file: any bytes. White space at both ends does not count,
    /// because editors add some.
    ///
    /// # Errors
    ///
    /// When fewer than 16 bytes are left.
    pub fn new(bytes: &[u8]) -> Result<Self, SecretError> {
        let trimmed = bytes.trim_ascii();
        if trimmed.len() < SECRET_BYTES_MIN {
            return Err(SecretError { found: trimmed.len(), min: SECRET_BYTES_MIN });
        }
        Ok(Self(Sha256::digest(trimmed).into()))
    }

    /// One that nobody else has.
    pub fn random() -> Self {
        let mut bytes = [0; 32];
        crate::random::fill(&mut bytes);
        Self(bytes)
    }

    /// The proof of `parts`, to be sent or to be compared with one that came.
    pub(super) fn proof_over(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut proof =
            <Hmac<Sha256> as Mac>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        parts.iter().for_each(|part| proof.update(part));
        proof
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The member that dials and accepts.
#[derive(Clone, Debug)]
pub struct Us {
    /// Its cluster.
    pub cluster: u128,
    /// Its id in the cluster, never 0.
    pub member: u64,
    /// The secret of the cluster.
    pub secret: Secret,
}

/// What a link is for. Each has a connection of its own, so that none waits behind another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Entries of the log.
    Append = 1,
    /// Heartbeats and votes.
    Heartbeat = 2,
    /// A checkpoint for a member that is far behind.
    Snapshot = 3,
    /// Ops on their way to the leader.
    Ops = 4,
    /// Requests of operators, and what members ask of each other besides.
    Control = 5,
    /// Invites a process that belongs to no cluster yet.
    Join = 6,
}

impl Purpose {
    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        let all =
            [Self::Append, Self::Heartbeat, Self::Snapshot, Self::Ops, Self::Control, Self::Join];
        all.into_iter().find(|purpose| *purpose as u8 == byte)
    }
}

/// Who has dialled us: proved by the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its id.
    pub member: u64,
    /// What it wants the link for.
    pub purpose: Purpose,
    /// From where it dialled; not the address where it accepts.
    pub address: SocketAddr,
}
