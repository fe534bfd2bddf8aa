//! A disk that hangs, is slow or fails: what the log thread of a member finds when it syncs, for as
//! long as this lives.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::clock::now;
use crate::testbed::PATIENCE;

const POLL_INTERVAL: Duration = Duration::from_millis(1);
/// Far longer than any run.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// What comes of a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncFault {
    /// It begins and does not end.
    Hangs,
    /// It begins so much later.
    Late(Duration),
    /// The next one fails with EIO and is not done; those after it are done.
    FailsOnce,
}

/// strace, holding one thread. Let go when dropped.
#[derive(Debug)]
pub(super) struct Tracer(Child);

impl Tracer {
    /// Takes hold of the log thread of a process.
    ///
    /// # Errors
    ///
    /// What this machine or this user lacks.
    pub(super) fn begin(pid: u32, fault: SyncFault) -> Result<Self, String> {
        let thread = log_thread(pid)?;
        let child = Command::new("strace")
            .args(["-p", &thread, "-o", "/dev/null"])
            .args(["-e", "trace=fdatasync,fsync", "-e", &fault.injection()])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("strace: {error}"))?;
        let mut tracer = Self(child);
        let deadline = now() + PATIENCE;
        while !is_traced(pid, &thread) {
            let ended = tracer.0.try_wait().map_err(|error| error.to_string())?;
            if ended.is_some() || now() > deadline {
                return Err("strace cannot attach to a process of ours".to_owned());
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(tracer)
    }
}

impl SyncFault {
    /// In the words of strace.
    fn injection(self) -> String {
        let what = match self {
            Self::Hangs => format!("delay_enter={}", FOR_EVER.as_micros()),
            Self::Late(delay) => format!("delay_enter={}", delay.as_micros()),
            Self::FailsOnce => "error=EIO:when=1".to_owned(),
        };
        format!("inject=fdatasync,fsync:{what}")
    }
}

impl Drop for Tracer {
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
