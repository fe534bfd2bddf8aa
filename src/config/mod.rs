//! What was checked: the settings the server runs with. Bad values are refused with both numbers,
//! never corrected in silence.

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::{Arguments, LogFormat};
use crate::raft::SyncPolicy;
use crate::server::Address;

/// The most `-z` may ask for, bytes. A job is one record of the log and is held whole in memory
/// several times on its way.
pub const JOB_SIZE_MAX_LIMIT: u64 = 64 << 20;

/// The largest file of the log by default, bytes.
pub const SEGMENT_SIZE_MAX_DEFAULT: u64 = 64 << 20;

/// The least `-s` means, bytes.
pub const SEGMENT_SIZE_MAX_FLOOR: u64 = 1 << 20;

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
    /// The form of log lines.
    pub log_format: LogFormat,
    /// How much to log: 0, 1 or 2.
    pub verbosity: u8,
}

/// A setting that cannot be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// `-z` is too large.
    #[error("a largest job of {asked} bytes (-z) is more than the limit of {limit}")]
    JobSizeMax {
        /// What was asked for.
        asked: u64,
        /// What is possible.
        limit: u64,
    },
    /// `-p` is not a port.
    #[error("{0} is not a port: a number from 0 to 65535 is wanted")]
    Port(String),
}

impl Config {
    /// Checks what was typed.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with the value and the limit.
    pub fn check(arguments: &Arguments) -> Result<Self, ConfigError> {
        let asked = arguments.job_size_max;
        let limit = JOB_SIZE_MAX_LIMIT;
        if asked > limit {
            return Err(ConfigError::JobSizeMax { asked, limit });
        }
        let segment_size_typed = arguments.segment_size_max.unwrap_or(SEGMENT_SIZE_MAX_DEFAULT);
        Ok(Self {
            data_dir: arguments.data_dir.clone(),
            must_exist: arguments.must_exist,
            sync: sync_policy(arguments),
            listen: address(arguments)?,
            user: arguments.user.clone(),
            job_size_max: u32::try_from(asked).expect("the limit fits 32 bits"),
            segment_size_max: segment_size_typed.max(SEGMENT_SIZE_MAX_FLOOR),
            segment_size_typed,
            log_format: arguments.log_format,
            verbosity: arguments.verbose,
        })
    }
}

fn sync_policy(arguments: &Arguments) -> SyncPolicy {
    match (arguments.never_sync, arguments.sync_every) {
        (true, _) => SyncPolicy::Never,
        (false, None | Some(0)) => SyncPolicy::Always,
        (false, Some(millis)) => SyncPolicy::Every(Duration::from_millis(millis)),
    }
}

fn address(arguments: &Arguments) -> Result<Address, ConfigError> {
    if let Some(path) = arguments.listen.as_deref().and_then(|listen| listen.strip_prefix("unix:"))
    {
        return Ok(Address::Unix(path.into()));
    }
    let port = arguments.port.parse().map_err(|_| ConfigError::Port(arguments.port.clone()))?;
    Ok(Address::Tcp { host: arguments.listen.clone(), port })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn check(line: &str) -> Result<Config, ConfigError> {
        let arguments = Arguments::read(line.split(' ').map(OsString::from)).expect("a good line");
        Config::check(&arguments)
    }

    #[test]
    fn a_data_directory_alone_means_synced_before_every_reply() {
        let config = check("beanpole -b /srv/jobs").expect("good settings");
        assert_eq!(config.sync, SyncPolicy::Always);
        assert_eq!(
            check("beanpole -b x -f 50").expect("good").sync,
            SyncPolicy::Every(Duration::from_millis(50))
        );
        assert_eq!(check("beanpole -b x -F").expect("good").sync, SyncPolicy::Never);
    }

    #[test]
    fn too_large_a_job_is_refused_with_both_numbers() {
        let error = check("beanpole -z 1073741824").expect_err("too large");
        assert_eq!(error, ConfigError::JobSizeMax { asked: 1 << 30, limit: JOB_SIZE_MAX_LIMIT });
    }

    #[test]
    fn a_port_is_a_number_of_16_bits() {
        assert_eq!(
            check("beanpole -p 99999").expect_err("no port"),
            ConfigError::Port("99999".into())
        );
        let config = check("beanpole -l ::1 -p 0").expect("good settings");
        assert_eq!(config.listen, Address::Tcp { host: Some("::1".into()), port: 0 });
        let config = check("beanpole -l unix:/run/x -p junk").expect("the port is ignored");
        assert_eq!(config.listen, Address::Unix("/run/x".into()));
    }

    #[test]
    fn a_small_segment_is_raised_to_the_floor_and_shown_as_typed() {
        let config = check("beanpole -s 4096").expect("good settings");
        assert_eq!(
            (config.segment_size_max, config.segment_size_typed),
            (SEGMENT_SIZE_MAX_FLOOR, 4096)
        );
    }
}
