//! A log without threads, and a model of what it should hold.
//!
//! A [`Script`] is a list of changes made from a seed. The [`Stepper`] makes them one group at a
//! time and counts what was acknowledged. After any crash, what is recovered must be the state after
//! some number of changes that is not less than that.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::super::reader;
use super::super::recovery::recover;
use super::super::shared::Shared;
use super::super::writer::{Room, Writer};
use super::*;
use crate::storage::background::BackgroundHandle;

/// One record's worth of change.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Entry(EntryId, usize),
    Vote(Bytes),
    Truncate(Option<EntryId>),
    Purge(EntryId),
}

/// What a log should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) vote: Option<Bytes>,
    pub(super) purged: Option<EntryId>,
    pub(super) entries: BTreeMap<u64, (u64, usize)>,
}

/// What a recovery gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) recovered: Recovered,
    pub(super) entries: BTreeMap<u64, (u64, usize)>,
}

/// SplitMix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (bits ^ (bits >> 31)) % limit
    }
}

impl Model {
    pub(super) fn first(&self) -> u64 {
        self.purged.map_or(0, |id| id.index + 1)
    }

    pub(super) fn next(&self) -> u64 {
        self.entries.last_key_value().map_or(0, |(index, _)| index + 1).max(self.first())
    }

    fn id(&self, index: u64) -> EntryId {
        id(self.entries[&index].0, index)
    }

    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Entry(id, bytes) => {
                assert_eq!(id.index, self.next());
                self.entries.insert(id.index, (id.term, *bytes));
            }
            Change::Vote(vote) => self.vote = Some(vote.clone()),
            Change::Truncate(last) => {
                let next = last.map_or(0, |id| id.index + 1);
                self.entries.retain(|index, _| *index < next);
            }
            Change::Purge(upto) => {
                self.purged = self.purged.filter(|was| was.index > upto.index).or(Some(*upto));
                let first = self.first();
                self.entries.retain(|index, _| *index >= first);
            }
        }
    }

    /// Whether the outcome is this state, give or take a purge that was asked for later.
    fn allows(&self, outcome: &Outcome, purges: &[EntryId]) -> bool {
        let mut state = self.clone();
        if let Some(purged) = outcome.recovered.purged
            && purges.contains(&purged)
            && purged.index >= self.first()
        {
            state.apply(&Change::Purge(purged));
        }
        let last = state.entries.keys().next_back().map(|index| state.id(*index));
        state.vote == outcome.recovered.vote
            && state.purged == outcome.recovered.purged
            && last.or(state.purged) == outcome.recovered.last
            && state.entries == outcome.entries
    }
}

/// Makes a list of changes that can follow each other.
pub(super) fn script(seed: u64, length: usize) -> Vec<Change> {
    let mut random = Random(seed);
    let (mut model, mut term) = (Model::default(), 1);
    let mut changes = Vec::new();
    while changes.len() < length {
        let change = match random.below(20) {
            0 => {
                term += 1;
                Change::Vote(Bytes::from(format!("vote {term}")))
            }
            1 => {
                let keep = model.first() + random.below(model.next() - model.first() + 1);
                term += 1;
                Change::Truncate(match keep.checked_sub(1) {
                    Some(last) if last >= model.first() => Some(model.id(last)),
                    _ if random.below(2) == 0 => None,
                    _ => model.purged,
                })
            }
            2 if model.next() > model.first() => {
                let upto = model.first() + random.below(model.next() - model.first());
                Change::Purge(model.id(upto))
            }
            3 if random.below(4) == 0 => Change::Purge(id(term, model.next() + random.below(9))),
            _ => {
                let bytes = [10, 40, 200, 700][random.below(4) as usize];
                Change::Entry(id(term, model.next()), bytes)
            }
        };
        model.apply(&change);
        changes.push(change);
    }
    changes
}

/// Whether the outcome is the state after so many changes or more. Says why not.
pub(super) fn check(
    changes: &[Change],
    acknowledged: usize,
    outcome: &Outcome,
) -> Result<(), String> {
    let purges: Vec<_> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Purge(upto) => Some(*upto),
            _ => None,
        })
        .collect();
    let mut model = Model::default();
    for count in 0..=changes.len() {
        if count >= acknowledged && model.allows(outcome, &purges) {
            return Ok(());
        }
        if let Some(change) = changes.get(count) {
            model.apply(change);
        }
    }
    Err(format!("{outcome:?} is no state after {acknowledged} or more of {changes:?}"))
}

/// A background writer that takes no work: all is done on the caller's thread, in order.
fn no_background() -> BackgroundHandle {
    static ENDED: LazyLock<BackgroundHandle> =
        LazyLock::new(|| Background::start(BackgroundOptions::new(test_now())).unwrap().handle());
    ENDED.clone()
}

pub(super) fn shared(disk: &SimDisk, options: WalOptions) -> Arc<Shared> {
    let fatal: Fatal = Arc::new(|error| panic!("{error}"));
    Arc::new(Shared::new(Arc::new(disk.clone()), &dir(), options, no_background(), fatal))
}

