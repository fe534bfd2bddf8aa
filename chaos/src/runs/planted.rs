//! Bugs on purpose: a server that has one of them must fail a run, and is shown to fail it by what.

use std::fmt::Write as _;
use std::fs;
use std::io::{Write, stdout};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::check::Verdict;
use crate::faults::Kind;
use crate::history::History;
use crate::invariants;

use super::live::observe;
use super::recording::FILE;
use super::{Live, Mix, Via};

/// A bug, and a run that should show it.
struct Plant {
    bug: &'static str,
    members: u8,
    via: Via,
    kinds: &'static [Kind],
    mix: Mix,
    has_bursts: bool,
    seconds: u64,
}

const fn plant(bug: &'static str, members: u8, seconds: u64, kinds: &'static [Kind]) -> Plant {
    let (via, mix) = (Via::Members, Mix::Alone);
    Plant { bug, members, via, kinds, mix, has_bursts: false, seconds }
}

impl Plant {
    /// It takes all of its faults at a time, one so many seconds after the other.
    const fn together(self, seconds_apart: u64) -> Self {
        Self { mix: Mix::Together { apart: Duration::from_secs(seconds_apart) }, ..self }
    }

    /// It takes more than what clients put by themselves.
    const fn with_bursts(self) -> Self {
        Self { has_bursts: true, ..self }
    }

    /// It takes clients that speak to an agent.
    const fn via_agent(self) -> Self {
        Self { via: Via::Agent, ..self }
    }

    /// Its faults, in words.
    fn faults(&self) -> String {
        let names: Vec<&str> = self.kinds.iter().map(|kind| kind.name()).collect();
        let names = match self.mix {
            _ if names.is_empty() => "none".to_owned(),
            Mix::Together { .. } => names.join(" and then "),
            _ => names.join(", "),
        };
        match self.via {
            Via::Members => names,
            Via::Agent => format!("{names}, via an agent"),
        }
    }
}

/// Without a fault, what is wrong with single jobs shows in seconds.
const CALM: u64 = 20;
const SHORT: u64 = 30;
const LONG: u64 = 60;

/// All that are shown. Those of the server that are not here show in no run of this length:
/// docs/TESTING.md says why.
const PLANTS: &[Plant] = &[
    plant("ack-before-sync", 1, SHORT, &[Kind::PowerLoss]),
    plant("ack-before-write", 1, SHORT, &[Kind::Kill]),
    plant("disk-error-ignored", 1, LONG, &[Kind::FailedSync, Kind::PowerLoss]).together(1),
    plant("full-disk-ignored", 1, LONG, &[Kind::FullDisk, Kind::Kill]).together(3).with_bursts(),
    plant("damage-truncated", 1, LONG, &[Kind::FlipLog]),
    plant("delete-not-logged", 1, SHORT, &[Kind::Restart]),
    plant("purge-too-early", 1, LONG, &[Kind::Restart]),
    plant("checkpoint-lacks-held", 1, LONG, &[Kind::Restart]),
    plant("taken-forgotten", 1, LONG, &[Kind::Restart]),
    plant("cold-body-cut", 1, CALM, &[]),
    plant("ttr-halved", 1, CALM, &[]),
    plant("touch-ignored", 1, CALM, &[]),
    plant("expiry-forgotten", 1, CALM, &[]),
    plant("delay-halved", 1, CALM, &[]),
    plant("priority-reversed", 1, CALM, &[]),
    plant("two-holders", 1, CALM, &[]),
    plant("bury-releases", 1, CALM, &[]),
    plant("ids-reused", 1, SHORT, &[Kind::Restart]),
    plant("refused-but-done", 1, CALM, &[]),
    plant("stats-drift", 1, CALM, &[]),
    plant("keys-forgotten", 1, CALM, &[]),
    plant("wall-clock", 3, LONG, &[Kind::ClockJump]),
    plant("clock-ahead", 3, SHORT, &[Kind::Transfer]),
    plant("holds-forgotten", 3, SHORT, &[Kind::Transfer]),
    plant("resend-applied", 3, LONG, &[Kind::Transfer, Kind::Kill]),
    plant("stale-reads", 3, LONG, &[Kind::Isolate, Kind::Freeze]),
    plant("lease-ignored", 3, LONG, &[Kind::Isolate]),
    plant("diverges", 3, CALM, &[]),
    plant("no-elections", 3, SHORT, &[Kind::Kill]),
    plant("close-forgotten", 1, CALM, &[]),
    plant("silent-served", 3, SHORT, &[Kind::Freeze]),
    plant("lease-forgotten", 3, SHORT, &[Kind::Kill]).via_agent(),
];

/// Runs a server with each of the bugs named, or all, and prints by what each was caught. A sound
/// one has none of them, and is to be caught by nothing: it was not the run that was caught.
///
/// # Errors
/// When a run cannot be made, or there is no such bug.
pub fn planted(live: &Live, named: &[String], is_sound: bool) -> Result<Verdict> {
    for name in named {
        let is_known = PLANTS.iter().any(|plant| plant.bug == name);
        ensure!(is_known, "no run is known that shows {name}");
    }
    let chosen = PLANTS.iter();
    let chosen = chosen.filter(|plant| named.is_empty() || named.iter().any(|it| it == plant.bug));
    let mut table = String::from("| bug | faults | members | caught by |\n|---|---|---|---|\n");
    let mut wrong = 0;
    for plant in chosen {
        let caught = show(live, plant, is_sound)?;
        wrong += u32::from(caught.is_empty() != is_sound);
        let row = format!(
            "| `{}` | {} | {} | {} |",
            plant.bug,
            plant.faults(),
            plant.members,
            if caught.is_empty() { "nothing".to_owned() } else { caught.join(", ") },
        );
        writeln!(stdout().lock(), "{row}")?;
        writeln!(table, "{row}")?;
    }
    fs::create_dir_all(&live.out)?;
    fs::write(live.out.join("planted.md"), &table).context("the table cannot be written")?;
    Ok(if wrong == 0 { Verdict::Passed } else { Verdict::Failed })
}

fn first_line(why: &anyhow::Error) -> String {
    let text = format!("{why:#}").replace('|', "/");
    text.lines().next().unwrap_or_default().to_owned()
}

/// The names of the promises that one bug breaks in its run. A run that ends in an error counts too:
/// then it is the error.
fn show(live: &Live, plant: &Plant, is_sound: bool) -> Result<Vec<String>> {
    let live = Live {
        members: plant.members,
        time: Duration::from_secs(plant.seconds),
        via: plant.via,
        kinds: plant.kinds.to_vec(),
        mix: plant.mix,
        has_bursts: plant.has_bursts,
        planted: (!is_sound).then(|| plant.bug.to_owned()),
        out: live.out.join(plant.bug),
        ..live.clone()
    };
    let ended = observe(&live)?;
    let history = History::read(&live.out.join(FILE))?;
    let findings = invariants::judge(&history);
    let verdict = invariants::verdict(&history, &findings);
    let mut caught: Vec<String> = verdict.broken.iter().map(|name| (*name).to_owned()).collect();
    caught.extend(ended.err().map(|why| format!("the run's end: {}", first_line(&why))));
    Ok(caught)
}
