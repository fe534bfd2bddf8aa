//! A disk that hangs, is slow or fails: what the log thread of a member finds when it syncs, for as
//! long as this lives.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::clock::now;
use crate::testbed::PATIENCE;

const POLL_INTERVAL: Duration = Duration::from_millis(1);
/// Far longer than any run.
const FOR_EVER: Duration = Duration::from_secs(3600);
/// What strace writes behind a call that it has done something to.
const INJECTED: &str = "(INJECTED)";

/// What comes of a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncFault {
    /// It begins and does not end.
    Hangs,
    /// It begins so much later.
    Late(Duration),
    /// It fails with EIO and is not done.
    Fails,
}

/// strace, holding one thread. Let go when dropped.
#[derive(Debug)]
pub(super) struct Tracer {
    strace: Child,
    /// What it writes down: each call, when that has returned.
    calls: NamedTempFile,
}

impl Tracer {
    /// Takes hold of the log thread of a process.
    ///
    /// # Errors
    ///
    /// What this machine or this user lacks.
    pub(super) fn begin(pid: u32, fault: SyncFault) -> Result<Self, String> {
        let deadline = now() + PATIENCE;
        // A process that was only just started has no such thread yet.
        let thread = loop {
            match log_thread(pid) {
                Ok(thread) => break thread,
                Err(why) if now() > deadline => return Err(why),
                Err(_) => thread::sleep(POLL_INTERVAL),
            }
        };
        let calls = NamedTempFile::new().map_err(|error| error.to_string())?;
        let strace = Command::new("strace")
            .args(["-p", &thread, "-e", "trace=fdatasync,fsync", "-e", &fault.injection(), "-o"])
            .arg(calls.path())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("strace: {error}"))?;
        let mut tracer = Self { strace, calls };
        while tracer_of(pid, &thread) != Some(tracer.strace.id()) {
            let ended = tracer.strace.try_wait().map_err(|error| error.to_string())?;
            if tracer.has_struck() {
                // So soon that the process may have ended for it.
                break;
            }
            if ended.is_some() || now() > deadline {
                return Err("strace cannot attach to a process of ours".to_owned());
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(tracer)
    }

    /// Whether something has come of a sync that has returned.
    pub(super) fn has_struck(&self) -> bool {
        fs::read_to_string(self.calls.path()).is_ok_and(|calls| calls.contains(INJECTED))
    }
}

impl SyncFault {
    /// In the words of strace.
    fn injection(self) -> String {
        let what = match self {
            Self::Hangs => format!("delay_enter={}", FOR_EVER.as_micros()),
            Self::Late(delay) => format!("delay_enter={}", delay.as_micros()),
            Self::Fails => "error=EIO".to_owned(),
        };
        format!("inject=fdatasync,fsync:{what}")
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // The kernel lets go of the thread for it. It may have ended with the thread.
        drop(self.strace.kill());
        self.strace.wait().expect("a child can be waited for");
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

/// The process that holds a thread; 0 while nobody does.
fn tracer_of(pid: u32, thread: &str) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/task/{thread}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?;
    line.trim().parse().ok()
}
