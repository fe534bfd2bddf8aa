//! Both sides of the handshake over any byte stream. Its messages, their order and the reasons for
//! it are described in the module above.
//!
//! The deadline is the caller's. Every message has a fixed length: a stranger makes nobody keep
//! more than a hundred bytes.

use std::io;

use hmac::Mac;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::dial::DialError;
use super::error::is_end;
use super::identity::{Purpose, Secret, Us};

/// The version of the handshake and of the frames. Other versions are refused.
pub const PROTOCOL_VERSION: u16 = 1;

/// What a process is called that belongs to no cluster yet.
pub(super) const NOBODY: u64 = 0;

const MAGIC: &[u8; 4] = b"bnpl";
const NONCE_BYTES: usize = 32;
const PROOF_BYTES: usize = 32;
const GREETING_BYTES: usize = 8 + NONCE_BYTES;
const CLAIM_BYTES: usize = 33;
const ANSWER_BYTES: usize = 26;

const OF_DIALLER: &[u8] = b"beanpole link, dialler";
const OF_ACCEPTOR: &[u8] = b"beanpole link, acceptor";

/// Why the other side does not want us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectReason {
    /// It has another secret than we.
    #[error("our secret is not theirs")]
    BadProof,
    /// It belongs to no cluster yet, and waits to be invited into one.
    #[error("not a member yet")]
    NotAMemberYet,
    /// It does not know what we want the link for.
    #[error("unknown purpose")]
    UnknownPurpose,
}

/// Why somebody was not let in.
#[derive(Debug, thiserror::Error)]
pub(super) enum Rejection {
    #[error("it does not speak the protocol of members")]
    NotAMember,
    #[error("it speaks version {theirs}, we speak {PROTOCOL_VERSION}")]
    Version { theirs: u16 },
    #[error("it has another secret")]
    BadProof,
    #[error("member {member} belongs to another cluster, {theirs:032x}")]
    WrongCluster { member: u64, theirs: u128 },
    #[error("member {member} wants to reach member {asked}, which is somebody else")]
    WrongMember { member: u64, asked: u64 },
    #[error("member {member} takes us for a member, and we belong to no cluster yet")]
    NotAMemberYet { member: u64 },
    #[error("member {member} wants something unknown: purpose {purpose}")]
    UnknownPurpose { member: u64, purpose: u8 },
    #[error("it left in the middle of the handshake")]
    Left,
    #[error("it was too slow")]
    TooSlow,
    #[error("it was the slowest of too many at once")]
    Crowded,
    #[error("the connection failed: {0}")]
    Io(io::Error),
}

/// What the acceptor checks newcomers against.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) secret: Secret,
    /// Cluster and id; `None` for a process that belongs to no cluster yet.
    pub(super) member: Option<(u128, u64)>,
}

/// Who was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Admitted {
    pub(super) cluster: u128,
    pub(super) member: u64,
    pub(super) purpose: Purpose,
}

/// The dialler's side. When it returns `Ok`, the other side is `target` of our cluster.
pub(super) async fn introduce<S>(
    stream: &mut S,
    us: &Us,
    target: u64,
    purpose: Purpose,
) -> Result<(), DialError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let ours = greeting(PROTOCOL_VERSION);
    stream.write_all(&ours).await?;
    let theirs = read_array::<GREETING_BYTES>(stream).await?;
    let version = version_of(&theirs).ok_or(DialError::NotAMember)?;
    if version != PROTOCOL_VERSION {
        return Err(DialError::Version { ours: PROTOCOL_VERSION, theirs: version });
    }
    let wanted = Claim { purpose: purpose as u8, cluster: us.cluster, sender: us.member, target };
    let claim = wanted.encode();
    let proof = us.secret.proof_over(&[OF_DIALLER, &ours, &theirs, &claim]);
    stream.write_all(&[claim.as_slice(), &proof.finalize().into_bytes()].concat()).await?;

    let answer = read_array::<ANSWER_BYTES>(stream).await?;
    let their_proof = read_array::<PROOF_BYTES>(stream).await?;
    let (verdict, cluster, member) = decode_answer(&answer);
    if verdict == Verdict::BadProof as u16 {
        // Not signed: who does not know our secret cannot sign for us.
        return Err(DialError::Rejected(RejectReason::BadProof));
    }
    let expected = us.secret.proof_over(&[OF_ACCEPTOR, &ours, &theirs, &claim, &answer]);
    // Takes the same time whatever is wrong.
    expected.verify_slice(&their_proof).map_err(|_| DialError::BadProof)?;
    wanted.judge(verdict, cluster, member)
}

/// The acceptor's side. A newcomer that is not let in has been told why, if it may know.
pub(super) async fn admit<S>(stream: &mut S, door: &Door) -> Result<Admitted, Rejection>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let theirs = read_array::<GREETING_BYTES>(stream).await?;
    let version = version_of(&theirs).ok_or(Rejection::NotAMember)?;
    let ours = greeting(PROTOCOL_VERSION);
    stream.write_all(&ours).await?;
    if version != PROTOCOL_VERSION {
        return Err(Rejection::Version { theirs: version });
    }
    let claim = read_array::<CLAIM_BYTES>(stream).await?;
    let proof = read_array::<PROOF_BYTES>(stream).await?;
    let expected = door.secret.proof_over(&[OF_DIALLER, &theirs, &ours, &claim]);
    if expected.verify_slice(&proof).is_err() {
        let answer = encode_answer(Verdict::BadProof, 0, NOBODY);
        stream.write_all(&[answer.as_slice(), &[0; PROOF_BYTES]].concat()).await?;
        return Err(Rejection::BadProof);
    }
    let outcome = door.judge(Claim::decode(&claim));
    let verdict = outcome.as_ref().map_or_else(Verdict::of, |_| Verdict::Welcome);
    let (cluster, member) = match (&outcome, door.member) {
        (_, Some(member)) => member,
        (Ok(admitted), None) => (admitted.cluster, NOBODY),
        (Err(_), None) => (0, NOBODY),
    };
    let answer = encode_answer(verdict, cluster, member);
    let proof = door.secret.proof_over(&[OF_ACCEPTOR, &theirs, &ours, &claim, &answer]);
    stream.write_all(&[answer.as_slice(), &proof.finalize().into_bytes()].concat()).await?;
    outcome
}

