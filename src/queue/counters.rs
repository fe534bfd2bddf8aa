//! What is counted over the whole state.

use serde::{Deserialize, Serialize};

use super::job::Job;
use super::{Action, Queue, Wait};

/// Counts that only rise, and survive restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Totals {
    pub(super) puts: u64,
    pub(super) uses: u64,
    pub(super) reserves: u64,
    pub(super) reserves_with_timeout: u64,
    pub(super) deletes: u64,
    pub(super) releases: u64,
    pub(super) watches: u64,
    pub(super) ignores: u64,
    pub(super) buries: u64,
    pub(super) kicks: u64,
    pub(super) touches: u64,
    pub(super) pauses: u64,
    pub(super) job_timeouts: u64,
    pub(super) jobs: u64,
    pub(super) connections: u64,
}

/// How many jobs are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct JobCounts {
    /// Ready jobs that count as urgent.
    pub(super) urgent: u64,
    pub(super) ready: u64,
    pub(super) reserved: u64,
    pub(super) delayed: u64,
    pub(super) buried: u64,
    /// What the hot jobs take up in memory.
    pub(super) hot_bytes: u64,
    /// What of that the jobs do that nobody holds: all of them may be made cold.
    pub(super) loose_bytes: u64,
    /// What of that the bodies of held jobs do that may be made cold.
    pub(super) spare_bytes: u64,
    /// Orders of tubes that have hot jobs, and sessions that hold any.
    pub(super) orders: u64,
}

/// What the state knows of the reply to `stats`; the field is the key, with `_` for `-`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the statistic of that name")]
pub struct Counters {
    pub current_jobs_urgent: u64,
    pub current_jobs_ready: u64,
    pub current_jobs_reserved: u64,
    pub current_jobs_delayed: u64,
    pub current_jobs_buried: u64,
    pub cmd_put: u64,
    pub cmd_reserve: u64,
    pub cmd_reserve_with_timeout: u64,
    pub cmd_delete: u64,
    pub cmd_release: u64,
    pub cmd_use: u64,
    pub cmd_watch: u64,
    pub cmd_ignore: u64,
    pub cmd_bury: u64,
    pub cmd_kick: u64,
    pub cmd_touch: u64,
    pub cmd_pause_tube: u64,
    pub job_timeouts: u64,
    pub total_jobs: u64,
    pub current_tubes: u64,
    pub current_connections: u64,
    pub current_producers: u64,
    pub current_workers: u64,
    pub current_waiting: u64,
    pub total_connections: u64,
}

impl JobCounts {
    /// All jobs, hot and cold.
    pub(super) fn jobs(&self) -> u64 {
        self.ready + self.reserved + self.delayed + self.buried
    }

    /// Counts the memory of a hot job in.
    pub(super) fn add_bytes(&mut self, job: &Job) {
        self.hot_bytes += job.hot_bytes();
        self.loose_bytes += job.loose_bytes();
        self.spare_bytes += job.spare_bytes();
    }

    /// Counts the memory of a hot job out.
    pub(super) fn remove_bytes(&mut self, job: &Job) {
        self.hot_bytes -= job.hot_bytes();
        self.loose_bytes -= job.loose_bytes();
        self.spare_bytes -= job.spare_bytes();
    }
}

impl Totals {
    pub(super) fn all(&self) -> [u64; 15] {
        [
            self.puts,
            self.uses,
            self.reserves,
            self.reserves_with_timeout,
            self.deletes,
            self.releases,
            self.watches,
            self.ignores,
            self.buries,
            self.kicks,
            self.touches,
            self.pauses,
            self.job_timeouts,
            self.jobs,
            self.connections,
        ]
    }

    /// Counts a command. reserve-job and kick-job have no counter (protocol.txt names none).
    pub(super) fn count(&mut self, action: &Action) {
        let total = match action {
            Action::Put { .. } => &mut self.puts,
            Action::Use { .. } => &mut self.uses,
            Action::Watch { .. } => &mut self.watches,
            Action::Ignore { .. } => &mut self.ignores,
            Action::Reserve { wait: Wait::Forever, .. } => &mut self.reserves,
            Action::Reserve { wait: Wait::Seconds(_), .. } => &mut self.reserves_with_timeout,
            Action::Delete { .. } => &mut self.deletes,
            Action::Release { .. } => &mut self.releases,
            Action::Bury { .. } => &mut self.buries,
            Action::Touch { .. } => &mut self.touches,
            Action::Kick { .. } => &mut self.kicks,
            Action::PauseTube { .. } => &mut self.pauses,
            Action::ReserveJob { .. }
            | Action::KickJob { .. }
            | Action::StopWaiting
            | Action::Close
            | Action::Attach { .. }
            | Action::Detach => return,
        };
        *total += 1;
    }
}

impl Queue {
    /// All statistics that the state keeps, at a cost that does not depend on its size.
    pub fn counters(&self) -> Counters {
        let mut counters = self.totals_and_jobs();
        counters.current_tubes = self.tubes.len() as u64;
        for (_, member) in self.members.iter() {
            counters.current_connections += member.sessions;
            counters.current_producers += member.producers;
            counters.current_workers += member.workers;
            counters.current_waiting += member.waiters.len() as u64;
        }
        counters
    }

    fn totals_and_jobs(&self) -> Counters {
        let (totals, jobs) = (&self.totals, &self.job_counts);
        Counters {
            current_jobs_urgent: jobs.urgent,
            current_jobs_ready: jobs.ready,
            current_jobs_reserved: jobs.reserved,
            current_jobs_delayed: jobs.delayed,
            current_jobs_buried: jobs.buried,
            cmd_put: totals.puts,
            cmd_reserve: totals.reserves,
            cmd_reserve_with_timeout: totals.reserves_with_timeout,
            cmd_delete: totals.deletes,
            cmd_release: totals.releases,
            cmd_use: totals.uses,
            cmd_watch: totals.watches,
            cmd_ignore: totals.ignores,
            cmd_bury: totals.buries,
            cmd_kick: totals.kicks,
            cmd_touch: totals.touches,
            cmd_pause_tube: totals.pauses,
            job_timeouts: totals.job_timeouts,
            total_jobs: totals.jobs,
            total_connections: totals.connections,
            ..Counters::default()
        }
    }
}
