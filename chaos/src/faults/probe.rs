//! Whether this machine has what a kind of fault takes.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use super::Kind;
use crate::testbed::{LoopDisk, MemoryGroup, can_have_cables, can_have_clocks, can_worsen, run};

/// Enough for a file system.
const DISK_BYTES: u64 = 16 << 20;
const GROUP_BYTES: u64 = 32 << 20;
/// Within which a connection that was reset ends.
const RESET_WITHIN: Duration = Duration::from_secs(2);

/// Whether this machine and this user have what a kind of fault takes, found out by a trial of its
/// mechanism. Takes up to half a second; ask once.
///
/// # Errors
///
/// What is missing.
pub fn probe(kind: Kind) -> Result<(), String> {
    match kind {
        Kind::Kill | Kind::Restart | Kind::Terminate | Kind::Freeze => Ok(()),
        Kind::FlipLog | Kind::FlipRun | Kind::FlipCheckpoint => Ok(()),
        Kind::Transfer | Kind::Replace | Kind::Grow => Ok(()),
        Kind::CutOneWay | Kind::CutTwoWays | Kind::Isolate | Kind::CutPattern => can_have_cables(),
        Kind::Delay | Kind::Loss => can_worsen(),
        Kind::Reset => can_reset(),
        Kind::PowerLoss => can_lose_power(),
        Kind::FullDisk => LoopDisk::mount(DISK_BYTES).map(drop),
        Kind::FailedSync | Kind::HungDisk | Kind::SlowDisk => can_trace(),
        Kind::OomKill => MemoryGroup::create(GROUP_BYTES).map(drop),
        Kind::ClockJump => can_have_clocks(),
    }
}

fn can_lose_power() -> Result<(), String> {
    let disk = LoopDisk::mount(DISK_BYTES)?;
    disk.shut_down()?;
    disk.mount_again()
}

fn can_trace() -> Result<(), String> {
    let injection = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO"];
    run(Command::new("strace").args(["-o", "/dev/null"]).args(injection).arg("true"))
}

/// A kernel may take the request and not do it.
fn can_reset() -> Result<(), String> {
    let said = |error: std::io::Error| error.to_string();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(said)?;
    let address = listener.local_addr().map_err(said)?;
    let mut stream = TcpStream::connect(address).map_err(said)?;
    let port = format!(":{}", address.port());
    run(Command::new("ss").args(["-K", "-t", "dst", "127.0.0.1", "dport", "=", &port]))?;
    stream.set_read_timeout(Some(RESET_WITHIN)).map_err(said)?;
    match stream.read(&mut [0]) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            Err("the kernel does not reset connections".to_owned())
        }
        _ => Ok(()),
    }
}
