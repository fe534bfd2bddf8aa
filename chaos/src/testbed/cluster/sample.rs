//! How members are, as far as they and the kernel tell.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Cluster, admin};
use crate::clock::Moment;
use crate::history::MemberSample;
use crate::testbed::MemoryGroup;

/// Looks at the members of a cluster while others do something to it.
#[derive(Clone, Debug, Default)]
pub struct Watch(Arc<Mutex<Vec<Watched>>>);

/// What a look at a member takes.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    pub(super) data: PathBuf,
    /// The id of its process; 0 while there is none.
    pub(super) pid: Arc<AtomicU32>,
    pub(super) group: Option<Arc<MemoryGroup>>,
}

impl Cluster {
    /// What looks at the members of this cluster, also at those that come.
    pub fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// How a member is. Takes up to half a second when it does not answer.
    ///
    /// # Panics
    ///
    /// When there is no such member.
    pub fn sample(&self, member: usize, at: Moment) -> MemberSample {
        self.watch.sample(member, at)
    }
}

impl Watch {
    /// How many members there are.
    pub fn member_count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// How a member is. Takes up to half a second when it does not answer.
    ///
    /// # Panics
    ///
    /// When there is no such member.
    pub fn sample(&self, member: usize, at: Moment) -> MemberSample {
        let watched = self.0.lock().unwrap_or_else(PoisonError::into_inner)[member].clone();
        let pid = Some(watched.pid.load(Ordering::Relaxed)).filter(|&pid| pid != 0);
        let process = pid.and_then(Process::look);
        let can_answer = process.as_ref().is_some_and(|process| !process.is_stopped);
        let view = can_answer.then(|| admin::status(&watched.data).ok()).flatten();
        let applied = view.as_ref().and_then(|view| view.applied.as_ref());
        MemberSample {
            member: u32::try_from(member).expect("a cluster has few members"),
            at,
            is_running: process.is_some(),
            resident_bytes: process.and_then(|process| process.resident_bytes),
            group_bytes_max: watched.group.as_ref().and_then(|group| group.peak_bytes()),
            oom_kills: watched.group.as_ref().map(|group| group.oom_kills()),
            id: view.as_ref().map(|view| view.this_member),
            leader: view.as_ref().and_then(|view| view.leader),
            term: view.as_ref().map(|view| view.term),
            applied_index: applied.map(|applied| applied.index),
            digest: applied.map(|applied| applied.digest.clone()),
        }
    }

    pub(super) fn add(&self, watched: Watched) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(watched);
    }
}

/// A process, as the kernel sees it.
struct Process {
    is_stopped: bool,
    resident_bytes: Option<u64>,
}

impl Process {
    /// `None` when it is gone, or has ended and only its exit status is left.
    fn look(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let state = field("State:")?.trim().chars().next()?;
        let resident = field("VmRSS:").and_then(|text| text.trim().strip_suffix("kB"));
        let kibibytes = resident.and_then(|text| text.trim().parse::<u64>().ok());
        let resident_bytes = kibibytes.map(|kibibytes| kibibytes * 1024);
        (!['Z', 'X'].contains(&state)).then_some(Self { is_stopped: state == 'T', resident_bytes })
    }
}
