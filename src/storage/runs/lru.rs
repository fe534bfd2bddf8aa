//! A bounded map that forgets what was not used for the longest time.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Values with costs, of which the sum is bounded.
pub(super) struct Lru<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// Keys by their last use.
    uses: BTreeMap<u64, K>,
    clock: u64,
    cost: usize,
    cost_max: usize,
}

struct Entry<V> {
    value: V,
    cost: usize,
    used: u64,
}

impl<K: Copy + Eq + Hash, V> Lru<K, V> {
    /// An empty one. A single value may cost more than `cost_max`, and is then alone.
    pub(super) fn new(cost_max: usize) -> Self {
        Self { entries: HashMap::new(), uses: BTreeMap::new(), clock: 0, cost: 0, cost_max }
    }

    /// What an entry takes up beside its value, bytes: in the table, the order, and their spare room.
    pub(super) const fn entry_bytes() -> usize {
        2 * (size_of::<K>() + size_of::<Entry<V>>() + size_of::<(u64, K)>())
    }

    pub(super) fn get(&mut self, key: &K) -> Option<&V> {
        let entry = self.entries.get_mut(key)?;
        self.uses.remove(&entry.used);
        self.clock += 1;
        entry.used = self.clock;
        self.uses.insert(self.clock, *key);
        Some(&entry.value)
    }

    /// Puts a value in, in the place of an older one, and makes room for it.
    pub(super) fn insert(&mut self, key: K, value: V, cost: usize) {
        self.remove(&key);
        self.clock += 1;
        self.uses.insert(self.clock, key);
        self.entries.insert(key, Entry { value, cost, used: self.clock });
        self.cost += cost;
        while self.cost > self.cost_max && self.entries.len() > 1 {
            let oldest = self.uses.values().next().copied().expect("there are two entries");
            self.remove(&oldest);
        }
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let entry = self.entries.remove(key)?;
        self.uses.remove(&entry.used);
        self.cost -= entry.cost;
        Some(entry.value)
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.uses.clear();
        self.cost = 0;
    }

    /// The sum of the costs.
    pub(super) fn cost(&self) -> usize {
        self.cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_last_is_kept() {
        let mut lru = Lru::new(3);
        for key in 0..3 {
            lru.insert(key, key * 10, 1);
        }
        assert_eq!(lru.get(&0), Some(&0));
        lru.insert(3, 30, 1);
        assert_eq!(lru.get(&0), Some(&0));
        assert_eq!(lru.get(&1), None);
        assert_eq!(lru.cost(), 3);
        lru.insert(4, 40, 9);
        assert_eq!(lru.get(&4), Some(&40));
        assert_eq!(lru.get(&0), None);
        assert_eq!(lru.cost(), 9);
        assert_eq!(lru.remove(&4), Some(40));
        assert_eq!((lru.cost(), lru.entries.len(), lru.uses.len()), (0, 0, 0));
    }
}
