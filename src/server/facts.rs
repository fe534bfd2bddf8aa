//! What a member tells of itself in `stats`.

use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};

use crate::clock::Clock;
use crate::raft::StorageGauges;

/// The release of beanpole, as `stats` shows it.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What does not change while the process runs, and where to look for what does.
pub(super) struct MemberFacts {
    /// The largest body of a job, bytes.
    pub job_size_max: u32,
    /// What `-s` was, bytes.
    pub segment_size_typed: u64,
    /// Sixteen hexadecimal digits, new in every life of the process.
    pub id: String,
    /// What the kernel says: host name, version, machine.
    pub host: Host,
    /// How the disk is doing.
    pub storage: StorageGauges,
    clock: Arc<dyn Clock>,
    started_boot_nanos: u64,
}

/// From uname(2).
pub(super) struct Host {
    /// The name of the machine.
    pub name: String,
    /// The version of its system.
    pub os: String,
    /// Its kind.
    pub platform: String,
}

impl MemberFacts {
    /// The facts of a process that starts now; `random` becomes its id.
    pub(super) fn new(
        job_size_max: u32,
        segment_size_typed: u64,
        random: u64,
        storage: StorageGauges,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let uname = rustix::system::uname();
        let host = Host {
            name: uname.nodename().to_string_lossy().into_owned(),
            os: uname.version().to_string_lossy().into_owned(),
            platform: uname.machine().to_string_lossy().into_owned(),
        };
        let started_boot_nanos = clock.boot_nanos();
        let id = format!("{random:016x}");
        Self { job_size_max, segment_size_typed, id, host, storage, clock, started_boot_nanos }
    }

    /// How long the process has been running.
    pub(super) fn uptime(&self) -> Duration {
        Duration::from_nanos(self.clock.boot_nanos().saturating_sub(self.started_boot_nanos))
    }

    /// Processor time spent so far: in the program and in the kernel, as `seconds.microseconds`.
    pub(super) fn processor_times(&self) -> (String, String) {
        let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return ("0".into(), "0".into()) };
        let text =
            |time: nix::sys::time::TimeVal| format!("{}.{:06}", time.tv_sec(), time.tv_usec());
        (text(usage.user_time()), text(usage.system_time()))
    }
}
