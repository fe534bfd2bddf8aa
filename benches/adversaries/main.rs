//! One member within its memory, and clients that want too much of it: what they do to it, and to
//! eight clients that behave well.
//!
//! `cargo bench --bench adversaries [-- --only kick,holder --divide 100]`. Each adversary meets a
//! fresh server inside a memory control group and gets a Markdown section. Status 1 when the limit
//! is passed, the server is killed for its memory, or a well-behaved client is harmed; aims that
//! are missed are only named.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "other benches need more of it")]
mod common;

mod attacks;
mod crowd;
#[path = "../backlog/fill.rs"]
mod fill;
#[path = "../backlog/jobs.rs"]
#[expect(dead_code, reason = "`backlog` needs more of it")]
mod jobs;
#[path = "../backlog/judge.rs"]
#[expect(dead_code, reason = "`backlog` needs more of it")]
mod judge;
mod options;
mod polite;
#[path = "../backlog/progress.rs"]
#[expect(dead_code, reason = "`backlog` needs more of it")]
mod progress;
#[path = "../backlog/take.rs"]
#[expect(dead_code, reason = "`backlog` needs more of it")]
mod take;

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
    thread,
    time::Duration,
};

use attacks::Field;
use clap::{Parser, ValueEnum};
use common::{
    Fallible,
    confined::Member,
    machine,
    section::{Section, mebibytes},
    server::ServerKind,
};
use options::{Adversary, Options};
use polite::Polite;

/// How long the polite clients are alone before the attack, and looked at after it.
const BEFORE: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let mut arguments: Vec<String> = env::args().collect();
    // `cargo test --all-targets` runs benches too, without this word that `cargo bench` appends.
    let Some(place) = arguments.iter().position(|argument| argument == "--bench") else {
        eprintln!("adversaries: only under `cargo bench`");
        return ExitCode::SUCCESS;
    };
    arguments.remove(place);
    let options = Options::parse_from(&arguments);
    match show_all(&options, &arguments[1..]) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("adversaries: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all promises were held.
fn show_all(options: &Options, arguments: &[String]) -> Fallible<bool> {
    crowd::raise_file_limit()?;
    let mut out = io::stdout();
    write!(out, "{}", machine::report_head("adversaries", arguments, &[ServerKind::BeanpoleB]))?;
    let bounds = options.bounds();
    let (memory, limit) = (mebibytes(bounds.memory_bytes), mebibytes(bounds.limit_bytes));
    writeln!(out, "- budget {memory}, control group {limit}")?;
    let mut all_held = true;
    for &adversary in &options.only {
        let (section, broken) = show(options, adversary)?;
        write!(out, "{section}")?;
        if !broken.is_empty() {
            all_held = false;
            writeln!(out, "\n**Broken**: {}", broken.join("; "))?;
        }
        out.flush()?;
    }
    Ok(all_held)
}

/// The figures of one adversary, and the promises that were broken.
fn show(options: &Options, adversary: Adversary) -> Fallible<(Section, Vec<String>)> {
    let value = adversary.to_possible_value();
    let name = value.map_or_else(String::new, |value| value.get_name().to_owned());
    eprintln!("{name}");
    let (mut section, mut broken) = (Section::new(name.clone()), Vec::new());
    let mut member = Member::start(options.bounds())?;
    let shown = attack(options, adversary, &member, &mut section);
    if let Err(error) = shown.and_then(|()| member.check_runs()) {
        eprintln!("{name}: {error}; {}", member.post_mortem());
        broken.push(error.to_string());
    }
    member.report_memory(&mut section, &mut broken);
    Ok((section, broken))
}

fn attack(
    options: &Options,
    adversary: Adversary,
    member: &Member,
    section: &mut Section,
) -> Fallible<()> {
    let polite = Polite::start(member.address())?;
    thread::sleep(BEFORE);
    polite.report(section, "before", false)?;
    let (address, watch) = (member.address(), member.watch());
    let mut field = Field { options, member, address, watch, polite: &polite, section };
    attacks::run(adversary, &mut field)?;
    thread::sleep(AFTER);
    polite.report(section, "after", false)
}
