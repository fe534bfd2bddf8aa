//! What a client can ask for.

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::line::CRLF;
use crate::number::push_number;
use crate::{PutKey, Reply, TubeName};

/// One item of a connection's input: a command to carry out, or one that is refused on sight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A well-formed command.
    Command(Command),
    /// Input that gets an error and changes nothing but a counter.
    Refused(Refusal),
}

/// Why input was refused without asking the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `BAD_FORMAT`. beanstalkd counts a few malformed commands all the same: `counts` names them.
    BadFormat {
        /// The command whose `cmd-*` counter goes up, if any.
        counts: Option<CommandName>,
    },
    /// `UNKNOWN_COMMAND`.
    UnknownCommand,
    /// `EXPECTED_CRLF`: the body of a put was not followed by CR LF. Counts as `cmd-put`, and makes
    /// the connection a producer.
    ExpectedCrlf,
    /// `JOB_TOO_BIG`: the body was swallowed. Counts as `cmd-put`.
    JobTooBig,
    /// `OUT_OF_MEMORY`: there was no room for the body of a put, which was swallowed. Counts as
    /// `cmd-put`, and makes the connection a producer.
    OutOfMemory,
}

/// A command of the protocol with its arguments. Durations are whole seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `put`. The time to run is as typed: 0 is raised to 1 by the queue.
    Put {
        /// 0 is the most urgent.
        priority: u32,
        /// Seconds before the job becomes ready.
        delay: u32,
        /// Seconds a worker may hold the job.
        ttr: u32,
        /// The body without its CR LF.
        body: Bytes,
    },
    /// `use`.
    Use(TubeName),
    /// `reserve`.
    Reserve,
    /// `reserve-with-timeout`, at most 2147483647 seconds.
    ReserveWithTimeout(u32),
    /// `reserve-job`.
    ReserveJob(u64),
    /// `delete`.
    Delete(u64),
    /// `release`.
    Release {
        /// The job.
        id: u64,
        /// Its new priority.
        priority: u32,
        /// Seconds before it becomes ready.
        delay: u32,
    },
    /// `bury`.
    Bury {
        /// The job.
        id: u64,
        /// Its new priority.
        priority: u32,
    },
    /// `touch`.
    Touch(u64),
    /// `watch`.
    Watch(TubeName),
    /// `ignore`.
    Ignore(TubeName),
    /// `peek`.
    Peek(u64),
    /// `peek-ready`.
    PeekReady,
    /// `peek-delayed`.
    PeekDelayed,
    /// `peek-buried`.
    PeekBuried,
    /// `kick`, with the bound as beanstalkd's `strtoul` reads it, cut to 32 bits.
    Kick(u32),
    /// `kick-job`.
    KickJob(u64),
    /// `pause-tube`.
    PauseTube {
        /// The tube.
        tube: TubeName,
        /// Seconds; 0 ends a pause.
        delay: u32,
    },
    /// `stats`.
    Stats,
    /// `stats-job`.
    StatsJob(u64),
    /// `stats-tube`.
    StatsTube(TubeName),
    /// `list-tubes`.
    ListTubes,
    /// `list-tube-used`.
    ListTubeUsed,
    /// `list-tubes-watched`.
    ListTubesWatched,
    /// `key`: the next put of the connection has this key, so that a second one makes no second job. An
    /// extension: beanstalkd does not know the word, which tells a client that it must not put again.
    Key(PutKey),
    /// `trunk`, of beanpole alone: from here on the connection carries [frames](crate::trunk).
    Trunk {
        /// Which frames the client can read and write.
        version: u32,
    },
    /// `quit`.
    Quit,
}

/// The name of a command, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each variant is the command of that name")]
pub enum CommandName {
    Put,
    Use,
    Reserve,
    ReserveWithTimeout,
    ReserveJob,
    Delete,
    Release,
    Bury,
    Touch,
    Watch,
    Ignore,
    Peek,
    PeekReady,
    PeekDelayed,
    PeekBuried,
    Kick,
    KickJob,
    PauseTube,
    Stats,
    StatsJob,
    StatsTube,
    ListTubes,
    ListTubeUsed,
    ListTubesWatched,
    Key,
    Trunk,
    Quit,
}

impl Refusal {
    /// The answer that the client gets.
    #[must_use]
    pub fn reply(self) -> Reply {
        match self {
            Self::BadFormat { .. } => Reply::BadFormat,
            Self::UnknownCommand => Reply::UnknownCommand,
            Self::ExpectedCrlf => Reply::ExpectedCrlf,
            Self::JobTooBig => Reply::JobTooBig,
            Self::OutOfMemory => Reply::OutOfMemory,
        }
    }

