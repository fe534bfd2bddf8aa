//! The file `hard`: what is known for certain about the log, kept apart from it.
//!
//! Two slots, written in turn and synced, so that a torn write leaves the other. It says which
//! segments there are, where the purge point is, and the *floor*: all records up to it were synced.
//! A log that does not reach its floor has lost something.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{Context, outcome};
use super::{Damage, EntryId, WalError};
use crate::planted::{self, Bug};
use crate::storage::Owner;
use crate::storage::bytes_at::{head_crc, u32_at, u64_at, u128_at};
use crate::storage::disk::{Disk, DiskFile, replace_file};

/// The name of the file.
pub(super) const NAME: &str = "hard";

/// The slots are in different pages, so that no write touches both.
const SLOT_STRIDE: usize = 4096;
const SLOT_BYTES: usize = 128;
const FILE_BYTES: usize = 2 * SLOT_STRIDE;
const MAGIC: u64 = u64::from_le_bytes(*b"beanhard");
const VERSION: u32 = 1;

/// What the file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HardState {
    /// The oldest segment, 0 while there is none.
    pub(super) first: u64,
    /// The segment that is written to, 0 while there is none.
    pub(super) active: u64,
    /// All records up to this sequence were synced.
    pub(super) floor: u64,
    /// The purge point.
    pub(super) purged: Option<EntryId>,
}

/// The open file.
pub(super) struct Hard {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    owner: Owner,
    generation: u64,
    state: HardState,
}

impl Hard {
    /// Makes the file, with nothing in it, durably.
    pub(super) fn create(disk: &dyn Disk, dir: &Path, owner: Owner) -> Result<Self, WalError> {
        let path = dir.join(NAME);
        let mut contents = vec![0; FILE_BYTES];
        contents[..SLOT_BYTES].copy_from_slice(&encode(owner, 0, &HardState::default()));
        replace_file(disk, dir, NAME, &contents).context("create", &path)?;
        let file = disk.open(&path).context("open", &path)?;
        Ok(Self { path, file, owner, generation: 0, state: HardState::default() })
    }

    /// Opens the file and believes the newer of its readable slots.
    pub(super) fn open(disk: &dyn Disk, dir: &Path, owner: Owner) -> Result<Self, WalError> {
        let path = dir.join(NAME);
        let file = disk.open(&path).context("open", &path)?;
        let mut found = None;
        for slot in 0..2 {
            let mut bytes = [0; SLOT_BYTES];
            match file.read_exact_at(&mut bytes, (slot * SLOT_STRIDE) as u64) {
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {}
                read => {
                    read.context("read", &path)?;
                    found = newer(found, decode(&bytes, &path)?);
                }
            }
        }
        let Some(slot) = found else {
            return Err(WalError::Corrupt { file: path, offset: 0, why: Damage::Hard });
        };
        if slot.owner != owner {
            let found = slot.owner;
            return Err(WalError::ForeignOwner { file: path, expected: owner, found });
        }
        Ok(Self { path, file, owner, generation: slot.generation, state: slot.state })
    }

    pub(super) fn state(&self) -> HardState {
        self.state
    }

    /// Writes and syncs the other slot.
    pub(super) fn write(&mut self, state: HardState) -> Result<(), WalError> {
        let is_cut = planted::is(Bug::DamageTruncated);
        assert!(is_cut || state.floor >= self.state.floor, "{state:?} after {:?}", self.state);
        self.generation += 1;
        let offset = (self.generation % 2) * SLOT_STRIDE as u64;
        let bytes = encode(self.owner, self.generation, &state);
        outcome(self.file.write_all_at(&bytes, offset)).context("write", &self.path)?;
        outcome(self.file.sync_data()).context("sync", &self.path)?;
        self.state = state;
        Ok(())
    }
}

struct Slot {
    owner: Owner,
    generation: u64,
    state: HardState,
}

