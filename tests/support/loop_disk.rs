//! A file system of our own: ext4 in a file, mounted over a loop device.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A mounted file system. Unmounted when dropped.
pub(crate) struct LoopDisk {
    scratch: TempDir,
    mount_point: PathBuf,
}

impl LoopDisk {
    /// Makes and mounts a file system of so many bytes. Its file is sparse and costs what is used.
    ///
    /// # Errors
    ///
    /// Why this machine or this user cannot.
    pub(crate) fn mount(bytes: u64) -> Result<Self, String> {
        let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mount_point = scratch.path().join("mounted");
        let disk = Self { scratch, mount_point };
        let file = File::create(disk.image()).map_err(|error| error.to_string())?;
        file.set_len(bytes).map_err(|error| error.to_string())?;
        fs::create_dir(&disk.mount_point).map_err(|error| error.to_string())?;
        // No blocks kept back: the server of a test may be root.
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(disk.image()))?;
        disk.mount_image()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.mount_point
    }

    /// Unmounts and mounts it, as a machine that starts anew would.
    ///
    /// # Errors
    ///
    /// What the commands say.
    pub(crate) fn mount_again(&self) -> Result<(), String> {
        run(Command::new("umount").arg(&self.mount_point))?;
        self.mount_image()
    }

    fn image(&self) -> PathBuf {
        self.scratch.path().join("image")
    }

    fn mount_image(&self) -> Result<(), String> {
        run(Command::new("mount").args(["-o", "loop"]).arg(self.image()).arg(&self.mount_point))
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        // Nothing is left to do about a failure here; a lazy unmount waits for the last user.
        drop(run(Command::new("umount").arg("-l").arg(&self.mount_point)));
    }
}

/// Runs a command to its end.
///
/// # Errors
///
/// Its name and what it said.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
