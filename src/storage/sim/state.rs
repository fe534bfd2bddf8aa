//! What is in a simulated disk, durable and pending, and what of it survives a power failure.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::{Crash, SECTOR_BYTES};

#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) files: Vec<FileState>,
    pub(super) dirs: BTreeMap<PathBuf, DirState>,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) faults: Faults,
    pub(super) changes: u64,
    /// Ranges announced as to be read soon.
    pub(super) announced: u64,
}

#[derive(Clone, Default)]
pub(super) struct FileState {
    pub(super) durable: Vec<u8>,
    pub(super) current: Vec<u8>,
    pub(super) pending: Vec<(u64, FileChange)>,
    /// From here on there is room that was allocated and never written, as far as was synced.
    pub(super) unwritten_from: Option<usize>,
}

#[derive(Clone)]
pub(super) enum FileChange {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Clone, Default)]
pub(super) struct DirState {
    pub(super) durable: BTreeMap<String, usize>,
    pub(super) current: BTreeMap<String, usize>,
    pub(super) pending: Vec<DirChange>,
}

#[derive(Clone)]
pub(super) enum DirChange {
    Link { name: String, file: usize },
    Unlink { name: String },
    Rename { from: String, to: String },
}

#[derive(Clone, Default)]
pub(super) struct Faults {
    pub(super) sync_countdown: Option<u64>,
    pub(super) shutdown_countdown: Option<u64>,
    pub(super) power_countdown: Option<u64>,
    pub(super) copy_countdown: Option<u64>,
    pub(super) copy: Option<Box<State>>,
    pub(super) capacity_bytes: Option<u64>,
    pub(super) write_bytes_max: Option<usize>,
    pub(super) unreadable: BTreeSet<PathBuf>,
}

/// How a sync goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syncing {
    Succeeds,
    Fails,
    /// The file system goes down meanwhile.
    IsCutOff,
}

pub(super) struct PendingWrite {
    pub(super) stamp: u64,
    pub(super) length: usize,
}

