//! Holds the conversation of a section with a real server and compares what it answers.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::bytes;
use super::pattern::Pattern;
use super::transcript::{Action, Deed, Section, Step};
use crate::support::{Client, Contender, Host, PATIENCE, ServerOptions, Target, now};

/// How often an answer that must change is asked for again.
const ASK_INTERVAL: Duration = Duration::from_millis(5);
/// What in the answer to `stats` is the member's and not the cluster's, or, of connections, is the
/// member's until they send a change.
const COUNTERS_OF_A_MEMBER: [&str; 5] =
    ["cmd-peek", "cmd-stats", "cmd-list", "current-connections", "total-connections"];
/// Steps that only a server without a log can take: a cluster always has one.
const ONLY_WITHOUT_A_LOG: [&str; 2] = ["| file: 0", "| binlog-current-index: 0"];
/// Sections that cannot hold for an agent.
pub(super) const NOT_FOR_AN_AGENT: [(&str, NotForAnAgent); 5] = [
    (
        "stats.txt: a pause of a tube whose name is too long or begins with a dash counts",
        NotForAnAgent::AnswersItself,
    ),
    (
        "stats.txt: a put counts even if its body is refused, and with garbage behind its size",
        NotForAnAgent::AnswersItself,
    ),
    (
        "stats.txt: a put that is refused for its size or its form makes no producer",
        NotForAnAgent::AnswersItself,
    ),
    ("stats.txt: a connection is a producer from its first put on", NotForAnAgent::SaysNothing),
    ("stats.txt: connections are counted as they come and go", NotForAnAgent::SaysNothing),
];

/// Why a section cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotForAnAgent {
    /// What is no command, or has too much of a body, the agent answers: no member hears of it, and
    /// counts it. To send a body on that is refused would be a waste, and one above what a trunk
    /// carries cannot be sent.
    AnswersItself,
    /// A connection that has said nothing has no session, and no member knows of it: it costs nothing.
    SaysNothing,
}

/// Runs one section.
///
/// # Errors
///
/// The line that does not hold, and what came instead.
pub(super) fn run(section: &Section, contender: Contender) -> Result<(), String> {
    let target = contender.target();
    let data = section.durable.then(|| tempfile::tempdir().expect("a directory can be made"));
    let mut flags = section.flags.clone();
    if data.is_some() && target == Target::Beanstalkd {
        // beanpole syncs before every reply unless told otherwise.
        flags.push("-f0".to_owned());
    }
    let path = data.as_ref().map(|data| data.path().to_path_buf());
    let options = ServerOptions { flags, data: path, ..Default::default() };
    let mut conversation = Conversation {
        host: Host::start(contender, options),
        is_spread: !asks_for_counters_of_a_member(section),
        clients: BTreeMap::new(),
        yaml_left: None,
        mark: now(),
    };
    for step in section.steps.iter().filter(|step| step.only.is_none_or(|only| only == target)) {
        conversation.take(step).map_err(|what| {
            let name = contender.name();
            format!("{} ({name}), line {}: `{}`: {what}", section.name, step.line_number, step.text)
        })?;
    }
    conversation.end().map_err(|what| format!("{} ({}): {what}", section.name, contender.name()))
}

/// Whether a section can hold for a contender at all.
pub(super) fn is_meant_for(section: &Section, contender: Contender) -> bool {
    let is_excluded = NOT_FOR_AN_AGENT.iter().any(|(name, _)| *name == section.name);
    let wants_no_log = |step: &Step| ONLY_WITHOUT_A_LOG.iter().any(|end| step.text.ends_with(end));
    section.only.is_none_or(|only| only == contender.target())
        && (!contender.is_cluster() || !section.steps.iter().any(wants_no_log))
        && (contender != Contender::Agent || !is_excluded)
}

/// Whether a section looks at what each member of a cluster counts for itself: then all its
/// connections are with one of them.
fn asks_for_counters_of_a_member(section: &Section) -> bool {
    let of_a_member =
        |step: &Step| COUNTERS_OF_A_MEMBER.iter().any(|name| step.text.contains(name));
    section.steps.iter().any(of_a_member)
}

struct Conversation {
    host: Host,
    /// Whether the connections are spread over the members of a cluster.
    is_spread: bool,
    clients: BTreeMap<u32, Client>,
    /// The bytes of YAML that were announced and not yet seen.
    yaml_left: Option<usize>,
    /// What timers are measured from: a busy machine may come late to a silence.
    mark: Instant,
}

impl Conversation {
    fn take(&mut self, step: &Step) -> Result<(), String> {
        match &step.action {
            Action::On(connection, deed) => self.on(*connection, deed),
            Action::Mark => {
                self.mark = now();
                Ok(())
            }
            Action::Wait(duration) => {
                thread::sleep(*duration);
                Ok(())
            }
            Action::Drain => {
                self.host.signal(Signal::USR1);
                Ok(())
            }
            Action::Restart => {
                self.clients.clear();
                self.host.restart();
                Ok(())
            }
        }
    }

