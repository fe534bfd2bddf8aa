//! A run in namespaces of its own, so that the kernel takes away what a run that is killed leaves.
//!
//! The program starts itself once more, as the first process of a pid namespace with mounts of its
//! own. When either of the two ends, however that comes about, all processes below end, and with
//! them go their mounts, loop devices and network namespaces. What is left then are files, which lie
//! in one folder that has the id of the first process in its name, and memory groups: both are
//! removed when the next run begins.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{self, Command, ExitCode, Stdio};

use anyhow::{Context, Result};

use crate::testbed::{MemoryGroup, owner};

/// What the names of folders begin with.
const FOLDER_PREFIX: &str = "beanpole-chaos-";
/// Ends with the process that starts it, and its child ends with it.
const APART: [&str; 9] = [
    "setpriv",
    "--pdeathsig",
    "KILL",
    "unshare",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
];
/// Hides where names of network namespaces are kept, and what libfaketime calls after the ids of
/// processes: those mean something else outside. Lets go of the disks of other runs: a file system
/// that is mounted here too is not gone when they unmount it.
const HIDE_AND_RUN: &str = "mkdir -p /run/netns && mount -t tmpfs none /run/netns && \
     mount -t tmpfs none /dev/shm && \
     { grep '^/dev/loop.*/mounted ' /proc/mounts | cut -d ' ' -f 2 | xargs -r umount -l; } && \
     exec \"$@\"";

/// Does in namespaces of its own what was typed, and returns how that ended; `None` when it is to be
/// done here: because here they are, or, with a word on stderr, because there can be none.
///
/// # Errors
///
/// When it cannot be started, though others can, or was killed.
pub fn run_apart() -> Result<Option<ExitCode>> {
    if owner::is_elsewhere() {
        return Ok(None);
    }
    sweep(&std::env::temp_dir());
    MemoryGroup::sweep();
    if let Err(why) = probe() {
        eprintln!("beanpole-chaos: what a run leaves that is killed stays: no namespaces: {why}");
        return Ok(None);
    }
    let folder = Folder::make()?;
    let program = std::env::current_exe().context("this program cannot be found")?;
    let mut command = apart(&program);
    command.args(std::env::args_os().skip(1));
    command.env(owner::VARIABLE, owner::id().to_string()).env("TMPDIR", &folder.0);
    let status = command.status().context("setpriv cannot be started")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    let code = code.with_context(|| format!("the run did not come to its end: {status}"))?;
    Ok(Some(ExitCode::from(code)))
}

/// A command that runs a program apart.
fn apart(program: &Path) -> Command {
    let mut command = Command::new(APART[0]);
    command.args(&APART[1..]).args(["sh", "-c", HIDE_AND_RUN, "sh"]).arg(program);
    command
}

/// Why there can be no such namespaces.
fn probe() -> Result<(), String> {
    let output = apart(Path::new("true")).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("setpriv: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(said.trim().to_owned()) }
}

/// Where the files of a run lie. Removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("{FOLDER_PREFIX}{}", process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            eprintln!("beanpole-chaos: {} stays: {error}", self.0.display());
        }
    }
}

/// Removes the folders of those that have ended.
fn sweep(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.strip_prefix(FOLDER_PREFIX).is_some_and(owner::has_gone) {
            // Somebody else's stays.
            drop(remove(&entry.path()));
        }
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::clock::now;

    #[test]
    fn whoever_is_started_apart_ends_with_it_and_leaves_no_mount() {
        if let Err(why) = probe() {
            eprintln!("left out: namespaces of a run: {why}");
            return;
        }
        let folder = tempfile::tempdir().expect("a directory");
        let script = folder.path().join("script");
        let text = "#!/bin/sh\nmount -t tmpfs none \"$1\" && echo \"$$\" && exec sleep 1000\n";
        fs::write(&script, text).expect("it is writable");
        let mut child = apart(Path::new("sh"))
            .arg(&script)
            .arg(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it was tried");
        let mut line = String::new();
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("it says something");
        assert_eq!(line, "1\n", "it is the first process there");
        let id = child.id();
        let below = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let below = below.expect("the kernel tells").trim().to_owned();
        // Empty of a process that has ended and was not waited for.
        let is_there =
            || fs::read(format!("/proc/{below}/cmdline")).is_ok_and(|line| !line.is_empty());
        assert!(is_there(), "{below}");
        assert!(script.exists(), "the mount is not seen here");
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        let deadline = now() + Duration::from_secs(10);
        while is_there() {
            assert!(now() < deadline, "it goes on");
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn folders_of_those_that_have_ended_are_removed() {
        let place = tempfile::tempdir().expect("a directory");
        // Larger than any id of a process.
        let [gone, here] = ["4194305".to_owned(), process::id().to_string()]
            .map(|id| place.path().join(format!("{FOLDER_PREFIX}{id}")));
        for folder in [&gone, &here] {
            fs::create_dir_all(folder.join("deep")).expect("it is writable");
        }
        sweep(place.path());
        assert!(!gone.exists() && here.exists());
    }
}
