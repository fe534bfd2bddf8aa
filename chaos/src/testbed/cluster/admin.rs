//! One question to a member through the socket in its data directory: a line of JSON each way.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

/// How long a member may take to say how it is. Short: a frozen one says nothing.
const STATUS_LIMIT: Duration = Duration::from_millis(500);
/// How long a change of members may take.
const CHANGE_LIMIT: Duration = Duration::from_secs(60);

/// How a member sees its cluster.
#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    /// Its id; 0 while it waits to be taken in.
    pub this_member: u64,
    /// Who leads, if it knows.
    pub leader: Option<u64>,
    /// Raft's term.
    pub term: u64,
    /// `waiting`, `replaying`, `serving` or `no-majority`.
    pub phase: String,
    /// How far it has come itself; nothing while it waits, or of an older server.
    #[serde(default)]
    pub applied: Option<AppliedView>,
    /// All members, in order of their ids.
    pub members: Vec<MemberView>,
}

/// How far a member has come.
#[derive(Clone, Debug, Deserialize)]
pub struct AppliedView {
    /// The last entry it has applied.
    pub index: u64,
    /// What sums up all that was applied up to there.
    pub digest: String,
}

/// A member in the eyes of another.
#[derive(Clone, Debug, Deserialize)]
pub struct MemberView {
    /// Its id.
    pub id: u64,
    /// `leader`, `follower` or `learner`.
    pub role: String,
    /// `here`, `heard`, `silent`, `dead` or `unknown`.
    pub contact: String,
    /// Only a leader knows.
    pub lag_entries: Option<u64>,
}

/// How the member with this data directory sees its cluster.
///
/// # Errors
///
/// When it does not answer soon.
pub(super) fn status(data: &Path) -> Result<Status, String> {
    let reply = exchange(data, r#"{"do":"status"}"#, STATUS_LIMIT)?;
    serde_json::from_value(reply.clone()).map_err(|error| format!("{error}: {reply}"))
}

/// Asks for something to be done and waits until it is.
///
/// # Errors
///
/// The reason of a refusal, or why there is no answer.
pub(super) fn change(data: &Path, request: &Value) -> Result<(), String> {
    let reply = exchange(data, &request.to_string(), CHANGE_LIMIT)?;
    match reply["reply"].as_str() {
        Some("done") => Ok(()),
        Some("refused") => Err(reply["reason"].as_str().unwrap_or_default().to_owned()),
        _ => Err(format!("an answer of another kind: {reply}")),
    }
}

/// Sends a request and takes the whole answer.
///
/// # Errors
///
/// Why there is none.
pub(super) fn exchange(data: &Path, request: &str, limit: Duration) -> Result<Value, String> {
    let socket = data.join("admin.sock");
    let line = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(&socket)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        stream.write_all(format!("{request}\n").as_bytes())?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line)
    };
    let line = line().map_err(|error| format!("{}: {error}", socket.display()))?;
    serde_json::from_str(&line).map_err(|error| format!("{error}: {line}"))
}
