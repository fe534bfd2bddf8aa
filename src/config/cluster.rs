//! The checked table `[cluster]`: addresses, the secret, times.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use super::ConfigError;
use super::settings::ClusterSettings;
use crate::raft::Timing;
use crate::storage::disk::read_small_file;

/// The least length of a secret, bytes.
pub const SECRET_BYTES_MIN: usize = 16;

/// The largest file of a secret, bytes.
const SECRET_FILE_BYTES_MAX: u64 = 4096;

/// Permissions that a file with a secret must not have.
const OF_OTHERS: u32 = 0o077;

/// The least and the most of every time, milliseconds, both included.
const TIME_MS: std::ops::RangeInclusive<u64> = 10..=600_000;

/// What a member of a cluster is told.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// Where other members connect, HOST:PORT. Port 0 lets the system choose.
    pub listen: String,
    /// What other members dial, HOST:PORT; `None`: `listen`, with the real port.
    pub address: Option<String>,
    /// What people are shown as the address for clients; `None`: where clients connect.
    pub client_address: Option<String>,
    /// What all members know and nobody else does.
    pub secret: Secret,
    /// How members judge each other.
    pub timing: Timing,
    /// Whether a member without a majority closes its clients and refuses new ones.
    pub close_without_majority: bool,
}

/// The contents of the secret file without the white space around them. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// At least [`SECRET_BYTES_MIN`] bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl ClusterConfig {
    /// Checks the table, with the defaults in it, and reads the secret.
    pub(super) fn check(settings: &ClusterSettings) -> Result<Self, ConfigError> {
        let listen = needed("cluster.listen", settings.listen.clone())?;
        check_address("cluster.listen", &listen)?;
        for (key, address) in [
            ("cluster.address", &settings.address),
            ("cluster.client_address", &settings.client_address),
        ] {
            let Some(address) = address else { continue };
            if check_address(key, address)? == 0 {
                return Err(refused_address(key, address, "nobody can dial port 0"));
            }
        }
        if settings.address.is_none() && is_every_interface(&listen) {
            let why = "it is every address of this machine: say in cluster.address which of them \
                       other members are to dial";
            return Err(refused_address("cluster.listen", &listen, why));
        }
        let secret = read_secret(&needed("cluster.secret_file", settings.secret_file.clone())?)?;
        let timing = timing(settings)?;
        check_times(&timing)?;
        check_silent_release(&timing)?;
        Ok(Self {
            listen,
            address: settings.address.clone(),
            client_address: settings.client_address.clone(),
            secret,
            timing,
            close_without_majority: settings.close_without_majority.unwrap_or_default(),
        })
    }
}

fn timing(settings: &ClusterSettings) -> Result<Timing, ConfigError> {
    Ok(Timing {
        heartbeat: time("heartbeat_ms", settings.heartbeat_ms)?,
        election_min: time("election_min_ms", settings.election_min_ms)?,
        election_max: time("election_max_ms", settings.election_max_ms)?,
        dead_after: time("dead_after_ms", settings.dead_after_ms)?,
        lease: time("lease_ms", settings.lease_ms)?,
        silent_after: time("silent_after_ms", settings.silent_after_ms)?,
        silent_release: settings.silent_release.unwrap_or_default(),
    })
}

/// Refuses times that would make a healthy cluster look ill.
fn check_times(timing: &Timing) -> Result<(), ConfigError> {
    // openraft looks every 13/64 of a heartbeat whether one is due.
    let late = timing.heartbeat + timing.heartbeat * 13 / 64;
    let rules = [
        ("election_min_ms", timing.election_min, "a heartbeat and the wait for its tick", late),
        ("election_max_ms", timing.election_max, "election_min_ms", timing.election_min),
        ("silent_after_ms", timing.silent_after, "a heartbeat and the wait for its tick", late),
        ("lease_ms", timing.lease, "twice election_max_ms", timing.election_max * 2),
    ];
    for (key, value, of, least) in rules {
        if value <= least {
            return Err(ConfigError::TooShort {
                key,
                value_ms: value.as_millis(),
                of,
                least_ms: least.as_millis(),
            });
        }
    }
    Ok(())
}

/// Refuses to give away what a silent member's clients hold while that member may still serve them.
fn check_silent_release(timing: &Timing) -> Result<(), ConfigError> {
    let least = timing.lease_seen_from_outside();
    if !timing.silent_release || timing.dead_after > least {
        return Ok(());
    }
    Err(ConfigError::SilentRelease {
        dead_after_ms: timing.dead_after.as_millis(),
        lease_ms: timing.lease.as_millis(),
        least_ms: least.as_millis(),
    })
}

fn needed<T>(key: &'static str, value: Option<T>) -> Result<T, ConfigError> {
    value.ok_or(ConfigError::Missing { key })
}

fn time(key: &'static str, millis: Option<u64>) -> Result<Duration, ConfigError> {
    let millis = needed(key, millis)?;
    if !TIME_MS.contains(&millis) {
        let (least, most) = (*TIME_MS.start(), *TIME_MS.end());
        return Err(ConfigError::Time { key, value_ms: millis, least, most });
    }
    Ok(Duration::from_millis(millis))
}

/// Returns the port of HOST:PORT.
fn check_address(key: &'static str, address: &str) -> Result<u16, ConfigError> {
    let refused = |why| refused_address(key, address, why);
    let (host, port) = address.rsplit_once(':').ok_or_else(|| refused("HOST:PORT is wanted"))?;
    let is_bracketed = host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || (host.contains(':') && !is_bracketed) {
        return Err(refused("HOST:PORT is wanted, an IPv6 address in brackets"));
    }
    port.parse().map_err(|_| refused("the port is to be a number from 0 to 65535"))
}

fn refused_address(key: &'static str, address: &str, why: &'static str) -> ConfigError {
    ConfigError::Address { key, address: address.to_owned(), why }
}

fn is_every_interface(listen: &str) -> bool {
    ["0.0.0.0:", "[::]:"].iter().any(|front| listen.starts_with(front))
}

fn read_secret(path: &Path) -> Result<Secret, ConfigError> {
    let refused = |why: String| ConfigError::Secret { path: path.to_owned(), why };
    let file = read_small_file(path, SECRET_FILE_BYTES_MAX)
        .map_err(|error| refused(format!("it cannot be read: {error}")))?;
    if file.mode & OF_OTHERS != 0 {
        let mode = file.mode;
        return Err(refused(format!(
            "others than its owner may use it (mode {mode:03o}): chmod 600"
        )));
    }
    let secret = file.bytes.trim_ascii();
    if secret.len() < SECRET_BYTES_MIN {
        let found = secret.len();
        return Err(refused(format!(
            "it has {found} bytes, at least {SECRET_BYTES_MIN} are wanted"
        )));
    }
    Ok(Secret(secret.to_vec()))
}
