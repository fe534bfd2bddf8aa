//! How much memory there is: that of the machine, and what the control group allows.

use std::path::{Path, PathBuf};

use crate::storage::disk::read_small_file;

/// Files of the kernel are small, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The default budget: the lesser of these two.
const MACHINE_SHARE: u64 = 4;
const GROUP_PERCENT: u64 = 60;

/// What the process may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The memory of the machine, bytes.
    pub bytes: u64,
    /// What the control group of the process allows, bytes; `None` for no limit.
    pub group_bytes: Option<u64>,
}

impl Machine {
    /// Asks the kernel. What it does not tell has no limit.
    pub fn read() -> Self {
        let bytes = text("/proc/meminfo").and_then(|text| kilobytes(&text, "MemTotal:"));
        let groups = text("/proc/self/cgroup").unwrap_or_default();
        let mounts = text("/proc/self/mountinfo").unwrap_or_default();
        let limits = limit_files(&groups, &mounts).into_iter().filter_map(|file| {
            let text = text(file)?;
            // "max" in version 2; version 1 has a number that no machine has.
            text.trim().parse::<u64>().ok()
        });
        let bytes = bytes.unwrap_or(u64::MAX);
        Self { bytes, group_bytes: limits.min().filter(|limit| *limit < bytes) }
    }

    /// The budget of who does not say one, bytes: a quarter of the machine or 60 percent of the
    /// group, whichever is less; without a data directory three quarters of what is allowed.
    pub fn default_budget(&self, has_disk: bool) -> u64 {
        let group = self.group_bytes.unwrap_or(u64::MAX);
        match has_disk {
            true => (self.bytes / MACHINE_SHARE).min(group / 100 * GROUP_PERCENT),
            false => self.bytes.min(group) / 4 * 3,
        }
    }
}

/// What the process has in memory, bytes; `None` when the kernel does not tell.
pub fn resident_bytes() -> Option<u64> {
    let status = text("/proc/self/status")?;
    kilobytes(&status, "VmRSS:")
}

fn text(path: impl AsRef<Path>) -> Option<String> {
    let file = read_small_file(path.as_ref(), FILE_BYTES_MAX).ok()?;
    String::from_utf8(file.bytes).ok()
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// Where the limits of the process's groups stand, innermost first.
fn limit_files(groups: &str, mounts: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { continue };
        let (kind, name) = match controllers.split(',').any(|name| name == "memory") {
            true => ("cgroup", "memory.limit_in_bytes"),
            false if controllers.is_empty() => ("cgroup2", "memory.max"),
            false => continue,
        };
        let Some((root, mount)) = find_mount(mounts, kind) else { continue };
        // What is mounted may be a group itself, as in a container.
        let below = Path::new(group).strip_prefix(&root).unwrap_or(Path::new(""));
        files.extend(below.ancestors().map(|group| mount.join(group).join(name)));
    }
    files
}

/// The root and the place of the mount of a kind of groups; of version 1, that for memory.
fn find_mount(mounts: &str, kind: &str) -> Option<(PathBuf, PathBuf)> {
    mounts.lines().find_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let mut back = back.split(' ');
        let is_kind = back.next() == Some(kind);
        let options = back.nth(1).unwrap_or_default();
        let is_memory = kind != "cgroup" || options.split(',').any(|name| name == "memory");
        let mut front = front.split(' ').skip(3);
        let (root, mount) = (front.next()?, front.next()?);
        (is_kind && is_memory).then(|| (root.into(), mount.into()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn the_default_is_a_part_of_what_is_allowed() {
        let machine = Machine { bytes: 16 * GIB, group_bytes: None };
        assert_eq!(machine.default_budget(true), 4 * GIB);
        assert_eq!(machine.default_budget(false), 12 * GIB);
        let group = Machine { group_bytes: Some(GIB), ..machine };
        assert_eq!(group.default_budget(true), GIB / 100 * 60);
        assert_eq!(group.default_budget(false), GIB / 4 * 3);
        let wide = Machine { group_bytes: Some(10 * GIB), ..machine };
        assert_eq!(wide.default_budget(true), 4 * GIB);
    }

    #[test]
    fn groups_of_both_versions_are_found_with_those_around_them() {
        let mounts = "30 29 0:26 / /sys/fs/cgroup/cpu rw,nosuid - cgroup cgroup rw,cpu\n\
                      31 29 0:27 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n\
                      32 29 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let groups = "4:cpu:/a\n3:memory:/a/b\n0::/c\n";
        let files = limit_files(groups, mounts);
        let expected = [
            "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/unified/c/memory.max",
            "/sys/fs/cgroup/unified/memory.max",
        ];
        assert_eq!(files, expected.map(PathBuf::from));
    }

    #[test]
    fn a_container_sees_its_group_as_the_root() {
        let mounts = "31 29 0:27 /docker/7 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let files = limit_files("3:memory:/docker/7\n", mounts);
        assert_eq!(files, [PathBuf::from("/sys/fs/cgroup/memory/memory.limit_in_bytes")]);
    }

    #[test]
    fn this_process_is_resident_and_no_larger_than_its_machine() {
        let resident = resident_bytes().expect("Linux tells");
        assert!(resident > 0 && resident < Machine::read().bytes);
    }
}
