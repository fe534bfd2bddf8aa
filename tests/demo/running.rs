//! A demo that runs, as a test sees it.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::{Client, PATIENCE, Target, now};

/// Between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A member as `demo.json` names it.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) id: u64,
    pub(super) port: u16,
    pub(super) pid: i32,
    pub(super) config: String,
}

/// A running demo. Killed when dropped, and its members with it.
pub(super) struct Demo {
    child: Child,
    dir: TempDir,
    pub(super) members: Vec<Member>,
}

impl Demo {
    /// Starts a demo in a new directory and waits until it names its members.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub(super) fn start() -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary directory can be made"))
    }

    /// Ends the demo, and starts another in the same directory.
    pub(super) fn again(mut self) -> Self {
        assert_eq!(self.end().code(), Some(0), "{}", self.output());
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let dir = std::mem::replace(&mut self.dir, dir);
        drop(self);
        Self::start_in(dir)
    }

    fn start_in(dir: TempDir) -> Self {
        let output = File::create(dir.path().join("output")).expect("the directory is writable");
        let errors = output.try_clone().expect("there are descriptors");
        let child = Command::new(Target::Beanpole.program().expect("it was built"))
            .args(["demo", "--port", "0", "--dir"])
            .arg(dir.path())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .expect("the program can be started");
        let mut demo = Self { child, dir, members: Vec::new() };
        demo.wait("demo.json", |demo| demo.list_path().is_file());
        let text = fs::read_to_string(demo.list_path()).expect("it is there");
        let listed: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        demo.members = listed.as_array().expect("it is a list").iter().map(member).collect();
        demo
    }

    /// Waits until the demo has printed `words`.
    pub(super) fn wait_for_words(&mut self, words: &str) {
        self.wait(words, |demo| demo.output().contains(words));
    }

    /// Waits until the demo has printed who leads, and that is not `other`.
    pub(super) fn wait_for_leader(&mut self, other: Option<u64>) -> u64 {
        self.wait("a leader", |demo| demo.leader().is_some_and(|id| Some(id) != other));
        self.leader().expect("it was waited for")
    }

    /// What `beanpole cluster LINE` says of the member whose configuration is `config`.
    pub(super) fn cluster(config: &str, line: &str) -> (Option<i32>, String) {
        let output = Command::new(Target::Beanpole.program().expect("it was built"))
            .arg("cluster")
            .args(line.split_whitespace())
            .args(["--config", config])
            .env_remove("BEANPOLE_DATA_DIR")
            .output()
            .expect("the program can be started");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A connection to a member.
    pub(super) fn connect(member: &Member) -> Client {
        Client::tcp(member.port).expect("the member accepts")
    }

    /// Tells the demo to end, and waits for it.
    pub(super) fn end(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_for_end()
    }

    /// Sends a signal to the demo itself.
    pub(super) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Waits for the demo to end.
    pub(super) fn wait_for_end(&mut self) -> ExitStatus {
        let deadline = now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(now() < deadline, "the demo does not end: {}", self.output());
            thread::sleep(POLL_INTERVAL);
        }
    }

    pub(super) fn output(&self) -> String {
        fs::read_to_string(self.dir.path().join("output")).unwrap_or_default()
    }

    pub(super) fn list_path(&self) -> std::path::PathBuf {
        self.dir.path().join("demo.json")
    }

    fn leader(&self) -> Option<u64> {
        let output = self.output();
        let line = output.lines().rev().find(|line| line.contains(" lead"))?;
        line.split_once("member ")?.1.split(' ').next()?.parse().ok()
    }

    fn wait(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let deadline = now() + 3 * PATIENCE;
        while !is_so(self) {
            let ended = self.child.try_wait().expect("a child can be waited for");
            let state = format!("{ended:?}: {}", self.output());
            assert!(ended.is_none() && now() < deadline, "no {what}; {state}");
            thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Whether a process runs; one that has ended and was not waited for does not.
pub(super) fn runs(pid: i32) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

fn member(listed: &serde_json::Value) -> Member {
    let number = |key: &str| listed[key].as_u64().expect("it is a number");
    let text = |key: &str| listed[key].as_str().expect("it is a string").to_owned();
    let address = text("client_address");
    let (_, port) = address.rsplit_once(':').expect("it has a port");
    Member {
        id: number("id"),
        port: port.parse().expect("it is a port"),
        pid: number("pid").try_into().expect("it is the id of a process"),
        config: text("config"),
    }
}
