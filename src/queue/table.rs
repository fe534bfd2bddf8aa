//! A table of the state: ordered by key, and walkable while it changes.
//!
//! A checkpoint wants the table as it was at one moment, and nobody may notice that it is made
//! (DESIGN D9). So the table is frozen by a word, and copied in key order in slices. An entry that
//! changes before the walk has come to it is copied first; one that is added after the freeze is
//! left out. The order of the copies is therefore not the order of the keys.
//!
//! What a walk costs in memory: the keys that were dealt with ahead of it, and the copies that
//! nobody has fetched yet. When there are more than [`EARLY_KEYS_MAX`] such keys, each further
//! change walks on by [`WALK_ON`] entries, so that a table of n entries never has more than
//! `EARLY_KEYS_MAX + n / WALK_ON` of them. Copies are at most the entries at the freeze, each once;
//! how many wait is told by [`Table::copies_held`], and it is for the caller to fetch them or to
//! give the walk up.

use std::collections::{BTreeMap, BTreeSet, VecDeque, btree_map};
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::ops::RangeBounds;

/// How many keys may be dealt with ahead of a walk before changes push the walk on.
pub(super) const EARLY_KEYS_MAX: usize = 4096;

/// How many entries a change walks on when [`EARLY_KEYS_MAX`] is reached.
pub(super) const WALK_ON: usize = 32;

/// An entry of a table: facts, which a checkpoint keeps, and what is derived from other tables.
pub(super) trait Recorded {
    /// What a checkpoint keeps of it.
    type Facts;

    /// A copy of the facts.
    fn facts(&self) -> Self::Facts;
}

/// An ordered table. Every change goes through it, so that a walk sees the state at the freeze.
#[derive(Debug)]
pub(super) struct Table<K, V: Recorded> {
    entries: BTreeMap<K, V>,
    walk: Option<Walk<K, V::Facts>>,
}

#[derive(Debug)]
struct Walk<K, F> {
    /// The last key walked over.
    passed: Option<K>,
    /// The greatest key at the freeze: what is added above it is not part of the walk.
    last: K,
    /// Keys still ahead that need no copy: copied already, or not there at the freeze.
    early: BTreeSet<K>,
    /// Copies that wait to be fetched.
    copies: VecDeque<(K, F)>,
    /// Nothing is ahead any more.
    over: bool,
}

impl<K: Ord + Copy, V: Recorded> Table<K, V> {
    pub(super) fn new() -> Self {
        Self { entries: BTreeMap::new(), walk: None }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    pub(super) fn iter(&self) -> btree_map::Iter<'_, K, V> {
        self.entries.iter()
    }

    pub(super) fn range(&self, keys: impl RangeBounds<K>) -> btree_map::Range<'_, K, V> {
        self.entries.range(keys)
    }

    /// The entry, to be changed.
    pub(super) fn change(&mut self, key: &K) -> Option<&mut V> {
        self.keep(key);
        self.entries.get_mut(key)
    }

    /// Adds an entry under a new key; returns false, and changes nothing, when the key is taken.
    pub(super) fn insert(&mut self, key: K, value: V) -> bool {
        self.keep(&key);
        match self.entries.entry(key) {
            btree_map::Entry::Vacant(place) => {
                place.insert(value);
                true
            }
            btree_map::Entry::Occupied(_) => false,
        }
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        self.keep(key);
        self.entries.remove(key)
    }

    /// Begins a walk over the table as it is now.
    pub(super) fn freeze(&mut self) {
        self.walk = self.entries.last_key_value().map(|(last, _)| Walk {
            passed: None,
            last: *last,
            early: BTreeSet::new(),
            copies: VecDeque::new(),
            over: false,
        });
    }

    /// Gives the walk up.
    pub(super) fn thaw(&mut self) {
        self.walk = None;
    }

    /// Hands over at most `budget` copies, which it counts down; true when the walk is over.
    pub(super) fn slice(&mut self, budget: &mut usize, mut take: impl FnMut(K, V::Facts)) -> bool {
        let Some(walk) = &mut self.walk else {
            return true;
        };
        while *budget > 0 {
            if let Some((key, facts)) = walk.copies.pop_front() {
                take(key, facts);
                *budget -= 1;
            } else if walk.over {
                self.walk = None;
                return true;
            } else {
                walk.walk_on(&self.entries, *budget);
            }
        }
        false
    }

    /// Copies that wait to be fetched.
    pub(super) fn copies_held(&self) -> usize {
        self.walk.as_ref().map_or(0, |walk| walk.copies.len())
    }

    /// Copies the entry of `key` ahead of its change, if the walk still needs it.
    fn keep(&mut self, key: &K) {
        let Some(walk) = &mut self.walk else {
            return;
        };
        if !walk.awaits(key) {
            return;
        }
        walk.early.insert(*key);
        if let Some(value) = self.entries.get(key) {
            walk.copies.push_back((*key, value.facts()));
        }
        if walk.early.len() > EARLY_KEYS_MAX {
            walk.walk_on(&self.entries, WALK_ON);
        }
    }
}

