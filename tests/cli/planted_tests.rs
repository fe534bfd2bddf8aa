//! Bugs on purpose: chosen by a variable in a build for that, and in no other.

use std::process::Command;

use crate::support::{Ended, Target, run_to_end};

const IS_PLANTED_BUILD: bool = cfg!(feature = "planted");

fn run_with(bug: &str, arguments: &[&str]) -> Ended {
    let program = Target::Beanpole.program().expect("it was built with the tests");
    let ended = run_to_end(Command::new(program).args(arguments).env("BEANPOLE_PLANTED", bug));
    ended.unwrap_or_else(|| panic!("{arguments:?} does not end"))
}

#[test]
fn only_a_planted_build_takes_the_name_of_a_bug() {
    let ended = run_with("ack-before-sync", &["--check-config"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    // Others may be named beside it.
    let ignored = ended.stderr.lines().find(|line| line.contains("no settings, and ignored: "));
    let is_ignored = ignored.is_some_and(|line| line.contains("BEANPOLE_PLANTED"));
    assert_eq!(is_ignored, !IS_PLANTED_BUILD, "{}", ended.stderr);
}

#[test]
fn an_unknown_name_ends_a_planted_build_with_the_list() {
    let ended = run_with("nonsense", &["--check-config"]);
    let is_refused = ended.code == Some(5) && ended.stderr.contains("  ack-before-sync  ");
    assert_eq!(is_refused, IS_PLANTED_BUILD, "{:?}: {}", ended.code, ended.stderr);
}

#[test]
fn the_version_says_what_is_broken() {
    let says = |bug, words: &str| run_with(bug, &["--version"]).stdout.contains(words);
    assert_eq!(says("touch-ignored", "BROKEN ON PURPOSE: touch-ignored"), IS_PLANTED_BUILD);
    assert_eq!(says("", "built to be broken on purpose"), IS_PLANTED_BUILD);
}
