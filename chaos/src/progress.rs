//! What a run says while it runs: a line a second on stderr.
//!
//! On a terminal the line is written over the one before, and what stays is what has changed: a new
//! phase, a fault that came or went. Elsewhere every line stays.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use crate::clock::Moment;
use crate::history::PhaseName;
use crate::workload::Progress;

/// Columns when the terminal does not say how many it has.
const COLUMNS_DEFAULT: usize = 100;
/// Goes to the begin of the line and clears it.
const CLEAR_LINE: &str = "\r\x1b[2K";

/// How a run is at one moment.
#[derive(Clone, Debug)]
pub struct Status<'a> {
    /// When.
    pub at: Moment,
    /// Which part of the run it is.
    pub phase: PhaseName,
    /// What clients did since the line before.
    pub progress: &'a Progress,
    /// Who leads, in words; nothing when nobody is known to.
    pub leader: Option<String>,
    /// The faults that are on, by name.
    pub faults: &'a [String],
    /// Commands of unknown fate since the run began.
    pub unknown: u64,
}

/// Where lines go.
#[derive(Debug)]
pub struct ProgressLines<W> {
    out: W,
    /// The width of the terminal; nothing when it is none.
    columns: Option<usize>,
    /// A line that is to be written over.
    has_open_line: bool,
}

impl ProgressLines<io::Stderr> {
    /// To stderr.
    pub fn stderr() -> Self {
        let out = io::stderr();
        let columns = out.is_terminal().then(|| {
            let size = rustix::termios::tcgetwinsize(&out);
            size.map_or(COLUMNS_DEFAULT, |size| usize::from(size.ws_col).max(20))
        });
        Self { out, columns, has_open_line: false }
    }
}

impl<W: Write> ProgressLines<W> {
    /// Shows how it is. To be called once a second. What cannot be written is not missed.
    pub fn show(&mut self, status: &Status<'_>) {
        let line = line(status);
        match self.columns {
            None => drop(writeln!(self.out, "{line}")),
            Some(columns) => {
                // One column less: a full line would go on in the next.
                let cut: String = line.chars().take(columns - 1).collect();
                drop(write!(self.out, "{CLEAR_LINE}{cut}").and_then(|()| self.out.flush()));
                self.has_open_line = true;
            }
        }
    }

    /// Says something that stays: a phase, a fault.
    pub fn note(&mut self, at: Moment, text: &str) {
        self.clear();
        drop(writeln!(self.out, "{:>7} {text}", clock_face(at)));
    }

    /// Nothing is to be written over any more.
    pub fn clear(&mut self) {
        if self.has_open_line {
            drop(write!(self.out, "{CLEAR_LINE}").and_then(|()| self.out.flush()));
            self.has_open_line = false;
        }
    }
}

fn line(status: &Status<'_>) -> String {
    let Progress { duration, completed, latency, .. } = status.progress;
    let seconds = duration.as_secs_f64().max(1e-3);
    let per_second = *completed as f64 / seconds;
    let leader = status.leader.as_deref().unwrap_or("none");
    let faults =
        if status.faults.is_empty() { "no fault".to_owned() } else { status.faults.join(" + ") };
    format!(
        "{:>7} {:<6} {per_second:>6.0}/s  p99 {:>8}  leader {leader}  unknown {}  {faults}",
        clock_face(status.at),
        format!("{:?}", status.phase).to_lowercase(),
        milliseconds(latency.p99),
        status.unknown,
    )
}

/// Minutes and seconds.
fn clock_face(at: Moment) -> String {
    let seconds = at.since(Moment::default()).as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

fn milliseconds(duration: Duration) -> String {
    let milliseconds = duration.as_secs_f64() * 1e3;
    if milliseconds < 100.0 {
        format!("{milliseconds:.1} ms")
    } else {
        format!("{milliseconds:.0} ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Latency;

    fn lines(columns: Option<usize>) -> ProgressLines<Vec<u8>> {
        ProgressLines { out: Vec::new(), columns, has_open_line: false }
    }

    fn show(lines: &mut ProgressLines<Vec<u8>>, faults: &[String]) -> String {
        let p99 = Duration::from_micros(12_340);
        let progress = Progress {
            duration: Duration::from_secs(2),
            completed: 3_000,
            latency: Latency { p99, ..Latency::default() },
            ..Progress::default()
        };
        let status = Status {
            at: Moment(83_000_000_000),
            phase: PhaseName::Faults,
            progress: &progress,
            leader: Some("member 1".to_owned()),
            faults,
            unknown: 7,
        };
        lines.show(&status);
        String::from_utf8(std::mem::take(&mut lines.out)).unwrap()
    }

    #[test]
    fn line_says_how_it_is() {
        let mut lines = lines(None);
        assert_eq!(
            show(&mut lines, &["kill-leader".to_owned(), "full-disk".to_owned()]),
            "   1:23 faults   1500/s  p99  12.3 ms  leader member 1  unknown 7  kill-leader + full-disk\n"
        );
        assert!(show(&mut lines, &[]).ends_with("no fault\n"));
    }

    #[test]
    fn line_on_a_terminal_is_written_over_and_never_too_long() {
        let mut lines = lines(Some(40));
        let shown = show(&mut lines, &["a-fault".repeat(20)]);
        assert_eq!(shown.strip_prefix(CLEAR_LINE).map(str::len), Some(39));
        lines.note(Moment(0), "the leader is killed");
        let noted = String::from_utf8(std::mem::take(&mut lines.out)).unwrap();
        assert_eq!(noted, format!("{CLEAR_LINE}   0:00 the leader is killed\n"));
        lines.clear();
        assert!(lines.out.is_empty(), "there is nothing to clear");
    }
}