    /// The command whose `cmd-*` counter goes up all the same, if any.
    #[must_use]
    pub fn counts(self) -> Option<CommandName> {
        match self {
            Self::BadFormat { counts } => counts,
            Self::UnknownCommand => None,
            Self::ExpectedCrlf | Self::JobTooBig | Self::OutOfMemory => Some(CommandName::Put),
        }
    }
}

impl Command {
    /// Which command it is.
    #[must_use]
    pub fn name(&self) -> CommandName {
        match self {
            Self::Put { .. } => CommandName::Put,
            Self::Use(_) => CommandName::Use,
            Self::Reserve => CommandName::Reserve,
            Self::ReserveWithTimeout(_) => CommandName::ReserveWithTimeout,
            Self::ReserveJob(_) => CommandName::ReserveJob,
            Self::Delete(_) => CommandName::Delete,
            Self::Release { .. } => CommandName::Release,
            Self::Bury { .. } => CommandName::Bury,
            Self::Touch(_) => CommandName::Touch,
            Self::Watch(_) => CommandName::Watch,
            Self::Ignore(_) => CommandName::Ignore,
            Self::Peek(_) => CommandName::Peek,
            Self::PeekReady => CommandName::PeekReady,
            Self::PeekDelayed => CommandName::PeekDelayed,
            Self::PeekBuried => CommandName::PeekBuried,
            Self::Kick(_) => CommandName::Kick,
            Self::KickJob(_) => CommandName::KickJob,
            Self::PauseTube { .. } => CommandName::PauseTube,
            Self::Stats => CommandName::Stats,
            Self::StatsJob(_) => CommandName::StatsJob,
            Self::StatsTube(_) => CommandName::StatsTube,
            Self::ListTubes => CommandName::ListTubes,
            Self::ListTubeUsed => CommandName::ListTubeUsed,
            Self::ListTubesWatched => CommandName::ListTubesWatched,
            Self::Key(_) => CommandName::Key,
            Self::Trunk { .. } => CommandName::Trunk,
            Self::Quit => CommandName::Quit,
        }
    }

    /// Whether it only looks: `peek`, `stats` and `list` and what begins like them. It changes nothing,
    /// so that it may be carried out any number of times.
    #[must_use]
    pub fn is_read(&self) -> bool {
        match self {
            Self::Peek(_)
            | Self::PeekReady
            | Self::PeekDelayed
            | Self::PeekBuried
            | Self::Stats
            | Self::StatsJob(_)
            | Self::StatsTube(_)
            | Self::ListTubes
            | Self::ListTubeUsed
            | Self::ListTubesWatched => true,
            Self::Put { .. }
            | Self::Use(_)
            | Self::Reserve
            | Self::ReserveWithTimeout(_)
            | Self::ReserveJob(_)
            | Self::Delete(_)
            | Self::Release { .. }
            | Self::Bury { .. }
            | Self::Touch(_)
            | Self::Watch(_)
            | Self::Ignore(_)
            | Self::Kick(_)
            | Self::KickJob(_)
            | Self::PauseTube { .. }
            | Self::Key(_)
            | Self::Trunk { .. }
            | Self::Quit => false,
        }
    }

    /// Appends the command to `output` as a client sends it, a body with it.
    ///
    /// Values are written as they are, also those that a server refuses (a `reserve-with-timeout`
    /// above 2147483647, a body above the server's limit).
    pub fn encode(&self, output: &mut BytesMut) {
        output.extend_from_slice(self.name().as_str().as_bytes());
        match self {
            Self::Put { priority, delay, ttr, body } => {
                push_arguments(output, [*priority, *delay, *ttr]);
                push_arguments(output, [body.len() as u64]);
                output.extend_from_slice(CRLF);
                output.extend_from_slice(body);
            }
            Self::Release { id, priority, delay } => {
                push_arguments(output, [*id]);
                push_arguments(output, [*priority, *delay]);
            }
            Self::Bury { id, priority } => {
                push_arguments(output, [*id]);
                push_arguments(output, [*priority]);
            }
            Self::PauseTube { tube, delay } => {
                push_tube(output, tube);
                push_arguments(output, [*delay]);
            }
            Self::Use(tube) | Self::Watch(tube) | Self::Ignore(tube) | Self::StatsTube(tube) => {
                push_tube(output, tube);
            }
            Self::Key(key) => {
                output.extend_from_slice(b" ");
                output.extend_from_slice(key.as_str().as_bytes());
            }
            Self::ReserveWithTimeout(number)
            | Self::Kick(number)
            | Self::Trunk { version: number } => {
                push_arguments(output, [*number]);
            }
            Self::ReserveJob(id)
            | Self::Delete(id)
            | Self::Touch(id)
            | Self::Peek(id)
            | Self::KickJob(id)
            | Self::StatsJob(id) => push_arguments(output, [*id]),
            Self::Reserve
            | Self::PeekReady
            | Self::PeekDelayed
            | Self::PeekBuried
            | Self::Stats
            | Self::ListTubes
            | Self::ListTubeUsed
            | Self::ListTubesWatched
            | Self::Quit => {}
        }
        output.extend_from_slice(CRLF);
    }
}

