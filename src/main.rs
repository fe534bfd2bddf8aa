//! The `beanpole` command: flags, settings, run, exit status.

use std::process::ExitCode;

use beanpole::chain::Chain;
use beanpole::cli::{Arguments, EXIT_USAGE, LogFormat};
use beanpole::config::{Config, ConfigError};
use beanpole::server::{self, RunError};
use tracing_subscriber::filter::LevelFilter;

/// Statuses other than success and [`EXIT_USAGE`], as beanstalkd has them where it has one.
const EXIT_FAILED: u8 = 1;
const EXIT_DATA_DIR: u8 = 10;
const EXIT_NO_USER: u8 = 33;
const EXIT_USER: u8 = 34;
const EXIT_ADDRESS: u8 = 111;

fn main() -> ExitCode {
    let program = std::env::args().next().unwrap_or_else(|| "beanpole".to_owned());
    let arguments = match Arguments::read(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(error) => return usage(&program, &error.to_string()),
    };
    if arguments.help {
        eprint!("{}", Arguments::usage());
        return ExitCode::SUCCESS;
    }
    if arguments.version {
        #[expect(clippy::print_stdout, reason = "the one thing that is asked for on stdout")]
        {
            println!("beanpole {}", env!("CARGO_PKG_VERSION"));
        }
        return ExitCode::SUCCESS;
    }
    let config = match Config::check(&arguments) {
        Ok(config) => config,
        Err(error @ ConfigError::Port(_)) => {
            eprintln!("{program}: {error}");
            return ExitCode::from(EXIT_ADDRESS);
        }
        Err(error) => return usage(&program, &error.to_string()),
    };
    start_logging(&config);
    warn_of_ignored(&arguments);
    match server::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", Chain(&error));
            ExitCode::from(exit_status(&error))
        }
    }
}

fn usage(program: &str, error: &str) -> ExitCode {
    eprintln!("{program}: {error}");
    eprint!("{}", Arguments::usage());
    ExitCode::from(EXIT_USAGE)
}

/// One readable line each on stderr; `-V` adds one for each connection, `-VV` one for each command.
fn start_logging(config: &Config) {
    let level = match config.verbosity {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let filter = tracing_subscriber::EnvFilter::builder()
        .parse_lossy(format!("warn,beanpole={level},openraft=error"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => builder.with_ansi(false).init(),
        LogFormat::Json => builder.json().init(),
    }
}

fn warn_of_ignored(arguments: &Arguments) {
    if arguments.compact || arguments.no_compact {
        tracing::warn!("-c and -n have no effect: the log is compacted by checkpoints");
    }
    if arguments.data_dir.is_none() && (arguments.sync_every.is_some() || arguments.never_sync) {
        tracing::warn!("-f and -F have no effect without -b");
    }
}

fn exit_status(error: &RunError) -> u8 {
    match error {
        RunError::NoSuchUser(_) => EXIT_NO_USER,
        RunError::Become { .. } => EXIT_USER,
        RunError::Bind(_) => EXIT_ADDRESS,
        RunError::Start(error) if error.is_about_the_directory() => EXIT_DATA_DIR,
        RunError::Start(_) | RunError::Failed(_) | RunError::System { .. } => EXIT_FAILED,
    }
}
