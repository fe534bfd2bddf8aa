//! A small disk: ext4 on a loop device.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A mounted disk. Unmounted when dropped.
pub(super) struct SmallDisk {
    _scratch: TempDir,
    mount_point: PathBuf,
}

impl SmallDisk {
    /// Makes and mounts a disk of so many bytes.
    ///
    /// # Errors
    ///
    /// Why this machine or this user cannot.
    pub(super) fn mount(bytes: u64) -> Result<Self, String> {
        let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
        let image = scratch.path().join("image");
        let mount_point = scratch.path().join("mounted");
        let file = File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(bytes).map_err(|error| error.to_string())?;
        fs::create_dir(&mount_point).map_err(|error| error.to_string())?;
        // No blocks kept back: the server of this test may be root.
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mount_point))?;
        Ok(Self { _scratch: scratch, mount_point })
    }

    /// Where the server keeps its jobs.
    pub(super) fn data(&self) -> PathBuf {
        self.mount_point.join("data")
    }

    /// Takes up what room is left.
    pub(super) fn fill(&self) {
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
    pub(super) fn drain(&self) {
        fs::remove_file(self.filler()).expect("it was filled");
    }

    fn filler(&self) -> PathBuf {
        Path::new(&self.mount_point).join("filler")
    }
}

impl Drop for SmallDisk {
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
