//! Reads: what a client asks without changing anything, and the YAML that answers it.
//!
//! Keys, their order and their quoting are those of beanstalkd 1.13 (reference, section 2).

use std::fmt::{Display, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use beanpole_protocol::{CommandName, Reply, TubeName};
use bytes::Bytes;

use super::counters::LocalCounters;
use super::facts::{MemberFacts, VERSION};
use super::lists::Lists;
use crate::queue::{Counters, JobId, JobStats, LogicalTime, Queue, SessionId, TubeStats};

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Query {
    Peek(JobId),
    PeekReady,
    PeekDelayed,
    PeekBuried,
    Stats,
    StatsJob(JobId),
    StatsTube(TubeName),
    ListTubes,
    ListTubeUsed,
    ListTubesWatched,
}

/// Who asks, when, and what the member knows beside the queue.
pub(super) struct ReadContext<'a> {
    /// The asking connection's session.
    pub session: SessionId,
    /// The time the answer is for.
    pub now: LogicalTime,
    /// What the member counts for itself.
    pub local: &'a LocalCounters,
    /// What the member is.
    pub facts: &'a MemberFacts,
    /// Whether puts are answered with `DRAINING`.
    pub draining: bool,
    /// The way out for lists.
    pub lists: &'a Arc<Lists>,
}

impl Query {
    /// The answer, as of now. Counts the command.
    pub(super) fn answer(&self, queue: &Queue, context: &ReadContext<'_>) -> Reply {
        context.local.count(self.name());
        let session = context.session;
        match self {
            Self::Peek(job) => found(queue.peek(*job)),
            Self::PeekReady => found(queue.peek_ready(session)),
            Self::PeekDelayed => found(queue.peek_delayed(session)),
            Self::PeekBuried => found(queue.peek_buried(session)),
            Self::Stats => Reply::Ok(stats(queue, context)),
            Self::StatsJob(job) => queue
                .job_stats(*job, context.now)
                .map_or(Reply::NotFound, |stats| Reply::Ok(job_stats(&stats, context))),
            Self::StatsTube(tube) => queue
                .tube_stats(tube, context.now)
                .map_or(Reply::NotFound, |stats| Reply::Ok(tube_stats(&stats, context.local))),
            Self::ListTubes => Reply::Ok(list(queue.tube_names())),
            Self::ListTubeUsed => Reply::Using(queue.tube_used(session)),
            Self::ListTubesWatched => Reply::Ok(list(queue.tubes_watched(session).iter())),
        }
    }

    /// Whether the answer can be as long as there are tubes.
    pub(super) fn is_list(&self) -> bool {
        matches!(self, Self::ListTubes | Self::ListTubesWatched)
    }

    /// How long the list is that answers it, bytes; 0 for what is answered by no list.
    pub(super) fn list_bytes(&self, queue: &Queue, session: SessionId) -> u64 {
        match self {
            Self::ListTubes => list_bytes(queue.tube_names()),
            Self::ListTubesWatched => list_bytes(queue.tubes_watched(session).iter()),
            _ => 0,
        }
    }

    fn name(&self) -> CommandName {
        match self {
            Self::Peek(_) => CommandName::Peek,
            Self::PeekReady => CommandName::PeekReady,
            Self::PeekDelayed => CommandName::PeekDelayed,
            Self::PeekBuried => CommandName::PeekBuried,
            Self::Stats => CommandName::Stats,
            Self::StatsJob(_) => CommandName::StatsJob,
            Self::StatsTube(_) => CommandName::StatsTube,
            Self::ListTubes => CommandName::ListTubes,
            Self::ListTubeUsed => CommandName::ListTubeUsed,
            Self::ListTubesWatched => CommandName::ListTubesWatched,
        }
    }
}

fn found(job: Option<(JobId, Bytes)>) -> Reply {
    job.map_or(Reply::NotFound, |(id, body)| Reply::Found { id: id.0, body })
}

/// What YAML begins with.
const HEAD: &str = "---\n";

/// A YAML mapping under way.
struct Yaml(String);

impl Yaml {
    fn new() -> Self {
        Self(HEAD.to_owned())
    }

    fn line(&mut self, key: &str, value: impl Display) -> &mut Self {
        writeln!(self.0, "{key}: {value}").expect("writing to a string does not fail");
        self
    }

    fn quoted(&mut self, key: &str, value: impl Display) -> &mut Self {
        self.line(key, format_args!("\"{value}\""))
    }

    fn finish(self) -> Bytes {
        self.0.into()
    }
}

fn list<'a>(tubes: impl Iterator<Item = &'a TubeName> + Clone) -> Bytes {
    let length = usize::try_from(list_bytes(tubes.clone())).unwrap_or_default();
    let mut yaml = Yaml(String::with_capacity(length));
    yaml.0.push_str(HEAD);
    for tube in tubes {
        yaml.0.push_str("- ");
        yaml.0.push_str(tube.as_str());
        yaml.0.push('\n');
    }
    yaml.finish()
}

fn list_bytes<'a>(tubes: impl Iterator<Item = &'a TubeName>) -> u64 {
    let lines: usize = tubes.map(|tube| "- \n".len() + tube.as_str().len()).sum();
    (HEAD.len() + lines) as u64
}

fn stats(queue: &Queue, context: &ReadContext<'_>) -> Bytes {
    let mut yaml = Yaml::new();
    let state = queue.counters();
    job_and_command_lines(&mut yaml, &state, context.local);
    connection_lines(&mut yaml, &state, context);
    member_lines(&mut yaml, context);
    yaml.finish()
}

