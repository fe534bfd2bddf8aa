//! One member of beanpole with a data directory, inside a memory control group: started, killed,
//! started again on the same data, and watched. Killed, by its process id, when dropped.

use std::{
    fs::{self, File},
    io::Read,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use tempfile::TempDir;

use super::{
    Fallible,
    client::Client,
    clock,
    section::{Section, mebibytes},
    server::{ServerKind, bench_dir},
    support::MemoryGroup,
    watch::{Memory, Watch, bytes_below},
};

/// A restart reads the log since the last checkpoint; nobody is helped by giving up early.
const READY_TIMEOUT: Duration = Duration::from_secs(900);
const READY_POLL: Duration = Duration::from_millis(2);
/// The log from its start, as far as it is searched for the port.
const LOG_HEAD_BYTES: u64 = 256 * 1024;
const LOG_TAIL_BYTES: usize = 3000;
const LOG_LINES_SHOWN: usize = 6;
const MEBIBYTE: u64 = 1024 * 1024;
const DATA: &str = "data";
const READY_WORDS: &str = "ready, listening on 127.0.0.1:";

/// What the server is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Its budget, `--memory`.
    pub(crate) memory_bytes: u64,
    /// The limit of its control group.
    pub(crate) limit_bytes: u64,
}

/// The server, running or not.
pub(crate) struct Member {
    bounds: Bounds,
    group: Result<MemoryGroup, String>,
    child: Option<Child>,
    address: SocketAddr,
    watch: Watch,
    flags: [String; 4],
    home: TempDir,
}

/// How a start went.
#[derive(Debug)]
pub(crate) struct Start {
    /// From the start of the process to its first answer.
    pub(crate) took: Duration,
    /// What it logged until then, without the line that says so; the last lines of many.
    pub(crate) said: Vec<String>,
    /// What it found on disk: the entries of its data directory and their bytes.
    pub(crate) found: Vec<(String, u64)>,
}

/// What one server had of memory, and what it was allowed.
pub(crate) struct Footprint<'a> {
    /// What its rows begin with: nothing, or its name and a colon.
    pub(crate) whose: &'a str,
    pub(crate) peaks: Memory,
    pub(crate) limit_bytes: u64,
    /// Its control group, or why there is none.
    pub(crate) group: Result<&'a MemoryGroup, &'a str>,
}

impl Footprint<'_> {
    /// Adds its rows; what was promised and not held goes to `broken`.
    pub(crate) fn report(&self, section: &mut Section, broken: &mut Vec<String>) {
        let Self { whose, peaks, limit_bytes, group } = self;
        let limit = mebibytes(*limit_bytes);
        let held = peaks.high_water <= *limit_bytes;
        let name = format!("{whose}high-water mark, VmHWM");
        section.judged(&name, mebibytes(peaks.high_water), &format!("at most {limit}"), held);
        let name = format!("{whose}most anonymous memory sampled, RssAnon");
        section.figure(&name, mebibytes(peaks.anonymous));
        if !held {
            broken.push(format!("{whose}the high-water mark is over {limit}"));
        }
        let group = match group {
            Ok(group) => group,
            Err(why) => {
                return section.figure(&format!("{whose}control group"), format!("none: {why}"));
            }
        };
        let peak = group.peak_bytes().map_or_else(|| String::from("not told"), mebibytes);
        section.figure(&format!("{whose}most charged to its group, page cache included"), peak);
        section.figure(&format!("{whose}times the group's limit was met"), group.limit_hits());
        let kills = group.oom_kills();
        section.judged(&format!("{whose}killed for memory"), kills, "never", kills == 0);
        if kills > 0 {
            broken.push(format!("{whose}the kernel killed it for its memory"));
        }
    }
}

impl Bounds {
    /// Without a limit the group gets four thirds of the budget, in whole MiB.
    pub(crate) fn new(memory_bytes: u64, limit_bytes: Option<u64>) -> Self {
        let four_thirds = (memory_bytes / 3 * 4).next_multiple_of(MEBIBYTE);
        Self { memory_bytes, limit_bytes: limit_bytes.unwrap_or(four_thirds) }
    }
}

impl Member {
    /// Starts a server with nothing in it and waits for its first answer.
    ///
    /// # Errors
    /// When no directory on a disk can be made, or the server ends or stays silent.
    pub(crate) fn start(bounds: Bounds) -> Fallible<Self> {
        let home = TempDir::new_in(bench_dir()?)?;
        let data = home.path().join(DATA);
        fs::create_dir(&data)?;
        let budget = bounds.memory_bytes.to_string();
        let flags = ["-b", &data.display().to_string(), "--memory", &budget].map(String::from);
        let mut member = Self {
            bounds,
            group: MemoryGroup::create(bounds.limit_bytes),
            child: None,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            watch: Watch::start(data),
            flags,
            home,
        };
        if let Err(why) = &member.group {
            eprintln!("no memory control group ({why}): only the high-water mark is checked");
        }
        match member.start_again() {
            Ok(_) => Ok(member),
            Err(error) => Err(format!("{error}; {}", member.post_mortem()).into()),
        }
    }

    /// Where it listens in this life.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Memory and disk.
    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Asks its administration for something: the words behind `beanpole cluster`.
    ///
    /// # Errors
    /// What it says.
    pub(crate) fn administer(&self, words: &[&str]) -> Fallible<()> {
        let mut command = Command::new(ServerKind::BeanpoleB.program());
        command.arg("cluster").args(words).arg("-b").arg(self.data_dir());
        let output = command.output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
    }

