//! What a command line says: the grammar of beanstalkd 1.13, quirks included.
//!
//! beanstalkd finds the command by the first prefix that fits, which is why `reservexyz` is a
//! malformed `reserve` and not an unknown command, and why `pause-tubedefault 0` works.
//! DESIGN.md P8 wants the same of us.

use memchr::memchr;

use crate::number::{Numbers, plain_number, strtoul};
use crate::tube_name::is_name_byte;
use crate::{Command, CommandName, PutKey, Refusal, TubeName};

/// What a well-formed line asks for.
#[derive(Debug)]
pub(crate) enum Line {
    /// The line is a whole command.
    Command(Command),
    /// The body and its CR LF follow.
    Put(PutLine),
    /// A body above the limit follows; its `size_bytes` and two more must be skipped.
    PutTooBig { size_bytes: u32 },
}

/// The arguments of a `put` whose body is acceptable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PutLine {
    pub(crate) priority: u32,
    pub(crate) delay: u32,
    pub(crate) ttr: u32,
    /// The length of the body without its CR LF.
    pub(crate) size_bytes: u32,
}

/// `BAD_FORMAT` that counts nowhere, as nearly all are.
const BAD_FORMAT: Refusal = Refusal::BadFormat { counts: None };

/// The bound of `reserve-with-timeout`, in seconds: beanstalkd keeps it in a C `int`.
const RESERVE_TIMEOUT_MAX: u32 = i32::MAX.unsigned_abs();

/// Reads `line`, given without its CR LF.
pub(crate) fn parse(line: &[u8], max_job_size: u32) -> Result<Line, Refusal> {
    if memchr(0, line).is_some() {
        return Err(BAD_FORMAT);
    }
    let (name, arguments) = look_up(line).ok_or(Refusal::UnknownCommand)?;
    let command = match name {
        CommandName::Put => return put(arguments, max_job_size),
        CommandName::Use => tube(arguments).map(Command::Use),
        CommandName::Reserve => nothing(arguments, Command::Reserve),
        CommandName::ReserveWithTimeout => reserve_with_timeout(arguments),
        CommandName::ReserveJob => job(arguments).map(Command::ReserveJob),
        CommandName::Delete => job(arguments).map(Command::Delete),
        CommandName::Release => release(arguments).ok_or(BAD_FORMAT),
        CommandName::Bury => bury(arguments).ok_or(BAD_FORMAT),
        CommandName::Touch => job(arguments).map(Command::Touch),
        CommandName::Watch => tube(arguments).map(Command::Watch),
        CommandName::Ignore => tube(arguments).map(Command::Ignore),
        CommandName::Peek => job(arguments).map(Command::Peek),
        CommandName::PeekReady => nothing(arguments, Command::PeekReady),
        CommandName::PeekDelayed => nothing(arguments, Command::PeekDelayed),
        CommandName::PeekBuried => nothing(arguments, Command::PeekBuried),
        CommandName::Kick => kick(arguments),
        CommandName::KickJob => job(arguments).map(Command::KickJob),
        CommandName::PauseTube => pause_tube(arguments),
        CommandName::Stats => nothing(arguments, Command::Stats),
        CommandName::StatsJob => job(arguments).map(Command::StatsJob),
        CommandName::StatsTube => tube(arguments).map(Command::StatsTube),
        CommandName::ListTubes => nothing(arguments, Command::ListTubes),
        CommandName::ListTubeUsed => nothing(arguments, Command::ListTubeUsed),
        CommandName::ListTubesWatched => nothing(arguments, Command::ListTubesWatched),
        CommandName::Key => key(arguments),
        CommandName::Trunk => trunk(arguments),
        // beanstalkd never looks at what follows: `quitxyz` closes too.
        CommandName::Quit => Ok(Command::Quit),
    };
    command.map(Line::Command)
}

/// The command whose prefix `line` starts with, and what follows the prefix.
fn look_up(line: &[u8]) -> Option<(CommandName, &[u8])> {
    use CommandName as Name;
    // A prefix of another one comes after it.
    let prefixes: &[(&[u8], Name)] = match line.first()? {
        b'p' => &[
            (b"put ", Name::Put),
            (b"peek ", Name::Peek),
            (b"peek-ready", Name::PeekReady),
            (b"peek-delayed", Name::PeekDelayed),
            (b"peek-buried", Name::PeekBuried),
            (b"pause-tube", Name::PauseTube),
        ],
        b'r' => &[
            (b"reserve-with-timeout ", Name::ReserveWithTimeout),
            (b"reserve-job ", Name::ReserveJob),
            (b"reserve", Name::Reserve),
            (b"release ", Name::Release),
        ],
        b'd' => &[(b"delete ", Name::Delete)],
        b'b' => &[(b"bury ", Name::Bury)],
        b'k' => &[(b"kick ", Name::Kick), (b"kick-job ", Name::KickJob), (b"key ", Name::Key)],
        b't' => &[(b"touch ", Name::Touch), (b"trunk ", Name::Trunk)],
        b'u' => &[(b"use ", Name::Use)],
        b'w' => &[(b"watch ", Name::Watch)],
        b'i' => &[(b"ignore ", Name::Ignore)],
        b's' => &[
            (b"stats-job ", Name::StatsJob),
            (b"stats-tube ", Name::StatsTube),
            (b"stats", Name::Stats),
        ],
        b'l' => &[
            (b"list-tubes-watched", Name::ListTubesWatched),
            (b"list-tube-used", Name::ListTubeUsed),
            (b"list-tubes", Name::ListTubes),
        ],
        b'q' => &[(b"quit", Name::Quit)],
        _ => &[],
    };
    prefixes.iter().find_map(|(prefix, name)| Some((*name, line.strip_prefix(*prefix)?)))
}

