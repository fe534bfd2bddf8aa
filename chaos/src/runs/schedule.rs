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
    /// Which faults, one or two.
    pub kinds: Vec<K>,
    /// How long they stay.
    pub lasts: Duration,
}

/// How faults are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Each alone, in an order of the seed, and again from the start while there is time.
    Alone,
    /// Each alone once, then pairs of the seed's choice.
    AloneThenPairs,
}

/// A course of faults that fills `time`; at least each kind once, however long that takes.
pub(super) fn course<K: Copy + PartialEq>(
    kinds: &[K],
    mix: Mix,
    time: Duration,
    random: &mut Random,
) -> Vec<Window<K>> {
    let mut windows = Vec::new();
    let mut left = time;
    let mut turn = 0;
    while turn == 0 || left > Duration::ZERO && !kinds.is_empty() {
        for first in shuffled(kinds, random) {
            let second = match mix {
                Mix::AloneThenPairs if turn > 0 => other_than(first, kinds, random),
                _ => None,
            };
            let window = Window {
                pause: drawn(PAUSE, random),
                kinds: [Some(first), second].into_iter().flatten().collect(),
                lasts: drawn(LASTS, random),
            };
            if turn > 0 && left.is_zero() {
                break;
            }
            left = left.saturating_sub(window.pause + window.lasts + CHANGE);
            windows.push(window);
        }
        turn += 1;
    }
    windows
}

fn shuffled<K: Copy>(kinds: &[K], random: &mut Random) -> Vec<K> {
    let mut shuffled = kinds.to_vec();
    for place in (1..shuffled.len()).rev() {
        shuffled.swap(place, random.index(place + 1));
    }
    shuffled
}

fn other_than<K: Copy + PartialEq>(first: K, kinds: &[K], random: &mut Random) -> Option<K> {
    let others: Vec<K> = kinds.iter().copied().filter(|kind| *kind != first).collect();
    (!others.is_empty()).then(|| random.pick(&others))
}

fn drawn(range: std::ops::RangeInclusive<u64>, random: &mut Random) -> Duration {
    Duration::from_millis(random.within(*range.start()..range.end() + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [u8; 7] = [1, 2, 3, 4, 5, 6, 7];

    #[test]
    fn every_kind_comes_alone_first_and_then_in_pairs_of_two() {
        let time = Duration::from_secs(600);
        let windows = course(&KINDS, Mix::AloneThenPairs, time, &mut Random::new(3));
        let (alone, pairs) = windows.split_at(KINDS.len());
        let mut kinds: Vec<u8> = alone.iter().flat_map(|window| window.kinds.clone()).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, KINDS);
        assert!(pairs.len() > 10);
        for pair in pairs {
            assert!(pair.kinds.len() == 2 && pair.kinds[0] != pair.kinds[1], "{pair:?}");
        }
    }

    #[test]
    fn a_short_time_still_has_every_kind_and_the_same_seed_the_same_course() {
        let of = |seed| course(&KINDS, Mix::Alone, Duration::ZERO, &mut Random::new(seed));
        assert_eq!(of(1).len(), KINDS.len());
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        assert!(course::<u8>(&[], Mix::Alone, Duration::ZERO, &mut Random::new(1)).is_empty());
    }
}
