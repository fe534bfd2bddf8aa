//! Deletes by id, at random, among jobs that are cold; then a kill, and all others must come.

use std::{io::Write, net::SocketAddr, thread};

use super::{
    base,
    fill::Filled,
    jobs::{Jobs, Variety},
    judge::{Bitmap, Judge},
    options::Options,
    progress::Progress,
    report::{self, Aims},
    take::Taker,
    whole,
};
use crate::common::{
    Fallible, client::Client, clock, confined::Member, section::Section, support::Random,
    wire::Reply,
};

const IN_FLIGHT: usize = 16;
const CONNECTIONS: usize = 16;
const RATE_MIN: f64 = 5_000.0;

/// # Errors
/// When a promise is broken or the server has gone.
pub(crate) fn run(options: &Options, member: &mut Member, section: &mut Section) -> Fallible<()> {
    let seed = options.seed.unwrap_or_else(Random::fresh_seed);
    section.figure("seed", seed);
    let base = base::measure(options, member, section)?;
    let jobs = Jobs::new(options.jobs, options.size, Variety::Plain);
    let filled = whole::put_all(options, &jobs, (base.puts, Aims::Told), member, section)?;
    // After it all jobs but the last ones, which are in the log, are cold.
    member.kill()?;
    report::restart(section, &member.start_again()?);

    let mut deleted = Bitmap::new(filled.last_id - filled.first_id + 1);
    let mut random = Random::new(seed);
    let mut choose = || choose(options.deletes(), filled, &mut deleted, &mut random);
    let (alone, together) = (choose(), choose());
    let rate = delete(member.address(), &alone, IN_FLIGHT)?;
    judge_rate(section, "deletes a second, one connection with 16 in flight", rate);
    let rate = delete_together(member.address(), &together)?;
    judge_rate(section, "deletes a second, 16 connections", rate);
    member.kill()?;
    report::restart(section, &member.start_again()?);

    let mut judge = Judge::new(jobs);
    judge.know_deleted(filled.first_id, deleted, 2 * options.deletes());
    let left = judge.missing();
    let mut taker = Taker::connect(member.address(), judge, jobs, options.depth)?;
    let progress = Progress::begin("take", left, member.watch());
    taker.take(left, &progress)?;
    taker.check_all_came()?;
    section.figure("jobs taken a second, mean", format!("{:.0}", progress.mean_rate()));
    section.figure("each of the others once, as it was put, in order", "yes");
    Ok(())
}

/// Ids that were not chosen before.
fn choose(count: u64, filled: Filled, chosen: &mut Bitmap, random: &mut Random) -> Vec<u64> {
    let mut ids = Vec::new();
    while (ids.len() as u64) < count {
        let place = random.within(0..filled.last_id - filled.first_id + 1);
        if !chosen.set(place) {
            ids.push(filled.first_id + place);
        }
    }
    ids
}

/// Deletes them on one connection; deletes a second.
fn delete(address: SocketAddr, ids: &[u64], in_flight: usize) -> Fallible<f64> {
    let mut client = Client::connect(address)?;
    let mut commands = Vec::new();
    let started = clock::now();
    let (mut sent, mut answered) = (0, 0);
    while answered < ids.len() {
        commands.clear();
        for id in &ids[sent..(answered + in_flight).min(ids.len())] {
            write!(commands, "delete {id}\r\n")?;
            sent += 1;
        }
        client.send(&commands)?;
        // All replies that are there already, and at least one.
        loop {
            let reply = client.receive()?;
            if reply != Reply::Deleted {
                return Err(format!("delete {} was answered with {reply:?}", ids[answered]).into());
            }
            answered += 1;
            if answered == sent || !client.has_reply() {
                break;
            }
        }
    }
    Ok(ids.len() as f64 / (clock::now() - started).as_secs_f64())
}

/// Deletes them on many connections, one command in flight on each; deletes a second.
fn delete_together(address: SocketAddr, ids: &[u64]) -> Fallible<f64> {
    let started = clock::now();
    let share = ids.len().div_ceil(CONNECTIONS).max(1);
    thread::scope(|scope| {
        let clients: Vec<_> =
            ids.chunks(share).map(|ids| scope.spawn(move || delete(address, ids, 1))).collect();
        clients.into_iter().try_for_each(|client| {
            client.join().expect("a client's panic is a bug of the bench").map(drop)
        })
    })?;
    Ok(ids.len() as f64 / (clock::now() - started).as_secs_f64())
}

fn judge_rate(section: &mut Section, name: &str, rate: f64) {
    section.judged(name, format!("{rate:.0}"), "at least 5000", rate >= RATE_MIN);
}
