//! The server's flags: those of beanstalkd, each with a long name, with the errors of beanstalkd.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Parser, ValueEnum};
use serde::{Deserialize, Serialize};

use super::UsageError;

/// What `-h` says of the other commands.
const OTHER_COMMANDS: &str = "Other commands, each with a --help of its own:
  beanpole demo      Three members on this machine, to be watched and killed
  beanpole cluster   Begin a cluster, look at it, change its members";

/// The server's command line, parsed and not yet checked. What was not typed is `None`: the
/// environment, the configuration file or a default may say it (see [`crate::config`]).
#[derive(Debug, Parser)]
#[command(
    name = "beanpole",
    about = "A durable work queue that beanstalkd clients use unchanged",
    disable_help_flag = true,
    disable_version_flag = true,
    args_override_self = true,
    after_help = OTHER_COMMANDS
)]
pub struct Arguments {
    /// Take settings from FILE (TOML); BEANPOLE_* variables and flags go before it
    #[arg(long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Print the settings in force and where each is from, and end
    #[arg(long = "check-config")]
    pub check_config: bool,

    /// Keep jobs in DIR, every change synced before its reply (without it: in memory only)
    #[arg(short = 'b', long = "data-dir", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Sync at most once in MS milliseconds: WEAKER, acknowledged changes of that time can be lost
    #[arg(short = 'f', long = "sync-every", value_name = "MS", overrides_with = "never_sync")]
    pub sync_every: Option<u64>,

    /// Never sync: WEAKER, acknowledged changes are lost with the machine
    #[arg(short = 'F', long = "never-sync", overrides_with = "sync_every")]
    pub never_sync: bool,

    /// Listen on ADDR: a name, an IPv4 or IPv6 address, or unix:PATH (default 0.0.0.0)
    #[arg(short = 'l', long = "listen", value_name = "ADDR")]
    pub listen: Option<String>,

    /// Listen on PORT; 0 lets the system choose (default 11300)
    #[arg(short = 'p', long = "port", value_name = "PORT")]
    pub port: Option<String>,

    /// Become USER once the address is bound
    #[arg(short = 'u', long = "user", value_name = "USER")]
    pub user: Option<String>,

    /// The largest body of a job (default 65535)
    #[arg(short = 'z', long = "job-size-max", value_name = "BYTES")]
    pub job_size_max: Option<u64>,

    /// The largest file of the log (default 67108864)
    #[arg(short = 's', long = "segment-size-max", value_name = "BYTES")]
    pub segment_size_max: Option<u64>,

    /// Use at most so much memory, in bytes or with K, M or G (default: a quarter of the machine)
    #[arg(long = "memory", value_name = "BYTES", value_parser = read_size)]
    pub memory: Option<u64>,

    /// Refuse puts when less is free on the disk, in bytes or with K, M or G (default 8M), beside
    /// what checkpoints need
    #[arg(long = "disk-free-min", value_name = "BYTES", value_parser = read_size)]
    pub disk_free_min: Option<u64>,

    /// Make a checkpoint when the log behind the last one is so long, in bytes or with K, M or G
    /// (default 256M), and eight times as long as that. Less: shorter starts, more writing
    #[arg(long = "checkpoint-log-min", value_name = "BYTES", value_parser = read_size)]
    pub checkpoint_log_min: Option<u64>,

    /// Make a checkpoint at the latest when a start would have to apply so many ops (default 3000000)
    #[arg(long = "checkpoint-ops-max", value_name = "COUNT")]
    pub checkpoint_ops_max: Option<u64>,

    /// Refuse to start on an empty data directory
    #[arg(long = "must-exist")]
    pub must_exist: bool,

    /// How log lines look (default text)
    #[arg(long = "log-format", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,

    /// Be killed when the process PID, which started this one, ends
    #[arg(long = "end-with-parent", value_name = "PID", hide = true)]
    pub end_with_parent: Option<i32>,

    /// Accepted and ignored, as beanstalkd does
    #[arg(short = 'c', hide = true)]
    pub compact: bool,

    /// Accepted and ignored, as beanstalkd does
    #[arg(short = 'n', hide = true)]
    pub no_compact: bool,

    /// Log every connection; twice: every command too
    #[arg(short = 'V', long = "verbose", action = ArgAction::Count)]
    pub verbose: u8,

    /// Print the version and end
    #[arg(short = 'v', long = "version")]
    pub version: bool,