impl<K: Ord + Copy, F> Walk<K, F> {
    fn awaits(&self, key: &K) -> bool {
        !self.over
            && *key <= self.last
            && self.passed.is_none_or(|passed| *key > passed)
            && !self.early.contains(key)
    }

    /// Walks over at most `entries_max` entries.
    fn walk_on<V>(&mut self, entries: &BTreeMap<K, V>, entries_max: usize)
    where
        V: Recorded<Facts = F>,
    {
        let from = self.passed.map_or(Unbounded, Excluded);
        let mut walked = 0;
        for (key, value) in entries.range((from, Included(self.last))).take(entries_max) {
            if !self.early.remove(key) {
                self.copies.push_back((*key, value.facts()));
            }
            self.passed = Some(*key);
            walked += 1;
        }
        if walked < entries_max {
            self.over = true;
            self.early.clear();
        }
        // Entries that were removed ahead of the walk are not met by it.
        while self.early.first().is_some_and(|key| Some(*key) <= self.passed) {
            self.early.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Recorded for u32 {
        type Facts = u32;

        fn facts(&self) -> u32 {
            *self
        }
    }

    fn table(entries: impl IntoIterator<Item = (u32, u32)>) -> Table<u32, u32> {
        let mut table = Table::new();
        for (key, value) in entries {
            assert!(table.insert(key, value));
        }
        table
    }

    fn fetch(table: &mut Table<u32, u32>, mut budget: usize) -> (Vec<(u32, u32)>, bool) {
        let mut copies = Vec::new();
        let over = table.slice(&mut budget, |key, value| copies.push((key, value)));
        (copies, over)
    }

    fn sorted(mut copies: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
        copies.sort_unstable();
        copies
    }

    #[test]
    fn walk_of_an_empty_table_is_over_at_once() {
        let mut table = table([]);
        table.freeze();
        assert!(table.insert(1, 1));
        assert_eq!(fetch(&mut table, 10), (vec![], true));
    }

    #[test]
    fn walk_sees_the_table_as_it_was_at_the_freeze() {
        let mut table = table((1..=6).map(|key| (key * 10, key)));
        table.freeze();
        let (mut copies, over) = fetch(&mut table, 2);
        assert_eq!((copies.as_slice(), over), ([(10, 1), (20, 2)].as_slice(), false));
        *table.change(&10).expect("it is there") = 99;
        *table.change(&40).expect("it is there") = 99;
        assert_eq!(table.remove(&60), Some(6));
        assert!(table.insert(60, 99));
        assert!(table.insert(35, 99));
        assert_eq!(table.remove(&35), Some(99));
        assert!(table.insert(70, 99));
        assert_eq!(table.copies_held(), 2);
        loop {
            let (more, over) = fetch(&mut table, 1);
            copies.extend(more);
            if over {
                break;
            }
        }
        let expected: Vec<_> = (1..=6).map(|key| (key * 10, key)).collect();
        assert_eq!(sorted(copies), expected);
        assert_eq!(table.get(&60), Some(&99));
    }

    #[test]
    fn changes_push_a_walk_on_that_nobody_fetches() {
        let entries = 3 * u32::try_from(EARLY_KEYS_MAX).expect("it is small");
        let mut table = table((0..entries).map(|key| (key, key)));
        table.freeze();
        for key in (0..entries).rev() {
            table.remove(&key);
            let walk = table.walk.as_ref().expect("it is under way");
            assert!(walk.early.len() <= EARLY_KEYS_MAX + entries as usize / WALK_ON);
        }
        let (copies, over) = fetch(&mut table, usize::MAX);
        assert!(over);
        assert_eq!(sorted(copies), (0..entries).map(|key| (key, key)).collect::<Vec<_>>());
    }

    #[test]
    fn thawed_table_keeps_no_copies() {
        let mut table = table([(1, 1), (2, 2)]);
        table.freeze();
        table.remove(&2);
        table.thaw();
        assert_eq!(table.copies_held(), 0);
        assert_eq!(fetch(&mut table, 1), (vec![], true));
    }
}