/// The order of the checks decides what is counted and what is skipped: numbers, size, end of line.
fn put(arguments: &[u8], max_job_size: u32) -> Result<Line, Refusal> {
    let mut numbers = Numbers::new(arguments);
    let line = put_line(&mut numbers).ok_or(BAD_FORMAT)?;
    if line.size_bytes > max_job_size {
        return Ok(Line::PutTooBig { size_bytes: line.size_bytes });
    }
    if !numbers.is_at_end() {
        return Err(Refusal::BadFormat { counts: Some(CommandName::Put) });
    }
    Ok(Line::Put(line))
}

fn put_line(numbers: &mut Numbers<'_>) -> Option<PutLine> {
    let priority = numbers.u32()?;
    let delay = numbers.u32()?;
    let ttr = numbers.u32()?;
    let size_bytes = numbers.u32()?;
    Some(PutLine { priority, delay, ttr, size_bytes })
}

fn nothing(arguments: &[u8], command: Command) -> Result<Command, Refusal> {
    if arguments.is_empty() { Ok(command) } else { Err(BAD_FORMAT) }
}

fn job(arguments: &[u8]) -> Result<u64, Refusal> {
    let mut numbers = Numbers::new(arguments);
    numbers.u64().filter(|_| numbers.is_at_end()).ok_or(BAD_FORMAT)
}

/// The name is everything to the end of the line: a space in front of it or after it is part of it.
fn tube(arguments: &[u8]) -> Result<TubeName, Refusal> {
    TubeName::new(arguments).map_err(|_| BAD_FORMAT)
}

/// What follows the number is ignored, as in 1.13.
fn reserve_with_timeout(arguments: &[u8]) -> Result<Command, Refusal> {
    let timeout = Numbers::new(arguments).u32().filter(|timeout| *timeout <= RESERVE_TIMEOUT_MAX);
    timeout.map(Command::ReserveWithTimeout).ok_or(BAD_FORMAT)
}

fn release(arguments: &[u8]) -> Option<Command> {
    let mut numbers = Numbers::new(arguments);
    let (id, priority, delay) = (numbers.u64()?, numbers.u32()?, numbers.u32()?);
    numbers.is_at_end().then_some(Command::Release { id, priority, delay })
}

fn bury(arguments: &[u8]) -> Option<Command> {
    let mut numbers = Numbers::new(arguments);
    let (id, priority) = (numbers.u64()?, numbers.u32()?);
    numbers.is_at_end().then_some(Command::Bury { id, priority })
}

fn kick(arguments: &[u8]) -> Result<Command, Refusal> {
    let bound = strtoul(arguments).ok_or(BAD_FORMAT)?;
    // beanstalkd assigns the C `unsigned long` to an `unsigned int`.
    Ok(Command::Kick(bound as u32))
}

/// beanstalkd does not know the word: a key that is none is not known either.
fn key(arguments: &[u8]) -> Result<Command, Refusal> {
    PutKey::new(arguments).map(Command::Key).map_err(|_| Refusal::UnknownCommand)
}

/// beanstalkd does not know the word, so that nothing which begins like it is malformed.
fn trunk(arguments: &[u8]) -> Result<Command, Refusal> {
    let version = plain_number(arguments).and_then(|version| version.try_into().ok());
    version.map(|version| Command::Trunk { version }).ok_or(Refusal::UnknownCommand)
}

/// A name that reads as one but is too long, or starts with `-`, is found only after counting.
fn pause_tube(arguments: &[u8]) -> Result<Command, Refusal> {
    let mut numbers = Numbers::new(arguments);
    let name = numbers.word(is_name_byte);
    let delay = numbers.u32().filter(|_| numbers.is_at_end() && !name.is_empty());
    let delay = delay.ok_or(BAD_FORMAT)?;
    let counts = Some(CommandName::PauseTube);
    let tube = TubeName::new(name).map_err(|_| Refusal::BadFormat { counts })?;
    Ok(Command::PauseTube { tube, delay })
}