fn newer(one: Option<Slot>, other: Option<Slot>) -> Option<Slot> {
    match (one, other) {
        (Some(one), Some(other)) if one.generation > other.generation => Some(one),
        (one, other) => other.or(one),
    }
}

fn encode(owner: Owner, generation: u64, state: &HardState) -> [u8; SLOT_BYTES] {
    let purged = state.purged.unwrap_or_default();
    let mut slot = [0; SLOT_BYTES];
    slot[0..8].copy_from_slice(&MAGIC.to_le_bytes());
    slot[12..16].copy_from_slice(&VERSION.to_le_bytes());
    slot[16..32].copy_from_slice(&owner.cluster.to_le_bytes());
    slot[32..40].copy_from_slice(&owner.member.to_le_bytes());
    slot[40..48].copy_from_slice(&generation.to_le_bytes());
    slot[48..56].copy_from_slice(&state.first.to_le_bytes());
    slot[56..64].copy_from_slice(&state.active.to_le_bytes());
    slot[64..72].copy_from_slice(&state.floor.to_le_bytes());
    slot[72..80].copy_from_slice(&u64::from(state.purged.is_some()).to_le_bytes());
    slot[80..88].copy_from_slice(&purged.term.to_le_bytes());
    slot[88..96].copy_from_slice(&purged.member.to_le_bytes());
    slot[96..104].copy_from_slice(&purged.index.to_le_bytes());
    let crc = head_crc(&slot);
    slot[8..12].copy_from_slice(&crc.to_le_bytes());
    slot
}

fn decode(slot: &[u8; SLOT_BYTES], path: &Path) -> Result<Option<Slot>, WalError> {
    if u64_at(slot, 0) != MAGIC || u32_at(slot, 8) != head_crc(slot) {
        return Ok(None);
    }
    let version = u32_at(slot, 12);
    if version != VERSION {
        let file = path.to_path_buf();
        return Err(WalError::UnknownVersion { file, found: version, known: VERSION });
    }
    let purged =
        EntryId { term: u64_at(slot, 80), member: u64_at(slot, 88), index: u64_at(slot, 96) };
    Ok(Some(Slot {
        owner: Owner { cluster: u128_at(slot, 16), member: u64_at(slot, 32) },
        generation: u64_at(slot, 40),
        state: HardState {
            first: u64_at(slot, 48),
            active: u64_at(slot, 56),
            floor: u64_at(slot, 64),
            purged: (u64_at(slot, 72) == 1).then_some(purged),
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::sim::SimDisk;

    const OWNER: Owner = Owner { cluster: 7, member: 1 };

    fn written() -> (SimDisk, Hard) {
        let disk = SimDisk::new();
        disk.create_dir(Path::new("/wal")).unwrap();
        let mut hard = Hard::create(&disk, Path::new("/wal"), OWNER).unwrap();
        for floor in 1..=3 {
            hard.write(HardState { first: 1, active: 2, floor, purged: None }).unwrap();
        }
        (disk, hard)
    }

    #[test]
    fn the_newer_slot_is_believed_and_the_older_one_when_it_is_damaged() {
        let (disk, _) = written();
        let open = || Hard::open(&disk, Path::new("/wal"), OWNER);
        assert_eq!(open().unwrap().state().floor, 3);
        disk.edit(Path::new("/wal/hard"), |bytes| bytes[SLOT_STRIDE + 50] ^= 1);
        assert_eq!(open().unwrap().state().floor, 2);
        disk.edit(Path::new("/wal/hard"), |bytes| bytes[50] ^= 1);
        assert!(matches!(open(), Err(WalError::Corrupt { why: Damage::Hard, .. })));
    }

    #[test]
    fn another_owner_is_refused() {
        let (disk, _) = written();
        let other = Owner { member: 2, ..OWNER };
        let refused = Hard::open(&disk, Path::new("/wal"), other);
        assert!(matches!(refused, Err(WalError::ForeignOwner { .. })));
    }
}