    /// Print this and end
    #[arg(short = 'h', long = "help")]
    pub help: bool,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Arguments {
    /// Reads the command line; the first item is the name of the program.
    ///
    /// # Errors
    ///
    /// [`UsageError`], for exit status [`EXIT_USAGE`](super::EXIT_USAGE).
    pub fn read(arguments: impl Iterator<Item = OsString>) -> Result<Self, UsageError> {
        Self::try_parse_from(arguments).map_err(|error| usage_error(&error))
    }

    /// The text of `-h`.
    pub fn usage() -> String {
        <Self as clap::CommandFactory>::command().render_help().to_string()
    }
}

/// Reads a number of bytes, also in units of 1024, 1024² or 1024³.
fn read_size(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1 << 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    let number = number.parse::<u64>().ok().filter(|_| !number.starts_with('+'));
    number.and_then(|number| number.checked_mul(unit)).ok_or_else(|| "not a size".to_owned())
}

fn usage_error(error: &clap::Error) -> UsageError {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(" "),
        _ => String::new(),
    };
    let flag = text(ContextKind::InvalidArg);
    let flag = flag.split(' ').next().unwrap_or_default();
    let value = text(ContextKind::InvalidValue);
    match error.kind() {
        ErrorKind::UnknownArgument if flag.starts_with('-') && flag != "-" => {
            UsageError::UnknownFlag(flag.to_owned())
        }
        ErrorKind::UnknownArgument => UsageError::UnknownArgument(flag.to_owned()),
        ErrorKind::ValueValidation => UsageError::InvalidSize(value),
        ErrorKind::InvalidValue if value.is_empty() => {
            UsageError::MissingValue(short_form(flag).to_owned())
        }
        _ => UsageError::InvalidValue { flag: flag.to_owned(), value },
    }
}

/// The letter of a flag that clap names by its long form.
fn short_form(flag: &str) -> &str {
    match flag {
        "--data-dir" => "-b",
        "--sync-every" => "-f",
        "--listen" => "-l",
        "--port" => "-p",
        "--user" => "-u",
        "--job-size-max" => "-z",
        "--segment-size-max" => "-s",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Arguments, UsageError> {
        Arguments::read(line.split(' ').map(OsString::from))
    }

    #[test]
    fn letters_join_values_and_bundle_as_in_beanstalkd() {
        let arguments = read("beanpole -VFVukr -p1234 -z 100").expect("a good line");
        assert_eq!(arguments.verbose, 2);
        assert!(arguments.never_sync);
        assert_eq!(arguments.user.as_deref(), Some("kr"));
        assert_eq!(arguments.port.as_deref(), Some("1234"));
        assert_eq!(arguments.job_size_max, Some(100));
    }

    #[test]
    fn the_last_of_repeated_flags_wins() {
        let arguments = read("beanpole -p 1 -p 2 -f100 -F").expect("a good line");
        assert_eq!(arguments.port.as_deref(), Some("2"));
        assert!(arguments.never_sync);
        assert_eq!(arguments.sync_every, None);
        let arguments = read("beanpole -F -f0").expect("a good line");
        assert!(!arguments.never_sync);
        assert_eq!(arguments.sync_every, Some(0));
    }

    #[test]
    fn memory_has_units() {
        let memory = |text: &str| read(&format!("beanpole --memory {text}")).map(|it| it.memory);
        assert_eq!(memory("100").expect("bytes"), Some(100));
        assert_eq!(memory("192M").expect("mebibytes"), Some(192 << 20));
        assert_eq!(memory("2g").expect("gibibytes"), Some(2 << 30));
        for bad in ["M", "1.5G", "+1", "99999999999G", "1MB"] {
            assert_eq!(memory(bad).expect_err(bad).to_string(), format!("invalid size: {bad}"));
        }
    }

    #[test]
    fn bad_flags_get_the_words_of_beanstalkd() {
        let error = |line| read(line).expect_err("a bad line").to_string();
        assert_eq!(error("beanpole -x"), "unknown flag: -x");
        assert_eq!(error("beanpole foo"), "unknown argument: foo");
        assert_eq!(error("beanpole -"), "unknown argument: -");
        assert_eq!(error("beanpole -p"), "flag requires an argument: -p");
        assert_eq!(error("beanpole -z abc"), "invalid size: abc");
        assert_eq!(error("beanpole -z 5k"), "invalid size: 5k");
    }
}
