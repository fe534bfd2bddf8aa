//! What was checked: the settings the server runs with. Bad values are refused with both numbers,
//! never corrected in silence.
//!
//! `settings` is what one place says, `layers` which place wins, `cluster` the part that only a
//! member of a cluster has.

mod cluster;
mod layers;
mod settings;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use cluster::{ClusterConfig, SECRET_BYTES_MIN, Secret};
use layers::Layers;
pub use settings::{
    ClusterSettings, DISK_FREE_MIN_DEFAULT, PORT_DEFAULT, SEGMENT_SIZE_MAX_DEFAULT, Settings,
};

use crate::cli::{Arguments, LogFormat};
use crate::memory::{BUDGET_FLOOR_BYTES, Machine};
use crate::raft::SyncPolicy;
use crate::server::Address;

/// The most `-z` may ask for, bytes. A job is one record of the log and is held whole in memory
/// several times on its way.
pub const JOB_SIZE_MAX_LIMIT: u64 = 64 << 20;

/// The most `-z` may ask for, as a part of the budget for memory.
const JOB_PER_MEMORY: u64 = 32;

/// The least `-s` means, bytes.
pub const SEGMENT_SIZE_MAX_FLOOR: u64 = 1 << 20;

/// With less, a server that has little to say would do little else than write checkpoints.
const CHECKPOINT_LOG_MIN_FLOOR: u64 = 1 << 20;
const CHECKPOINT_OPS_MAX_FLOOR: u64 = 1000;

/// Said of a default budget that is too little.
const NO_MEMORY_SAID: &str = ". (Without --memory it is the lesser of a quarter of \
    the machine's memory and 60 percent of its control group's.)";

/// The most that `verbose` means.
const VERBOSITY_MAX: u8 = 2;

/// Checked settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where jobs are kept; in memory only when there is none.
    pub data_dir: Option<PathBuf>,
    /// Refuse to start on an empty data directory.
    pub must_exist: bool,
    /// When the log is synced.
    pub sync: SyncPolicy,
    /// Where clients connect.
    pub listen: Address,
    /// Whom to become once the address is bound.
    pub user: Option<String>,
    /// The largest body of a job, bytes.
    pub job_size_max: u32,
    /// The largest file of the log, bytes.
    pub segment_size_max: u64,
    /// What `-s` was, for `stats`.
    pub segment_size_typed: u64,
    /// The budget for memory, bytes.
    pub memory: u64,
    /// Room on the disk that puts leave free beside what checkpoints need, bytes.
    pub disk_free_min: u64,
    /// How long the log behind the last checkpoint must be for the next one, bytes.
    pub checkpoint_log_min: u64,
    /// After how many ops behind the last checkpoint the next one is made at the latest.
    pub checkpoint_ops_max: u64,
    /// The form of log lines.
    pub log_format: LogFormat,
    /// How much to log: 0, 1 or 2.
    pub verbosity: u8,
    /// With this, the process is a member of a cluster or waits to become one; there is a data
    /// directory then, and every change is synced before its reply.
    pub cluster: Option<ClusterConfig>,
}

