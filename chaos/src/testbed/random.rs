//! Random numbers that a seed repeats (SplitMix64).

use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;

/// A stream of random numbers, the same for the same seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A seed that differs from run to run.
    pub fn fresh_seed() -> u64 {
        RandomState::new().build_hasher().finish() >> 32
    }

    /// Any 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of `range`, which must not be empty.
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        assert!(range.start < range.end, "an empty range: {range:?}");
        range.start + self.bits() % (range.end - range.start)
    }

    /// The same of 32 bits.
    pub fn within_u32(&mut self, range: Range<u32>) -> u32 {
        let number = self.within(range.start.into()..range.end.into());
        u32::try_from(number).expect("less than the end of the range")
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.within(0..n) == 0
    }

    /// One of `choices`, which must not be empty.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }

    /// A place among so many, at least one.
    pub fn index(&mut self, length: usize) -> usize {
        let place = self.within(0..length as u64);
        usize::try_from(place).expect("less than a length")
    }
}
