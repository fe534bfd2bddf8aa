//! All transcripts against one server, side by side.
//!
//! `BEANPOLE_TRANSCRIPT=text` runs only the sections with this text in their file or title.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::runner;
use super::transcript::{self, Section};
use crate::support::{Contender, Target, alone, left_out};

/// Sections that run at once. Most of them wait for timers most of the time.
const SECTIONS_AT_ONCE: usize = 12;
/// The same where each section has three servers.
const CLUSTERS_AT_ONCE: usize = 6;

#[test]
fn transcripts_hold_for_beanstalkd() {
    if Target::Beanstalkd.program().is_none() {
        return left_out("transcripts against beanstalkd, which is not installed");
    }
    run_all(Contender::One(Target::Beanstalkd));
}

#[test]
fn transcripts_hold_for_beanpole() {
    run_all(Contender::One(Target::Beanpole));
}

#[test]
fn transcripts_hold_for_three_members() {
    run_all(Contender::Three);
}

#[test]
fn transcripts_hold_for_an_agent() {
    run_all(Contender::Agent);
}

#[test]
fn what_is_left_out_for_an_agent_is_there_for_others() {
    let sections = read_all();
    for (name, why) in runner::NOT_FOR_AN_AGENT {
        let found = sections.iter().find(|section| section.name == name);
        let section = found.unwrap_or_else(|| panic!("no section is called {name}: {why:?}"));
        assert!(runner::is_meant_for(section, Contender::Three), "{name}");
    }
}

#[test]
fn a_wrong_transcript_is_caught_at_its_line() {
    if Target::Beanstalkd.program().is_none() {
        return left_out("the check of the transcript runner: beanstalkd is not installed");
    }
    let cases = [
        ("1> put 0 0 9 1\n1> a\n1< INSERTED 2", "line 4: `1< INSERTED 2`: received `INSERTED 1"),
        ("1> list-tubes\n1< OK <bytes>\n1| ---\n1| - a", "received `- default"),
        ("1> stats-tube default\n1< OK 1", "line 3"),
        ("1? stats: cmd-stats=2", "cmd-stats is 1"),
        ("1> reserve-with-timeout 0\n1~ 1s", "received `TIMED_OUT"),
        ("1> quit\n1< BYE", "received nothing"),
        ("1> touch\n1 is closed", "received `UNKNOWN_COMMAND"),
        ("1> touch", "at the end of connection 1"),
    ];
    for (steps, complaint) in cases {
        let text = format!("== planted\n{steps}\n");
        let sections = transcript::parse("planted", &text).unwrap();
        let error = runner::run(&sections[0], Contender::One(Target::Beanstalkd)).expect_err(steps);
        assert!(error.contains(complaint), "{steps}: {error}");
    }
}

fn run_all(contender: Contender) {
    let _alone = alone();
    let at_once = if contender.is_cluster() { CLUSTERS_AT_ONCE } else { SECTIONS_AT_ONCE };
    let wanted = std::env::var("BEANPOLE_TRANSCRIPT").unwrap_or_default();
    let mut sections = read_all();
    sections.retain(|section| {
        runner::is_meant_for(section, contender) && section.name.contains(&wanted)
    });
    assert!(!sections.is_empty(), "no section is called {wanted}");
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(section) = sections.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let failure = runner::run(section, contender).err();
                    failures.lock().expect("no thread panics with the lock").extend(failure);
                }
            });
        }
    });
    let mut failures = failures.into_inner().expect("no thread panics with the lock");
    failures.sort();
    assert!(
        failures.is_empty(),
        "{} of {} sections do not hold:\n{}",
        failures.len(),
        sections.len(),
        failures.join("\n")
    );
}

/// The sections of all files, in order of their names.
fn read_all() -> Vec<Section> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/transcripts");
    let mut files: Vec<_> = fs::read_dir(&directory)
        .expect("the transcripts are part of the source")
        .map(|entry| entry.expect("the directory can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    let mut sections = Vec::new();
    for path in files {
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("a transcript is text");
        sections.extend(transcript::parse(&name, &text).unwrap_or_else(|error| panic!("{error}")));
    }
    sections
}
