//! What comes next in a stream.

use std::collections::{BTreeMap, BTreeSet};

use super::line::{Input, Word};
use super::side::{Leaving, Step};
use crate::support::Random;

/// The greatest body of the servers under test, in bytes.
pub(super) const BODY_SIZE_MAX: u64 = 30;

const TUBES: [&str; 5] = ["default", "a", "b", "c", "name-+/;.$_()"];
const PEEKS: [&str; 3] = ["peek-ready", "peek-delayed", "peek-buried"];
const LISTS: [&str; 3] = ["list-tubes", "list-tube-used", "list-tubes-watched"];
const PRIORITIES: [u32; 6] = [0, 1, 7, 1023, 1024, u32::MAX];
/// Long enough to end in no test, in seconds.
const TIME_TO_RUN: [u64; 3] = [100_000, 5_000_000, 4_294_967_295];
/// An id that no job has.
const MISSING_JOB: u64 = 1_000_000_000;
/// What is put into a line to break it. No digits, which would name other jobs, and no CR, which
/// beanstalkd takes wrongly (its line reader looks at the first one only).
const JUNK: [&str; 11] = [" ", "\t", "-", "+", "x", ".", "\0", "\n", ":", "*", "\u{e9}"];
const BAD_NUMBERS: [&str; 6] = ["4294967296", "18446744073709551616", "-1", "+1", "1a", ""];

/// Chooses the steps of one stream.
pub(super) struct Generator {
    random: Random,
    /// Delays are never given twice, so that no two jobs become ready at the same time.
    delays_used: BTreeSet<u64>,
}

/// What the choice depends on.
pub(super) struct Scene<'a> {
    /// The number of connections.
    pub(super) connection_count: usize,
    /// Those whose reserve waits.
    pub(super) waiting: &'a [usize],
    /// The number of jobs that were put.
    pub(super) job_count: usize,
    /// What each connection was last given.
    pub(super) given: &'a BTreeMap<usize, usize>,
}

