//! A file system that loses what was not synced: ext4 on a loop device, shut down under the
//! server by `FS_IOC_SHUTDOWN`.

use std::path::Path;
use std::time::Duration;

use super::rounds::Crash;
use crate::support::{LoopDisk, Server, Target};

/// Room for the log of a few rounds.
const DISK_SIZE_BYTES: u64 = 512 * 1024 * 1024;
/// How long a server may live on after its disk has failed.
const END_WITHIN: Duration = Duration::from_secs(5);

/// A disk under a server.
pub(super) struct Disk {
    target: Target,
    disk: LoopDisk,
}

impl Disk {
    /// Makes and mounts a disk for a server.
    ///
    /// # Errors
    ///
    /// Why this machine or this user cannot.
    pub(super) fn mount(target: Target) -> Result<Self, String> {
        let disk = Self { target, disk: LoopDisk::mount(DISK_SIZE_BYTES)? };
        // A trial, so that a kernel without the ioctl is found out here.
        disk.disk.shut_down()?;
        disk.disk.mount_again()?;
        Ok(disk)
    }
}

impl Crash for Disk {
    fn data(&self) -> &Path {
        self.disk.path()
    }

    fn crash(&mut self, server: &mut Server) -> Result<(), String> {
        self.disk.shut_down()?;
        // beanstalkd goes on without its log.
        if self.target == Target::Beanpole && server.wait_for_end(END_WITHIN).is_none() {
            return Err(format!("the server lives on without a disk; {}", server.log()));
        }
        server.kill();
        self.disk.mount_again()
    }

    fn may_refuse(&self) -> bool {
        true
    }
}
