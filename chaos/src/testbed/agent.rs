//! An agent as a process.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{Client, PATIENCE};
use crate::clock::now;

/// An agent. Killed when dropped.
pub struct Agent {
    child: Child,
    address: SocketAddr,
}

impl Agent {
    /// Starts the agent of this server program in front of these members, on a port the kernel picks,
    /// and waits until it listens.
    ///
    /// # Errors
    ///
    /// What it said, when it ends before it listens; why it cannot be started.
    pub fn before(program: &Path, members: &[SocketAddr]) -> Result<Self, String> {
        Self::start(program, members, None)
    }

    /// The same, and what it says goes to a file.
    ///
    /// # Errors
    ///
    /// As [`Agent::before`].
    pub fn logging(program: &Path, members: &[SocketAddr], log: File) -> Result<Self, String> {
        Self::start(program, members, Some(log))
    }

    fn start(
        program: &Path,
        members: &[SocketAddr],
        mut log: Option<File>,
    ) -> Result<Self, String> {
        let members: Vec<String> = members.iter().map(SocketAddr::to_string).collect();
        let mut child = Command::new(program)
            .args(["agent", "--listen", "127.0.0.1:0", "--members", &members.join(",")])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("the agent: {error}"))?;
        let stderr = child.stderr.take().expect("it is a pipe");
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        let mut said = String::new();
        let port = lines.by_ref().find_map(|line| {
            said += &line;
            said.push('\n');
            line.rsplit_once("listening on 127.0.0.1:")?.1.split(' ').next()?.parse::<u16>().ok()
        });
        // Else it would wait for somebody to read what it says.
        thread::spawn(move || {
            for line in lines {
                // A log that cannot be written is not missed until somebody looks for a reason.
                log.as_mut().map(|log| writeln!(log, "{line}"));
            }
        });
        let agent = Self { child, address: ([127, 0, 0, 1], port.unwrap_or(0)).into() };
        if port.is_some() { Ok(agent) } else { Err(format!("the agent did not start: {said}")) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A connection to it.
    ///
    /// # Panics
    ///
    /// When it does not take one.
    pub fn client(&self) -> Client {
        Client::to(self.address).expect("it listens")
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, and waits for that.
    ///
    /// # Panics
    ///
    /// When it does not end within [`PATIENCE`].
    pub fn terminate(&mut self) -> ExitStatus {
        let pid = i32::try_from(self.child.id()).expect("a pid fits");
        let pid = Pid::from_raw(pid).expect("a pid is not zero");
        kill_process(pid, Signal::TERM).expect("it is there");
        let deadline = now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(now() < deadline, "it does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        self.child.wait().expect("a child can be waited for");
    }
}