/// Recovers a log and reads all of it. Nothing is written after.
pub(super) fn recover_all(disk: &SimDisk) -> Result<Outcome, WalError> {
    let shared = shared(disk, small_options());
    let (_, recovered) = recover(&shared)?;
    let first = recovered.purged.map_or(0, |id| id.index + 1);
    let mut entries = BTreeMap::new();
    let mut next = first;
    loop {
        let read = reader::read(&shared, next, u64::MAX, 3000)?;
        let Some((last, _)) = read.last() else { break };
        next = last.index + 1;
        for (id, bytes) in read {
            assert_eq!(bytes, payload(id.term, id.index, bytes.len()), "an altered entry");
            entries.insert(id.index, (id.term, bytes.len()));
        }
    }
    Ok(Outcome { recovered, entries })
}

/// Removes the files that could be recycled.
pub(super) fn remove_spares(disk: &SimDisk) {
    for name in disk.list(&dir()).unwrap() {
        if name.starts_with("spare-") || name.starts_with("blank-") {
            disk.remove(&dir().join(name)).unwrap();
        }
    }
}

/// Makes the changes of a script on a disk, until it ends or the disk fails.
pub(super) struct Stepper {
    shared: Arc<Shared>,
    writer: Writer,
    ticket: u64,
}

impl Stepper {
    pub(super) fn new(disk: &SimDisk, options: WalOptions) -> Result<Self, WalError> {
        let shared = shared(disk, options);
        let (writer, _) = recover(&shared)?;
        Ok(Self { shared, writer, ticket: 0 })
    }

    /// Makes the changes in groups of random size. Returns how many were acknowledged before the
    /// disk failed.
    pub(super) fn run(&mut self, changes: &[Change], seed: u64) -> usize {
        let mut random = Random(seed);
        let mut acknowledged = 0;
        while acknowledged < changes.len() {
            let count = (1 + random.below(6) as usize).min(changes.len() - acknowledged);
            if self.group(&changes[acknowledged..acknowledged + count]).is_err() {
                break;
            }
            acknowledged += count;
            if random.below(3) == 0 && self.idle().is_err() {
                break;
            }
        }
        acknowledged
    }

    /// One group, as the log thread does it.
    pub(super) fn group(&mut self, changes: &[Change]) -> Result<(), WalError> {
        let (mut has_vote, mut has_purge) = (false, false);
        for change in changes {
            self.ticket += 1;
            let room = match change {
                Change::Entry(id, bytes) => {
                    self.writer.push_entry(*id, &payload(id.term, id.index, *bytes))?
                }
                Change::Vote(vote) => {
                    has_vote = true;
                    self.writer.push_vote(vote)?
                }
                Change::Truncate(last) => {
                    self.shared.index.lock().cut(self.ticket, *last);
                    self.writer.push_truncate(*last)?
                }
                Change::Purge(upto) => {
                    has_purge = true;
                    self.shared.index.lock().purge(*upto);
                    self.writer.push_purge(*upto)?
                }
            };
            assert_eq!(room, Room::Taken, "the disk has room");
        }
        self.writer.write()?;
        self.writer.publish(self.ticket);
        self.writer.sync()?;
        if has_vote {
            self.writer.raise_floor()?;
        }
        if has_purge {
            // The log thread acknowledges before this; here a failure of it is one of the group,
            // which asks for less.
            self.writer.recycle()?;
        }
        Ok(())
    }

    fn idle(&mut self) -> Result<(), WalError> {
        self.writer.push_mark()?;
        self.writer.write()?;
        self.writer.sync()?;
        self.writer.raise_floor()
    }
}

#[test]
fn a_script_without_a_crash_is_recovered_whole() {
    for seed in 0..50 {
        let disk = SimDisk::new();
        let changes = script(seed, 80);
        let acknowledged = Stepper::new(&disk, small_options()).unwrap().run(&changes, seed);
        assert_eq!(acknowledged, changes.len());
        let outcome = recover_all(&disk).unwrap();
        check(&changes, changes.len(), &outcome).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
}

/// The checker must be able to fail.
#[test]
fn the_checker_finds_a_lost_an_altered_and_a_revived_entry() {
    let changes = vec![
        Change::Entry(id(1, 0), 10),
        Change::Entry(id(1, 1), 10),
        Change::Truncate(Some(id(1, 0))),
        Change::Entry(id(2, 1), 10),
    ];
    let outcome = |entries: &[(u64, u64)]| Outcome {
        recovered: Recovered {
            last: entries.last().map(|(index, term)| id(*term, *index)),
            ..Recovered::default()
        },
        entries: entries.iter().map(|(index, term)| (*index, (*term, 10))).collect(),
    };
    assert!(check(&changes, 4, &outcome(&[(0, 1), (1, 2)])).is_ok());
    assert!(check(&changes, 4, &outcome(&[(0, 1)])).is_err());
    assert!(check(&changes, 3, &outcome(&[(0, 1)])).is_ok());
    assert!(check(&changes, 3, &outcome(&[(0, 1), (1, 1)])).is_err());
    assert!(check(&changes, 2, &outcome(&[(0, 1), (1, 1)])).is_ok());
    assert!(check(&changes, 0, &outcome(&[(0, 1), (1, 3)])).is_err());
}
