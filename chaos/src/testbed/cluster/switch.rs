//! Ways that are slow or lose what goes over them: a TUN device between the members, and a process
//! that lets each packet through later, or not at all. Kernels without `netem` have no other means.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::time::Duration;

use super::network::inside;

/// Python, because making the device takes an ioctl, which is unsafe code in Rust. It ends when its
/// standard input does, that is with whoever started it.
const SWITCH: &str =
    "import fcntl, heapq, itertools, os, random, select, struct, subprocess, sys, time
name, delay, jitter, loss, seed = sys.argv[1], *map(float, sys.argv[2:])
tun = os.open('/dev/net/tun', os.O_RDWR | os.O_NONBLOCK)
fcntl.ioctl(tun, 0x400454ca, struct.pack('16sH14x', name.encode(), 0x1001))
subprocess.run(['ip', 'link', 'set', name, 'up'], check=True)
print('ready', flush=True)
chance, count, late = random.Random(seed), itertools.count(), []
while True:
    wait = max(0, late[0][0] - time.monotonic()) if late else None
    there = select.select([tun, sys.stdin], [], [], wait)[0]
    if sys.stdin in there:
        break
    if tun in there and len(late) < 20000:
        packet = os.read(tun, 65536)
        if chance.random() >= loss:
            due = time.monotonic() + delay + jitter * chance.random()
            heapq.heappush(late, (due, next(count), packet))
    while late and late[0][0] <= time.monotonic():
        try:
            os.write(tun, heapq.heappop(late)[2])
        except OSError:
            pass
";

/// What becomes of packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Way {
    /// Each comes so much later,
    pub delay: Duration,
    /// and up to so much more: they overtake each other.
    pub jitter: Duration,
    /// So many in a hundred do not come at all.
    pub lost_percent: u8,
}

/// The process behind a device. Both are gone when it is dropped.
#[derive(Debug)]
pub(super) struct Switch(Child);

impl Switch {
    /// Makes the device `name` in a namespace and lets through what is routed there.
    ///
    /// # Errors
    ///
    /// What this machine or this user lacks.
    pub(super) fn start(namespace: &str, name: &str, way: Way, seed: u64) -> Result<Self, String> {
        let lost = f64::from(way.lost_percent) / 100.0;
        let seconds = [way.delay, way.jitter].map(|time| time.as_secs_f64().to_string());
        let child = inside(namespace, "python3")
            .args(["-c", SWITCH, name])
            .args(seconds)
            .args([lost.to_string(), seed.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("nsenter: {error}"))?;
        let mut switch = Self(child);
        let output = switch.0.stdout.take().expect("it is piped");
        let mut word = String::new();
        BufReader::new(output).read_line(&mut word).map_err(|error| error.to_string())?;
        if word == "ready\n" {
            return Ok(switch);
        }
        let mut errors = switch.0.stderr.take().expect("it is piped");
        let mut said = String::new();
        errors.read_to_string(&mut said).map_err(|error| error.to_string())?;
        Err(said.lines().last().unwrap_or("the switch says nothing").to_owned())
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        drop(self.0.kill());
        self.0.wait().expect("a child can be waited for");
    }
}
