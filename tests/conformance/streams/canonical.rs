//! Replies without what may differ between two servers.

use crate::conformance::bytes;

/// Fields that say something of the process or of this test's own questions.
const FREE_FIELDS: [&str; 16] = [
    "pid",
    "version",
    "rusage-utime",
    "rusage-stime",
    "uptime",
    "binlog-oldest-index",
    "binlog-current-index",
    "binlog-records-migrated",
    "binlog-records-written",
    "binlog-max-size",
    "id",
    "hostname",
    "os",
    "platform",
    "file",
    // Asking how many connections wait is done by `stats`, as often as it takes.
    "cmd-stats",
];

/// Fields that each member of a cluster counts for itself, at least what it refuses.
pub(super) const FIELDS_OF_A_MEMBER: [&str; 13] = [
    "cmd-put",
    "cmd-pause-tube",
    "cmd-peek",
    "cmd-peek-ready",
    "cmd-peek-delayed",
    "cmd-peek-buried",
    "cmd-stats-job",
    "cmd-stats-tube",
    "cmd-list-tubes",
    "cmd-list-tube-used",
    "cmd-list-tubes-watched",
    "current-producers",
    "total-connections",
];

/// Fields in seconds that go on while the servers are asked one after the other.
const RUNNING_FIELDS: [&str; 3] = ["age", "time-left", "pause-time-left"];

/// How far running fields may be apart, in seconds.
const RUNNING_FIELDS_APART_MAX: u64 = 5;

/// A reply with jobs named by the order in which they were put.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// A line, or a line and the body of a job.
    Plain(String),
    /// The fields of YAML: names and values, a list item having no name.
    Fields(Vec<(String, String)>),
    /// Nothing came.
    Nothing,
    /// The server closed the connection.
    Closed,
}

impl Reply {
    /// Reads `reply`. A job that `INSERTED` names is the next of the stream: its id joins `ids`.
    pub(super) fn read(reply: &[u8], ids: &mut Vec<u64>) -> Self {
        let text = bytes::encode(reply);
        let (line, rest) = text.split_once("\\r\\n").unwrap_or((&text, ""));
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["INSERTED", id] => {
                ids.push(id.parse().unwrap_or_default());
                Self::Plain(format!("INSERTED {}{rest}", job(id, ids)))
            }
            [word @ ("RESERVED" | "FOUND"), id, size] => {
                Self::Plain(format!("{word} {} {size} {rest}", job(id, ids)))
            }
            ["OK", _] => Self::Fields(fields(rest, ids)),
            _ => Self::Plain(text),
        }
    }

    /// Whether two servers that answer so agree, whatever is in the fields that are `free`.
    pub(super) fn agrees_with(&self, other: &Self, free: &[&str]) -> bool {
        match (self, other) {
            (Self::Plain(one), Self::Plain(two)) => one == two,
            (Self::Fields(one), Self::Fields(two)) => {
                one.len() == two.len()
                    && one.iter().zip(two).all(|(one, two)| fields_agree(one, two, free))
            }
            (Self::Nothing, Self::Nothing) | (Self::Closed, Self::Closed) => true,
            _ => false,
        }
    }

    /// The job that the reply hands over.
    pub(super) fn job_given(&self) -> Option<usize> {
        match self {
            Self::Plain(text) => {
                let (place, _) = text.strip_prefix("RESERVED #")?.split_once(' ')?;
                place.parse().ok()
            }
            _ => None,
        }
    }

    /// The names in a list of tubes.
    pub(super) fn items(&self) -> Vec<String> {
        match self {
            Self::Fields(fields) => {
                let items = fields.iter().filter(|(name, _)| name.is_empty());
                items.map(|(_, value)| value.clone()).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// The name of a job in the stream.
fn job(id: &str, ids: &[u64]) -> String {
    let place = id.parse::<u64>().ok().and_then(|id| ids.iter().position(|&known| known == id));
    place.map_or_else(|| format!("unknown({id})"), |place| format!("#{place}"))
}

fn fields(yaml: &str, ids: &[u64]) -> Vec<(String, String)> {
    let is_job = yaml.contains("\\nstate: ");
    yaml.split("\\n")
        .map(|line| {
            if let Some(item) = line.strip_prefix("- ") {
                return (String::new(), item.to_owned());
            }
            let (name, value) = line.split_once(": ").unwrap_or((line, ""));
            // beanstalkd 1.12 writes names without the quotes of 1.13.
            let value = match name {
                "id" if is_job => return ("job".to_owned(), job(value, ids)),
                "name" | "tube" => value.trim_matches('"').to_owned(),
                _ => value.to_owned(),
            };
            (name.to_owned(), value)
        })
        .collect()
}

fn fields_agree(one: &(String, String), two: &(String, String), free: &[&str]) -> bool {
    if one.0 != two.0 {
        return false;
    }
    let name = one.0.as_str();
    if FREE_FIELDS.contains(&name) || free.contains(&name) {
        return true;
    }
    if RUNNING_FIELDS.contains(&name) {
        return match (one.1.parse::<u64>(), two.1.parse::<u64>()) {
            (Ok(one), Ok(two)) => one.abs_diff(two) <= RUNNING_FIELDS_APART_MAX,
            _ => false,
        };
    }
    one.1 == two.1
}
