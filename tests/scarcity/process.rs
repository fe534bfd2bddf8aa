//! What the kernel says of a process.

use std::fs;
use std::time::Duration;

/// Ticks of `/proc/PID/stat` in a second, on every Linux there is.
const TICKS_PER_SECOND: u32 = 100;

/// Processor time spent so far, in the program and in the kernel.
pub(super) fn processor_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // The name, in brackets, may hold anything.
    let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
    let field = |number: usize| -> u32 {
        let text = fields.split_whitespace().nth(number - 3).expect("proc(5) has so many fields");
        text.parse().expect("a number")
    };
    Duration::from_secs(1) * (field(14) + field(15)) / TICKS_PER_SECOND
}

/// Memory in use, bytes.
pub(super) fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("proc(5) has it");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}