    fn on(&mut self, connection: u32, deed: &Deed) -> Result<(), String> {
        let (host, is_spread) = (&mut self.host, self.is_spread);
        let client = self.clients.entry(connection).or_insert_with(|| match is_spread {
            true => host.connect(connection as usize),
            false => host.connect_to_first(),
        });
        match deed {
            Deed::Connect => Ok(()),
            Deed::Send(bytes) => client.send(bytes).map_err(|error| error.to_string()),
            Deed::Receive(pattern) => {
                let length = receive(client, pattern)?;
                count_yaml(&mut self.yaml_left, pattern, length)
            }
            Deed::ReceiveSize => {
                self.yaml_left = Some(receive_size(client)?);
                Ok(())
            }
            Deed::Ask { command, fields, until } => ask(client, command, fields, *until),
            Deed::Silence(duration) => be_silent(client, now() + *duration),
            Deed::SilenceUntil(duration) => be_silent(client, self.mark + *duration),
            Deed::Close => {
                self.clients.remove(&connection);
                Ok(())
            }
            Deed::HalfClose => client.half_close().map_err(|error| error.to_string()),
            Deed::Closed => {
                let is_closed = client.is_closed_within(PATIENCE);
                is_closed.then_some(()).ok_or_else(|| what_came(client))
            }
        }
    }

    /// Nothing may be left over that no line expected.
    fn end(mut self) -> Result<(), String> {
        for (connection, client) in &mut self.clients {
            client.receive(Duration::from_millis(1));
            if !client.unread().is_empty() {
                return Err(format!(
                    "at the end of connection {connection}: {}",
                    what_came(client)
                ));
            }
        }
        Ok(())
    }
}

/// Receives nothing until `end`. What is seen after that may have come after it.
fn be_silent(client: &mut Client, end: Instant) -> Result<(), String> {
    let is_silent = client.is_silent_for(end.saturating_duration_since(now()));
    if is_silent || now() >= end { Ok(()) } else { Err(what_came(client)) }
}

/// Receives what `pattern` wants and returns how many bytes that was.
fn receive(client: &mut Client, pattern: &Pattern) -> Result<usize, String> {
    let deadline = now() + PATIENCE;
    loop {
        let unread = client.unread();
        let length = match pattern.exact() {
            Some(exact) => {
                let seen = unread.len().min(exact.len());
                if unread[..seen] != exact[..seen] {
                    return Err(what_came(client));
                }
                (seen == exact.len()).then_some(seen)
            }
            None => unread.iter().position(|&byte| byte == b'\n').map(|at| at + 1),
        };
        if let Some(length) = length {
            if !pattern.matches(&client.unread()[..length]) {
                return Err(what_came(client));
            }
            client.take(length);
            return Ok(length);
        }
        if !client.receive(deadline.saturating_duration_since(now())) {
            return Err(what_came(client));
        }
    }
}

/// Receives `OK <bytes>` and returns the number.
fn receive_size(client: &mut Client) -> Result<usize, String> {
    let line = client.line(b"\r\n", PATIENCE).ok_or_else(|| what_came(client))?;
    let size = str::from_utf8(&line).ok().and_then(|line| line.strip_prefix("OK "));
    let size = size.and_then(|size| size.trim_end_matches("\r\n").parse().ok());
    size.ok_or_else(|| format!("received `{}`", bytes::encode(&line)))
}

/// Holds the size that `OK` announced against the lines that came. The CR LF behind the YAML is
/// the first line that is not part of it.
fn count_yaml(left: &mut Option<usize>, pattern: &Pattern, length: usize) -> Result<(), String> {
    let Some(announced) = *left else { return Ok(()) };
    if pattern.exact() == Some(b"\r\n") {
        *left = None;
        return if announced == 0 {
            Ok(())
        } else {
            Err(format!("OK announced {announced} bytes more than came"))
        };
    }
    let rest = announced.checked_sub(length).ok_or("OK announced fewer bytes than came")?;
    *left = Some(rest);
    Ok(())
}

/// Asks `command`, until the fields are as wanted or, at the latest, patience ends.
fn ask(
    client: &mut Client,
    command: &str,
    fields: &[(String, Pattern)],
    until: bool,
) -> Result<(), String> {
    let deadline = now() + PATIENCE;
    loop {
        client.send(format!("{command}\r\n").as_bytes()).map_err(|error| error.to_string())?;
        let reply = client.reply(PATIENCE).ok_or_else(|| what_came(client))?;
        let Err(difference) = compare_fields(&reply, fields) else {
            return Ok(());
        };
        if !until || now() >= deadline {
            return Err(difference);
        }
        thread::sleep(ASK_INTERVAL);
    }
}

fn compare_fields(reply: &[u8], fields: &[(String, Pattern)]) -> Result<(), String> {
    let reply = String::from_utf8_lossy(reply);
    for (key, wanted) in fields {
        let value = reply.lines().find_map(|line| line.strip_prefix(&format!("{key}: ")));
        match value {
            Some(value) if wanted.matches(value.as_bytes()) => {}
            Some(value) => return Err(format!("{key} is {value}")),
            None => return Err(format!("no {key} in `{}`", bytes::encode(reply.as_bytes()))),
        }
    }
    Ok(())
}

fn what_came(client: &Client) -> String {
    match client.unread() {
        [] => "received nothing".to_owned(),
        unread => format!("received `{}`", bytes::encode(unread)),
    }
}