/// A setting that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The configuration file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The configuration file is no TOML, or says something unknown.
    #[error("{}: {why}", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// With the line.
        why: String,
    },
    /// A variable of the environment has a value that cannot be.
    #[error("the variable {name} cannot be {value:?}: {why}")]
    Variable {
        /// Which one.
        name: String,
        /// Its value.
        value: String,
        /// What is wrong.
        why: String,
    },
    /// `-z` is too large.
    #[error(
        "a largest job of {asked} bytes (-z) is more than the limit of {limit}: the lesser of \
         {JOB_SIZE_MAX_LIMIT} and a thirty-second of --memory"
    )]
    JobSizeMax {
        /// What was asked for.
        asked: u64,
        /// What is possible.
        limit: u64,
    },
    /// There is too little memory.
    #[error(
        "a budget of {budget} bytes for memory is too little: {BUDGET_FLOOR_BYTES} are needed at \
         least{}", if *is_default { NO_MEMORY_SAID } else { "" }
    )]
    Memory {
        /// What it is.
        budget: u64,
        /// Nobody said it.
        is_default: bool,
    },
    /// A number is less than makes sense.
    #[error("{key} cannot be {asked}: {floor} is the least")]
    TooLittle {
        /// Which setting.
        key: &'static str,
        /// What was asked for.
        asked: u64,
        /// What is possible.
        floor: u64,
    },
    /// `-p` is not a port.
    #[error("{0} is not a port: a number from 0 to 65535 is wanted")]
    Port(String),
    /// One place says two things about syncing.
    #[error("never_sync and sync_every exclude each other")]
    SyncSaidTwice,
    /// `-f` or `-F` together with `[cluster]`.
    #[error(
        "sync_every (-f) and never_sync (-F) cannot be used in a cluster, where acknowledged means \
         synced by a majority"
    )]
    WeakSyncInCluster,
    /// Something that a member of a cluster needs.
    #[error("a member of a cluster needs {key}")]
    Missing {
        /// Its key.
        key: &'static str,
    },
    /// Not HOST:PORT, or not one that can serve.
    #[error("{key} cannot be {address}: {why}")]
    Address {
        /// The key.
        key: &'static str,
        /// The value.
        address: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The secret cannot be used.
    #[error("the secret in {}: {why}", path.display())]
    Secret {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A time out of range.
    #[error("cluster.{key} cannot be {value_ms}: {least} to {most} milliseconds are possible")]
    Time {
        /// The key.
        key: &'static str,
        /// Its value, milliseconds.
        value_ms: u64,
        /// The least, included.
        least: u64,
        /// The most, included.
        most: u64,
    },
    /// What a silent member's clients hold would be given away while it still serves them.
    #[error(
        "cluster.dead_after_ms is {dead_after_ms}: with silent_release it must be more than \
         {least_ms} milliseconds, lease_ms ({lease_ms}) and a margin for late ticks, or jobs that a \
         silent member's clients hold would be given away while it still serves them"
    )]
    SilentRelease {
        /// Its value, milliseconds.
        dead_after_ms: u128,
        /// The lease, milliseconds.
        lease_ms: u128,
        /// What it must be more than, milliseconds.
        least_ms: u128,
    },
    /// A time that another does not leave enough room.
    #[error("cluster.{key} is {value_ms}: it must be more than {least_ms} milliseconds, {of}")]
    TooShort {
        /// The key.
        key: &'static str,
        /// Its value, milliseconds.
        value_ms: u128,
        /// What it must be more than.
        of: &'static str,
        /// How much that is, milliseconds.
        least_ms: u128,
    },
}

/// Settings that were read from every place and checked.
#[derive(Debug)]
pub struct Loaded {
    /// What the server runs with.
    pub config: Config,
    /// What is odd about the settings and no error, a line each.
    pub warnings: Vec<String>,
    /// The settings in force as a configuration file, with where each is from.
    pub description: String,
}

impl Loaded {
    /// Reads the configuration file that `arguments` name, puts `variables` (those named
    /// `BEANPOLE_*`) and the flags over it, and checks what comes out.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], with the value and the limit where there are two.
    pub fn read(
        arguments: &Arguments,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let layers = Layers::read(arguments, variables)?;
        let settings = layers.merged();
        check_port(arguments, &settings)?;
        let config = Config::check(&settings, &Machine::read())?;
        let warnings = warnings(arguments, &layers, &config);
        Ok(Self { config, warnings, description: layers.describe() })
    }
}

impl Config {
    /// Checks settings that have the defaults in them.
    fn check(settings: &Settings, machine: &Machine) -> Result<Self, ConfigError> {
        let memory = memory(settings, machine)?;
        let asked = settings.job_size_max.unwrap_or_default();
        let limit = JOB_SIZE_MAX_LIMIT.min(memory / JOB_PER_MEMORY);
        if asked > limit {
            return Err(ConfigError::JobSizeMax { asked, limit });
        }
        let segment_size_typed = settings.segment_size_max.unwrap_or_default();
        let sync = sync_policy(settings);
        let cluster = settings.cluster.as_ref().map(ClusterConfig::check).transpose()?;
        if cluster.is_some() && settings.data_dir.is_none() {
            return Err(ConfigError::Missing { key: "data_dir" });
        }
        if cluster.is_some() && sync != SyncPolicy::Always {
            return Err(ConfigError::WeakSyncInCluster);
        }
        Ok(Self {
            data_dir: settings.data_dir.clone(),
            must_exist: settings.must_exist.unwrap_or_default(),
            sync,
            listen: address(settings),
            user: settings.user.clone(),
            job_size_max: u32::try_from(asked).expect("the limit fits 32 bits"),
            segment_size_max: segment_size_typed.max(SEGMENT_SIZE_MAX_FLOOR),
            segment_size_typed,
            memory,
            disk_free_min: at_least(
                "disk_free_min",
                settings.disk_free_min,
                DISK_FREE_MIN_DEFAULT,
            )?,
            checkpoint_log_min: at_least(
                "checkpoint_log_min",
                settings.checkpoint_log_min,
                CHECKPOINT_LOG_MIN_FLOOR,
            )?,
            checkpoint_ops_max: at_least(
                "checkpoint_ops_max",
                settings.checkpoint_ops_max,
                CHECKPOINT_OPS_MAX_FLOOR,
            )?,
            log_format: settings.log_format.unwrap_or(LogFormat::Text),
            verbosity: settings.verbose.unwrap_or_default().min(VERBOSITY_MAX),
            cluster,
        })
    }
}

