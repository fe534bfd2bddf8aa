//! A member as a process: how it is started, asked for, and stopped.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};

use super::DemoError;
use super::layout::Place;
use crate::config::setting_variables;
use crate::storage::disk::{Disk, RealDisk, create_output_file, read_small_file};

/// How often the members are looked at while they end, and the pause between: 15 s. A member gives
/// its clients 5 s to take their replies.
const END_LOOKS_MAX: u32 = 300;
const END_PAUSE: Duration = Duration::from_millis(50);

/// How much of a log is shown when its member ended too early.
const TAIL_LINES: usize = 5;
const LOG_BYTES_MAX: u64 = 16 << 20;

/// A member that was started. Killed when dropped.
pub(super) struct Process {
    place: Place,
    child: Child,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts the member of `place`, which is killed when this thread ends. The log of an earlier
    /// one is kept as `log.old`.
    pub(super) fn start(place: &Place) -> Result<Self, DemoError> {
        let failed = |action, source| DemoError::Io { action, path: place.log.clone(), source };
        match RealDisk.rename(&place.log, &place.log.with_extension("old")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("rename", error));
            }
            _ => {}
        }
        let log = create_output_file(&place.log).map_err(|source| failed("create", source))?;
        let program =
            std::env::current_exe().map_err(|source| failed("find the program of", source))?;
        let mut command = Command::new(program);
        command.arg("--config").arg(&place.config);
        command.arg("--end-with-parent").arg(std::process::id().to_string());
        // They would go before the configuration file, for all three alike.
        setting_variables().for_each(|name| {
            command.env_remove(name);
        });
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        // Ctrl-C is for the demo, which then ends its members in its own way.
        command.process_group(0);
        let child = command.spawn().map_err(|source| failed("start the member of", source))?;
        Ok(Self { place: place.clone(), child, status: None })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            // A process that cannot be looked at is not known to have ended.
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }

    /// An error with the end of its log if it has ended.
    pub(super) fn check(&mut self) -> Result<(), DemoError> {
        let Some(status) = self.ended() else { return Ok(()) };
        let Place { number, log, .. } = self.place.clone();
        let text = read_small_file(&log, LOG_BYTES_MAX).map(|file| file.bytes).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
        Err(DemoError::Ended { number, status: status.to_string(), log, tail })
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let (Some(pid), None) = (pid, self.status) {
            // It may have ended this moment; it is looked at again in any case.
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            // It may have ended this moment; then there is nothing to kill.
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// Ends all members, those that are frozen too.
pub(super) async fn stop(processes: &mut Vec<Process>) {
    for process in &mut *processes {
        if process.ended().is_none() {
            process.signal(Signal::TERM);
            process.signal(Signal::CONT);
        }
    }
    for _ in 0..END_LOOKS_MAX {
        processes.retain_mut(|process| process.ended().is_none());
        if processes.is_empty() {
            return;
        }
        tokio::time::sleep(END_PAUSE).await;
    }
    for process in processes.drain(..) {
        super::tell(&format!("member {} does not end: killed", process.place.number));
    }
}

/// Has the kernel kill this process as soon as the one that started it, `parent`, has ended.
///
/// # Errors
///
/// What the kernel says; `NotFound` when `parent` has ended already.
pub fn end_with_parent(parent: i32) -> io::Result<()> {
    // Not SIGTERM: a process that is frozen would stay.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid().map(Pid::as_raw_pid) != Some(parent) {
        let text = format!("process {parent}, which started this one, has ended");
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    Ok(())
}
