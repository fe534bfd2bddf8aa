//! What a server takes of memory and disk, sampled beside the load.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

const MEMORY_INTERVAL: Duration = Duration::from_millis(100);
/// Every which sample the disk is looked at too: that reads a whole directory.
const DISK_EVERY: u32 = 5;
/// Blocks in `stat` are of this size on every file system.
const BLOCK_BYTES: u64 = 512;
const NOBODY: u32 = 0;

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// The most that was ever resident in this life, which the kernel keeps.
    pub(crate) high_water: u64,
    /// Resident now.
    pub(crate) resident: u64,
    /// Resident now and of no file.
    pub(crate) anonymous: u64,
}

/// The most that was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Peaks {
    /// Each of the figures by itself.
    pub(crate) memory: Memory,
    /// Bytes of blocks under the data directory.
    pub(crate) disk_bytes: u64,
}

/// A thread that samples. It ends when dropped.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    pid: AtomicU32,
    data: PathBuf,
    has_ended: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    overall: Peaks,
    since_taken: Peaks,
}

impl Memory {
    /// Of a process, if it runs.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let bytes = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kibibytes: u64 = value.split_whitespace().next()?.parse().ok()?;
            Some(kibibytes * 1024)
        };
        Some(Self {
            high_water: bytes("VmHWM:")?,
            resident: bytes("VmRSS:")?,
            anonymous: bytes("RssAnon:")?,
        })
    }
}

impl Peaks {
    fn raise(&mut self, memory: Memory, disk_bytes: u64) {
        let peak = &mut self.memory;
        peak.high_water = peak.high_water.max(memory.high_water);
        peak.resident = peak.resident.max(memory.resident);
        peak.anonymous = peak.anonymous.max(memory.anonymous);
        self.disk_bytes = self.disk_bytes.max(disk_bytes);
    }
}

impl Watch {
    /// Watches `data`, and no process yet.
    pub(crate) fn start(data: PathBuf) -> Self {
        let shared = Arc::new(Shared {
            pid: AtomicU32::new(NOBODY),
            data,
            has_ended: AtomicBool::new(false),
            seen: Mutex::default(),
        });
        let sampler = Arc::clone(&shared);
        let thread = thread::spawn(move || sampler.run());
        Self { shared, thread: Some(thread) }
    }

    /// From now on the process `pid`.
    pub(crate) fn follow(&self, pid: u32) {
        self.shared.pid.store(pid, Ordering::Relaxed);
    }

    /// A last look at the process, which is going to end.
    pub(crate) fn let_go(&self) {
        self.shared.sample(true);
        self.shared.pid.store(NOBODY, Ordering::Relaxed);
    }

    /// Memory at this moment; zero without a process.
    pub(crate) fn memory_now(&self) -> Memory {
        self.shared.memory_now()
    }

    /// The most that was ever seen, in all lives of the server.
    pub(crate) fn peaks(&self) -> Peaks {
        self.shared.sample(true);
        self.shared.seen.lock().expect("no sampler panics").overall
    }

    /// The most that was seen since this was last asked. Its high-water mark is still that of the
    /// whole life.
    pub(crate) fn take_peaks(&self) -> Peaks {
        self.shared.sample(true);
        let mut seen = self.shared.seen.lock().expect("no sampler panics");
        std::mem::take(&mut seen.since_taken)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of it has been printed.
            drop(thread.join());
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut round = 0_u32;
        while !self.has_ended.load(Ordering::Relaxed) {
            self.sample(round.is_multiple_of(DISK_EVERY));
            round = round.wrapping_add(1);
            thread::sleep(MEMORY_INTERVAL);
        }
    }

    fn sample(&self, with_disk: bool) {
        let memory = self.memory_now();
        let disk_bytes = if with_disk { bytes_below(&self.data) } else { 0 };
        let mut seen = self.seen.lock().expect("no sampler panics");
        seen.overall.raise(memory, disk_bytes);
        seen.since_taken.raise(memory, disk_bytes);
    }

    fn memory_now(&self) -> Memory {
        let pid = self.pid.load(Ordering::Relaxed);
        if pid == NOBODY { Memory::default() } else { Memory::of(pid).unwrap_or_default() }
    }
}

/// Bytes of the blocks of a file, or of all files below a directory. What goes away meanwhile does
/// not count.
pub(crate) fn bytes_below(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| bytes_below(&entry.path())).sum()
        }
        Ok(metadata) => metadata.blocks() * BLOCK_BYTES,
        Err(_) => 0,
    }
}
