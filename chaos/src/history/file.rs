//! A history in a file: one JSON object on each line, the head first.
//!
//! Lines come in any order, as their writers were done; who reads sorts them. Every line ends with a
//! line feed, so that a file whose writer was killed is told from a whole one. `docs/TESTING.md`
//! shows a line of each kind.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;

use thiserror::Error;

use super::{History, Line};

/// The version of the format that is written and read.
pub const FORMAT: u32 = 2;

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;

/// Why a history cannot be written or read.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// The file cannot be made, opened, read or written.
    #[error("history {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line cannot be put into words.
    #[error("line {line} of the history cannot be written")]
    Encode {
        /// Counted from 1.
        line: u64,
        /// Why.
        source: serde_json::Error,
    },
    /// The first line is not a head, or there is none.
    #[error("the first line of the history is not its head")]
    NoHead,
    /// There is a second head.
    #[error("line {line} of the history is a second head")]
    SecondHead {
        /// Counted from 1.
        line: u64,
    },
    /// Another version of the format.
    #[error("the history has format {found}, this program reads {FORMAT}")]
    Format {
        /// Its version.
        found: u32,
    },
    /// A line that is no line of a history.
    #[error("line {line} of the history cannot be read")]
    Line {
        /// Counted from 1.
        line: u64,
        /// Why.
        source: serde_json::Error,
    },
    /// The last line has no end: whoever wrote it was stopped.
    #[error("the history is cut off in line {line}: its writer did not finish")]
    CutOff {
        /// Counted from 1.
        line: u64,
    },
}

/// Writes lines as they come, until all senders are gone; tells how many there were. The file is
/// complete when this returns, but not synced: a history that a power failure takes is run again.
///
/// # Errors
///
/// [`HistoryError::File`] and [`HistoryError::Encode`]. The receiver is gone then, so that senders
/// notice.
pub fn write(path: &Path, lines: Receiver<Line>) -> Result<u64, HistoryError> {
    let failed = |source| HistoryError::File { path: path.to_owned(), source };
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, File::create(path).map_err(failed)?);
    let mut count = 0;
    for line in lines {
        count += 1;
        match serde_json::to_writer(&mut out, &line) {
            Ok(()) => {}
            Err(source) if source.is_io() => return Err(failed(source.into())),
            Err(source) => return Err(HistoryError::Encode { line: count, source }),
        }
        out.write_all(b"\n").map_err(failed)?;
    }
    out.flush().map_err(failed)?;
    Ok(count)
}

