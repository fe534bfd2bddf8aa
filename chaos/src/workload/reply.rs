//! Replies, read strictly: what `protocol.txt` does not have as an answer to this very command is
//! [`Reply::Illegal`].

use std::collections::BTreeMap;

use crate::history::{Command, Reply};

use super::body::read_body;

/// The longest line of a reply that is waited for; a tube's name has at most 200 bytes.
const LINE_BYTES_MAX: usize = 300;
/// The largest body that is waited for: of a job twice the usual limit, of a list of tubes more
/// than any run has.
const BODY_BYTES_MAX: u64 = 1024 * 1024;
/// What is kept of an illegal reply, in characters.
const ILLEGAL_LENGTH_MAX: usize = 200;

/// What bytes are as a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A reply may begin so; more must come.
    Partial,
    /// A reply and its length in bytes. An illegal one takes all there is.
    Whole(Reply, usize),
}

/// Reads the reply to a command at the beginning of `unread`. `watched` is how many tubes the
/// connection watches before the command, and whether the command's own is among them.
pub(super) fn parse(command: &Command, watched: Watched, unread: &[u8]) -> Parsed {
    let Some(length) = unread.windows(2).position(|pair| pair == b"\r\n") else {
        return if unread.len() > LINE_BYTES_MAX { illegal(unread) } else { Parsed::Partial };
    };
    let Ok(line) = str::from_utf8(&unread[..length]) else { return illegal(unread) };
    let words: Vec<&str> = line.split(' ').collect();
    if let Some(reply) = short_reply(command, watched, &words) {
        return Parsed::Whole(reply, length + 2);
    }
    let Some(bytes) = announced(command, &words) else { return illegal(unread) };
    let (begin, end) = (length + 2, length + 2 + bytes);
    let Some(after) = unread.get(end..end + 2) else { return Parsed::Partial };
    let reply =
        if after == b"\r\n" { long_reply(command, &words, &unread[begin..end]) } else { None };
    reply.map_or_else(|| illegal(unread), |reply| Parsed::Whole(reply, end + 2))
}

/// What a connection watches, as far as replies tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watched {
    /// How many tubes.
    pub(super) count: usize,
    /// The command's tube is one of them.
    pub(super) has_tube: bool,
}

/// First characters of bytes that are no reply, for a history.
pub(super) fn shown(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(ILLEGAL_LENGTH_MAX)];
    String::from_utf8_lossy(start).into_owned()
}

fn illegal(unread: &[u8]) -> Parsed {
    Parsed::Whole(Reply::Illegal { text: shown(unread) }, unread.len())
}

/// A reply of one line.
fn short_reply(command: &Command, watched: Watched, words: &[&str]) -> Option<Reply> {
    match (command, words) {
        (_, ["OUT_OF_MEMORY"]) => Some(Reply::OutOfMemory),
        (_, ["INTERNAL_ERROR"]) => Some(Reply::InternalError),
        (Command::Key { .. }, ["KEYED"]) => Some(Reply::Keyed),
        (Command::Put { under, .. }, _) => put_reply(words, under.is_some()),
        (Command::Use { tube }, ["USING", name]) if name == tube => Some(Reply::Using),
        (Command::Watch { .. }, ["WATCHING", count]) => {
            let expected = watched.count + usize::from(!watched.has_tube);
            is_count(count, expected).then_some(Reply::Watching)
        }
        (Command::Ignore { .. }, ["WATCHING", count]) => {
            let expected = watched.count - usize::from(watched.has_tube);
            (expected > 0 && is_count(count, expected)).then_some(Reply::Watching)
        }
        (Command::Ignore { .. }, ["NOT_IGNORED"]) => {
            (watched.has_tube && watched.count == 1).then_some(Reply::NotIgnored)
        }
        (Command::Reserve { timeout: Some(_), .. }, ["TIMED_OUT"]) => Some(Reply::TimedOut),
        (Command::Reserve { .. }, ["DEADLINE_SOON"]) => Some(Reply::DeadlineSoon),
        (Command::Delete { .. }, ["DELETED"]) => Some(Reply::Deleted),
        (Command::Release { .. }, ["RELEASED"]) => Some(Reply::Released),
        (Command::Release { .. } | Command::Bury { .. }, ["BURIED"]) => {
            Some(Reply::Buried { id: None })
        }
        (Command::Touch { .. }, ["TOUCHED"]) => Some(Reply::Touched),
        (Command::Kick { bound, .. }, ["KICKED", count]) => {
            let count = number(count).filter(|count| count <= bound)?;
            Some(Reply::Kicked { count: Some(count) })
        }
        (Command::KickJob { .. }, ["KICKED"]) => Some(Reply::Kicked { count: None }),
        (Command::PauseTube { .. }, ["PAUSED"]) => Some(Reply::Paused),
        (_, ["NOT_FOUND"]) => may_find_nothing(command).then_some(Reply::NotFound),
        _ => None,
    }
}

