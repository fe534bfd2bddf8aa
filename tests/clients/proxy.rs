//! HAProxy before members, as `packaging/haproxy.cfg` has it.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{Client, Cluster, PATIENCE, left_out, now};

/// Where the file lets it listen.
const LISTENS: &str = "127.0.0.1:11300";
/// What it says goes there.
const LOG: &str = "stderr";
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A running HAProxy. Killed when dropped.
#[derive(Debug)]
pub(super) struct Proxy {
    child: Child,
    address: SocketAddr,
    scratch: TempDir,
}

impl Proxy {
    /// Starts one before all three members, and waits until one of them is behind it; `None` when
    /// there is no HAProxy here, which is said to be left out.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub(super) fn before(cluster: &Cluster) -> Option<Self> {
        let Ok(version) = Command::new("haproxy").arg("-v").output() else {
            left_out("members behind HAProxy: haproxy is not installed");
            return None;
        };
        assert!(version.status.success(), "{version:?}");
        let deadline = now() + PATIENCE;
        loop {
            // Somebody else may get a port that was free: it then ends at once.
            if let Some(proxy) = Self::start(cluster) {
                return Some(proxy);
            }
            assert!(now() < deadline, "HAProxy does not come up");
        }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    fn start(cluster: &Cluster) -> Option<Self> {
        let address = free_address();
        let scratch = tempfile::tempdir().expect("a temporary directory can be made");
        let file = configuration(cluster, address, scratch.path());
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(file).stdin(Stdio::null());
        let log = File::create(scratch.path().join(LOG)).expect("the directory is writable");
        command.stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("it was there a moment ago");
        let mut proxy = Self { child, address, scratch };
        let deadline = now() + PATIENCE;
        while proxy.child.try_wait().expect("a child can be waited for").is_none() {
            let reply = Client::to(address).and_then(|mut client| client.ask("list-tube-used"));
            if reply.is_ok_and(|reply| reply == "USING default") {
                return Some(proxy);
            }
            assert!(now() < deadline, "HAProxy lets nobody through: {}", proxy.log());
            thread::sleep(POLL_INTERVAL);
        }
        let log = proxy.log();
        assert!(log.contains("cannot bind"), "HAProxy has ended: {log}");
        None
    }

    /// What it has said.
    fn log(&self) -> String {
        fs::read_to_string(self.scratch.path().join(LOG)).expect("it was made here")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        self.child.wait().expect("a child can be waited for");
    }
}

/// The file of the project with these addresses in it, and nothing else changed.
fn configuration(cluster: &Cluster, listen: SocketAddr, directory: &Path) -> PathBuf {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(project.join("packaging/haproxy.cfg")).expect("it is there");
    let mut text = replace_one(&text, LISTENS, listen);
    for member in 0..cluster.member_count() {
        let named = format!("10.0.0.{}:11300", member + 1);
        text = replace_one(&text, &named, cluster.address(member));
    }
    let file = directory.join("haproxy.cfg");
    fs::write(&file, text).expect("the scratch directory is writable");
    file
}

fn replace_one(text: &str, named: &str, address: SocketAddr) -> String {
    assert_eq!(text.matches(named).count(), 1, "{named} in the configuration");
    text.replace(named, &address.to_string())
}

/// An address that nobody listens on.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("there is a free port");
    listener.local_addr().expect("a bound socket has an address")
}
