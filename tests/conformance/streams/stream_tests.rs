//! Streams against pairs of servers.

use std::collections::BTreeMap;

use super::canonical::FIELDS_OF_A_MEMBER;
use super::generator::{BODY_SIZE_MAX, Generator, Scene};
use super::line::Input;
use super::side::{Events, Side, Step};
use crate::conformance::bytes;
use crate::support::{Contender, Random, Target, alone, left_out, number_from_environment};

const STEPS_PER_STREAM: usize = 400;
const STREAMS: u64 = 12;
const CLUSTER_STREAMS: u64 = 4;
/// Steps that a failure shows.
const STEPS_SHOWN: usize = 25;

/// A server and its flags.
type Flagged<'a> = (Contender, &'a [&'a str]);

const BEANSTALKD: Contender = Contender::One(Target::Beanstalkd);
const BEANPOLE: Contender = Contender::One(Target::Beanpole);

#[test]
fn beanpole_answers_random_streams_as_beanstalkd_does() {
    if Target::Beanstalkd.program().is_none() {
        return left_out("random streams: beanstalkd, to compare with, is not installed");
    }
    let flags = size_flags(BODY_SIZE_MAX);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    compare_streams([(BEANSTALKD, &flags), (BEANPOLE, &flags)], STREAMS);
}

#[test]
fn three_members_answer_random_streams_as_beanstalkd_does() {
    compare_cluster(Contender::Three);
}

#[test]
fn an_agent_answers_random_streams_as_beanstalkd_does() {
    compare_cluster(Contender::Agent);
}

#[test]
fn beanstalkd_answers_random_streams_as_itself() {
    if Target::Beanstalkd.program().is_none() {
        return left_out("the check of random streams: beanstalkd is not installed");
    }
    let flags = size_flags(BODY_SIZE_MAX);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    compare_streams([(BEANSTALKD, &flags), (BEANSTALKD, &flags)], STREAMS / 4);
}

#[test]
fn a_planted_difference_is_found() {
    if Target::Beanstalkd.program().is_none() {
        return left_out("the check of random streams: beanstalkd is not installed");
    }
    let [flags, other] = [size_flags(BODY_SIZE_MAX), size_flags(BODY_SIZE_MAX - 1)];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let other: Vec<&str> = other.iter().map(String::as_str).collect();
    let difference = (1..100)
        .find_map(|seed| run_stream([(BEANSTALKD, &flags), (BEANSTALKD, &other)], seed).err());
    let difference = difference.expect("servers of different limits were taken for the same");
    let is_the_planted_one = ["JOB_TOO_BIG", "max-job-size"].map(|it| difference.contains(it));
    assert!(is_the_planted_one.contains(&true), "another difference: {difference}");
}

fn size_flags(body_size_max: u64) -> Vec<String> {
    vec!["-z".to_owned(), body_size_max.to_string()]
}

fn compare_cluster(contender: Contender) {
    if Target::Beanstalkd.program().is_none() {
        return left_out("random streams on a cluster: beanstalkd is not installed");
    }
    let flags = size_flags(BODY_SIZE_MAX);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    compare_streams([(BEANSTALKD, &flags), (contender, &flags)], CLUSTER_STREAMS);
}

fn compare_streams(contenders: [Flagged<'_>; 2], streams: u64) {
    let _alone = alone();
    let first = number_from_environment("BEANPOLE_SEED").unwrap_or_else(Random::fresh_seed);
    let streams = number_from_environment("BEANPOLE_STREAMS").unwrap_or(streams);
    for seed in (first..).take(usize::try_from(streams).expect("a small number")) {
        if let Err(difference) = run_stream(contenders, seed) {
            panic!(
                "the streams of seed {seed} differ; again: BEANPOLE_SEED={seed} \
                 BEANPOLE_STREAMS=1 cargo test --test integration random_streams\n{difference}"
            );
        }
    }
}

/// Runs one stream and compares all replies.
///
/// # Errors
///
/// The step at which the servers differ, and those before it.
fn run_stream(contenders: [Flagged<'_>; 2], seed: u64) -> Result<(), String> {
    let mut generator = Generator::new(seed);
    let connection_count = generator.connection_count();
    let has_cluster = contenders.iter().any(|&(contender, _)| contender.is_cluster());
    let mut stream = Stream {
        sides: contenders.map(|(contender, flags)| Side::start(contender, flags, connection_count)),
        contenders: contenders.map(|(contender, _)| contender.name()),
        free: if has_cluster { &FIELDS_OF_A_MEMBER } else { &[] },
        given: BTreeMap::new(),
        waited_for: BTreeMap::new(),
        past: Vec::new(),
    };
    for connection in 0..connection_count {
        stream.perform(generator.greeting(connection))?;
    }
    for _ in 0..STEPS_PER_STREAM {
        let waiting = stream.sides[0].waiting().to_vec();
        let job_count = stream.sides[0].job_count();
        let given = &stream.given;
        let step = generator.next(&Scene { connection_count, waiting: &waiting, job_count, given });
        match step {
            Step::Reserve { connection, timeout } => stream.reserve(connection, timeout)?,
            Step::Leave { connection, .. } => {
                stream.perform(step)?;
                stream.given.remove(&connection);
                stream.perform(generator.greeting(connection))?;
            }
            _ => drop(stream.perform(step)?),
        }
    }
    Ok(())
}

/// A stream under way.
struct Stream {
    sides: [Side; 2],
    contenders: [&'static str; 2],
    /// Fields that are not compared.
    free: &'static [&'static str],
    /// What each connection was last given.
    given: BTreeMap<usize, usize>,
    /// The tubes for which connections wait.
    waited_for: BTreeMap<usize, Vec<String>>,
    past: Vec<String>,
}

impl Stream {
    /// Reserves without a wait if another connection waits for the same tube: beanstalkd serves
    /// them in an order of its own.
    fn reserve(&mut self, connection: usize, timeout: Option<u32>) -> Result<(), String> {
        let events = self.perform(Generator::question(connection))?;
        let watched = events.first().map(|(_, reply)| reply.items()).unwrap_or_default();
        self.waited_for.retain(|other, _| self.sides[0].waiting().contains(other));
        let is_contended = self.waited_for.values().flatten().any(|tube| watched.contains(tube));
        let step = if is_contended {
            let input = Input::bytes("reserve-with-timeout 0\r\n", 1);
            Step::Send { connection, input, splits: Vec::new() }
        } else {
            self.waited_for.insert(connection, watched);
            Step::Reserve { connection, timeout }
        };
        self.perform(step).map(drop)
    }

    /// Lets both servers perform `step`; the replies, if they agree.
    fn perform(&mut self, step: Step) -> Result<Events, String> {
        let [one, two] = self.sides.each_mut().map(|side| side.perform(&step));
        let agree = one.len() == two.len()
            && one.iter().zip(&two).all(|(one, two)| {
                let free = self.free;
                one.0 == two.0 && one.1.agrees_with(&two.1, free)
            });
        self.past.push(describe(&step));
        if agree {
            for (connection, reply) in &one {
                if let Some(job) = reply.job_given() {
                    self.given.insert(*connection, job);
                }
            }
            return Ok(one);
        }
        let shown = self.past.len().saturating_sub(STEPS_SHOWN);
        Err(format!(
            "{}\n{} answers {one:?}\n{} answers {two:?}",
            self.past[shown..].join("\n"),
            self.contenders[0],
            self.contenders[1]
        ))
    }
}

fn describe(step: &Step) -> String {
    match step {
        Step::Send { connection, input, splits } => {
            // The ids are shown as the order of the puts.
            let order: Vec<u64> = (0..100_000).collect();
            let text = bytes::encode(&input.render(&order));
            format!("{connection}> {text} (split at {splits:?}; jobs by order of put)")
        }
        other => format!("{other:?}"),
    }
}
