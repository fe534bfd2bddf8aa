//! Producers and workers of a library, as processes that say what they do.
//!
//! A producer is given one number at a time, and says when it is put: so its pauses can be seen from
//! outside. Numbers are given once. A worker says which number it holds, and which it has deleted.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::account::{Account, Deed, Put};
use crate::support::{Client, now};

/// How many processes there are of each kind.
const HANDS: u64 = 2;
/// Producers begin so far from each other.
const NUMBERS_OF_ONE: u64 = 1_000_000;
/// The tube that the scripts use.
const TUBE: &str = "lasting";
/// Behind all jobs of producers.
const PRIORITY_LAST: u32 = u32::MAX;
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Between two puts of a producer, so that workers keep up: a job costs them two commands.
const PACE: Duration = Duration::from_millis(5);
/// How long a slow machine may take for what is waited for.
const SOON: Duration = Duration::from_secs(60);

/// Producers and workers at work. Killed when dropped.
#[derive(Debug)]
pub(super) struct Crew {
    stop: Arc<AtomicBool>,
    put_count: Arc<AtomicU64>,
    producers: Vec<Hand<Vec<Put>>>,
    workers: Vec<Hand<Vec<Deed>>>,
}

/// A process, and a thread that follows what it says. Killed when dropped.
#[derive(Debug)]
struct Hand<T> {
    child: Child,
    stderr: File,
    thread: Option<JoinHandle<T>>,
}

impl Crew {
    /// Starts the processes: `script` is given what each is to do, `put` or `work`.
    ///
    /// # Panics
    ///
    /// When they cannot be started.
    pub(super) fn start(script: impl Fn(&str) -> Command) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let put_count = Arc::new(AtomicU64::new(0));
        let producers = (0..HANDS).map(|producer| {
            let (stop, put_count) = (Arc::clone(&stop), Arc::clone(&put_count));
            Hand::start(script("put"), move |stdin, stdout| {
                let numbers = producer * NUMBERS_OF_ONE..;
                let numbers = numbers.take_while(|_| !stop.load(Ordering::Relaxed));
                let puts = put_each(numbers, stdin, stdout);
                puts.map(|number| Put { producer, number, at: now() })
                    .inspect(|_| {
                        put_count.fetch_add(1, Ordering::Relaxed);
                    })
                    .collect()
            })
        });
        let producers = producers.collect();
        let workers = (0..HANDS).map(|_| {
            Hand::start(script("work"), |_, stdout| {
                BufReader::new(stdout).lines().map_while(Result::ok).map(Deed::from_line).collect()
            })
        });
        let workers = workers.collect();
        Self { stop, put_count, producers, workers }
    }

    /// Waits until so many more jobs are put.
    ///
    /// # Panics
    ///
    /// When they are not, after [`SOON`].
    pub(super) fn wait_for_puts(&mut self, count: u64) {
        let (deadline, wanted) = (now() + SOON, self.puts() + count);
        while self.puts() < wanted {
            if now() >= deadline {
                panic!("{} of {wanted} puts; {}", self.puts(), self.complaints());
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Lets the producers stop and the workers empty the tube, which `client` is asked about.
    ///
    /// # Panics
    ///
    /// When a process has met an error, or does not end, or nobody empties the tube.
    pub(super) fn finish(mut self, client: &mut Client) -> Account {
        self.stop.store(true, Ordering::Relaxed);
        let puts = self.producers.drain(..).flat_map(Hand::end).collect();
        self.wait_until_empty(client);
        client.ask(&format!("use {TUBE}")).expect("a reply");
        for _ in &self.workers {
            let reply = client.put(&format!("{PRIORITY_LAST} 0 60"), b"end").expect("a reply");
            assert!(reply.starts_with("INSERTED"), "{reply}");
        }
        let deeds = self.workers.drain(..).flat_map(Hand::end).collect();
        Account::new(puts, deeds)
    }

    /// However long that takes, as long as something happens.
    fn wait_until_empty(&mut self, client: &mut Client) {
        let (mut deadline, mut before) = (now() + SOON, None);
        while let Some(left) = left_in_tube(client) {
            assert!(now() < deadline, "the tube does not get empty: {left}; {}", self.complaints());
            if before.as_ref() != Some(&left) {
                (deadline, before) = (now() + SOON, Some(left));
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    fn puts(&self) -> u64 {
        self.put_count.load(Ordering::Relaxed)
    }

    /// What the processes have written to stderr.
    fn complaints(&mut self) -> String {
        let producers = self.producers.iter_mut().map(Hand::complaint);
        producers.chain(self.workers.iter_mut().map(Hand::complaint)).collect()
    }
}

/// Gives the numbers, one after the other, each when the one before is put. Ends with the process.
fn put_each(
    mut numbers: impl Iterator<Item = u64>,
    mut stdin: ChildStdin,
    stdout: ChildStdout,
) -> impl Iterator<Item = u64> {
    let mut lines = BufReader::new(stdout).lines();
    std::iter::from_fn(move || {
        thread::sleep(PACE);
        let number = numbers.next()?;
        writeln!(stdin, "{number}").ok()?;
        let said = lines.next()?.ok()?;
        assert_eq!(said, number.to_string(), "a producer is out of step");
        Some(number)
    })
}

/// How many jobs are in the tube and not buried, in the words of the server, if there are any.
fn left_in_tube(client: &mut Client) -> Option<String> {
    let stats = client.ask(&format!("stats-tube {TUBE}")).expect("a reply");
    let states = ["ready", "reserved", "delayed"].map(|state| format!("current-jobs-{state}: "));
    let is_left = |line: &str| {
        let count = states.iter().find_map(|state| line.strip_prefix(state.as_str()));
        count.is_some_and(|count| count.trim_end() != "0")
    };
    let left: Vec<&str> = stats.lines().filter(|line| is_left(line)).collect();
    if left.is_empty() { None } else { Some(left.join(", ")) }
}

impl<T: Send + 'static> Hand<T> {
    fn start(
        mut command: Command,
        follow: impl FnOnce(ChildStdin, ChildStdout) -> T + Send + 'static,
    ) -> Self {
        let stderr = tempfile::tempfile().expect("a temporary file can be made");
        let of_child = stderr.try_clone().expect("a file can be had twice");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(of_child);
        let mut child = command.spawn().expect("the interpreter was there a moment ago");
        let stdin = child.stdin.take().expect("it is a pipe");
        let stdout = child.stdout.take().expect("it is a pipe");
        let thread = Some(thread::spawn(move || follow(stdin, stdout)));
        Self { child, stderr, thread }
    }

    /// Waits for the end of the process, which has nothing more to do.
    fn end(mut self) -> T {
        let deadline = now() + SOON;
        let status = loop {
            match self.child.try_wait().expect("a child can be waited for") {
                Some(status) => break status,
                None if now() >= deadline => panic!("it does not end; {}", self.complaint()),
                None => thread::sleep(POLL_INTERVAL),
            }
        };
        assert!(status.success(), "{status}; {}", self.complaint());
        let thread = self.thread.take().expect("it is taken here alone");
        thread.join().expect("what it says is as agreed")
    }
}

impl<T> Hand<T> {
    fn complaint(&mut self) -> String {
        let mut bytes = Vec::new();
        self.stderr.rewind().expect("it is a file");
        self.stderr.read_to_end(&mut bytes).expect("it is a file");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl<T> Drop for Hand<T> {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        self.child.wait().expect("a child can be waited for");
    }
}