    /// How many files of cold jobs it has.
    ///
    /// # Errors
    /// When its directory cannot be read.
    pub(crate) fn run_files(&self) -> Fallible<usize> {
        Ok(fs::read_dir(self.data_dir().join("runs"))?.count())
    }

    /// SIGKILL, and waits for its end.
    ///
    /// # Errors
    /// When it had ended by itself, or does not run.
    pub(crate) fn kill(&mut self) -> Fallible<()> {
        self.check_runs()?;
        self.end();
        Ok(())
    }

    /// Starts it and waits for its first answer.
    ///
    /// # Errors
    /// When it ends by itself or stays silent.
    pub(crate) fn start_again(&mut self) -> Fallible<Start> {
        let found = parts(&self.data_dir())?;
        let started = clock::now();
        self.launch()?;
        self.wait_until_ready()?;
        Ok(Start { took: clock::now() - started, said: self.said_at_start(), found })
    }

    /// Starts it and does not wait.
    ///
    /// # Errors
    /// When there can be no process.
    pub(crate) fn launch(&mut self) -> Fallible<()> {
        let log = File::create(self.log_path())?;
        let mut command = match &self.group {
            Ok(group) => group.command(ServerKind::BeanpoleB.program()),
            Err(_) => Command::new(ServerKind::BeanpoleB.program()),
        };
        command.args(["-l", "127.0.0.1", "-p", "0"]).args(&self.flags);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn()?;
        self.watch.follow(child.id());
        self.child = Some(child);
        Ok(())
    }

    /// Whether it has come as far as to say that it is ready.
    pub(crate) fn has_said_ready(&self) -> bool {
        port_of_ready_line(&self.log_head()).is_some()
    }

    /// An error with all that is known when it has ended.
    ///
    /// # Errors
    /// When it does not run.
    pub(crate) fn check_runs(&mut self) -> Fallible<()> {
        let child = self.child.as_mut().ok_or("the server was not started")?;
        match child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("the server ended by itself: {status}").into()),
        }
    }

    /// For the reader of a failure: whether the kernel killed it, and the end of its log.
    pub(crate) fn post_mortem(&mut self) -> String {
        let runs = self.check_runs().err().map_or_else(String::new, |error| format!("{error}; "));
        let kills = self.oom_kills();
        let log = fs::read(self.log_path()).unwrap_or_default();
        let tail = String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_TAIL_BYTES)..]);
        format!("{runs}killed for memory {kills} times; its log ends:\n{}", tail.trim())
    }

    /// The rows about memory; what was promised and not held goes to `broken`.
    pub(crate) fn report_memory(&self, section: &mut Section, broken: &mut Vec<String>) {
        let footprint = Footprint {
            whose: "",
            peaks: self.watch.peaks().memory,
            limit_bytes: self.bounds.limit_bytes,
            group: self.group.as_ref().map_err(String::as_str),
        };
        footprint.report(section, broken);
    }

    fn oom_kills(&self) -> u64 {
        self.group.as_ref().map_or(0, MemoryGroup::oom_kills)
    }

    fn wait_until_ready(&mut self) -> Fallible<()> {
        let deadline = clock::now() + READY_TIMEOUT;
        loop {
            self.check_runs()?;
            if let Some(port) = port_of_ready_line(&self.log_head()) {
                self.address.set_port(port);
                let mut client = Client::connect(self.address)?;
                client.send(b"list-tube-used\r\n")?;
                client.receive()?;
                return Ok(());
            }
            if clock::now() > deadline {
                return Err(format!("no answer within {READY_TIMEOUT:?}").into());
            }
            thread::sleep(READY_POLL);
        }
    }

    fn said_at_start(&self) -> Vec<String> {
        let head = self.log_head();
        let lines: Vec<_> = head.lines().take_while(|line| !line.contains(READY_WORDS)).collect();
        let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
        shown.iter().map(|&line| line.to_owned()).collect()
    }

    fn log_head(&self) -> String {
        let mut bytes = Vec::new();
        let log = File::open(self.log_path());
        // What cannot be read yet is read at the next look.
        drop(log.and_then(|log| log.take(LOG_HEAD_BYTES).read_to_end(&mut bytes)));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn data_dir(&self) -> PathBuf {
        self.home.path().join(DATA)
    }

    fn log_path(&self) -> PathBuf {
        self.home.path().join("log")
    }

    fn end(&mut self) {
        self.watch.let_go();
        if let Some(mut child) = self.child.take() {
            // Both fail only if the process has ended by itself, which is as good.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.end();
    }
}

/// `192M`, `1G`, `262144K` or a plain number, from 1 MiB.
///
/// # Errors
/// Why it is not one of these.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.char_indices().last() {
        Some((end, 'K')) => (&text[..end], 1024),
        Some((end, 'M')) => (&text[..end], MEBIBYTE),
        Some((end, 'G')) => (&text[..end], 1024 * MEBIBYTE),
        _ => (text, 1),
    };
    let number: u64 = digits.parse().map_err(|_| "not a number of bytes, or K, M, G of them")?;
    let bytes = number.checked_mul(factor).ok_or("too large")?;
    if bytes < MEBIBYTE { Err(String::from("less than 1M")) } else { Ok(bytes) }
}

/// The entries of a directory and the bytes of their blocks, the largest first.
fn parts(dir: &Path) -> Fallible<Vec<(String, u64)>> {
    let mut parts = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        parts.push((name, bytes_below(&entry.path())));
    }
    parts.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    Ok(parts)
}

fn port_of_ready_line(log: &str) -> Option<u16> {
    let (_, rest) = log.split_once(READY_WORDS)?;
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    rest[..end].parse().ok()
}