fn put_reply(words: &[&str], has_key: bool) -> Option<Reply> {
    match words {
        ["INSERTED", id] => Some(Reply::Inserted { id: job_id(id)? }),
        ["BURIED", id] => Some(Reply::Buried { id: Some(job_id(id)?) }),
        ["DRAINING"] => Some(Reply::Draining),
        ["JOB_TOO_BIG"] => Some(Reply::JobTooBig),
        ["KEY_IN_USE"] => has_key.then_some(Reply::KeyInUse),
        _ => None,
    }
}

fn may_find_nothing(command: &Command) -> bool {
    matches!(
        command,
        Command::ReserveJob { .. }
            | Command::Delete { .. }
            | Command::Release { .. }
            | Command::Bury { .. }
            | Command::Touch { .. }
            | Command::KickJob { .. }
            | Command::Peek { .. }
            | Command::PeekReady { .. }
            | Command::PeekDelayed { .. }
            | Command::PeekBuried { .. }
            | Command::PauseTube { .. }
            | Command::StatsJob { .. }
            | Command::StatsTube { .. }
    )
}

/// The length of the body that follows a line, when the line may answer the command.
fn announced(command: &Command, words: &[&str]) -> Option<usize> {
    let bytes = match (command, words) {
        (Command::Reserve { .. }, ["RESERVED", id, bytes]) => job_id(id).and(number(bytes)),
        (Command::ReserveJob { id: asked }, ["RESERVED", id, bytes])
        | (Command::Peek { id: asked }, ["FOUND", id, bytes]) => {
            job_id(id).filter(|id| id == asked).and(number(bytes))
        }
        (
            Command::PeekReady { .. } | Command::PeekDelayed { .. } | Command::PeekBuried { .. },
            ["FOUND", id, bytes],
        ) => job_id(id).and(number(bytes)),
        (
            Command::StatsJob { .. }
            | Command::StatsTube { .. }
            | Command::Stats
            | Command::ListTubes,
            ["OK", bytes],
        ) => number(bytes),
        _ => None,
    };
    bytes.filter(|&bytes| bytes <= BODY_BYTES_MAX).and_then(|bytes| usize::try_from(bytes).ok())
}

/// A reply with a body. Its line was let through by [`announced`].
fn long_reply(command: &Command, words: &[&str], body: &[u8]) -> Option<Reply> {
    match (command, words) {
        (_, ["RESERVED", id, _]) => {
            Some(Reply::Reserved { id: job_id(id)?, body: read_body(body) })
        }
        (_, ["FOUND", id, _]) => Some(Reply::Found { id: job_id(id)?, body: read_body(body) }),
        (Command::ListTubes, _) => names(body),
        _ => stats(command, body),
    }
}

/// A list as YAML: each name on a line after `- `.
fn names(body: &[u8]) -> Option<Reply> {
    let text = str::from_utf8(body).ok()?.strip_prefix("---\n")?;
    let lines = text.split_terminator('\n');
    let names = lines.map(|line| line.strip_prefix("- ").map(str::to_owned));
    Some(Reply::Names { names: names.collect::<Option<_>>()? })
}

