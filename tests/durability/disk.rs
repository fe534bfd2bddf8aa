//! A file system that loses what was not synced: ext4 on a loop device, shut down under the
//! server by `FS_IOC_SHUTDOWN`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::rounds::Crash;
use crate::support::{Server, Target};

/// Sparse, so that it costs what is used.
const DISK_SIZE_BYTES: u64 = 512 * 1024 * 1024;
/// How long a server may live on after its disk has failed.
const END_WITHIN: Duration = Duration::from_secs(5);

/// `FS_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: nothing more is written, the journal as
/// little as the data. Python, because an ioctl is unsafe code in Rust.
const SHUTDOWN: &str = "import fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.ioctl(fd, 0x8004587d, struct.pack('I', 2))";

/// A mounted disk. Unmounted when dropped.
pub(super) struct Disk {
    target: Target,
    scratch: TempDir,
    mount_point: PathBuf,
}

impl Disk {
    /// Makes and mounts a disk for a server.
    ///
    /// # Errors
    ///
    /// Why this machine or this user cannot.
    pub(super) fn mount(target: Target) -> Result<Self, String> {
        let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
        let image = scratch.path().join("image");
        let mount_point = scratch.path().join("mounted");
        let file = File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(DISK_SIZE_BYTES).map_err(|error| error.to_string())?;
        fs::create_dir(&mount_point).map_err(|error| error.to_string())?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mount_point))?;
        let disk = Self { target, scratch, mount_point };
        // A trial, so that a kernel without the ioctl is found out here.
        disk.shut_down()?;
        disk.mount_again()?;
        Ok(disk)
    }

    fn shut_down(&self) -> Result<(), String> {
        run(Command::new("python3").args(["-c", SHUTDOWN]).arg(&self.mount_point))
    }

    fn mount_again(&self) -> Result<(), String> {
        run(Command::new("umount").arg(&self.mount_point))?;
        let image = self.scratch.path().join("image");
        run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(&self.mount_point))
    }
}

impl Crash for Disk {
    fn data(&self) -> &Path {
        &self.mount_point
    }

    fn crash(&mut self, server: &mut Server) -> Result<(), String> {
        self.shut_down()?;
        // beanstalkd goes on without its log.
        if self.target == Target::Beanpole && server.wait_for_end(END_WITHIN).is_none() {
            return Err(format!("the server lives on without a disk; {}", server.log()));
        }
        server.kill();
        self.mount_again()
    }

    fn may_refuse(&self) -> bool {
        true
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Nothing is left to do about a failure here; a lazy unmount waits for the last user.
        drop(run(Command::new("umount").arg("-l").arg(&self.mount_point)));
    }
}

/// Runs a command to its end.
fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
