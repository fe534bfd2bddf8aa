//! What was typed, parsed and not yet checked: the server's flags, or a command beside them.
//!
//! `beanpole cluster ..`, `beanpole demo ..` and `beanpole agent ..` are told apart by the first
//! word. All else is read as beanstalkd reads its flags (`server`), so that nothing which it takes
//! or refuses changes.

mod agent;
mod cluster;
mod demo;
mod server;

use std::ffi::OsString;

use clap::Parser;

pub use agent::AgentArguments;
pub use cluster::{ClusterArguments, ClusterCommand};
pub use demo::DemoArguments;
pub use server::{Arguments, LogFormat};

/// beanstalkd's exit code for a bad flag.
pub const EXIT_USAGE: u8 = 5;

/// What the process is to do.
#[derive(Debug)]
pub enum Invocation {
    /// Serve.
    Serve(Box<Arguments>),
    /// Ask something of a member.
    Cluster(ClusterArguments),
    /// Start three members on this machine.
    Demo(DemoArguments),
    /// Stand between clients of this machine and the members.
    Agent(AgentArguments),
    /// Print this text, which was asked for, and end.
    Help(String),
}

/// The flags make no sense; the text is what beanstalkd would say.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UsageError {
    /// No such flag.
    #[error("unknown flag: {0}")]
    UnknownFlag(String),
    /// Something that is no flag.
    #[error("unknown argument: {0}")]
    UnknownArgument(String),
    /// A flag at the end, without its value.
    #[error("flag requires an argument: {0}")]
    MissingValue(String),
    /// A value that cannot be read.
    #[error("invalid value for {flag}: {value}")]
    InvalidValue {
        /// The flag.
        flag: String,
        /// What was given.
        value: String,
    },
    /// A number that cannot be read.
    #[error("invalid size: {0}")]
    InvalidSize(String),
    /// Of a command that beanstalkd does not have, with a word on its usage.
    #[error("{0}")]
    OfCommand(String),
}

impl Invocation {
    /// Reads the command line; the first item is the name of the program.
    ///
    /// # Errors
    ///
    /// [`UsageError`], for exit status [`EXIT_USAGE`].
    pub fn read(arguments: impl Iterator<Item = OsString>) -> Result<Self, UsageError> {
        let arguments: Vec<_> = arguments.collect();
        match arguments.get(1).and_then(|first| first.to_str()) {
            Some("cluster") => command(&arguments[1..], Self::Cluster),
            Some("demo") => command(&arguments[1..], Self::Demo),
            Some("agent") => command(&arguments[1..], Self::Agent),
            _ => Arguments::read(arguments.into_iter()).map(|read| Self::Serve(Box::new(read))),
        }
    }
}

/// Reads a command's own words; the first is its name.
fn command<T: Parser>(
    words: &[OsString],
    invocation: impl Fn(T) -> Invocation,
) -> Result<Invocation, UsageError> {
    match T::try_parse_from(words) {
        Ok(read) => Ok(invocation(read)),
        Err(error) if error.use_stderr() => {
            let text = error.to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            Err(UsageError::OfCommand(text.trim_end().to_owned()))
        }
        Err(help) => Ok(Invocation::Help(help.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Invocation, UsageError> {
        Invocation::read(line.split(' ').map(OsString::from))
    }

    #[test]
    fn a_command_is_known_by_the_first_word_only() {
        assert!(matches!(read("beanpole demo"), Ok(Invocation::Demo(_))));
        assert!(matches!(read("beanpole -V"), Ok(Invocation::Serve(_))));
        assert_eq!(
            read("beanpole -V demo").expect_err("no server has such an argument"),
            UsageError::UnknownArgument("demo".into())
        );
    }

    #[test]
    fn the_commands_of_a_cluster_are_read_with_their_values() {
        let cases = [
            ("init", ClusterCommand::Init { addresses: vec![] }),
            ("init a:1 b:2", ClusterCommand::Init { addresses: vec!["a:1".into(), "b:2".into()] }),
            ("status", ClusterCommand::Status),
            ("add a:1", ClusterCommand::Add { address: "a:1".into() }),
            ("remove 3", ClusterCommand::Remove { member: 3 }),
            ("replace 3 a:1", ClusterCommand::Replace { member: 3, address: "a:1".into() }),
            ("transfer", ClusterCommand::Transfer { to: None }),
            ("transfer 2", ClusterCommand::Transfer { to: Some(2) }),
            ("check", ClusterCommand::Check),
        ];
        for (line, expected) in cases {
            let read = read(&format!("beanpole cluster {line} --json --data-dir /srv/x"));
            let Ok(Invocation::Cluster(arguments)) = read else { panic!("{line}: {read:?}") };
            assert_eq!(arguments.command, expected, "{line}");
            assert!(arguments.json);
            assert_eq!(arguments.data_dir.as_deref(), Some("/srv/x".as_ref()));
        }
    }

    #[test]
    fn a_bad_command_says_how_it_is_used() {
        for line in ["cluster", "cluster sing", "cluster remove x", "cluster add", "demo --tune"] {
            let error = read(&format!("beanpole {line}")).expect_err(line).to_string();
            assert!(error.contains("Usage: beanpole ") || error.contains("--help"), "{error}");
        }
        let error = read("beanpole cluster status --data-dir a --config b").expect_err("both");
        assert!(error.to_string().contains("cannot be used with"), "{error}");
    }

    #[test]
    fn an_agent_wants_members_and_has_an_address_like_a_server() {
        let Ok(Invocation::Agent(read)) = read("beanpole agent --members a:1,b:2") else {
            panic!()
        };
        assert_eq!(read.members, ["a:1", "b:2"]);
        assert_eq!((read.listen.as_str(), read.lease), ("127.0.0.1:11300", 10));
        for wrong in ["agent", "agent --members a:1 --lease 0", "agent --members a:1 --lease 61"] {
            assert!(
                super::Invocation::read(format!("beanpole {wrong}").split(' ').map(OsString::from))
                    .is_err()
            );
        }
    }

    #[test]
    fn help_of_a_command_is_no_error() {
        let Ok(Invocation::Help(text)) = read("beanpole cluster --help") else { panic!() };
        assert!(text.contains("transfer") && text.contains("Usage: beanpole cluster"), "{text}");
    }
}