/// Figures as YAML. Those of a job or a tube must be of the one that was asked for.
fn stats(command: &Command, body: &[u8]) -> Option<Reply> {
    let text = str::from_utf8(body).ok()?.strip_prefix("---\n")?;
    let pairs: BTreeMap<&str, &str> =
        text.split_terminator('\n').map(|line| line.split_once(": ")).collect::<Option<_>>()?;
    let (name, value, needed) = match command {
        Command::StatsJob { id } => ("id", id.to_string(), "state"),
        Command::StatsTube { tube } => ("name", tube.clone(), "current-jobs-ready"),
        _ => ("", String::new(), "current-jobs-ready"),
    };
    // 1.13 quotes a name, 1.12 does not.
    let is_asked_for =
        name.is_empty() || pairs.get(name).is_some_and(|found| found.trim_matches('"') == value);
    if !is_asked_for || !pairs.contains_key(needed) {
        return None;
    }
    let is_kept = |name: &str, value: &str| name == "state" || is_figure(value);
    let kept = pairs.into_iter().filter(|(name, value)| is_kept(name, value));
    let values = kept.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Some(Reply::Stats { values })
}

/// A whole number or one with a point, also a negative one: a time left is, of a late job.
fn is_figure(value: &str) -> bool {
    let digits = value.strip_prefix('-').unwrap_or(value);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

fn is_count(word: &str, expected: usize) -> bool {
    number(word).and_then(|count| usize::try_from(count).ok()) == Some(expected)
}

/// Ids begin with 1.
fn job_id(word: &str) -> Option<u64> {
    number(word).filter(|&id| id > 0)
}

/// A number as servers write it: digits only, none too many.
fn number(word: &str) -> Option<u64> {
    let has_zero = word.len() > 1 && word.starts_with('0');
    let is_plain = !has_zero && word.bytes().all(|byte| byte.is_ascii_digit());
    if is_plain { word.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Body;
    use crate::workload::body::body_bytes;

    const ALONE: Watched = Watched { count: 1, has_tube: false };

    fn read(command: &Command, text: &str) -> Reply {
        match parse(command, ALONE, text.as_bytes()) {
            Parsed::Whole(reply, bytes) => {
                assert_eq!(bytes, text.len());
                reply
            }
            Parsed::Partial => panic!("{text:?} is taken for the beginning of a reply"),
        }
    }

    fn is_illegal(command: &Command, text: &str) -> bool {
        matches!(read(command, text), Reply::Illegal { .. })
    }

    fn put() -> Command {
        let body = Body { key: 1, bytes: 16, is_intact: true };
        Command::Put { tube: "t".to_owned(), priority: 0, delay: 0, ttr: 1, body, under: None }
    }

    fn reserve(timeout: Option<u32>) -> Command {
        Command::Reserve { tubes: vec!["t".to_owned()], timeout }
    }

    #[test]
    fn reply_of_another_command_is_illegal() {
        let table = [
            (put(), "DELETED\r\n"),
            (put(), "EXPECTED_CRLF\r\n"),
            (put(), "KEY_IN_USE\r\n"),
            (put(), "INSERTED\r\n"),
            (put(), "INSERTED 0\r\n"),
            (put(), "INSERTED 07\r\n"),
            (put(), "INSERTED +7\r\n"),
            (put(), "INSERTED 7 \r\n"),
            (put(), "INSERTED 18446744073709551616\r\n"),
            (put(), "inserted 7\r\n"),
            (put(), "\r\n"),
            (put(), "NOT_FOUND\r\n"),
            (reserve(None), "TIMED_OUT\r\n"),
            (reserve(Some(1)), "NOT_FOUND\r\n"),
            (reserve(Some(1)), "RESERVED 7\r\n"),
            (reserve(Some(1)), "RESERVED 7 99999999\r\n"),
            (reserve(Some(1)), "FOUND 7 1\r\nx\r\n"),
            (reserve(Some(1)), "RESERVED 7 1\r\nxyz"),
            (Command::ReserveJob { id: 8 }, "RESERVED 7 1\r\nx\r\n"),
            (Command::Peek { id: 8 }, "FOUND 7 1\r\nx\r\n"),
            (Command::Delete { id: 7 }, "OK 0\r\n\r\n"),
            (Command::Delete { id: 7 }, "UNKNOWN_COMMAND\r\n"),
            (Command::Delete { id: 7 }, "BAD_FORMAT\r\n"),
            (Command::Kick { tube: "t".to_owned(), bound: 2 }, "KICKED 3\r\n"),
            (Command::Kick { tube: "t".to_owned(), bound: 2 }, "KICKED\r\n"),
            (Command::KickJob { id: 7 }, "KICKED 1\r\n"),
            (Command::Key { key: "k".to_owned() }, "UNKNOWN_COMMAND\r\n"),
            (Command::Use { tube: "t".to_owned() }, "USING u\r\n"),
            (Command::Watch { tube: "t".to_owned() }, "WATCHING 1\r\n"),
            (Command::Ignore { tube: "t".to_owned() }, "NOT_IGNORED\r\n"),
            (Command::Stats, "OK 5\r\nhello\r\n"),
            (Command::Stats, "NOT_FOUND\r\n"),
            (Command::StatsJob { id: 7 }, "OK 25\r\n---\nid: 8\nstate: ready\n--\r\n"),
            (Command::ListTubes, "OK 8\r\n---\nname\r\n"),
        ];
        for (command, text) in table {
            assert!(is_illegal(&command, text), "{command:?} {text:?}");
        }
    }

    #[test]
    fn reply_of_the_command_is_read() {
        let watch = Command::Watch { tube: "t".to_owned() };
        let kick = Command::Kick { tube: "t".to_owned(), bound: 2 };
        let names = vec!["default".to_owned(), "t".to_owned()];
        let table = [
            (put(), "INSERTED 7\r\n", Reply::Inserted { id: 7 }),
            (put(), "BURIED 7\r\n", Reply::Buried { id: Some(7) }),
            (put(), "DRAINING\r\n", Reply::Draining),
            (put(), "OUT_OF_MEMORY\r\n", Reply::OutOfMemory),
            (reserve(Some(0)), "TIMED_OUT\r\n", Reply::TimedOut),
            (reserve(None), "DEADLINE_SOON\r\n", Reply::DeadlineSoon),
            (Command::Delete { id: 7 }, "NOT_FOUND\r\n", Reply::NotFound),
            (Command::Bury { id: 7, priority: 0 }, "BURIED\r\n", Reply::Buried { id: None }),
            (kick, "KICKED 2\r\n", Reply::Kicked { count: Some(2) }),
            (watch, "WATCHING 2\r\n", Reply::Watching),
            (Command::ListTubes, "OK 18\r\n---\n- default\n- t\n\r\n", Reply::Names { names }),
        ];
        for (command, text, reply) in table {
            assert_eq!(read(&command, text), reply, "{command:?} {text:?}");
        }
    }

    #[test]
    fn figures_are_kept_and_texts_are_not() {
        let text = "---\nid: 7\ntube: \"t\"\nstate: reserved\npri: 3\ntime-left: -1\n";
        let reply = format!("OK {}\r\n{text}\r\n", text.len());
        let Reply::Stats { values } = read(&Command::StatsJob { id: 7 }, &reply) else {
            panic!("no figures")
        };
        let values: Vec<(&str, &str)> =
            values.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(values, [("id", "7"), ("pri", "3"), ("state", "reserved"), ("time-left", "-1")]);
    }

    #[test]
    fn reply_is_partial_until_its_last_byte() {
        let body = body_bytes(9, 30);
        let whole = [b"RESERVED 7 30\r\n".as_slice(), &body, b"\r\n"].concat();
        for length in 0..whole.len() {
            let parsed = parse(&reserve(Some(1)), ALONE, &whole[..length]);
            assert_eq!(parsed, Parsed::Partial, "{length} bytes");
        }
        let body = Body { key: 9, bytes: 30, is_intact: true };
        let reply = Reply::Reserved { id: 7, body };
        assert_eq!(
            parse(&reserve(Some(1)), ALONE, &whole),
            Parsed::Whole(reply, whole.len()),
            "all bytes"
        );
    }

    #[test]
    fn endless_line_is_illegal() {
        assert!(is_illegal(&put(), &"x".repeat(LINE_BYTES_MAX + 1)));
    }
}
