//! The files of a demo: a secret, and for each member a configuration file and a data directory.
//! What an earlier demo left is gone on with.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::DemoError;
use crate::config::{ClusterSettings, PORT_DEFAULT, Settings};
use crate::storage::disk::{Disk, DiskLock, RealDisk, create_private_file, replace_file};

/// How many members there are.
pub(super) const MEMBERS: u64 = 3;

/// Where ports are looked for when they are to be chosen. Not those that the system gives to
/// outgoing connections (from 32768 on): a member that was killed could find its own taken.
const CHOSEN_PORTS: Range<u16> = 20_000..32_000;

/// How many ports are tried before it is given up to find a free one.
const CHOICES_MAX: u32 = 1000;

/// The length of the secret, bytes; it is written in hexadecimal.
const SECRET_BYTES: usize = 32;

const CONFIG_NAME: &str = "config.toml";

/// The directory of a demo, locked for as long as this lives.
pub(super) struct Layout {
    pub(super) dir: PathBuf,
    pub(super) places: Vec<Place>,
    _lock: Box<dyn DiskLock>,
}

/// Where a member lives. All paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// From 1. Its id in the cluster may be another.
    pub(super) number: u64,
    pub(super) config: PathBuf,
    pub(super) data: PathBuf,
    pub(super) log: PathBuf,
    pub(super) client_port: u16,
    pub(super) member_port: u16,
}

impl Place {
    pub(super) fn client_address(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    pub(super) fn member_address(&self) -> String {
        format!("127.0.0.1:{}", self.member_port)
    }
}

impl Layout {
    /// Makes what is missing. `port` is the first for clients: 0 means those that an earlier demo
    /// had or chosen ones, `None` those or beanstalkd's.
    ///
    /// # Errors
    ///
    /// [`DemoError`]; also when one of the ports is taken.
    pub(super) fn prepare(dir: &Path, port: Option<u16>) -> Result<Self, DemoError> {
        // Before anything is written.
        client_port(port, MEMBERS, None)?;
        let dir = std::path::absolute(dir).map_err(io_error("find", dir))?;
        if dir.to_str().is_none() {
            return Err(DemoError::NotUtf8(dir));
        }
        RealDisk.create_dir(&dir).map_err(io_error("create", &dir))?;
        let lock = lock(&dir)?;
        let secret = dir.join("secret");
        make_secret(&secret).map_err(io_error("create", &secret))?;
        let mut ports = Ports::default();
        let mut places = Vec::new();
        for number in 1..=MEMBERS {
            places.push(place(&dir, number, port, &secret, &mut ports)?);
        }
        Ok(Self { dir, places, _lock: lock })
    }
}

fn lock(dir: &Path) -> Result<Box<dyn DiskLock>, DemoError> {
    let path = dir.join("lock");
    match RealDisk.lock(&path) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(DemoError::InUse(dir.to_owned()))
        }
        locked => locked.map_err(io_error("lock", &path)),
    }
}

fn make_secret(path: &Path) -> io::Result<()> {
    let mut bytes = [0; SECRET_BYTES];
    crate::random::fill(&mut bytes);
    let mut text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    text.push('\n');
    match create_private_file(path, text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        created => created,
    }
}

/// Makes the directory and the configuration file of a member, or reads what is there. What
/// somebody has added to the file stays.
fn place(
    dir: &Path,
    number: u64,
    port: Option<u16>,
    secret: &Path,
    ports: &mut Ports,
) -> Result<Place, DemoError> {
    let dir = dir.join(format!("member-{number}"));
    RealDisk.create_dir(&dir).map_err(io_error("create", &dir))?;
    let config = dir.join(CONFIG_NAME);
    let is_new =
        !RealDisk.list(&dir).map_err(io_error("list", &dir))?.contains(&CONFIG_NAME.into());
    let mut settings = if is_new { Settings::default() } else { Settings::read(&config)? };
    let mut cluster = settings.cluster.take().unwrap_or_default();
    let place = Place {
        number,
        data: dir.join("data"),
        log: dir.join("log"),
        client_port: ports.take(client_port(port, number, settings.port)?)?,
        member_port: ports.take(cluster.listen.as_deref().and_then(port_of))?,
        config,
    };
    cluster = ClusterSettings {
        listen: Some(place.member_address()),
        client_address: Some(place.client_address()),
        secret_file: Some(secret.to_owned()),
        ..cluster
    };
    settings = Settings {
        data_dir: Some(place.data.clone()),
        listen: Some(Ipv4Addr::LOCALHOST.to_string()),
        port: Some(place.client_port),
        cluster: Some(cluster),
        ..settings
    };
    let text = toml::to_string(&settings).expect("settings are tables of plain values");
    replace_file(&RealDisk, &dir, CONFIG_NAME, text.as_bytes())
        .map_err(io_error("write", &place.config))?;
    Ok(place)
}