impl CommandName {
    /// Every command, in the order of the variants.
    pub const ALL: [Self; 27] = [
        Self::Put,
        Self::Use,
        Self::Reserve,
        Self::ReserveWithTimeout,
        Self::ReserveJob,
        Self::Delete,
        Self::Release,
        Self::Bury,
        Self::Touch,
        Self::Watch,
        Self::Ignore,
        Self::Peek,
        Self::PeekReady,
        Self::PeekDelayed,
        Self::PeekBuried,
        Self::Kick,
        Self::KickJob,
        Self::PauseTube,
        Self::Stats,
        Self::StatsJob,
        Self::StatsTube,
        Self::ListTubes,
        Self::ListTubeUsed,
        Self::ListTubesWatched,
        Self::Key,
        Self::Trunk,
        Self::Quit,
    ];

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Use => "use",
            Self::Reserve => "reserve",
            Self::ReserveWithTimeout => "reserve-with-timeout",
            Self::ReserveJob => "reserve-job",
            Self::Delete => "delete",
            Self::Release => "release",
            Self::Bury => "bury",
            Self::Touch => "touch",
            Self::Watch => "watch",
            Self::Ignore => "ignore",
            Self::Peek => "peek",
            Self::PeekReady => "peek-ready",
            Self::PeekDelayed => "peek-delayed",
            Self::PeekBuried => "peek-buried",
            Self::Kick => "kick",
            Self::KickJob => "kick-job",
            Self::PauseTube => "pause-tube",
            Self::Stats => "stats",
            Self::StatsJob => "stats-job",
            Self::StatsTube => "stats-tube",
            Self::ListTubes => "list-tubes",
            Self::ListTubeUsed => "list-tube-used",
            Self::ListTubesWatched => "list-tubes-watched",
            Self::Key => "key",
            Self::Trunk => "trunk",
            Self::Quit => "quit",
        }
    }
}

impl fmt::Display for CommandName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn push_arguments<const N: usize>(output: &mut BytesMut, numbers: [impl Into<u64>; N]) {
    for number in numbers {
        output.extend_from_slice(b" ");
        push_number(output, number);
    }
}

fn push_tube(output: &mut BytesMut, tube: &TubeName) {
    output.extend_from_slice(b" ");
    output.extend_from_slice(tube.as_str().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CommandDecoder;

    #[test]
    fn only_what_changes_nothing_is_a_read() {
        // Each as it is well-formed with these arguments, or without any.
        let is_read = |name: CommandName| {
            let lines =
                ["", " 1", " 1 1", " 1 1 1", " 1 1 1 1\r\n1"].map(|it| format!("{name}{it}\r\n"));
            let mut requests = lines.iter().filter_map(|line| {
                CommandDecoder::new(1).next_request(&mut BytesMut::from(line.as_str()))
            });
            let command = requests.find_map(|request| match request {
                Request::Command(command) if command.name() == name => Some(command),
                _ => None,
            });
            command.unwrap_or_else(|| panic!("{name} was not read")).is_read()
        };
        let reads: Vec<_> = CommandName::ALL.into_iter().filter(|name| is_read(*name)).collect();
        let expected = [
            CommandName::Peek,
            CommandName::PeekReady,
            CommandName::PeekDelayed,
            CommandName::PeekBuried,
            CommandName::Stats,
            CommandName::StatsJob,
            CommandName::StatsTube,
            CommandName::ListTubes,
            CommandName::ListTubeUsed,
            CommandName::ListTubesWatched,
        ];
        assert_eq!(reads, expected);
    }
}
