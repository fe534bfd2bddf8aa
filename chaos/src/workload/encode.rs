//! Commands as bytes, written as `protocol.txt` says and in no other way.

use crate::history::Command;

use super::body::body_bytes;

/// The bytes of a command; none for what is no command of the protocol.
pub(super) fn bytes_of(command: &Command) -> Option<Vec<u8>> {
    let line = match command {
        Command::Connect | Command::Close | Command::Broken => return None,
        Command::Put { priority, delay, ttr, body, .. } => {
            let mut bytes = format!("put {priority} {delay} {ttr} {}\r\n", body.bytes).into_bytes();
            bytes.extend(body_bytes(body.key, body.bytes));
            bytes.extend_from_slice(b"\r\n");
            return Some(bytes);
        }
        Command::Key { key } => format!("key {key}"),
        Command::Use { tube } => format!("use {tube}"),
        Command::Watch { tube } => format!("watch {tube}"),
        Command::Ignore { tube } => format!("ignore {tube}"),
        Command::Reserve { timeout: None, .. } => "reserve".to_owned(),
        Command::Reserve { timeout: Some(seconds), .. } => {
            format!("reserve-with-timeout {seconds}")
        }
        Command::ReserveJob { id } => format!("reserve-job {id}"),
        Command::Delete { id } => format!("delete {id}"),
        Command::Release { id, priority, delay } => format!("release {id} {priority} {delay}"),
        Command::Bury { id, priority } => format!("bury {id} {priority}"),
        Command::Touch { id } => format!("touch {id}"),
        Command::Kick { bound, .. } => format!("kick {bound}"),
        Command::KickJob { id } => format!("kick-job {id}"),
        Command::Peek { id } => format!("peek {id}"),
        Command::PeekReady { .. } => "peek-ready".to_owned(),
        Command::PeekDelayed { .. } => "peek-delayed".to_owned(),
        Command::PeekBuried { .. } => "peek-buried".to_owned(),
        Command::PauseTube { tube, seconds } => format!("pause-tube {tube} {seconds}"),
        Command::StatsJob { id } => format!("stats-job {id}"),
        Command::StatsTube { tube } => format!("stats-tube {tube}"),
        Command::Stats => "stats".to_owned(),
        Command::ListTubes => "list-tubes".to_owned(),
    };
    Some(format!("{line}\r\n").into_bytes())
}
