//! Which records of a run were taken: a prefix, and bits for the exceptions behind it.
//!
//! A clone shares all pages, and a page is copied when it is changed next: so a checkpoint freezes
//! the marks in the time that a few pointers take.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::storage::bytes_at::{u32_at, u64_at};

/// How many records a page of bits is for: 4 KiB.
const PAGE_RECORDS: u32 = 8 * 4096;
const WORD_RECORDS: u32 = 64;
/// The numbers at the front of encoded marks.
const HEAD_BYTES: usize = 16;

/// The taken records of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    records: u32,
    taken: u32,
    /// All records before this one are taken, and it is not.
    prefix: u32,
    /// Bits by page; one that is not there is all zeros, or before the prefix.
    pages: BTreeMap<u32, Arc<Vec<u64>>>,
}

impl Marks {
    /// Of a run of so many records none is taken.
    pub fn new(records: u32) -> Self {
        Self { records, taken: 0, prefix: 0, pages: BTreeMap::new() }
    }

    /// How many records the run has.
    pub fn records(&self) -> u32 {
        self.records
    }

    /// How many are taken.
    pub fn taken(&self) -> u32 {
        self.taken
    }

    /// How many are not.
    pub fn untaken(&self) -> u32 {
        self.records - self.taken
    }

    /// Whether the record of this ordinal is taken.
    pub fn is_taken(&self, ordinal: u32) -> bool {
        ordinal < self.prefix || self.word(ordinal) >> (ordinal % WORD_RECORDS) & 1 == 1
    }

    /// Marks a record.
    ///
    /// # Panics
    /// When it is taken already, or there is none of this ordinal.
    pub fn take(&mut self, ordinal: u32) {
        assert!(ordinal < self.records, "record {ordinal} of {}", self.records);
        assert!(!self.is_taken(ordinal), "record {ordinal} is taken twice");
        self.taken += 1;
        if ordinal == self.prefix {
            self.prefix = self.next_untaken_from(ordinal + 1);
            let page = self.prefix / PAGE_RECORDS;
            while self.pages.first_key_value().is_some_and(|(first, _)| *first < page) {
                self.pages.pop_first();
            }
        } else {
            let number = ordinal / PAGE_RECORDS;
            let words = self.page_words(number);
            let page = self.pages.entry(number).or_insert_with(|| Arc::new(vec![0; words]));
            let word = &mut Arc::make_mut(page)[word_in_page(ordinal)];
            *word |= 1 << (ordinal % WORD_RECORDS);
        }
    }

    /// The first record from this one on that is not taken.
    pub fn next_untaken(&self, ordinal: u32) -> Option<u32> {
        let next = self.next_untaken_from(ordinal.max(self.prefix));
        (next < self.records).then_some(next)
    }

    /// How many records of a range of ordinals are not taken.
    pub fn untaken_in(&self, range: std::ops::Range<u32>) -> u32 {
        let (mut at, end) = (range.start.max(self.prefix), range.end.min(self.records));
        let mut untaken = 0;
        while at < end {
            let next = (at / WORD_RECORDS + 1).saturating_mul(WORD_RECORDS).min(end);
            let width = next - at;
            let mask = if width == WORD_RECORDS { u64::MAX } else { (1 << width) - 1 };
            untaken += (!(self.word(at) >> (at % WORD_RECORDS)) & mask).count_ones();
            at = next;
        }
        untaken
    }

