//! Kinds of clients: what they do with a connection. Each is a small program of random steps.

mod kicker;
mod pauser;
mod picker;
mod producer;
mod reader;
mod worker;

use super::client::{Hand, Next};
use super::connection::Ended;
use crate::testbed::Random;

/// Priorities that differ: few, so that many jobs share one.
const PRIORITIES: u32 = 8;
/// Of a job that is not urgent, in the words of `stats`.
const PRIORITY_NOT_URGENT: u32 = 1024;

/// What a client does on one connection.
pub(super) trait Work {
    /// What comes first on a connection.
    fn prepare(&mut self, hand: &mut Hand<'_>) -> Result<(), Ended>;

    /// A few commands.
    fn step(&mut self, hand: &mut Hand<'_>) -> Result<Next, Ended>;

    /// Ends what is begun, before the connection is closed.
    fn finish(&mut self, _hand: &mut Hand<'_>) -> Result<(), Ended> {
        Ok(())
    }
}

/// What kind a client is, for the whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Puts jobs.
    Producer,
    /// Reserves jobs and does what workers do with them.
    Worker,
    /// Kicks.
    Kicker,
    /// Looks only.
    Reader,
    /// Pauses tubes.
    Pauser,
    /// Takes and deletes certain jobs.
    Picker,
}

impl Kind {
    /// The kinds of so many clients: a producer and a worker at each member, one of most other kinds,
    /// and more by chance.
    pub(super) fn of_all(clients: u32, members: usize, random: &mut Random) -> Vec<Self> {
        let of_each = |kind: Self| std::iter::repeat_n(kind, members);
        let first = of_each(Self::Producer).chain(of_each(Self::Worker)).chain([
            Self::Kicker,
            Self::Reader,
            Self::Picker,
        ]);
        let mut kinds: Vec<Self> =
            first.take(usize::try_from(clients).expect("a number fits")).collect();
        for _ in kinds.len()..usize::try_from(clients).expect("a number fits") {
            let kind = Self::any(random);
            // One is enough: a paused tube says little.
            let is_one_too_many = kind == Self::Pauser && kinds.contains(&kind);
            kinds.push(if is_one_too_many { Self::Worker } else { kind });
        }
        kinds
    }

    fn any(random: &mut Random) -> Self {
        match random.within_u32(0..100) {
            0..18 => Self::Producer,
            18..75 => Self::Worker,
            75..83 => Self::Reader,
            83..90 => Self::Picker,
            90..96 => Self::Kicker,
            _ => Self::Pauser,
        }
    }

    /// What it does on its next connection.
    pub(super) fn new_work(self, random: &mut Random) -> Box<dyn Work> {
        match self {
            Self::Producer => Box::new(producer::Producer::default()),
            Self::Worker => Box::new(worker::Worker::new(random)),
            Self::Kicker => Box::new(kicker::Kicker),
            Self::Reader => Box::new(reader::Reader),
            Self::Pauser => Box::new(pauser::Pauser),
            Self::Picker => Box::new(picker::Picker),
        }
    }
}

/// A priority: mostly one of a few, now and then one that is not urgent, or the last.
pub(super) fn any_priority(random: &mut Random) -> u32 {
    match random.within_u32(0..20) {
        0 => PRIORITY_NOT_URGENT + random.within_u32(0..PRIORITIES),
        1 if random.once_in(10) => u32::MAX,
        _ => random.within_u32(0..PRIORITIES),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_member_is_home_of_a_producer_and_a_worker() {
        for seed in 0..50 {
            let kinds = Kind::of_all(24, 3, &mut Random::new(seed));
            assert_eq!(kinds.len(), 24);
            for member in 0..3 {
                let at_home: Vec<_> = kinds.iter().skip(member).step_by(3).collect();
                assert!(at_home.contains(&&Kind::Producer) && at_home.contains(&&Kind::Worker));
            }
            let pausers = kinds.iter().filter(|&&kind| kind == Kind::Pauser).count();
            assert!(pausers <= 1, "seed {seed}: {pausers} pausers");
        }
    }

    #[test]
    fn few_clients_are_as_many_as_were_asked_for() {
        let kinds = Kind::of_all(2, 1, &mut Random::new(0));
        assert_eq!(kinds, [Kind::Producer, Kind::Worker]);
    }
}
