//! What producers and workers have said, and what became of each number.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A number that a producer was told is put.
#[derive(Clone, Copy, Debug)]
pub(super) struct Put {
    pub(super) producer: u64,
    pub(super) number: u64,
    /// When it said so.
    pub(super) at: Instant,
}

/// What a worker did with a number, and the id that its job had.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deed {
    Held { number: u64, id: u64 },
    Deleted { number: u64, id: u64 },
}

/// What all of them said.
#[derive(Debug)]
pub(super) struct Account {
    puts: Vec<Put>,
    /// By number, the id of the job each time that somebody got it.
    held: BTreeMap<u64, Vec<u64>>,
    /// The same each time that somebody deleted it.
    deleted: BTreeMap<u64, Vec<u64>>,
}

/// Numbers with which something is not as it should be.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// Put, and nobody got it.
    pub(super) lost: Vec<u64>,
    /// More than one job has it.
    pub(super) doubled: Vec<u64>,
    /// Workers got it more than once.
    pub(super) held_again: Vec<u64>,
    /// Put, and not exactly one worker was told that it is deleted.
    pub(super) not_deleted_once: Vec<u64>,
}

impl Deed {
    /// `held NUMBER ID` or `deleted NUMBER ID`.
    ///
    /// # Panics
    ///
    /// When it is anything else.
    pub(super) fn from_line(line: String) -> Self {
        let mut words = line.split(' ');
        let verb = words.next();
        let mut next = || words.next().and_then(|word| word.parse().ok());
        match (verb, next(), next()) {
            (Some("held"), Some(number), Some(id)) => Self::Held { number, id },
            (Some("deleted"), Some(number), Some(id)) => Self::Deleted { number, id },
            _ => panic!("a worker says {line:?}"),
        }
    }
}

impl Account {
    /// `puts` of one producer in their order.
    pub(super) fn new(puts: Vec<Put>, deeds: Vec<Deed>) -> Self {
        let (mut held, mut deleted) = (BTreeMap::new(), BTreeMap::new());
        for deed in deeds {
            let (map, number, id) = match deed {
                Deed::Held { number, id } => (&mut held, number, id),
                Deed::Deleted { number, id } => (&mut deleted, number, id),
            };
            map.entry(number).or_insert_with(Vec::new).push(id);
        }
        Self { puts, held, deleted }
    }

    /// How many numbers were put.
    pub(super) fn put_count(&self) -> usize {
        self.puts.len()
    }

    /// What is not as it should be.
    pub(super) fn findings(&self) -> Findings {
        let put = || self.puts.iter().map(|put| put.number);
        let held = |is_odd: fn(&[u64]) -> bool| {
            let odd = self.held.iter().filter(|(_, ids)| is_odd(ids));
            odd.map(|(&number, _)| number).collect()
        };
        let deletes = |number: &u64| self.deleted.get(number).map_or(0, Vec::len);
        Findings {
            lost: put().filter(|number| !self.held.contains_key(number)).collect(),
            doubled: held(|ids| ids.iter().any(|id| *id != ids[0])),
            held_again: held(|ids| ids.len() > 1),
            not_deleted_once: put().filter(|number| deletes(number) != 1).collect(),
        }
    }

    /// The longest time between two puts of one producer, of which the second was in this time.
    pub(super) fn longest_pause(&self, from: Instant, to: Instant) -> Duration {
        let pairs = self.puts.windows(2).filter(|pair| pair[0].producer == pair[1].producer);
        let pairs = pairs.filter(|pair| (from..=to).contains(&pair[1].at));
        pairs.map(|pair| pair[1].at - pair[0].at).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::now;

    /// An account of the numbers 1 and 2 in the jobs 11 and 12, with these lines of workers.
    fn account(lines: &[&str]) -> Account {
        let began = now();
        let put = |(at, number)| {
            let at = began + Duration::from_secs(at);
            Put { producer: 0, number, at }
        };
        let deeds = lines.iter().map(|line| Deed::from_line((*line).to_owned())).collect();
        Account::new([(0, 1), (3, 2)].map(put).to_vec(), deeds)
    }

    #[test]
    fn what_goes_as_it_should_is_nothing_to_speak_of() {
        let fine = account(&["held 1 11", "deleted 1 11", "held 2 12", "deleted 2 12"]);
        assert_eq!(fine.findings(), Findings::default());
    }

    #[test]
    fn each_mistake_is_found() {
        let lost = account(&["held 1 11", "deleted 1 11"]).findings();
        assert_eq!((lost.lost, lost.not_deleted_once), (vec![2], vec![2]));
        let doubled = account(&["held 1 11", "held 1 13", "held 2 12"]).findings();
        assert_eq!((doubled.doubled, doubled.held_again), (vec![1], vec![1]));
        let again = account(&["held 1 11", "held 1 11", "held 2 12"]).findings();
        assert_eq!((again.doubled, again.held_again), (vec![], vec![1]));
        let twice = account(&["deleted 1 11", "deleted 1 11", "deleted 2 12"]).findings();
        assert_eq!(twice.not_deleted_once, [1]);
    }

    #[test]
    fn a_pause_is_the_time_between_two_puts_of_one_producer() {
        let account = account(&[]);
        let (from, second) = (account.puts[0].at, Duration::from_secs(1));
        assert_eq!(account.longest_pause(from, from + 3 * second), 3 * second);
        assert_eq!(account.longest_pause(from, from + 2 * second), Duration::ZERO);
    }
}
