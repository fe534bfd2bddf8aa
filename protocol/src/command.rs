//! What a client can ask for.

use bytes::Bytes;

use crate::TubeName;

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
    Quit,
}
