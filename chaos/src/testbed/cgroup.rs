//! A memory control group for processes under test, version 1 or 2, whichever the machine has.
//!
//! It is made below the group that this process runs in (with version 2 and its rule that only
//! leaves hold processes, beside it), so that limits set from outside go on to hold. Nothing
//! outside is changed.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use super::owner;

const NAME_PREFIX: &str = "beanpole-";
/// A process that was just waited for can still be counted in its group for a moment.
const REMOVE_ATTEMPTS_MAX: u32 = 100;
const REMOVE_PAUSE: Duration = Duration::from_millis(10);
/// Enters the group before the program begins, so that all its memory is charged there.
const ENTER_AND_RUN: &str = r#"echo $$ > "$0" && exec "$@""#;

/// A group with a limit of memory. Removed when dropped; its processes must have ended by then.
#[derive(Debug)]
pub struct MemoryGroup {
    dir: PathBuf,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// Where the memory controller is mounted, and the group of this process in it.
struct Own {
    version: Version,
    mount_point: PathBuf,
    dir: PathBuf,
}

impl MemoryGroup {
    /// A new group whose processes together get `limit_bytes`, page cache included, and no swap.
    ///
    /// # Errors
    ///
    /// Why this machine, or this user, cannot have one.
    pub fn create(limit_bytes: u64) -> Result<Self, String> {
        static CREATED: AtomicU32 = AtomicU32::new(0);
        let own = own_group()?;
        let number = CREATED.fetch_add(1, Ordering::Relaxed);
        let name = format!("{NAME_PREFIX}{}-{number}", owner::id());
        let mut refusals = Vec::new();
        for parent in own.parents() {
            remove_orphans(parent);
            match Self::create_in(parent, &name, own.version, limit_bytes) {
                Ok(group) => return Ok(group),
                Err(refusal) => refusals.push(refusal),
            }
        }
        Err(refusals.join("; "))
    }

    /// Removes groups of processes that were killed before they could.
    pub fn sweep() {
        for parent in own_group().iter().flat_map(Own::parents) {
            remove_orphans(parent);
        }
    }

    /// Where it is, for reports.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// A command that runs `program` inside the group; more arguments can be added to it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(ENTER_AND_RUN).arg(self.dir.join("cgroup.procs")).arg(program);
        command
    }

    /// A command that does the same inside the group. Of `other` it takes the program and its
    /// arguments, and nothing else.
    pub fn around(&self, other: &Command) -> Command {
        let mut command = self.command(other.get_program());
        command.args(other.get_args());
        command
    }

    /// The most that was ever charged, in bytes. Page cache counts, so that a process that writes
    /// files comes up to the limit without harm. `None` where the kernel does not tell.
    pub fn peak_bytes(&self) -> Option<u64> {
        self.number(match self.version {
            Version::V1 => "memory.max_usage_in_bytes",
            Version::V2 => "memory.peak",
        })
    }

    /// How often the limit was met, after which the kernel first takes page cache back.
    pub fn limit_hits(&self) -> u64 {
        match self.version {
            Version::V1 => self.number("memory.failcnt").unwrap_or_default(),
            Version::V2 => self.field("memory.events", "max"),
        }
    }

    /// How many processes the kernel has killed for the limit.
    pub fn oom_kills(&self) -> u64 {
        match self.version {
            Version::V1 => self.field("memory.oom_control", "oom_kill"),
            Version::V2 => self.field("memory.events", "oom_kill"),
        }
    }

    fn create_in(
        parent: &Path,
        name: &str,
        version: Version,
        limit_bytes: u64,
    ) -> Result<Self, String> {
        let dir = parent.join(name);
        fs::create_dir(&dir).map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
        // From here on it is removed again if something is refused.
        let group = Self { dir, version };
        let swap = match version {
            Version::V1 => "memory.swappiness",
            Version::V2 => "memory.swap.max",
        };
        let file = group.limit_file();
        // Writing would make no file here, but the error would be a worse one.
        if !file.exists() {
            return Err(format!("no memory controller below {}", parent.display()));
        }
        write(&file, &limit_bytes.to_string())?;
        // Kernels without accounting of swap lack it; the machines of the tests have no swap.
        drop(fs::write(group.dir.join(swap), "0"));
        Ok(group)
    }

    // Not version 1's limit with swap: where it is as low, the kernel counts no hits of either.
    fn limit_file(&self) -> PathBuf {
        self.dir.join(match self.version {
            Version::V1 => "memory.limit_in_bytes",
            Version::V2 => "memory.max",
        })
    }

    fn number(&self, file: &str) -> Option<u64> {
        fs::read_to_string(self.dir.join(file)).ok()?.trim().parse().ok()
    }

    fn field(&self, file: &str, name: &str) -> u64 {
        let text = fs::read_to_string(self.dir.join(file)).unwrap_or_default();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        for _ in 0..REMOVE_ATTEMPTS_MAX {
            if fs::remove_dir(&self.dir).is_ok() {
                return;
            }
            thread::sleep(REMOVE_PAUSE);
        }
    }
}

impl Own {
    /// Where a group can be tried, the better place first.
    fn parents(&self) -> Vec<&Path> {
        let mut parents = vec![self.dir.as_path()];
        let beside = self.dir.parent().filter(|parent| parent.starts_with(&self.mount_point));
        if self.version == Version::V2 {
            parents.extend(beside);
        }
        parents
    }
}

/// The group of this process under the memory controller.
fn own_group() -> Result<Own, String> {
    let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let groups = read("/proc/self/cgroup")?;
    let mounts = read("/proc/self/mountinfo")?;
    [Version::V1, Version::V2]
        .into_iter()
        .find_map(|version| own_group_of(version, &groups, &mounts))
        .ok_or_else(|| String::from("no memory control groups are mounted"))
}

fn own_group_of(version: Version, groups: &str, mounts: &str) -> Option<Own> {
    let path = groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let is_it = match version {
            Version::V1 => controllers.split(',').any(|name| name == "memory"),
            Version::V2 => controllers.is_empty(),
        };
        is_it.then_some(path)
    })?;
    mounts.lines().find_map(|line| {
        let (place, file_system) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, mount_point) = (place.next()?, PathBuf::from(place.next()?));
        let mut file_system = file_system.split(' ');
        let (kind, options) = (file_system.next()?, file_system.nth(1)?);
        let is_it = match version {
            Version::V1 => kind == "cgroup" && options.split(',').any(|name| name == "memory"),
            Version::V2 => kind == "cgroup2",
        };
        let below = Path::new(path).strip_prefix(root).ok()?;
        let dir = mount_point.join(below);
        is_it.then_some(Own { version, mount_point, dir })
    })
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))
}

/// Removes groups of processes that were killed before they could. One that is in use stays.
fn remove_orphans(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(NAME_PREFIX).and_then(|rest| rest.split('-').next());
        if pid.is_some_and(owner::has_gone) {
            // The kernel refuses while processes are inside; then there is nothing to do.
            drop(fs::remove_dir(entry.path()));
        }
    }
}
