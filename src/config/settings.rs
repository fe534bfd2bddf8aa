//! Settings as they are written in a file, or said by variables or flags: each may be missing.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

use super::ConfigError;
use crate::cli::LogFormat;
use crate::storage::disk::read_small_file;

/// The largest configuration file that is read, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The largest job by default, bytes (beanstalkd's figure).
const JOB_SIZE_MAX_DEFAULT: u64 = 65_535;

/// The largest file of the log by default, bytes.
pub const SEGMENT_SIZE_MAX_DEFAULT: u64 = 64 << 20;

/// The room for the log of what empties the queue by default, and at least, bytes.
pub const DISK_FREE_MIN_DEFAULT: u64 = 8 << 20;

/// The length of the log that is worth a checkpoint by default, bytes.
const CHECKPOINT_LOG_MIN_DEFAULT: u64 = 256 << 20;

/// How many ops a start has to apply by default, at most.
const CHECKPOINT_OPS_MAX_DEFAULT: u64 = 3_000_000;

/// beanstalkd's port.
pub const PORT_DEFAULT: u16 = 11_300;

/// What one place says. The keys are the long names of the flags, with underscores.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where jobs are kept; in memory only when nobody says it.
    #[serde(serialize_with = "lossy")]
    pub data_dir: Option<PathBuf>,
    /// Refuse to start on an empty data directory. Default false.
    pub must_exist: Option<bool>,
    /// Sync at most once in so many milliseconds; 0, the default: before every reply.
    pub sync_every: Option<u64>,
    /// Never sync. Default false.
    pub never_sync: Option<bool>,
    /// A name, an IP address or `unix:PATH`. Default all IPv4 interfaces.
    pub listen: Option<String>,
    /// The port for clients; 0 lets the system choose. Default 11300.
    pub port: Option<u16>,
    /// Whom to become once the address is bound.
    pub user: Option<String>,
    /// The largest body of a job, bytes. Default 65535.
    pub job_size_max: Option<u64>,
    /// The largest file of the log, bytes. Default 64 MiB.
    pub segment_size_max: Option<u64>,
    /// The budget for memory, bytes. Default: the lesser of a quarter of the machine's and 60 percent
    /// of its control group's; without a data directory three quarters of what is allowed.
    pub memory: Option<u64>,
    /// Room on the disk below which puts are refused, bytes. Default 8 MiB, and at least.
    pub disk_free_min: Option<u64>,
    /// How long the log behind the last checkpoint must be for the next one, bytes. Default 256 MiB.
    pub checkpoint_log_min: Option<u64>,
    /// After how many ops behind the last checkpoint the next one is made at the latest. Default 3
    /// million.
    pub checkpoint_ops_max: Option<u64>,
    /// The form of log lines. Default text.
    pub log_format: Option<LogFormat>,
    /// How much to log: 0 (the default), 1 or 2.
    pub verbose: Option<u8>,
    /// With this table, the process is a member of a cluster or waits to become one.
    pub cluster: Option<ClusterSettings>,
}

/// The table `[cluster]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSettings {
    /// Where other members connect, HOST:PORT. Port 0 lets the system choose.
    pub listen: Option<String>,
    /// What other members dial. Default: `listen`, with the real port.
    pub address: Option<String>,
    /// What people are shown as the address for clients. Default: where clients connect.
    pub client_address: Option<String>,
    /// The file with the secret that all members share.
    #[serde(serialize_with = "lossy")]
    pub secret_file: Option<PathBuf>,
    /// Between two heartbeats of the leader, milliseconds. Default 60.
    pub heartbeat_ms: Option<u64>,
    /// The least wait before an election, milliseconds. Default 200.
    pub election_min_ms: Option<u64>,
    /// The longest wait before an election, milliseconds. Default 400.
    pub election_max_ms: Option<u64>,
    /// After so long, what a dead member's clients held is ready again, milliseconds. Default 2000.
    pub dead_after_ms: Option<u64>,
    /// How long a member that nobody hears serves on, milliseconds. Default 2000.
    pub lease_ms: Option<u64>,
    /// After so long, a silent member's waiting reserves are passed over, milliseconds. Default 300.
    pub silent_after_ms: Option<u64>,
    /// Whether what a silent member's clients hold comes back as if it were dead. Default false:
    /// a job could get a second holder while the first still works on it.
    pub silent_release: Option<bool>,
    /// Whether a member without a majority closes its clients and refuses new ones. Default true.
    pub close_without_majority: Option<bool>,
}