impl Generator {
    /// The generator of `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), delays_used: BTreeSet::new() }
    }

    /// The number of connections of the stream: 2 to 5.
    pub(super) fn connection_count(&mut self) -> usize {
        self.index(4) + 2
    }

    /// The next step. A reserve may be the answer only if it cannot meet another that waits for
    /// the same tube; the caller sees to that.
    pub(super) fn next(&mut self, scene: &Scene<'_>) -> Step {
        let connection = self.index(scene.connection_count);
        // Which of the jobs of a connection comes back first is nobody's business, so none leaves
        // while others wait for them.
        let may_leave = scene.waiting.iter().all(|&waiting| waiting == connection);
        if may_leave && self.random.once_in(40) {
            let way = self.random.pick(&[Leaving::Close, Leaving::HalfClose, Leaving::Quit]);
            // A waiting connection is not read, so it cannot quit.
            let is_waiting = scene.waiting.contains(&connection);
            let way = if is_waiting { Leaving::HalfClose } else { way };
            return Step::Leave { connection, way };
        }
        if self.random.once_in(2000) {
            return Step::Drain;
        }
        let idle: Vec<usize> =
            (0..scene.connection_count).filter(|other| !scene.waiting.contains(other)).collect();
        let Some(&connection) = idle.get(self.index(idle.len().max(1))) else {
            return Step::Leave { connection, way: Leaving::HalfClose };
        };
        if self.random.once_in(6) {
            let timeout = self.random.once_in(2).then_some(2_000_000_000);
            return Step::Reserve { connection, timeout };
        }
        let mut input = self.input(connection, scene);
        while self.random.once_in(6) {
            input = input.then(self.input(connection, scene));
        }
        let splits = self.splits();
        Step::Send { connection, input, splits }
    }

    /// Asks which tubes the connection watches.
    pub(super) fn question(connection: usize) -> Step {
        let input = Input::line(vec![Word::text("list-tubes-watched")]);
        Step::Send { connection, input, splits: Vec::new() }
    }

    /// What a new connection says first, so that connections often wait for different tubes.
    pub(super) fn greeting(&mut self, connection: usize) -> Step {
        let watch = |tube: &str| Input::line(vec![Word::text("watch"), Word::text(tube)]);
        let mut input = watch(TUBES[connection % TUBES.len()]);
        if !self.random.once_in(4) {
            input = input.then(Input::line(vec![Word::text("ignore"), Word::text("default")]));
        }
        Step::Send { connection, input, splits: Vec::new() }
    }

    fn input(&mut self, connection: usize, scene: &Scene<'_>) -> Input {
        match self.random.within(0..20) {
            0..6 => self.put(),
            6 => self.bad_put(),
            7 => self.long_line(),
            8 => {
                let words = self.command(connection, scene);
                self.broken(words)
            }
            _ => Input::line(self.command(connection, scene)),
        }
    }

    /// A command that is answered at once, without `put`.
    fn command(&mut self, connection: usize, scene: &Scene<'_>) -> Vec<Word> {
        let words = |text: &str| text.split(' ').map(Word::text).collect::<Vec<_>>();
        let tube = self.random.pick(&TUBES);
        let job = self.job(connection, scene);
        let priority = Word::text(self.random.pick(&PRIORITIES));
        match self.random.within(0..28) {
            0..2 => words(&format!("use {tube}")),
            2 => words(&format!("watch {tube}")),
            3 => words(&format!("ignore {tube}")),
            4..8 => words("reserve-with-timeout 0"),
            8 => vec![Word::text("reserve-job"), job],
            9..12 => vec![Word::text("delete"), job],
            12..14 => vec![Word::text("release"), job, priority, self.delay()],
            14..16 => vec![Word::text("bury"), job, priority],
            16 => vec![Word::text("touch"), job],
            17 => vec![Word::text("peek"), job],
            18 => words(self.random.pick(&PEEKS)),
            19..21 => vec![Word::text("kick"), Word::text(self.random.within(0..4))],
            21 => vec![Word::text("kick-job"), job],
            22 => {
                let seconds = if self.random.once_in(3) { 1_000_000 } else { 0 };
                words(&format!("pause-tube {tube} {seconds}"))
            }
            23..25 => vec![Word::text("stats-job"), job],
            25 => words(&format!("stats-tube {tube}")),
            26 => words("stats"),
            _ => words(self.random.pick(&LISTS)),
        }
    }

    fn put(&mut self) -> Input {
        let size = self.random.within(0..BODY_SIZE_MAX + 4);
        let body = self.body(size);
        let mut line = self.put_arguments();
        line.push(Word::text(size));
        let mut input = Input::line(line);
        input.words.push(Word::Bytes(body));
        input.words.push(Word::text("\r\n"));
        input
    }

    /// A put that is refused. What is left of it is a line that no command begins with.
    fn bad_put(&mut self) -> Input {
        let body = self.body(5);
        match self.random.within(0..5) {
            0 => {
                let mut arguments = self.put_arguments();
                let place = self.index(arguments.len() - 1) + 1;
                arguments[place] = Word::text(BAD_NUMBERS[0]);
                arguments.push(Word::text(2));
                Input::line(arguments).then(Input::bytes("zz\r\n", 1))
            }
            1 => {
                let mut arguments = self.put_arguments();
                arguments.push(Word::text(self.random.pick(&BAD_NUMBERS)));
                Input::line(arguments).then(Input::bytes("zz\r\n", 1))
            }
            2 => {
                let mut arguments = self.put_arguments();
                arguments.push(Word::text("5 "));
                Input::line(arguments).then(Input::bytes("zz\r\n", 1))
            }
            3 => {
                let mut arguments = self.put_arguments();
                arguments.push(Word::text("5"));
                let end = self.random.pick(&["\rz", "zz", "\n\r", "\n\n"]);
                let mut input = Input::line(arguments);
                input.words.push(Word::Bytes(body));
                input.words.push(Word::text(end));
                input
            }
            _ => {
                let mut arguments = self.put_arguments();
                arguments.truncate(self.index(4) + 1);
                Input::line(arguments)
            }
        }
    }

    /// `put` and its arguments but the size.
    fn put_arguments(&mut self) -> Vec<Word> {
        let priority = Word::text(self.random.pick(&PRIORITIES));
        let delay = if self.random.once_in(4) { self.delay() } else { Word::text(0) };
        vec![Word::text("put"), priority, delay, Word::text(self.random.pick(&TIME_TO_RUN))]
    }

    /// A line of more than 224 bytes. Its end never lies across a multiple of 224, where
    /// beanstalkd misses it.
    fn long_line(&mut self) -> Input {
        let mut length = usize::try_from(self.random.within(223..1500)).expect("a small number");
        if (length + 1).is_multiple_of(224) {
            length += 1;
        }
        let mut line = self.random.pick(&["", "use a", "put 0 0 1 1"]).as_bytes().to_vec();
        line.resize(length, self.random.pick(b" z0"));
        line.extend_from_slice(b"\r\n");
        Input::bytes(line, 1)
    }

    /// A command with something wrong in it, which gets one reply all the same.
    fn broken(&mut self, mut words: Vec<Word>) -> Input {
        let place = self.index(words.len());
        match self.random.within(0..6) {
            0 if place > 0 => drop(words.remove(place)),
            1 => words.insert(place, words[place].clone()),
            2 if place > 0 => words[place] = Word::text(self.random.pick(&BAD_NUMBERS)),
            3 => {
                if let Word::Bytes(bytes) = &mut words[place] {
                    bytes.make_ascii_uppercase();
                }
            }
            _ => {
                let mut input = Input::line(words);
                let place = self.index(input.words.len());
                input.words.insert(place, Word::text(self.random.pick(&JUNK)));
                return harmless(input);
            }
        }
        harmless(Input::line(words))
    }

    fn job(&mut self, connection: usize, scene: &Scene<'_>) -> Word {
        let job_count = scene.job_count;
        if job_count == 0 || self.random.once_in(20) {
            return Word::text(MISSING_JOB);
        }
        if let Some(&job) = scene.given.get(&connection)
            && !self.random.once_in(3)
        {
            return Word::Job(job);
        }
        // Mostly one of the latest: the older ones are deleted by and by.
        let oldest = if self.random.once_in(4) { 0 } else { job_count.saturating_sub(8) };
        Word::Job(oldest + self.index(job_count - oldest))
    }

    fn delay(&mut self) -> Word {
        if self.random.once_in(2) {
            return Word::text(0);
        }
        loop {
            let delay = 100_000 + 1000 * self.random.within(0..1_000_000);
            if self.delays_used.insert(delay) {
                return Word::text(delay);
            }
        }
    }

    fn body(&mut self, size: u64) -> Vec<u8> {
        (0..size).map(|_| self.random.pick(b"abcdefgh \0\r\n\xff")).collect()
    }

    /// Where the bytes are cut into packets: mostly nowhere.
    fn splits(&mut self) -> Vec<usize> {
        if !self.random.once_in(4) {
            return Vec::new();
        }
        let mut splits: Vec<usize> = (0..1 + self.index(3)).map(|_| self.index(40)).collect();
        splits.sort_unstable();
        splits
    }

    fn index(&mut self, count: usize) -> usize {
        usize::try_from(self.random.within(0..count as u64)).expect("an index fits")
    }
}

/// The input, unless breaking it has made a command that may wait, or that 1.12 reads differently
/// from 1.13: then one that is merely wrong.
fn harmless(input: Input) -> Input {
    match input.words.first() {
        Some(Word::Bytes(bytes)) if bytes.to_ascii_lowercase().starts_with(b"reserve-with") => {
            Input::bytes("reserve-with\r\n", 1)
        }
        _ => input,
    }
}