/// The names of all variables of the environment that are settings.
pub fn setting_variables() -> impl Iterator<Item = String> {
    layers::variables()
}

/// The data directory that the flag, the environment or the file names, in this order; for commands
/// that look for a server and do not become one.
///
/// # Errors
///
/// [`ConfigError::File`] or [`ConfigError::Syntax`], of the file.
pub fn data_dir_of_server(
    flag: Option<PathBuf>,
    variable: Option<OsString>,
    file: Option<PathBuf>,
) -> Result<Option<PathBuf>, ConfigError> {
    if let Some(said) = flag.or(variable.map(PathBuf::from)) {
        return Ok(Some(said));
    }
    let Some(file) = file else { return Ok(None) };
    Ok(Settings::read(&file)?.data_dir)
}

fn at_least(key: &'static str, asked: Option<u64>, floor: u64) -> Result<u64, ConfigError> {
    let asked = asked.expect("settings have the defaults in them");
    match asked < floor {
        true => Err(ConfigError::TooLittle { key, asked, floor }),
        false => Ok(asked),
    }
}

fn memory(settings: &Settings, machine: &Machine) -> Result<u64, ConfigError> {
    let default = || machine.default_budget(settings.data_dir.is_some());
    let budget = settings.memory.unwrap_or_else(default);
    let is_default = settings.memory.is_none();
    match budget < BUDGET_FLOOR_BYTES {
        true => Err(ConfigError::Memory { budget, is_default }),
        false => Ok(budget),
    }
}

/// A port that is no number matters only where there are ports.
fn check_port(arguments: &Arguments, settings: &Settings) -> Result<(), ConfigError> {
    let Some(port) = &arguments.port else { return Ok(()) };
    if unix_path(settings).is_none() && port.parse::<u16>().is_err() {
        return Err(ConfigError::Port(port.clone()));
    }
    Ok(())
}

fn sync_said_twice(settings: &Settings) -> bool {
    settings.never_sync == Some(true) && settings.sync_every.is_some()
}

fn sync_policy(settings: &Settings) -> SyncPolicy {
    match (settings.never_sync.unwrap_or_default(), settings.sync_every) {
        (true, _) => SyncPolicy::Never,
        (false, None | Some(0)) => SyncPolicy::Always,
        (false, Some(millis)) => SyncPolicy::Every(Duration::from_millis(millis)),
    }
}

fn address(settings: &Settings) -> Address {
    match unix_path(settings) {
        Some(path) => Address::Unix(path.into()),
        None => Address::Tcp {
            host: settings.listen.clone(),
            port: settings.port.unwrap_or(PORT_DEFAULT),
        },
    }
}

fn unix_path(settings: &Settings) -> Option<&str> {
    settings.listen.as_deref()?.strip_prefix("unix:")
}

fn warnings(arguments: &Arguments, layers: &Layers, config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if !layers.unknown_variables.is_empty() {
        let names = layers.unknown_variables.join(", ");
        warnings.push(format!("no settings, and ignored: {names}"));
    }
    if arguments.compact || arguments.no_compact {
        let text = "-c and -n have no effect: the log is compacted by checkpoints";
        warnings.push(text.to_owned());
    }
    if config.data_dir.is_none() && config.sync != SyncPolicy::Always {
        warnings.push("-f and -F have no effect without -b".to_owned());
    }
    warnings
}
