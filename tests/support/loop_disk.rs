//! A file system of our own: ext4 in a file, mounted over a loop device.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// `FS_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: nothing more is written, the journal as
/// little as the data. Python, because an ioctl is unsafe code in Rust.
const SHUTDOWN: &str = "import fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.ioctl(fd, 0x8004587d, struct.pack('I', 2))";

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

    /// Loses power: nothing more is written, and what was not synced is gone when it is mounted again.
    ///
    /// # Errors
    ///
    /// Why this machine cannot.
    pub(crate) fn shut_down(&self) -> Result<(), String> {
        run(Command::new("python3").args(["-c", SHUTDOWN]).arg(&self.mount_point))
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

    /// Takes up what room is left.
    ///
    /// # Panics
    ///
    /// When that fails for another reason than that it is done.
    pub(crate) fn fill(&self) {
        let mut file = File::create(self.filler()).expect("the disk has a name left");
        for size in [1 << 20, 4096, 1] {
            let piece = vec![1; size];
            loop {
                match file.write_all(&piece).and_then(|()| file.sync_all()) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("cannot fill the disk: {error}"),
                }
                if size < 4096 {
                    break;
                }
            }
        }
    }

    /// Gives up again what [`fill`](Self::fill) took.
    ///
    /// # Panics
    ///
    /// When it was not filled.
    pub(crate) fn drain(&self) {
        fs::remove_file(self.filler()).expect("it was filled");
    }

    fn filler(&self) -> PathBuf {
        self.mount_point.join("filler")
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
