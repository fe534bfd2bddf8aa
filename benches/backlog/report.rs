//! Rows that several parts have.

use std::time::Duration;

use super::progress::{Point, Progress};
use crate::common::{
    confined::Start,
    section::{Section, mebibytes},
    watch::Peaks,
};

const RATE_RATIO_MIN: f64 = 0.8;
const DISK_RATIO_MAX: f64 = 1.5;
const RESTART_MAX: Duration = Duration::from_secs(5);
/// What is smaller is not worth a word.
const PART_BYTES_MIN: u64 = 1024 * 1024;

/// Rates with an aim, or only told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aims {
    Judged,
    Told,
}

/// Rates of puts and the high-water marks, at the points of a fill.
pub(crate) fn puts(section: &mut Section, progress: &Progress<'_>, base: f64, aims: Aims) {
    let points = progress.points();
    for point in &points {
        let (jobs, mark) = (point.done, mebibytes(point.memory.high_water));
        section.figure(&format!("puts a second at {jobs} jobs"), format!("{:.0}", point.rate));
        section.figure(&format!("high-water mark at {jobs} jobs"), mark);
    }
    let [first, .., last] = &points[..] else { return };
    ratios(section, "puts", [last.rate, first.rate, base], aims);
}

/// Rates of a consumer that empties the server, by what is left.
pub(crate) fn takes(section: &mut Section, progress: &Progress<'_>, base: f64, aims: Aims) {
    let points = progress.points();
    let all = points.last().map_or(0, |point| point.done);
    for Point { done, rate, memory } in &points {
        let left = all - done;
        section.figure(&format!("jobs taken a second with {left} left"), format!("{rate:.0}"));
        let mark = mebibytes(memory.high_water);
        section.figure(&format!("high-water mark with {left} left"), mark);
    }
    let [first, .., last] = &points[..] else { return };
    ratios(section, "takes", [first.rate, last.rate, base], aims);
}

/// A restart on the data.
pub(crate) fn restart(section: &mut Section, start: &Start) {
    let took = format!("{:.2} s", start.took.as_secs_f64());
    let aim = "below 5 s, and the time to replay the log since the checkpoint";
    section.judged("restart, to the first answer", took, aim, start.took < RESTART_MAX);
    let large = start.found.iter().filter(|(_, bytes)| *bytes >= PART_BYTES_MIN);
    let found = large.map(|(name, bytes)| format!("{name} {}", mebibytes(*bytes)));
    section.figure("what it found on disk", found.collect::<Vec<_>>().join(", "));
    for line in &start.said {
        section.figure("its log", line.trim().replace('|', "\\|"));
    }
}

/// The disk used at most while the server was filled.
pub(crate) fn disk(section: &mut Section, peaks: Peaks, data_bytes: u64, aims: Aims) {
    section.figure("most disk used", mebibytes(peaks.disk_bytes));
    let ratio = peaks.disk_bytes as f64 / data_bytes as f64;
    let (name, value) = ("disk used for each byte of data", format!("{ratio:.2}"));
    match aims {
        Aims::Judged => section.judged(name, value, "below 1.5", ratio < DISK_RATIO_MAX),
        Aims::Told => section.figure(name, value),
    }
}

/// Of a server that is full, one that is empty, and one with a few jobs.
fn ratios(section: &mut Section, what: &str, [full, empty, few]: [f64; 3], aims: Aims) {
    let (name, ratio) = (format!("{what}: full / empty"), full / empty);
    match aims {
        Aims::Judged => {
            let met = ratio >= RATE_RATIO_MIN;
            section.judged(&name, format!("{ratio:.2}"), "at least 0.8", met);
        }
        Aims::Told => section.figure(&name, format!("{ratio:.2}")),
    }
    section.figure(&format!("{what}: full / few, all hot"), format!("{:.2}", full / few));
}
