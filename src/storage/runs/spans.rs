//! Which runs an id may be in: a thousand runs must not be asked for each.

/// The least and the greatest id of each run, by the least.
#[derive(Debug, Default)]
pub(super) struct Spans {
    spans: Vec<Span>,
    /// The greatest id up to and with the span of the same position.
    reaches: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    first: u64,
    last: u64,
    serial: u64,
}

impl Spans {
    /// A run has come, with ids from `first` to `last`.
    pub(super) fn add(&mut self, serial: u64, (first, last): (u64, u64)) {
        let position = self.spans.partition_point(|span| span.first <= first);
        self.spans.insert(position, Span { first, last, serial });
        self.reach_from(position);
    }

    /// A run has gone.
    pub(super) fn remove(&mut self, serial: u64) {
        if let Some(position) = self.spans.iter().position(|span| span.serial == serial) {
            self.spans.remove(position);
            self.reach_from(position);
        }
    }

    /// The serials of the runs that may have an id.
    pub(super) fn of(&self, id: u64) -> impl Iterator<Item = u64> {
        let end = self.spans.partition_point(|span| span.first <= id);
        let reaching = self.reaches[..end].iter().rev().take_while(move |reach| **reach >= id);
        let spans = self.spans[..end].iter().rev().zip(reaching);
        spans.filter(move |(span, _)| span.last >= id).map(|(span, _)| span.serial)
    }

    /// What it takes up in memory, bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        self.spans.capacity() * size_of::<Span>() + self.reaches.capacity() * size_of::<u64>()
    }

    fn reach_from(&mut self, position: usize) {
        self.reaches.truncate(position);
        let mut reach = self.reaches.last().copied().unwrap_or(0);
        for span in &self.spans[position..] {
            reach = reach.max(span.last);
            self.reaches.push(reach);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_looked_for_in_the_runs_that_span_it_and_in_no_other() {
        let mut spans = Spans::default();
        let all: Vec<(u64, (u64, u64))> =
            vec![(1, (10, 19)), (2, (20, 29)), (3, (5, 100)), (4, (20, 20)), (5, (1, 2))];
        for (serial, ids) in &all {
            spans.add(*serial, *ids);
        }
        for gone in [0, 3, 4] {
            spans.remove(gone);
            let left = all.iter().filter(|(serial, _)| gone == 0 || *serial != 3);
            let left: Vec<_> = left.filter(|(serial, _)| gone != 4 || *serial != 4).collect();
            for id in 0..110 {
                let mut found: Vec<u64> = spans.of(id).collect();
                found.sort_unstable();
                let within =
                    left.iter().filter(|(_, (first, last))| (*first..=*last).contains(&id));
                let expected: Vec<u64> = within.map(|(serial, _)| *serial).collect();
                assert_eq!(found, expected, "{id}");
            }
        }
    }
}