/// Which port for clients is wanted, if it is known.
fn client_port(
    first: Option<u16>,
    number: u64,
    earlier: Option<u16>,
) -> Result<Option<u16>, DemoError> {
    let first = match (first, earlier) {
        (None | Some(0), Some(earlier)) => return Ok(Some(earlier)),
        (Some(0), None) => return Ok(None),
        (first, _) => first.unwrap_or(PORT_DEFAULT),
    };
    let later = u16::try_from(number - 1).ok().and_then(|later| first.checked_add(later));
    later.map(Some).ok_or(DemoError::PortRange(first))
}

fn port_of(address: &str) -> Option<u16> {
    address.rsplit_once(':')?.1.parse().ok().filter(|port| *port != 0)
}

/// The ports of all members, held until all are chosen, so that none is given twice.
#[derive(Default)]
struct Ports {
    held: Vec<TcpListener>,
}

impl Ports {
    /// Takes the port that is wanted, or any.
    fn take(&mut self, wanted: Option<u16>) -> Result<u16, DemoError> {
        let Some(port) = wanted else { return self.choose() };
        self.hold(port).map_err(|source| DemoError::Port { port, source })
    }

    fn choose(&mut self) -> Result<u16, DemoError> {
        let span = CHOSEN_PORTS.end - CHOSEN_PORTS.start;
        let mut tried = CHOSEN_PORTS.start;
        for _ in 0..CHOICES_MAX {
            let mut bytes = [0; 2];
            crate::random::fill(&mut bytes);
            tried = CHOSEN_PORTS.start + u16::from_le_bytes(bytes) % span;
            if let Ok(port) = self.hold(tried) {
                return Ok(port);
            }
        }
        Err(DemoError::Port { port: tried, source: io::ErrorKind::AddrInUse.into() })
    }

    fn hold(&mut self, port: u16) -> io::Result<u16> {
        self.held.push(TcpListener::bind((Ipv4Addr::LOCALHOST, port))?);
        Ok(port)
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DemoError {
    let path = path.to_owned();
    move |source| DemoError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ffi::OsString;
    use std::fs;

    use super::*;
    use crate::cli::Arguments;
    use crate::config::Loaded;

    fn prepare(dir: &Path, port: Option<u16>) -> Vec<Place> {
        Layout::prepare(dir, port).unwrap().places
    }

    #[test]
    fn what_is_written_is_a_configuration_that_a_member_accepts() {
        let dir = tempfile::tempdir().unwrap();
        for place in prepare(dir.path(), Some(0)) {
            let line = ["beanpole".into(), "--config".into(), place.config.into_os_string()];
            let arguments = Arguments::read(line.into_iter()).unwrap();
            let loaded = Loaded::read(&arguments, std::iter::empty::<(OsString, OsString)>());
            let config = loaded.unwrap().config;
            assert_eq!(config.data_dir, Some(place.data));
            let cluster = config.cluster.unwrap();
            assert_eq!(cluster.listen, format!("127.0.0.1:{}", place.member_port));
            assert_eq!(cluster.secret.as_bytes().len(), 2 * SECRET_BYTES);
        }
    }

    #[test]
    fn a_second_start_finds_the_ports_the_secret_and_what_was_added() {
        let dir = tempfile::tempdir().unwrap();
        let first = prepare(dir.path(), Some(0));
        let secret = fs::read(dir.path().join("secret")).unwrap();
        let config = &first[0].config;
        let text = format!("{}lease_ms = 3000\n", fs::read_to_string(config).unwrap());
        fs::write(config, text).unwrap();
        for port in [None, Some(0)] {
            assert_eq!(prepare(dir.path(), port), first);
        }
        assert!(fs::read_to_string(config).unwrap().contains("lease_ms = 3000"));
        assert_eq!(fs::read(dir.path().join("secret")).unwrap(), secret);
        let ports = first.iter().flat_map(|place| [place.client_port, place.member_port]);
        assert_eq!(ports.collect::<BTreeSet<_>>().len(), 6);
    }

    #[test]
    fn the_port_is_the_first_of_three() {
        assert_eq!(client_port(Some(7000), 1, None).unwrap(), Some(7000));
        assert_eq!(client_port(Some(7000), 3, Some(9)).unwrap(), Some(7002));
        assert_eq!(client_port(None, 2, None).unwrap(), Some(11301));
        assert_eq!(client_port(None, 2, Some(9)).unwrap(), Some(9));
        assert_eq!(client_port(Some(0), 2, None).unwrap(), None);
        assert!(matches!(client_port(Some(65534), 3, None), Err(DemoError::PortRange(65534))));
    }

    #[test]
    fn a_port_that_somebody_has_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let place = prepare(dir.path(), Some(0)).remove(1);
        let _taken = TcpListener::bind(("127.0.0.1", place.client_port)).unwrap();
        let error = Layout::prepare(dir.path(), None).err().unwrap();
        assert!(error.to_string().contains(&place.client_port.to_string()), "{error}");
    }

    #[test]
    fn a_directory_has_one_demo_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let _first = Layout::prepare(dir.path(), Some(0)).unwrap();
        let second = Layout::prepare(dir.path(), Some(0)).err().unwrap();
        assert!(matches!(second, DemoError::InUse(_)), "{second}");
    }
}