impl State {
    /// One more change: an error when the power is off.
    pub(super) fn change(&mut self) -> io::Result<()> {
        match &mut self.faults.power_countdown {
            Some(0) => return Err(power_is_off()),
            Some(left) => *left -= 1,
            None => {}
        }
        match &mut self.faults.copy_countdown {
            Some(0) => {
                self.faults.copy_countdown = None;
                self.faults.copy = Some(Box::new(self.clone()));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        self.changes += 1;
        Ok(())
    }

    pub(super) fn check_power(&self) -> io::Result<()> {
        if self.faults.power_countdown == Some(0) { Err(power_is_off()) } else { Ok(()) }
    }

    pub(super) fn sync(&mut self) -> io::Result<Syncing> {
        self.change()?;
        if count_down(&mut self.faults.sync_countdown) {
            return Ok(Syncing::Fails);
        }
        if count_down(&mut self.faults.shutdown_countdown) {
            self.faults.power_countdown = Some(0);
            return Ok(Syncing::IsCutOff);
        }
        Ok(Syncing::Succeeds)
    }

    pub(super) fn dir(&mut self, path: &Path) -> io::Result<(&mut DirState, String)> {
        let (dir, name) = split(path)?;
        let dir = self.dirs.get_mut(dir).ok_or(ErrorKind::NotFound)?;
        Ok((dir, name.to_owned()))
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<usize> {
        self.check_power()?;
        let (dir, name) = split(path)?;
        let dir = self.dirs.get(dir).ok_or(ErrorKind::NotFound)?;
        dir.current.get(name).copied().ok_or(ErrorKind::NotFound.into())
    }

    pub(super) fn is_unreadable(&self, file: usize) -> bool {
        self.faults.unreadable.iter().any(|path| self.find(path).is_ok_and(|found| found == file))
    }

    pub(super) fn used_bytes(&self) -> u64 {
        let named = self.dirs.values().flat_map(|dir| dir.current.values());
        named.map(|&id| self.files[id].current.len() as u64).sum()
    }

    /// How much longer files may become.
    pub(super) fn room_bytes(&self) -> usize {
        let capacity = self.faults.capacity_bytes.unwrap_or(u64::MAX >> 1);
        usize::try_from(capacity.saturating_sub(self.used_bytes())).unwrap_or(usize::MAX)
    }

    pub(super) fn pending_writes(&self) -> Vec<PendingWrite> {
        let changes = self.files.iter().flat_map(|file| &file.pending);
        let mut writes: Vec<_> = changes
            .filter_map(|(stamp, change)| match change {
                FileChange::Write { bytes, .. } => {
                    Some(PendingWrite { stamp: *stamp, length: bytes.len() })
                }
                FileChange::Length(_) => None,
            })
            .collect();
        writes.sort_by_key(|write| write.stamp);
        writes
    }
}

impl FileState {
    /// Makes durable what was pending.
    pub(super) fn sync(&mut self) {
        for (_, change) in std::mem::take(&mut self.pending) {
            change.apply(&mut self.durable);
            if let (Some(from), FileChange::Write { offset, bytes }) =
                (&mut self.unwritten_from, &change)
                && offset <= from
            {
                *from = (*from).max(offset + bytes.len());
            }
        }
        self.unwritten_from.take_if(|from| *from >= self.durable.len());
    }

    /// What ext4 does whose journal ends meanwhile: it writes, and where that is into unwritten room
    /// it fails to note so, and tells nobody. Returns whether it reports success.
    pub(super) fn sync_while_going_down(&mut self) -> bool {
        let pending = std::mem::take(&mut self.pending);
        let end = self.durable.len();
        let written_end = self.unwritten_from.unwrap_or(end);
        let is_inside = pending.iter().all(|(_, change)| change.is_within(end));
        for (_, mut change) in pending {
            if change.cut_at(written_end) {
                change.apply(&mut self.durable);
            }
        }
        is_inside
    }

    pub(super) fn survive(&mut self, crash: Crash, id: usize, order: &[PendingWrite]) {
        let pending = std::mem::take(&mut self.pending);
        let stamp_of = |write: usize| order.get(write).map(|found| found.stamp);
        match crash {
            Crash::LoseAll => {}
            Crash::KeepAll => {
                pending.iter().for_each(|(_, change)| change.apply(&mut self.durable))
            }
            Crash::Missing { write } => {
                let lost = stamp_of(write);
                let kept = pending.iter().filter(|(stamp, _)| Some(*stamp) != lost);
                kept.for_each(|(_, change)| change.apply(&mut self.durable));
            }
            Crash::Torn { write, sectors } => {
                let torn = stamp_of(write);
                for (stamp, change) in &pending {
                    let sectors = if Some(*stamp) == torn { sectors } else { usize::MAX };
                    change.apply_where(&mut self.durable, |sector| sector < sectors);
                }
            }
            Crash::Random { seed } => {
                self.survive_at_random(&pending, &mut Random(seed ^ mix(id as u64 + 1)));
            }
        }
        self.current = self.durable.clone();
    }

    fn survive_at_random(&mut self, pending: &[(u64, FileChange)], random: &mut Random) {
        if random.below(10) < 7 {
            let whole = random.below(pending.len() + 1);
            for (_, change) in &pending[..whole] {
                change.apply(&mut self.durable);
            }
            if let Some((_, torn)) = pending.get(whole) {
                let sectors = random.below(torn.sectors() + 1);
                torn.apply_where(&mut self.durable, |sector| sector < sectors);
            }
        } else {
            for (_, change) in pending {
                change.apply_where(&mut self.durable, |_| random.below(2) == 0);
            }
        }
    }
}

impl FileChange {
    /// Whether it leaves the length of a file of `length` bytes as it is.
    fn is_within(&self, length: usize) -> bool {
        matches!(self, Self::Write { offset, bytes } if offset + bytes.len() <= length)
    }

    /// Leaves only the part before `end`; false when nothing is left.
    fn cut_at(&mut self, end: usize) -> bool {
        match self {
            Self::Length(_) => false,
            Self::Write { offset, bytes } => {
                bytes.truncate(end.saturating_sub(*offset));
                !bytes.is_empty()
            }
        }
    }

    pub(super) fn apply(&self, bytes: &mut Vec<u8>) {
        self.apply_where(bytes, |_| true);
    }

    /// Applies those sectors, counted within this change, for which `survives` holds.
    fn apply_where(&self, target: &mut Vec<u8>, mut survives: impl FnMut(usize) -> bool) {
        match self {
            Self::Length(length) => {
                if survives(0) {
                    target.resize(*length, 0);
                }
            }
            Self::Write { offset, bytes } => {
                let (mut from, mut sector) = (0, 0);
                while from < bytes.len() {
                    let at = offset + from;
                    let count = (SECTOR_BYTES - at % SECTOR_BYTES).min(bytes.len() - from);
                    if survives(sector) {
                        put(target, at, &bytes[from..from + count]);
                    }
                    from += count;
                    sector += 1;
                }
            }
        }
    }

    fn sectors(&self) -> usize {
        match self {
            Self::Length(_) => 1,
            Self::Write { offset, bytes } => {
                (offset % SECTOR_BYTES + bytes.len()).div_ceil(SECTOR_BYTES)
            }
        }
    }
}

impl DirState {
    pub(super) fn change(&mut self, change: DirChange) {
        change.apply(&mut self.current);
        self.pending.push(change);
    }

    pub(super) fn survive(&mut self, crash: Crash, position: usize) {
        let pending = std::mem::take(&mut self.pending);
        let kept = match crash {
            Crash::LoseAll => 0,
            Crash::Random { seed } => {
                Random(seed ^ mix(u64::MAX - position as u64)).below(pending.len() + 1)
            }
            Crash::KeepAll | Crash::Missing { .. } | Crash::Torn { .. } => pending.len(),
        };
        pending[..kept].iter().for_each(|change| change.apply(&mut self.durable));
        self.current = self.durable.clone();
    }
}

impl DirChange {
    pub(super) fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Link { name, file } => {
                names.insert(name.clone(), *file);
            }
            Self::Unlink { name } => {
                names.remove(name);
            }
            Self::Rename { from, to } => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
        }
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        (mix(self.0) % limit.max(1) as u64) as usize
    }
}

fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

fn put(target: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if target.len() < at + bytes.len() {
        target.resize(at + bytes.len(), 0);
    }
    target[at..at + bytes.len()].copy_from_slice(bytes);
}

pub(super) fn split(path: &Path) -> io::Result<(&Path, &str)> {
    let dir = path.parent().ok_or(ErrorKind::InvalidInput)?;
    let name = path.file_name().and_then(|name| name.to_str()).ok_or(ErrorKind::InvalidInput)?;
    Ok((dir, name))
}

/// Whether it is the turn of a fault.
fn count_down(countdown: &mut Option<u64>) -> bool {
    match countdown {
        Some(1) => {
            *countdown = None;
            true
        }
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}
