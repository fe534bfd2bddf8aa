//! Three members within their memory, one of which is lost: an empty one is filled from a large
//! backlog while clients work, and what these notice.
//!
//! `cargo bench --bench refill [-- --jobs 2000000 --size 1024 --memory 192M]`. Each member runs in
//! a memory control group of its own; where there can be none, only high-water marks are checked.
//! A member is killed and loses its disk. The backlog is put through the other two, into the tube
//! `default`, from which nobody takes. Beside it and from then on, paced clients work in tubes of
//! their own, at a rate that does not depend on the replies; the latency of a put counts from when
//! it was due, so that a stall counts for all puts that should have come meanwhile. Phases: the
//! backlog is put as fast as it goes; nothing but the paced clients (base line); a moderate
//! producer adds to the backlog; `replace` takes in an empty member, until all three are in step.
//!
//! Prints a Markdown section. Status 1 when a promise is broken: a limit passed, a member killed
//! for its memory, a job lost, a client told something else than it should be. Aims on latency and
//! on changes of leader are only named when they are missed.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "other benches need more of it")]
mod common;

mod account;
mod course;
#[path = "../backlog/fill.rs"]
mod fill;
#[path = "../backlog/jobs.rs"]
#[expect(dead_code, reason = "`backlog` needs more of it")]
mod jobs;
mod judge;
mod options;
mod paced;
mod phase;
#[path = "../backlog/progress.rs"]
#[expect(dead_code, reason = "`backlog` needs more of it")]
mod progress;

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use common::{Fallible, machine, section::mebibytes, server::ServerKind};
use course::Course;
use judge::Judge;
use options::Options;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = env::args().collect();
    // `cargo test --all-targets` runs benches too, without this word that `cargo bench` appends.
    let Some(place) = arguments.iter().position(|argument| argument == "--bench") else {
        eprintln!("refill: only under `cargo bench`");
        return ExitCode::SUCCESS;
    };
    arguments.remove(place);
    let options = Options::parse_from(&arguments);
    match show(&options, &arguments[1..]) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("refill: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all promises were held.
fn show(options: &Options, arguments: &[String]) -> Fallible<bool> {
    let mut out = io::stdout();
    write!(out, "{}", machine::report_head("refill", arguments, &[ServerKind::BeanpoleThree]))?;
    let bounds = options.bounds();
    let (memory, limit) = (mebibytes(bounds.memory_bytes), mebibytes(bounds.limit_bytes));
    writeln!(out, "- each member: budget {memory}, control group {limit}")?;
    out.flush()?;
    let heading = format!("{} jobs of {} bytes", options.jobs, options.size);
    let mut judge = Judge::new(heading);
    let mut course = Course::begin(options, &mut judge)?;
    let (phases, gone_through) = course.run(&mut judge);
    judge.phases(&phases);
    if let Err(error) = gone_through.and_then(|()| course.check(&mut judge)) {
        judge.broken.push(error.to_string());
    }
    course.report_memory(&mut judge);
    write!(out, "{}", judge.section)?;
    if !judge.broken.is_empty() {
        eprintln!("{}", course.logs());
        writeln!(out, "\n**Broken**: {}", judge.broken.join("; "))?;
    }
    Ok(judge.broken.is_empty())
}
