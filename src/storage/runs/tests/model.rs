//! A set against a model, over a disk that loses its power at any moment.

use std::collections::BTreeMap;

use super::*;
use crate::storage::sim::Crash;

const TUBES: u64 = 4;
const STEPS: usize = 250;

/// What a set should say.
#[derive(Clone, Default)]
struct Model {
    untaken: BTreeMap<Place, Bytes>,
    /// Taken records whose bodies were not let go.
    held: Vec<(u64, BodyPointer, Bytes)>,
    next_id: u64,
}

/// What a checkpoint has of both.
#[derive(Clone)]
struct Checkpoint {
    states: Vec<RunState>,
    model: Model,
}

struct Play {
    random: Random,
    disk: SimDisk,
    bench: Bench,
    model: Model,
    /// The newest two, oldest first.
    checkpoints: Vec<Checkpoint>,
}

#[test]
fn a_set_is_its_model_whatever_happens() {
    for seed in 0..24 {
        let disk = SimDisk::new();
        let mut play = Play {
            random: Random(seed),
            bench: bench(&disk),
            disk,
            model: Model::default(),
            checkpoints: Vec::new(),
        };
        for step in 0..STEPS {
            play.step();
            if step % 25 == 0 {
                play.check_all(&format!("seed {seed} step {step}"));
            }
        }
        play.check_all(&format!("seed {seed}"));
        play.drain();
    }
}

impl Play {
    fn step(&mut self) {
        match self.random.below(21) {
            20 => self.seal_bodies(),
            0..3 => self.seal(),
            3..9 => self.take_first(),
            9..11 => self.take_any(),
            11..13 => self.let_go(),
            13 | 14 => self.start_merge(),
            15 => drop(self.bench.set.publish().unwrap()),
            16 => self.checkpoint(),
            17 => self.bench.publish(),
            18 if self.random.below(3) == 0 => self.crash(),
            _ => {
                let listed = self.listed();
                self.bench.set.release(&listed);
            }
        }
    }

    fn seal(&mut self) {
        let mut records = Vec::new();
        for _ in 0..=self.random.below(120) {
            let (id, body) = match self.random.below(4) {
                // An old id again, with its body where it is.
                0 if !self.model.held.is_empty() => {
                    let position = self.random.below(self.model.held.len());
                    let (id, at, body) = self.model.held.swap_remove(position);
                    (id, (RecordBody::At(at), body))
                }
                _ => {
                    self.model.next_id += 1;
                    let body = self.body();
                    (self.model.next_id, (RecordBody::Given(body.clone()), body))
                }
            };
            let order = self.random.next() % 50;
            let place = place(self.random.next() % TUBES, order, id);
            self.model.untaken.insert(place, body.1);
            records.push(Record { place, facts: facts_of(id), body: body.0 });
        }
        self.bench.set.seal(records);
        if self.random.below(2) == 0 {
            self.bench.settle();
        }
    }

    fn seal_bodies(&mut self) {
        let mut given = Vec::new();
        for _ in 0..=self.random.below(30) {
            self.model.next_id += 1;
            let body = self.body();
            if !body.is_empty() {
                given.push((self.model.next_id, body));
            }
        }
        // In whatever order they come.
        given.reverse();
        if given.is_empty() {
            return;
        }
        let places = self.bench.set.seal_bodies(given.clone());
        for ((id, body), at) in given.into_iter().zip(places) {
            assert_eq!(self.bench.set.find(id).unwrap(), None);
            assert_eq!(self.bench.set.body(&at).unwrap(), body);
            self.model.held.push((id, at, body));
        }
    }

    fn body(&mut self) -> Bytes {
        let longest = [0, 30, 300, 5000][self.random.below(4)];
        let length = self.random.below(longest + 1);
        Bytes::from(vec![self.random.next() as u8; length])
    }

    fn take_first(&mut self) {
        let group = Group { tube: self.random.next() % TUBES, kind: 0 };
        for _ in 0..self.random.below(30) {
            let first = self.bench.set.first(group).unwrap();
            assert_eq!(first, self.model.after(group, None, 1).first().copied());
            let Some(place) = first else { return };
            self.take(place);
        }
    }

    fn take_any(&mut self) {
        for _ in 0..self.random.below(10) {
            let position = self.random.below(self.model.untaken.len());
            let place = self.model.untaken.keys().nth(position).copied();
            place.into_iter().for_each(|place| self.take(place));
        }
    }

    fn take(&mut self, place: Place) {
        let found = self.bench.set.find(place.id).unwrap().expect("it is untaken");
        assert_eq!((found.place, &found.facts), (place, &facts_of(place.id)));
        if self.random.below(10) == 0 {
            // What was found may be taken when a merge was published.
            self.bench.publish();
        }
        let at = self.bench.set.take(&found).unwrap();
        let body = self.model.untaken.remove(&place).unwrap();
        assert_eq!(self.bench.set.body(&at).unwrap(), body);
        self.model.held.push((place.id, at, body));
    }