impl Settings {
    /// Reads a configuration file.
    ///
    /// # Errors
    ///
    /// [`ConfigError::File`], or [`ConfigError::Syntax`] with the line, also for unknown keys.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let file = read_small_file(path, FILE_BYTES_MAX)
            .map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
        let syntax = |why: String| ConfigError::Syntax { path: path.to_owned(), why };
        let text = String::from_utf8(file.bytes).map_err(|error| syntax(error.to_string()))?;
        toml::from_str(&text).map_err(|error| syntax(error.to_string().trim_end().to_owned()))
    }

    /// The one set of defaults. There is a `[cluster]` table in it if `is_cluster`.
    pub(super) fn defaults(is_cluster: bool) -> Self {
        Self {
            data_dir: None,
            must_exist: Some(false),
            sync_every: Some(0),
            never_sync: Some(false),
            listen: Some("0.0.0.0".to_owned()),
            port: Some(PORT_DEFAULT),
            user: None,
            job_size_max: Some(JOB_SIZE_MAX_DEFAULT),
            segment_size_max: Some(SEGMENT_SIZE_MAX_DEFAULT),
            memory: None,
            disk_free_min: Some(DISK_FREE_MIN_DEFAULT),
            checkpoint_log_min: Some(CHECKPOINT_LOG_MIN_DEFAULT),
            checkpoint_ops_max: Some(CHECKPOINT_OPS_MAX_DEFAULT),
            log_format: Some(LogFormat::Text),
            verbose: Some(0),
            cluster: is_cluster.then(ClusterSettings::defaults),
        }
    }

    /// These settings, and where they are silent those of `lower`.
    pub(super) fn over(self, lower: Self) -> Self {
        // Two ways to say one thing: the higher place says it alone.
        let says_sync = self.sync_every.is_some() || self.never_sync.is_some();
        let (sync_every, never_sync) = if says_sync {
            (self.sync_every, self.never_sync)
        } else {
            (lower.sync_every, lower.never_sync)
        };
        Self {
            data_dir: self.data_dir.or(lower.data_dir),
            must_exist: self.must_exist.or(lower.must_exist),
            sync_every,
            never_sync,
            listen: self.listen.or(lower.listen),
            port: self.port.or(lower.port),
            user: self.user.or(lower.user),
            job_size_max: self.job_size_max.or(lower.job_size_max),
            segment_size_max: self.segment_size_max.or(lower.segment_size_max),
            memory: self.memory.or(lower.memory),
            disk_free_min: self.disk_free_min.or(lower.disk_free_min),
            checkpoint_log_min: self.checkpoint_log_min.or(lower.checkpoint_log_min),
            checkpoint_ops_max: self.checkpoint_ops_max.or(lower.checkpoint_ops_max),
            log_format: self.log_format.or(lower.log_format),
            verbose: self.verbose.or(lower.verbose),
            cluster: match (self.cluster, lower.cluster) {
                (Some(higher), Some(lower)) => Some(higher.over(lower)),
                (higher, lower) => higher.or(lower),
            },
        }
    }
}

impl ClusterSettings {
    fn defaults() -> Self {
        Self {
            listen: None,
            address: None,
            client_address: None,
            secret_file: None,
            heartbeat_ms: Some(60),
            election_min_ms: Some(200),
            election_max_ms: Some(400),
            dead_after_ms: Some(2_000),
            lease_ms: Some(2_000),
            silent_after_ms: Some(300),
            silent_release: Some(false),
            close_without_majority: Some(true),
        }
    }

    fn over(self, lower: Self) -> Self {
        Self {
            listen: self.listen.or(lower.listen),
            address: self.address.or(lower.address),
            client_address: self.client_address.or(lower.client_address),
            secret_file: self.secret_file.or(lower.secret_file),
            heartbeat_ms: self.heartbeat_ms.or(lower.heartbeat_ms),
            election_min_ms: self.election_min_ms.or(lower.election_min_ms),
            election_max_ms: self.election_max_ms.or(lower.election_max_ms),
            dead_after_ms: self.dead_after_ms.or(lower.dead_after_ms),
            lease_ms: self.lease_ms.or(lower.lease_ms),
            silent_after_ms: self.silent_after_ms.or(lower.silent_after_ms),
            silent_release: self.silent_release.or(lower.silent_release),
            close_without_majority: self.close_without_majority.or(lower.close_without_majority),
        }
    }
}

/// A path for people: one that is not UTF-8 is shown as well as can be.
fn lossy<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy().into_owned()).serialize(serializer)
}