fn job_and_command_lines(yaml: &mut Yaml, state: &Counters, local: &LocalCounters) {
    let own = |name| local.counted(name);
    yaml.line("current-jobs-urgent", state.current_jobs_urgent)
        .line("current-jobs-ready", state.current_jobs_ready)
        .line("current-jobs-reserved", state.current_jobs_reserved)
        .line("current-jobs-delayed", state.current_jobs_delayed)
        .line("current-jobs-buried", state.current_jobs_buried)
        .line("cmd-put", state.cmd_put + own(CommandName::Put))
        .line("cmd-peek", own(CommandName::Peek))
        .line("cmd-peek-ready", own(CommandName::PeekReady))
        .line("cmd-peek-delayed", own(CommandName::PeekDelayed))
        .line("cmd-peek-buried", own(CommandName::PeekBuried))
        .line("cmd-reserve", state.cmd_reserve)
        .line("cmd-reserve-with-timeout", state.cmd_reserve_with_timeout)
        .line("cmd-delete", state.cmd_delete)
        .line("cmd-release", state.cmd_release)
        .line("cmd-use", state.cmd_use)
        .line("cmd-watch", state.cmd_watch)
        .line("cmd-ignore", state.cmd_ignore)
        .line("cmd-bury", state.cmd_bury)
        .line("cmd-kick", state.cmd_kick)
        .line("cmd-touch", state.cmd_touch)
        .line("cmd-stats", own(CommandName::Stats))
        .line("cmd-stats-job", own(CommandName::StatsJob))
        .line("cmd-stats-tube", own(CommandName::StatsTube))
        .line("cmd-list-tubes", own(CommandName::ListTubes))
        .line("cmd-list-tube-used", own(CommandName::ListTubeUsed))
        .line("cmd-list-tubes-watched", own(CommandName::ListTubesWatched))
        .line("cmd-pause-tube", state.cmd_pause_tube + own(CommandName::PauseTube))
        .line("job-timeouts", state.job_timeouts)
        .line("total-jobs", state.total_jobs);
}

fn connection_lines(yaml: &mut Yaml, state: &Counters, context: &ReadContext<'_>) {
    let unopened = context.local.unopened.load(Ordering::Relaxed);
    let never_opened = context.local.never_opened.load(Ordering::Relaxed);
    yaml.line("max-job-size", context.facts.job_size_max)
        .line("current-tubes", state.current_tubes)
        .line("current-connections", state.current_connections + unopened)
        .line("current-producers", state.current_producers + context.local.refused_producers())
        .line("current-workers", state.current_workers)
        .line("current-waiting", state.current_waiting)
        .line("total-connections", state.total_connections + unopened + never_opened);
}

fn member_lines(yaml: &mut Yaml, context: &ReadContext<'_>) {
    let facts = context.facts;
    let log = facts.storage.log_figures();
    let (user_time, system_time) = facts.processor_times();
    yaml.line("pid", std::process::id())
        .quoted("version", VERSION)
        .line("rusage-utime", user_time)
        .line("rusage-stime", system_time)
        .line("uptime", facts.uptime().as_secs())
        .line("binlog-oldest-index", log.oldest_segment)
        .line("binlog-current-index", log.current_segment)
        .line("binlog-records-migrated", 0)
        .line("binlog-records-written", log.records_written)
        .line("binlog-max-size", facts.segment_size_typed)
        .line("draining", context.draining)
        .line("id", &facts.id)
        .quoted("hostname", &facts.host.name)
        .quoted("os", &facts.host.os)
        .quoted("platform", &facts.host.platform);
}

fn job_stats(stats: &JobStats, context: &ReadContext<'_>) -> Bytes {
    let mut yaml = Yaml::new();
    yaml.line("id", stats.id.0)
        .quoted("tube", &stats.tube)
        .line("state", stats.state.as_str())
        .line("pri", stats.pri)
        .line("age", stats.age)
        .line("delay", stats.delay)
        .line("ttr", stats.ttr)
        .line("time-left", stats.time_left)
        .line("file", context.facts.storage.log_figures().current_segment)
        .line("reserves", stats.reserves)
        .line("timeouts", stats.timeouts)
        .line("releases", stats.releases)
        .line("buries", stats.buries)
        .line("kicks", stats.kicks);
    yaml.finish()
}

fn tube_stats(stats: &TubeStats, local: &LocalCounters) -> Bytes {
    // A connection that has not changed anything yet uses and watches `default` all the same.
    let unopened = match stats.name == TubeName::default_tube() {
        true => local.unopened.load(Ordering::Relaxed),
        false => 0,
    };
    let mut yaml = Yaml::new();
    yaml.quoted("name", &stats.name)
        .line("current-jobs-urgent", stats.current_jobs_urgent)
        .line("current-jobs-ready", stats.current_jobs_ready)
        .line("current-jobs-reserved", stats.current_jobs_reserved)
        .line("current-jobs-delayed", stats.current_jobs_delayed)
        .line("current-jobs-buried", stats.current_jobs_buried)
        .line("total-jobs", stats.total_jobs)
        .line("current-using", stats.current_using + unopened)
        .line("current-watching", stats.current_watching + unopened)
        .line("current-waiting", stats.current_waiting)
        .line("cmd-delete", stats.cmd_delete)
        .line("cmd-pause-tube", stats.cmd_pause_tube)
        .line("pause", stats.pause)
        .line("pause-time-left", stats.pause_time_left);
    yaml.finish()
}
