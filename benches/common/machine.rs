//! The head of a report: what was run, when and on what.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Seek, Write as _},
    process::Command,
    thread,
    time::Duration,
};

use super::{
    clock,
    server::{ServerKind, bench_dir},
};

const SYNCS: usize = 100;

/// A few Markdown lines that say how `bench` was called, when, and on which machine.
pub(crate) fn report_head(bench: &str, arguments: &[String], servers: &[ServerKind]) -> String {
    let mut head = format!("## {bench}, {}\n\n", clock::today());
    let arguments =
        if arguments.is_empty() { String::new() } else { format!(" -- {}", arguments.join(" ")) };
    let mut line =
        |text: String| writeln!(head, "- {text}").expect("a String takes what it is given");
    line(format!("command: `cargo bench --bench {bench}{arguments}`"));
    line(format!(
        "machine: {} x {}, {} GiB of memory, Linux {}, data on {}",
        thread::available_parallelism().map_or(0, usize::from),
        field_of("/proc/cpuinfo", "model name"),
        memory_gibibytes(),
        read("/proc/sys/kernel/osrelease"),
        file_system(),
    ));
    let sync = sync_time().map_or_else(|error| error.to_string(), |time| format!("{time:.0?}"));
    line(format!("a write and fdatasync of 4 KiB in a file that is there: {sync} (median)"));
    let mut programs: Vec<_> = servers.iter().map(|kind| kind.program()).collect();
    programs.dedup();
    for program in programs {
        line(format!("server: {}", version(program)));
    }
    head
}

/// What durability costs here and now: figures from a busy disk are not those of an idle one.
fn sync_time() -> io::Result<Duration> {
    let dir = bench_dir().map_err(io::Error::other)?;
    let mut file = tempfile::tempfile_in(dir)?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let started = clock::now();
        file.rewind()?;
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        times.push(clock::now() - started);
    }
    times.sort();
    Ok(times[SYNCS / 2])
}

fn version(program: &str) -> String {
    let said = Command::new(program).arg("-v").output().map(|output| output.stdout);
    let said = String::from_utf8_lossy(&said.unwrap_or_default()).trim().to_owned();
    let name = program.rsplit('/').next().unwrap_or(program);
    if said.starts_with(name) { said } else { format!("{name} {said}") }
}

fn memory_gibibytes() -> u64 {
    let total = field_of("/proc/meminfo", "MemTotal");
    let kibibytes: u64 =
        total.split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or_default();
    kibibytes.div_ceil(1024 * 1024)
}

/// The type of the file system that holds the data: of the longest mount point above it.
fn file_system() -> String {
    let Ok(dir) = bench_dir().map(|dir| dir.canonicalize().unwrap_or(dir)) else {
        return String::from("an unknown file system");
    };
    let mounts = read("/proc/mounts");
    let mount = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .filter(|(point, _)| dir.starts_with(point))
        .max_by_key(|(point, _)| point.len());
    mount.map_or_else(String::new, |(_, kind)| kind.to_owned())
}

fn field_of(path: &str, name: &str) -> String {
    let text = read(path);
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
    value.map_or_else(|| String::from("unknown"), |(_, value)| value.trim().to_owned())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}
