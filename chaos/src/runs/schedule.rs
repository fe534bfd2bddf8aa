//! When which faults come: drawn from the seed before anything runs, so that the same seed gives the
//! same course.

use std::time::Duration;

use crate::testbed::Random;

/// How long a fault stays, in milliseconds.
const LASTS: std::ops::RangeInclusive<u64> = 3_000..=9_000;
/// How long clients work undisturbed after a fault was healed, in milliseconds.
const PAUSE: std::ops::RangeInclusive<u64> = 3_000..=6_000;
/// What installing and healing take, as far as the plan goes.
const CHANGE: Duration = Duration::from_secs(3);

/// Some faults that come together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window<K> {
    /// How long nothing is broken before.
    pub pause: Duration,
    /// Which faults, in the order in which they come.
    pub kinds: Vec<K>,
    /// How long one is there before the next one comes.
    pub apart: Duration,
    /// How long they stay together.
    pub lasts: Duration,
}

/// How faults are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Each alone, in an order of the seed, and again from the start while there is time.
    Alone,
    /// Each alone once, then pairs of the seed's choice.
    AloneThenPairs,
    /// All together, one so long after the other, in the order in which they are named; again and
    /// again while there is time.
    Together {
        /// How long one is there before the next one comes.
        apart: Duration,
    },
}

/// A course of faults that fills `time`; at least each kind once, however long that takes.
/// `pair` tells of two kinds whether they can be on together, and in which order they come.
pub(super) fn course<K: Copy>(
    kinds: &[K],
    mix: Mix,
    time: Duration,
    pair: fn(K, K) -> Option<[K; 2]>,
    random: &mut Random,
) -> Vec<Window<K>> {
    let mut windows = Vec::new();
    let mut left = time;
    let mut turn = 0;
    while turn == 0 || left > Duration::ZERO && !kinds.is_empty() {
        for kinds in sets(kinds, mix, turn, pair, random) {
            let apart = match mix {
                Mix::Together { apart } => apart,
                _ => Duration::ZERO,
            };
            let (pause, lasts) = (drawn(PAUSE, random), drawn(LASTS, random));
            if turn > 0 && left.is_zero() {
                break;
            }
            let length = kinds.len().try_into().unwrap_or(u32::MAX);
            left = left.saturating_sub(pause + apart * length + lasts + CHANGE);
            windows.push(Window { pause, kinds, apart, lasts });
        }
        turn += 1;
    }
    windows
}

/// Which faults come together in one turn.
fn sets<K: Copy>(
    kinds: &[K],
    mix: Mix,
    turn: u32,
    pair: fn(K, K) -> Option<[K; 2]>,
    random: &mut Random,
) -> Vec<Vec<K>> {
    if matches!(mix, Mix::Together { .. }) {
        return if kinds.is_empty() { Vec::new() } else { vec![kinds.to_vec()] };
    }
    let has_pairs = mix == Mix::AloneThenPairs && turn > 0;
    let firsts = shuffled(kinds, random).into_iter();
    let set = |first| {
        let pairs: Vec<[K; 2]> = kinds.iter().filter_map(|&other| pair(first, other)).collect();
        match has_pairs && !pairs.is_empty() {
            true => random.pick(&pairs).to_vec(),
            false => vec![first],
        }
    };
    firsts.map(set).collect()
}

fn shuffled<K: Copy>(kinds: &[K], random: &mut Random) -> Vec<K> {
    let mut shuffled = kinds.to_vec();
    for place in (1..shuffled.len()).rev() {
        shuffled.swap(place, random.index(place + 1));
    }
    shuffled
}

fn drawn(range: std::ops::RangeInclusive<u64>, random: &mut Random) -> Duration {
    Duration::from_millis(random.within(*range.start()..range.end() + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [u8; 7] = [1, 2, 3, 4, 5, 6, 7];

    /// 1 and 2 do not go together, and 3 comes first.
    fn pair(one: u8, other: u8) -> Option<[u8; 2]> {
        match (one, other) {
            (1, 2) | (2, 1) => None,
            (one, 3) => (one != 3).then_some([3, one]),
            (one, other) => (one != other).then_some([one, other]),
        }
    }

    fn course_of(kinds: &[u8], mix: Mix, seconds: u64, seed: u64) -> Vec<Window<u8>> {
        course(kinds, mix, Duration::from_secs(seconds), pair, &mut Random::new(seed))
    }

    #[test]
    fn every_kind_comes_alone_first_and_then_in_pairs_of_two() {
        let windows = course_of(&KINDS, Mix::AloneThenPairs, 600, 3);
        let (alone, pairs) = windows.split_at(KINDS.len());
        let mut kinds: Vec<u8> = alone.iter().flat_map(|window| window.kinds.clone()).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, KINDS);
        assert!(pairs.len() > 10);
        for pair in pairs {
            let [one, other] = pair.kinds[..] else { panic!("{pair:?}") };
            assert!(one != other && one + other != 3 && other != 3, "{pair:?}");
        }
    }

    #[test]
    fn what_comes_together_comes_in_its_order_again_and_again() {
        let mix = Mix::Together { apart: Duration::from_secs(15) };
        let windows = course_of(&KINDS[..2], mix, 120, 3);
        assert!((2..=4).contains(&windows.len()), "{windows:?}");
        for window in windows {
            assert_eq!((window.kinds, window.apart), (vec![1, 2], Duration::from_secs(15)));
        }
    }

    #[test]
    fn a_short_time_still_has_every_kind_and_the_same_seed_the_same_course() {
        let of = |seed| course_of(&KINDS, Mix::Alone, 0, seed);
        assert_eq!(of(1).len(), KINDS.len());
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        assert!(course_of(&[], Mix::Alone, 0, 1).is_empty());
    }
}