    fn let_go(&mut self) {
        for _ in 0..self.random.below(40).min(self.model.held.len()) {
            let position = self.random.below(self.model.held.len());
            let (_, at, body) = self.model.held.swap_remove(position);
            assert_eq!(self.bench.set.body(&at).unwrap(), body);
            self.bench.set.let_go(&at);
        }
    }

    fn start_merge(&mut self) {
        self.bench.publish();
        self.bench.settle();
        let runs = self.bench.set.runs.len();
        let positions: Vec<_> = (0..runs).filter(|_| self.random.below(2) == 0).collect();
        let files: Vec<_> = self.bench.set.parts.keys().copied().collect();
        let rewrites: Vec<_> = files.into_iter().filter(|_| self.random.below(3) == 0).collect();
        let plan = self.bench.set.plan_merge();
        if let Some(plan) = plan.filter(|_| self.random.below(2) == 0) {
            assert!(self.bench.set.merge(plan));
        } else if !positions.is_empty() {
            self.bench.merge(&positions, &rewrites);
        }
    }

    fn checkpoint(&mut self) {
        let frozen = self.bench.set.freeze();
        let model = self.model.clone();
        // The frozen set does not change, whatever comes.
        self.take_first();
        self.bench.set.release(&self.listed());
        let states = loop {
            match frozen.states() {
                Some(states) => break states,
                None => {
                    self.bench.set.write_sealed();
                    self.bench.heard.recv().unwrap();
                }
            }
        };
        let encoded = states.iter().map(RunState::encode);
        let states = encoded.map(|bytes| RunState::decode(&bytes).unwrap()).collect();
        self.checkpoints.push(Checkpoint { states, model });
        if self.checkpoints.len() > 2 {
            self.checkpoints.remove(0);
        }
    }

    fn listed(&self) -> BTreeSet<RunUid> {
        let states = self.checkpoints.iter().flat_map(|checkpoint| &checkpoint.states);
        states.map(|state| state.uid).collect()
    }

    /// Power fails at this moment, whatever the background writer is at. The newest checkpoint, or
    /// the one before it, is started from.
    fn crash(&mut self) {
        let Some(last) = self.checkpoints.len().checked_sub(1) else { return };
        let chosen = last - self.random.below(last + 1);
        self.checkpoints.truncate(chosen + 1);
        self.disk = self.disk.crash(Crash::Random { seed: self.random.next() });
        let Checkpoint { states, model } = self.checkpoints[chosen].clone();
        self.bench = open(&self.disk, states, &self.listed()).unwrap();
        for uid in self.bench.set.parts.keys() {
            self.bench.set.verify(*uid).unwrap();
        }
        // Ids of the life that was lost may come again, as they do when a log is replayed.
        self.model = model;
        self.check_all("after a crash");
    }

    fn check_all(&mut self, at: &str) {
        let set = &self.bench.set;
        assert_eq!(set.records(), self.model.untaken.len() as u64, "{at}");
        let mut counts = BTreeMap::new();
        for place in self.model.untaken.keys() {
            *counts.entry(place.group).or_default() += 1;
        }
        assert_eq!(set.groups().unwrap(), counts, "{at}");
        for tube in 0..TUBES {
            let group = Group { tube, kind: 0 };
            let all = self.model.after(group, None, usize::MAX);
            let found = set.after(group, None, usize::MAX).unwrap();
            assert!(found.iter().map(|found| found.place).eq(all.iter().copied()), "{at}");
            for found in &found {
                let body = set.body(&found.body).unwrap();
                assert_eq!(body, self.model.untaken[&found.place], "{at}");
                assert_eq!(set.find(found.place.id).unwrap().as_ref(), Some(found), "{at}");
            }
            if !all.is_empty() {
                let after = Some(all[self.random.below(all.len())]);
                let found = set.after(group, after, 7).unwrap();
                let expected = self.model.after(group, after, 7);
                assert!(found.iter().map(|found| found.place).eq(expected), "{at}");
            }
        }
        for (id, at, body) in &self.model.held {
            assert_eq!(set.find(*id).unwrap(), None);
            assert_eq!(&set.body(at).unwrap(), body);
        }
    }

    /// When all is taken and let go, nothing is left.
    fn drain(mut self) {
        self.bench.publish();
        while let Some(place) = self.model.untaken.keys().next().copied() {
            self.take(place);
        }
        for (_, at, _) in std::mem::take(&mut self.model.held) {
            self.bench.set.let_go(&at);
        }
        self.bench.settle();
        assert!(self.bench.set.runs.is_empty() && self.bench.set.parts.is_empty());
        while self.disk.used_bytes() > 0 {
            // One that was still to be written is removed when it is there.
            self.bench.set.release(&BTreeSet::new());
        }
    }
}

impl Model {
    fn after(&self, group: Group, place: Option<Place>, limit: usize) -> Vec<Place> {
        let places = self.untaken.keys().copied().filter(|it| it.group == group);
        places.filter(|it| place.is_none_or(|place| *it > place)).take(limit).collect()
    }
}