impl History {
    /// Reads a file and sorts what it says by time.
    ///
    /// # Errors
    ///
    /// [`HistoryError`]: a history is read whole or not at all, since half of one would be judged
    /// wrongly.
    pub fn read(path: &Path) -> Result<Self, HistoryError> {
        let failed = |source| HistoryError::File { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let mut input = BufReader::with_capacity(BUFFER_BYTES, file);
        let mut history = Self::default();
        let mut text = Vec::new();
        for number in 1.. {
            text.clear();
            if input.read_until(b'\n', &mut text).map_err(failed)? == 0 {
                if number == 1 {
                    return Err(HistoryError::NoHead);
                }
                break;
            }
            if text.last() != Some(&b'\n') {
                return Err(HistoryError::CutOff { line: number });
            }
            let line = serde_json::from_slice(&text)
                .map_err(|source| HistoryError::Line { line: number, source })?;
            history.take(number, line)?;
        }
        history.sort();
        Ok(history)
    }

    /// Sorts everything by time, as [`crate::invariants`] want it.
    pub fn sort(&mut self) {
        self.records.sort_by_key(|record| (record.invoked, record.returned));
        self.faults.sort_by_key(|fault| fault.began);
        self.phases.sort_by_key(|phase| phase.at);
        self.samples.sort_by_key(|sample| sample.at);
    }

    fn take(&mut self, number: u64, line: Line) -> Result<(), HistoryError> {
        match line {
            Line::Head(_) if number > 1 => return Err(HistoryError::SecondHead { line: number }),
            Line::Head(head) if head.format != FORMAT => {
                return Err(HistoryError::Format { found: head.format });
            }
            Line::Head(head) => self.head = head,
            _ if number == 1 => return Err(HistoryError::NoHead),
            Line::Record(record) => self.records.push(record),
            Line::Fault(fault) => self.faults.push(fault),
            Line::Phase(phase) => self.phases.push(phase),
            Line::Sample(sample) => self.samples.push(sample),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::mpsc::sync_channel;
    use std::{fs, mem};

    use super::*;
    use crate::clock::Moment;
    use crate::history::{
        Body, Command, Fault, FaultState, Head, MemberSample, Outcome, Phase, PhaseName, Record,
        Reply,
    };

    fn head() -> Line {
        Line::Head(Head { format: FORMAT, seed: 7, members: 3, ..Head::default() })
    }

    fn record(invoked: u64) -> Line {
        Line::Record(Record {
            client: 1,
            connection: 1,
            member: 0,
            invoked: Moment(invoked),
            returned: Moment(invoked + 5),
            command: Command::Reserve { tubes: vec!["a".into()], timeout: Some(1) },
            outcome: Outcome::Replied(Reply::Reserved {
                id: 9,
                body: Body { key: u64::MAX, bytes: 64, is_intact: true },
            }),
        })
    }

    fn others() -> Vec<Line> {
        vec![
            Line::Phase(Phase { name: PhaseName::Warm, at: Moment(0) }),
            Line::Sample(MemberSample { member: 2, at: Moment(4), ..MemberSample::default() }),
            Line::Fault(Fault {
                name: "kill".into(),
                target: "the leader, 1".into(),
                members: vec![1],
                began: Moment(3),
                healed: None,
                state: FaultState::Installed,
                note: String::new(),
            }),
        ]
    }

    fn written(lines: Vec<Line>) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("history");
        let (sender, receiver) = sync_channel(lines.len().max(1));
        let count = lines.len() as u64;
        for line in lines {
            sender.send(line).expect("the channel has room");
        }
        drop(sender);
        assert_eq!(write(&path, receiver).expect("it is written"), count);
        (directory, path)
    }

    #[test]
    fn what_was_written_is_read_sorted() {
        let mut lines = vec![head(), record(20), record(10)];
        lines.extend(others());
        let (_directory, path) = written(lines);
        let history = History::read(&path).expect("it is read");
        assert_eq!((history.head.seed, history.head.members), (7, 3));
        let invoked: Vec<u64> = history.records.iter().map(|record| record.invoked.0).collect();
        assert_eq!(invoked, [10, 20]);
        assert_eq!(Line::Record(history.records[0].clone()), record(10));
        assert_eq!((history.faults.len(), history.phases.len(), history.samples.len()), (1, 1, 1));
    }

    #[test]
    fn a_line_that_is_cut_off_is_told_from_one_that_is_wrong() {
        let (_directory, path) = written(vec![head(), record(1), record(2)]);
        let whole = fs::read(&path).expect("it is there");
        fs::write(&path, &whole[..whole.len() - 9]).expect("it is written");
        assert!(matches!(History::read(&path), Err(HistoryError::CutOff { line: 3 })));
        fs::write(&path, &whole[..whole.len() - 1]).expect("it is written");
        assert!(matches!(History::read(&path), Err(HistoryError::CutOff { line: 3 })));
        let text = String::from_utf8(whole).expect("text").replace("\"client\"", "\"klient\"");
        fs::write(&path, text).expect("it is written");
        assert!(matches!(History::read(&path), Err(HistoryError::Line { line: 2, .. })));
    }

    #[test]
    fn what_has_a_name_that_is_not_known_is_refused() {
        let mut lines = vec![head(), record(1)];
        lines.extend(others());
        let (_directory, path) = written(lines);
        let whole = fs::read_to_string(&path).expect("text");
        // A value that need not be there would else be missing in silence.
        for name in ["seed", "timeout", "key", "healed", "digest"] {
            fs::write(&path, whole.replace(name, "other")).expect("it is written");
            assert!(matches!(History::read(&path), Err(HistoryError::Line { .. })), "{name}");
        }
    }

    #[test]
    fn a_head_must_be_first_and_known_and_alone() {
        let (_directory, path) = written(vec![record(1)]);
        assert!(matches!(History::read(&path), Err(HistoryError::NoHead)));
        let (_directory, path) = written(vec![]);
        assert!(matches!(History::read(&path), Err(HistoryError::NoHead)));
        let (_directory, path) = written(vec![head(), head()]);
        assert!(matches!(History::read(&path), Err(HistoryError::SecondHead { line: 2 })));
        let later = Line::Head(Head { format: FORMAT + 1, ..Head::default() });
        let (_directory, path) = written(vec![later]);
        assert!(matches!(History::read(&path), Err(HistoryError::Format { found: 3 })));
    }

    #[test]
    fn the_lines_in_the_documentation_are_read() {
        let text = include_str!("../../../docs/TESTING.md");
        let examples = text.lines().filter(|line| line.starts_with("    {\""));
        let lines: Vec<Line> = examples
            .map(|line| serde_json::from_str(line).expect("it is a line of a history"))
            .collect();
        let kinds: BTreeSet<_> =
            lines.iter().map(mem::discriminant).map(|kind| format!("{kind:?}")).collect();
        assert_eq!((lines.len(), kinds.len()), (6, 5));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = History::read(Path::new("nowhere/at/all")).expect_err("there is none");
        assert!(error.to_string().contains("nowhere/at/all"));
    }
}