    /// What they take up in memory beside themselves, pages shared with clones included.
    pub fn heap_bytes(&self) -> usize {
        const PAGE_BYTES: usize = 2 * size_of::<(u32, Arc<Vec<u64>>)>() + size_of::<[usize; 5]>();
        self.pages.values().map(|page| PAGE_BYTES + page.capacity() * size_of::<u64>()).sum()
    }

    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        let pages = u32::try_from(self.pages.len()).expect("fewer pages than records");
        for number in [self.records, self.taken, self.prefix, pages] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for (number, page) in &self.pages {
            bytes.extend_from_slice(&number.to_le_bytes());
            page.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        }
    }

    /// Reads what [`encode`](Self::encode) wrote; `None` when it cannot be that.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, mut rest) = bytes.split_at_checked(HEAD_BYTES)?;
        let (records, taken, prefix) = (u32_at(head, 0), u32_at(head, 4), u32_at(head, 8));
        let mut marks = Self { records, taken, prefix, pages: BTreeMap::new() };
        for _ in 0..u32_at(head, 12) {
            let (number, after) = rest.split_at_checked(4)?;
            let number = u32_at(number, 0);
            let follows = marks.pages.last_key_value().is_none_or(|(last, _)| *last < number);
            if !follows || number > records.checked_sub(1)? / PAGE_RECORDS {
                return None;
            }
            let (words, after) = after.split_at_checked(marks.page_words(number) * 8)?;
            let page = words.chunks_exact(8).map(|word| u64_at(word, 0)).collect();
            marks.pages.insert(number, Arc::new(page));
            rest = after;
        }
        let is_whole = rest.is_empty() && prefix <= records;
        (is_whole && marks.untaken_in(0..records).checked_add(taken) == Some(records))
            .then_some(marks)
    }

    fn word(&self, ordinal: u32) -> u64 {
        self.pages.get(&(ordinal / PAGE_RECORDS)).map_or(0, |page| page[word_in_page(ordinal)])
    }

    /// As [`next_untaken`](Self::next_untaken), without a look at the prefix; the number of records
    /// when there is none.
    fn next_untaken_from(&self, ordinal: u32) -> u32 {
        let mut at = ordinal;
        while at < self.records {
            let Some(page) = self.pages.get(&(at / PAGE_RECORDS)) else { return at };
            let free = !(page[word_in_page(at)] >> (at % WORD_RECORDS));
            let left = WORD_RECORDS - at % WORD_RECORDS;
            let skipped = free.trailing_zeros();
            if skipped < left {
                return (at + skipped).min(self.records);
            }
            at = at.saturating_add(left);
        }
        self.records
    }

    /// How many words a page has: the last one is only as long as need be.
    fn page_words(&self, number: u32) -> usize {
        let left = self.records - number * PAGE_RECORDS;
        left.min(PAGE_RECORDS).div_ceil(WORD_RECORDS) as usize
    }
}

fn word_in_page(ordinal: u32) -> usize {
    (ordinal % PAGE_RECORDS / WORD_RECORDS) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_clone_stays_as_it_was() {
        let mut marks = Marks::new(100);
        marks.take(5);
        let frozen = marks.clone();
        marks.take(6);
        assert!(marks.is_taken(6) && !frozen.is_taken(6) && frozen.is_taken(5));
    }

    #[test]
    fn what_is_taken_in_order_needs_no_pages() {
        let mut marks = Marks::new(100_000);
        (0..100_000).for_each(|ordinal| marks.take(ordinal));
        assert_eq!((marks.heap_bytes(), marks.untaken(), marks.next_untaken(0)), (0, 0, None));
        let mut marks = Marks::new(100_000);
        (0..100_000).rev().for_each(|ordinal| marks.take(ordinal));
        assert_eq!((marks.untaken(), marks.next_untaken(0)), (0, None));
    }

    proptest! {
        #[test]
        fn marks_are_a_set(
            records in 1_u32..100_000,
            picks in prop::collection::vec((any::<u32>(), 1_u32..300), 1..60),
        ) {
            let mut marks = Marks::new(records);
            let mut model: BTreeSet<u32> = (0..records).collect();
            for (pick, count) in picks {
                for ordinal in (pick % records..records).take(count as usize) {
                    if model.remove(&ordinal) {
                        marks.take(ordinal);
                    }
                }
                let at = pick / 7 % records;
                prop_assert_eq!(marks.next_untaken(at), model.range(at..).next().copied());
                prop_assert_eq!(marks.is_taken(at), !model.contains(&at));
                let range = at..at.saturating_add(count * 100).min(records);
                let untaken = model.range(range.clone()).count();
                prop_assert_eq!(marks.untaken_in(range) as usize, untaken);
            }
            let mut bytes = Vec::new();
            marks.encode(&mut bytes);
            prop_assert_eq!(Marks::decode(&bytes), Some(marks));
            bytes.pop();
            prop_assert_eq!(Marks::decode(&bytes), None);
        }
    }
}