impl Door {
    fn judge(&self, claim: Claim) -> Result<Admitted, Rejection> {
        let Claim { purpose, cluster, sender: member, target } = claim;
        let purpose =
            Purpose::from_byte(purpose).ok_or(Rejection::UnknownPurpose { member, purpose })?;
        let admitted = Admitted { cluster, member, purpose };
        match self.member {
            None if purpose == Purpose::Join && target == NOBODY => Ok(admitted),
            None => Err(Rejection::NotAMemberYet { member }),
            Some((ours, _)) if ours != cluster => {
                Err(Rejection::WrongCluster { member, theirs: cluster })
            }
            Some((_, us)) if us != target => Err(Rejection::WrongMember { member, asked: target }),
            Some(_) => Ok(admitted),
        }
    }
}

/// What the acceptor says, as it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Welcome = 0,
    BadProof = 1,
    WrongCluster = 2,
    WrongMember = 3,
    NotAMemberYet = 4,
    UnknownPurpose = 5,
}

impl Verdict {
    /// What a newcomer that proved the secret is told. The rest never gets that far.
    fn of(rejection: &Rejection) -> Self {
        match rejection {
            Rejection::WrongCluster { .. } => Self::WrongCluster,
            Rejection::WrongMember { .. } => Self::WrongMember,
            Rejection::NotAMemberYet { .. } => Self::NotAMemberYet,
            Rejection::UnknownPurpose { .. } => Self::UnknownPurpose,
            Rejection::NotAMember
            | Rejection::Version { .. }
            | Rejection::BadProof
            | Rejection::Left
            | Rejection::TooSlow
            | Rejection::Crowded
            | Rejection::Io(_) => Self::BadProof,
        }
    }
}

/// Message 3 without its proof: who the dialler says that it is, and whom it wants.
#[derive(Clone, Copy, Debug)]
struct Claim {
    purpose: u8,
    cluster: u128,
    sender: u64,
    target: u64,
}

impl Claim {
    fn encode(&self) -> [u8; CLAIM_BYTES] {
        let mut bytes = [0; CLAIM_BYTES];
        bytes[0] = self.purpose;
        bytes[1..17].copy_from_slice(&self.cluster.to_le_bytes());
        bytes[17..25].copy_from_slice(&self.sender.to_le_bytes());
        bytes[25..].copy_from_slice(&self.target.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; CLAIM_BYTES]) -> Self {
        Self {
            purpose: bytes[0],
            cluster: u128::from_le_bytes(part(bytes, 1)),
            sender: u64::from_le_bytes(part(bytes, 17)),
            target: u64::from_le_bytes(part(bytes, 25)),
        }
    }

    /// What a signed answer means for who made this claim.
    fn judge(&self, verdict: u16, cluster: u128, member: u64) -> Result<(), DialError> {
        let is_right = cluster == self.cluster && member == self.target;
        match verdict {
            v if v == Verdict::WrongCluster as u16 => {
                Err(DialError::WrongCluster { ours: self.cluster, theirs: cluster })
            }
            v if v == Verdict::NotAMemberYet as u16 => {
                Err(DialError::Rejected(RejectReason::NotAMemberYet))
            }
            v if v == Verdict::UnknownPurpose as u16 => {
                Err(DialError::Rejected(RejectReason::UnknownPurpose))
            }
            v if v == Verdict::Welcome as u16 && is_right => Ok(()),
            _ => Err(DialError::WrongMember { asked: self.target, found: member }),
        }
    }
}

fn greeting(version: u16) -> [u8; GREETING_BYTES] {
    let mut bytes = [0; GREETING_BYTES];
    bytes[..4].copy_from_slice(MAGIC);
    bytes[4..6].copy_from_slice(&version.to_le_bytes());
    crate::random::fill(&mut bytes[8..]);
    bytes
}

/// `None` when this is no greeting at all.
fn version_of(greeting: &[u8; GREETING_BYTES]) -> Option<u16> {
    let has_magic = greeting.starts_with(MAGIC);
    has_magic.then(|| u16::from_le_bytes(part(greeting, 4)))
}

fn encode_answer(verdict: Verdict, cluster: u128, member: u64) -> [u8; ANSWER_BYTES] {
    let mut bytes = [0; ANSWER_BYTES];
    bytes[..2].copy_from_slice(&(verdict as u16).to_le_bytes());
    bytes[2..18].copy_from_slice(&cluster.to_le_bytes());
    bytes[18..].copy_from_slice(&member.to_le_bytes());
    bytes
}

fn decode_answer(bytes: &[u8; ANSWER_BYTES]) -> (u16, u128, u64) {
    let cluster = u128::from_le_bytes(part(bytes, 2));
    (u16::from_le_bytes(part(bytes, 0)), cluster, u64::from_le_bytes(part(bytes, 18)))
}

/// `N` bytes from `at` on; both are constants that lie inside.
fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[at..at + N]);
    part
}

async fn read_array<const N: usize>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

impl From<io::Error> for Rejection {
    fn from(error: io::Error) -> Self {
        match is_end(&error) {
            true => Self::Left,
            false => Self::Io(error),
        }
    }
}
