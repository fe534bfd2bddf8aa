//! The `beanpole` command: what was typed -> settings -> run -> exit status.

use std::process::ExitCode;

use beanpole::admin::{self, CommandError};
use beanpole::agent::{self, AgentError};
use beanpole::chain::Chain;
use beanpole::cli::{Arguments, ClusterArguments, EXIT_USAGE, Invocation, LogFormat, UsageError};
use beanpole::config::{ConfigError, Loaded};
use beanpole::demo;
use beanpole::planted::{self, Bug};
use beanpole::server::{self, RunError};
use tracing_subscriber::filter::LevelFilter;

/// Statuses other than success and [`EXIT_USAGE`], as beanstalkd has them where it has one.
const EXIT_FAILED: u8 = 1;
const EXIT_DATA_DIR: u8 = 10;
const EXIT_NO_USER: u8 = 33;
const EXIT_USER: u8 = 34;
const EXIT_ADDRESS: u8 = 111;

/// No member answers (EX_UNAVAILABLE of sysexits).
const EXIT_NOBODY: u8 = 69;
/// A member that was removed, or differs from the others: starting it again does not help.
const EXIT_EXPELLED: u8 = 78;

fn main() -> ExitCode {
    let program = std::env::args().next().unwrap_or_else(|| "beanpole".to_owned());
    let end = |status: u8, error: &dyn std::fmt::Display| {
        eprintln!("{program}: {error}");
        ExitCode::from(status)
    };
    let bug = match planted::choose(std::env::var_os(planted::VARIABLE).as_deref()) {
        Ok(bug) => bug,
        Err(unknown) => return end(EXIT_USAGE, &unknown),
    };
    match Invocation::read(std::env::args_os()) {
        Ok(Invocation::Serve(arguments)) => serve(&arguments, bug, end),
        Ok(Invocation::Cluster(arguments)) => cluster(&arguments, end),
        Ok(Invocation::Demo(arguments)) => match demo::run(&arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => end(EXIT_FAILED, &Chain(&error)),
        },
        Ok(Invocation::Agent(arguments)) => {
            start_logging(u8::from(arguments.verbose), LogFormat::Text);
            match agent::run(&arguments) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error @ AgentError::Listen { .. }) => end(EXIT_ADDRESS, &error),
                Err(error @ AgentError::Options(_)) => end(EXIT_USAGE, &error),
                Err(error) => end(EXIT_FAILED, &error),
            }
        }
        Ok(Invocation::Help(text)) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Err(error @ UsageError::OfCommand(_)) => end(EXIT_USAGE, &error),
        Err(error) => {
            let status = end(EXIT_USAGE, &error);
            eprint!("{}", Arguments::usage());
            status
        }
    }
}

fn serve(
    arguments: &Arguments,
    bug: Option<Bug>,
    end: impl Fn(u8, &dyn std::fmt::Display) -> ExitCode,
) -> ExitCode {
    let notice = planted::notice(bug);
    if arguments.help {
        eprint!("{}", Arguments::usage());
        return ExitCode::SUCCESS;
    }
    if arguments.version {
        let notice = notice.map(|notice| format!(" ({notice})")).unwrap_or_default();
        print(&format!("beanpole {}{notice}\n", env!("CARGO_PKG_VERSION")));
        return ExitCode::SUCCESS;
    }
    let loaded = match Loaded::read(arguments, std::env::vars_os()) {
        Ok(loaded) => loaded,
        Err(error @ ConfigError::Port(_)) => return end(EXIT_ADDRESS, &error),
        Err(error) => return end(EXIT_USAGE, &error),
    };
    if arguments.check_config {
        print(&loaded.description);
        loaded.warnings.iter().for_each(|warning| eprintln!("{warning}"));
        return ExitCode::SUCCESS;
    }
    if let Some(parent) = arguments.end_with_parent
        && let Err(error) = demo::end_with_parent(parent)
    {
        return end(EXIT_FAILED, &error);
    }
    start_logging(loaded.config.verbosity, loaded.config.log_format);
    notice.iter().for_each(|notice| tracing::warn!("{notice}"));
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    match server::run(loaded.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", Chain(&error));
            ExitCode::from(exit_status(&error))
        }
    }
}

fn cluster(
    arguments: &ClusterArguments,
    end: impl Fn(u8, &dyn std::fmt::Display) -> ExitCode,
) -> ExitCode {
    let data_dir = std::env::var_os("BEANPOLE_DATA_DIR");
    match admin::run(arguments, data_dir, &mut std::io::stdout().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FAILED),
        Err(error @ (CommandError::Config(_) | CommandError::NoDirectory)) => {
            end(EXIT_USAGE, &error)
        }
        Err(error @ CommandError::Ask(_)) => end(EXIT_NOBODY, &error),
        Err(error @ CommandError::Show(_)) => end(EXIT_FAILED, &error),
    }
}

#[expect(clippy::print_stdout, reason = "what was asked for goes to stdout")]
fn print(text: &str) {
    print!("{text}");
}

/// One readable line each on stderr; `-V` adds one for each connection, `-VV` one for each command.
fn start_logging(verbosity: u8, format: LogFormat) {
    let level = match verbosity {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let filter = tracing_subscriber::EnvFilter::builder()
        .parse_lossy(format!("warn,beanpole={level},openraft=error"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(false).init(),
        LogFormat::Json => builder.json().init(),
    }
}

fn exit_status(error: &RunError) -> u8 {
    match error {
        RunError::NoSuchUser(_) => EXIT_NO_USER,
        RunError::Become { .. } => EXIT_USER,
        RunError::Bind(_) => EXIT_ADDRESS,
        RunError::Expelled(_) => EXIT_EXPELLED,
        RunError::Start(error) if error.is_about_the_directory() => EXIT_DATA_DIR,
        RunError::Start(_)
        | RunError::Secret(_)
        | RunError::Failed(_)
        | RunError::System { .. } => EXIT_FAILED,
    }
}
