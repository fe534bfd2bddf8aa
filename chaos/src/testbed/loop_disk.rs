//! A file system of our own: ext4 in a file, mounted over a loop device.

use std::fs::{self, File};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use tempfile::TempDir;

use super::run;

/// `FS_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: nothing more is written, the journal as
/// little as the data. Python, because an ioctl is unsafe code in Rust.
const SHUTDOWN: &str = "import fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.ioctl(fd, 0x8004587d, struct.pack('I', 2))";

/// What is left to be filled by writing.
const ROOM_FILLED_BY_WRITES: u64 = 4 << 20;
/// How often room that became free is taken up by [`LoopDisk::keep_full`].
const TAKEN_UP_EVERY: Duration = Duration::from_millis(50);

/// A mounted file system. Unmounted when dropped.
#[derive(Debug)]
pub struct LoopDisk {
    scratch: TempDir,
    mount_point: PathBuf,
    /// Held while it is mounted or not, and it must stay so.
    mount: Arc<Mutex<()>>,
    occupant: Mutex<Option<Occupant>>,
}

/// A thread that takes up whatever becomes free. Ended when dropped.
#[derive(Debug)]
struct Occupant {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl LoopDisk {
    /// Makes and mounts a file system of so many bytes. Its file is sparse and costs what is used.
    ///
    /// # Errors
    ///
    /// Why this machine or this user cannot.
    pub fn mount(bytes: u64) -> Result<Self, String> {
        let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mount_point = scratch.path().join("mounted");
        let (mount, occupant) = (Arc::default(), Mutex::default());
        let disk = Self { scratch, mount_point, mount, occupant };
        let file = File::create(disk.image()).map_err(|error| error.to_string())?;
        file.set_len(bytes).map_err(|error| error.to_string())?;
        fs::create_dir(&disk.mount_point).map_err(|error| error.to_string())?;
        // No blocks kept back: the server of a test may be root.
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(disk.image()))?;
        disk.mount_image()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mount_point
    }

    /// Loses power: nothing more is written, and what was not synced is gone when it is mounted again.
    ///
    /// # Errors
    ///
    /// Why this machine cannot.
    pub fn shut_down(&self) -> Result<(), String> {
        run(Command::new("python3").args(["-c", SHUTDOWN]).arg(&self.mount_point))?;
        // A kernel may take the request and go on.
        match File::create(self.mount_point.join("written-without-power")) {
            Ok(_) => Err("the file system goes on after it was shut down".to_owned()),
            Err(_) => Ok(()),
        }
    }

    /// Unmounts and mounts it, as a machine that starts anew would.
    ///
    /// # Errors
    ///
    /// What the commands say.
    pub fn mount_again(&self) -> Result<(), String> {
        let _unused = self.mount.lock().unwrap_or_else(PoisonError::into_inner);
        run(Command::new("umount").arg(&self.mount_point))?;
        self.mount_image()
    }

    /// Takes up what room is left, once: what is removed afterwards makes room again.
    ///
    /// # Errors
    ///
    /// When that fails for another reason than that it is done.
    pub fn fill(&self) -> Result<(), String> {
        let said = |error: std::io::Error| format!("cannot fill the disk: {error}");
        let mut file = File::create(self.filler()).map_err(said)?;
        // Most of it at once and unwritten; somebody else may be faster with the rest.
        let most = self.free_bytes()?.saturating_sub(ROOM_FILLED_BY_WRITES);
        if fallocate(&file, FallocateFlags::empty(), 0, most).is_ok() {
            file.seek(SeekFrom::End(0)).map_err(said)?;
        }
        take_up(&mut file).map_err(said)
    }

    /// Takes up what room is left, and what becomes free, until [`drain`](Self::drain).
    ///
    /// # Errors
    ///
    /// As [`fill`](Self::fill).
    pub fn keep_full(&self) -> Result<(), String> {
        self.fill()?;
        let occupant = Occupant::start(self.filler(), self.mount.clone());
        *self.occupant.lock().unwrap_or_else(PoisonError::into_inner) = Some(occupant);
        Ok(())
    }

    /// Gives up again what [`fill`](Self::fill) and [`keep_full`](Self::keep_full) took, if they took
    /// any.
    ///
    /// # Errors
    ///
    /// As the system says.
    pub fn drain(&self) -> Result<(), String> {
        drop(self.occupant.lock().unwrap_or_else(PoisonError::into_inner).take());
        match fs::remove_file(self.filler()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.to_string()),
            _ => Ok(()),
        }
    }

    fn free_bytes(&self) -> Result<u64, String> {
        let found = statvfs(&self.mount_point).map_err(|error| error.to_string())?;
        Ok(found.f_bavail * found.f_frsize)
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

impl Occupant {
    fn start(filler: PathBuf, mount: Arc<Mutex<()>>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let mounted = mount.lock().unwrap_or_else(PoisonError::into_inner);
                // It is full, or it has lost power and will be tried again.
                let opened = File::options().append(true).open(&filler);
                drop(opened.and_then(|mut file| take_up(&mut file)));
                drop(mounted);
                thread::sleep(TAKEN_UP_EVERY);
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Occupant {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the panic hook.
            drop(thread.join());
        }
    }
}

/// Writes until there is no room.
fn take_up(file: &mut File) -> std::io::Result<()> {
    for size in [1 << 20, 4096, 1] {
        let piece = vec![1; size];
        loop {
            match file.write_all(&piece).and_then(|()| file.sync_all()) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => return Err(error),
            }
            if size < 4096 {
                break;
            }
        }
    }
    Ok(())
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        drop(self.occupant.lock().unwrap_or_else(PoisonError::into_inner).take());
        // Nothing is left to do about a failure here; a lazy unmount waits for the last user.
        drop(run(Command::new("umount").arg("-l").arg(&self.mount_point)));
    }
}
