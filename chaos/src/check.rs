//! Judges a history that is in a file, and prints what comes of it.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

use crate::history::{FaultState, History, Record};
use crate::invariants::{self, Exercise, Finding, Invariant, Standing, Violation};
use crate::report;

/// Records of one violation that are printed.
const RECORDS_MAX: usize = 40;

/// What a run has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every promise was held against what happened, and none was broken.
    Passed,
    /// A promise was broken, or could not be held against anything.
    Failed,
    /// Something that was asked for could not be done on this machine. Never a pass.
    Skipped,
}

/// Reads the history in `path`, prints a table of all promises and the first violation of each that
/// was broken, and what all in all it shows. With `report`, writes that and its picture there.
///
/// # Errors
///
/// The history cannot be read, or something not written.
pub fn check(path: &Path, report: Option<&Path>, out: &mut dyn Write) -> Result<Verdict> {
    let history = History::read(path)?;
    let findings = invariants::judge(&history);
    let is_kept = print(&history, &findings, out).context("the findings cannot be printed")?;
    let missing = history.faults.iter().filter(|fault| fault.state != FaultState::Installed);
    for fault in missing.clone() {
        writeln!(out, "left out: {} of {}: {}", fault.name, fault.target, fault.note)?;
    }
    let verdict = match (is_kept, missing.count()) {
        (false, _) => Verdict::Failed,
        (true, 0) => Verdict::Passed,
        (true, _) => Verdict::Skipped,
    };
    if verdict == Verdict::Skipped {
        writeln!(out, "\nskipped, which is no pass")?;
    }
    if let Some(folder) = report {
        fs::create_dir_all(folder)?;
        let page = folder.join("report.html");
        report::write_html(&page, &history, &findings, verdict == Verdict::Passed)?;
        report::write_svg(&folder.join("timeline.svg"), &history)?;
        writeln!(out, "\nreport: {}", page.display())?;
    }
    writeln!(out, "history: {}", path.display())?;
    writeln!(out, "again: {}", history.head.command)?;
    Ok(verdict)
}

/// Prints findings; tells whether they pass.
fn print(
    history: &History,
    findings: &[(Invariant, Finding)],
    out: &mut dyn Write,
) -> std::io::Result<bool> {
    let head = &history.head;
    writeln!(out, "{}: {} members, seed {}", head.server, head.members, head.seed)?;
    writeln!(out, "{} commands, {} faults\n", history.records.len(), history.faults.len())?;
    writeln!(out, "{:4} {:50} {:>10} {:>8}  verdict", "", "promise", "cases", "broken")?;
    for (invariant, finding) in findings {
        let standing = words(invariants::standing(history, invariant, finding));
        let Invariant { name, promise, .. } = invariant;
        let Finding { cases, broken, .. } = finding;
        writeln!(out, "{name:4} {promise:50} {cases:>10} {broken:>8}  {standing}")?;
        for (name, value) in &finding.measures {
            writeln!(out, "       {name}: {value}")?;
        }
    }
    for (invariant, finding) in findings {
        if let Some(first) = finding.violations.first() {
            print_violation(history, invariant, first, out)?;
        }
    }
    let verdict = invariants::verdict(history, findings);
    print_coverage(&verdict.coverage, out)?;
    let names = |names: &[&str]| names.join(", ");
    writeln!(out)?;
    if !verdict.broken.is_empty() {
        writeln!(out, "broken: {}", names(&verdict.broken))?;
    }
    if !verdict.untested.is_empty() {
        writeln!(out, "not put to the test: {}", names(&verdict.untested))?;
    }
    for exercise in verdict.lacking() {
        writeln!(out, "not exercised: {}", exercise.what)?;
    }
    writeln!(out, "{}", if verdict.is_pass() { "passed" } else { "not passed" })?;
    Ok(verdict.is_pass())
}

fn print_coverage(coverage: &[Exercise], out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "\n{:55} {:>10} {:>8}", "what this run has exercised", "count", "at least")?;
    for Exercise { what, count, least } in coverage {
        let least = if *least == 0 { "-".to_owned() } else { least.to_string() };
        writeln!(out, "{what:55} {count:>10} {least:>8}")?;
    }
    Ok(())
}

fn words(standing: Standing) -> &'static str {
    match standing {
        Standing::Kept => "kept",
        Standing::Broken => "BROKEN",
        Standing::Untested => "NOT TESTED",
        Standing::NotAsked => "not asked",
    }
}

fn print_violation(
    history: &History,
    invariant: &Invariant,
    violation: &Violation,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    writeln!(out, "\n{} is broken: {}", invariant.name, violation.what)?;
    for &place in violation.records.iter().take(RECORDS_MAX) {
        print_record(place, &history.records[place], out)?;
    }
    let more = violation.records.len().saturating_sub(RECORDS_MAX);
    if more > 0 {
        writeln!(out, "  and {more} more")?;
    }
    Ok(())
}

fn print_record(place: usize, record: &Record, out: &mut dyn Write) -> std::io::Result<()> {
    let Record { client, connection, member, invoked, returned, command, outcome } = record;
    writeln!(
        out,
        "  #{place} {invoked} .. {returned} client {client}.{connection} at member {member}\n      \
         {command:?}\n      {outcome:?}"
    )
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::{Verdict, check};
    use crate::clock::Moment;
    use crate::history::{self, Body, Command, Head, Line, Outcome, Record, Reply};

    fn record(at: u64, command: Command, reply: Reply) -> Line {
        Line::Record(Record {
            client: 1,
            connection: 1,
            member: 0,
            invoked: Moment(at),
            returned: Moment(at + 1),
            command,
            outcome: Outcome::Replied(reply),
        })
    }

    #[test]
    fn what_is_broken_is_printed_with_its_records() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("history");
        let (sender, receiver) = sync_channel(9);
        let body = Body { key: 5, bytes: 64, is_intact: true };
        let put =
            Command::Put { tube: "t".into(), priority: 0, delay: 0, ttr: 5, body, under: None };
        let lines = [
            Line::Head(Head { format: history::FORMAT, members: 1, seed: 77, ..Head::default() }),
            record(10, put, Reply::Inserted { id: 1 }),
            record(20, Command::Delete { id: 1 }, Reply::Deleted),
            record(30, Command::Peek { id: 1 }, Reply::Found { id: 1, body }),
        ];
        lines.into_iter().for_each(|line| sender.send(line).expect("there is room"));
        drop(sender);
        history::write(&path, receiver).expect("it is written");
        let mut out = Vec::new();
        let report = directory.path().join("report");
        let verdict = check(&path, Some(&report), &mut out).expect("it can be read");
        assert_eq!(verdict, Verdict::Failed);
        assert!(report.join("report.html").is_file() && report.join("timeline.svg").is_file());
        let text = String::from_utf8(out).expect("text");
        for part in
            ["seed 77", "Q2 is broken: job 1", "Found", "NOT TESTED", "has exercised", "not passed"]
        {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}
