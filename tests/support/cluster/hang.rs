//! A disk that hangs: the log thread of a member stays in its next sync for as long as this lives.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::super::{PATIENCE, now};

const POLL_INTERVAL: Duration = Duration::from_millis(1);
/// Far longer than any test, in microseconds.
const DELAY: &str = "inject=fdatasync,fsync:delay_enter=3600000000";

/// strace, holding one thread. Let go when dropped.
#[derive(Debug)]
pub(super) struct Hang(Child);

impl Hang {
    /// Takes hold of the log thread of a process: its syncs begin and do not end.
    ///
    /// # Errors
    ///
    /// What this machine or this user lacks.
    pub(super) fn begin(pid: u32) -> Result<Self, String> {
        let thread = log_thread(pid)?;
        let child = Command::new("strace")
            .args(["-p", &thread, "-o", "/dev/null"])
            .args(["-e", "trace=fdatasync,fsync", "-e", DELAY])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("strace: {error}"))?;
        let mut hang = Self(child);
        let deadline = now() + PATIENCE;
        while !is_traced(pid, &thread) {
            let ended = hang.0.try_wait().map_err(|error| error.to_string())?;
            if ended.is_some() || now() > deadline {
                return Err("strace cannot attach to a process of ours".to_owned());
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(hang)
    }
}

impl Drop for Hang {
    fn drop(&mut self) {
        // The kernel lets go of the thread for it. It may have ended with the thread.
        drop(self.0.kill());
        self.0.wait().expect("a child can be waited for");
    }
}

fn log_thread(pid: u32) -> Result<String, String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).map_err(|error| error.to_string())?;
    tasks
        .filter_map(Result::ok)
        .find(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name == "log\n"))
        .map(|task| task.file_name().to_string_lossy().into_owned())
        .ok_or_else(|| format!("process {pid} has no thread called log"))
}

fn is_traced(pid: u32, thread: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/task/{thread}/status"))
        .is_ok_and(|status| !status.contains("TracerPid:\t0\n"))
}
