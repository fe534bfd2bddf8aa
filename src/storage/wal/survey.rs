//! What files there are in the directory of a log, and which of them are the log.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::Context;
use super::hard::HardState;
use super::segment::{self, HEAD_BYTES, Head};
use super::shared::{Shared, Spare};
use super::{Damage, WalError};
use crate::storage::disk::DiskFile;
use crate::storage::reserve::remove_if_there;

/// The files found.
pub(super) struct Survey {
    /// Files named as segments, by the number in the name.
    pub(super) named: BTreeMap<u64, Found>,
    /// Files named as spares.
    spares: Vec<Found>,
    /// Files named as spares that are not filled.
    blanks: Vec<PathBuf>,
    /// Greater than every number in a name or a head.
    pub(super) next_number: u64,
    pub(super) has_hard: bool,
}

/// A file that may be a segment.
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) file_bytes: u64,
    /// Readable, and of this owner; not necessarily of this name.
    head: Option<Head>,
}

impl Survey {
    /// Looks at all files. Changes nothing.
    pub(super) fn take(shared: &Shared) -> Result<Self, WalError> {
        let names = shared.disk.list(&shared.dir).context("list", &shared.dir)?;
        let mut survey = Self {
            named: BTreeMap::new(),
            spares: Vec::new(),
            blanks: Vec::new(),
            next_number: 1,
            has_hard: false,
        };
        for name in names {
            if name == super::hard::NAME {
                survey.has_hard = true;
            } else if let Some(number) = segment::number_after("log-", &name) {
                let found = Found::open(shared, &name)?;
                survey.see(number);
                survey.see_head(&found);
                survey.named.insert(number, found);
            } else if let Some(serial) = segment::number_after("spare-", &name) {
                shared.spare_names_from(serial);
                let found = Found::open(shared, &name)?;
                survey.see_head(&found);
                survey.spares.push(found);
            } else if let Some(serial) = segment::number_after("blank-", &name) {
                shared.spare_names_from(serial);
                survey.see_head(&Found::open(shared, &name)?);
                survey.blanks.push(shared.dir.join(name));
            }
        }
        Ok(survey)
    }

    /// The head of the segment of this number, if there is one.
    pub(super) fn head(&self, number: u64) -> Option<&Head> {
        let head = self.named.get(&number)?.head.as_ref()?;
        (head.number == number).then_some(head)
    }

    /// The numbers of the segments that are the log, oldest first.
    ///
    /// What `hard` names has to be there; later ones count when they continue it, because `hard`
    /// may be the older of its slots.
    pub(super) fn chain(&self, state: HardState, shared: &Shared) -> Result<Vec<u64>, WalError> {
        let missing = |number| {
            let why = Damage::Segment { number };
            WalError::Corrupt { file: shared.dir.join(segment::name(number)), offset: 0, why }
        };
        let (mut active, mut first) = (state.active, state.first);
        while let Some(next) = self.successor(active) {
            if next.replaces == active && first == active {
                first = next.number;
            }
            active = next.number;
        }
        if active == 0 {
            return if state.floor == 0 { Ok(Vec::new()) } else { Err(missing(state.active)) };
        }
        let mut chain = vec![active];
        let mut head = self.head(active).ok_or_else(|| missing(active))?;
        while head.number != first && !(first == 0 && head.previous == 0) {
            let previous = head.previous;
            let found = self.head(previous).filter(|_| previous < head.number);
            head = found.ok_or_else(|| missing(previous.max(first)))?;
            chain.push(previous);
        }
        chain.reverse();
        Ok(chain)
    }

    /// The latest segment that continues or replaces this one.
    fn successor(&self, active: u64) -> Option<&Head> {
        let later = self.named.keys().rev().take_while(|number| **number > active);
        later.filter_map(|number| self.head(*number)).find(|head| {
            let replaces = head.replaces == active && active != 0;
            replaces || head.previous == active
        })
    }

    /// Keeps the spares that are of use, and removes the others.
    pub(super) fn take_spares(&mut self, shared: &Shared) -> Result<(), WalError> {
        let mut useless = std::mem::take(&mut self.blanks);
        for found in self.spares.drain(..) {
            let (path, bytes, file) = (found.path, found.file_bytes, found.file);
            let spare = Spare { path, bytes, is_filled: true, file };
            useless.extend(shared.offer_spare(spare).map(|spare| spare.path));
        }
        useless
            .iter()
            .try_for_each(|path| remove_if_there(&*shared.disk, path).context("remove", path))
    }

    /// The same for the files named as segments that are not in the log, once nothing names them.
    pub(super) fn recycle_others(self, shared: &Shared, chain: &[u64]) -> Result<(), WalError> {
        for (number, found) in self.named {
            if chain.contains(&number) {
                continue;
            }
            if !found.head.is_some_and(|head| head.is_filled) {
                shared.remove_later(found.path)?;
                continue;
            }
            let path = shared.spare_path();
            shared.disk.rename(&found.path, &path).context("recycle", &found.path)?;
            let (bytes, file) = (found.file_bytes, found.file);
            let spare = Spare { path, bytes, is_filled: true, file };
            if let Some(useless) = shared.offer_spare(spare) {
                shared.remove_later(useless.path)?;
            }
        }
        Ok(())
    }

    fn see(&mut self, number: u64) {
        self.next_number = self.next_number.max(number.saturating_add(1));
    }

    fn see_head(&mut self, found: &Found) {
        if let Some(head) = &found.head {
            self.see(head.number);
        }
    }
}

impl Found {
    fn open(shared: &Shared, name: &str) -> Result<Self, WalError> {
        let path = shared.dir.join(name);
        let file = shared.disk.open(&path).context("open", &path)?;
        let file_bytes = file.length().context("measure", &path)?;
        let mut bytes = [0; HEAD_BYTES];
        let head = match file.read_exact_at(&mut bytes, 0) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => None,
            read => {
                read.context("read", &path)?;
                Head::decode(&bytes, &path)?.filter(|head| head.owner == shared.options.owner)
            }
        };
        Ok(Self { path, file, file_bytes, head })
    }
}
