//! Looks at the members all the time, also while something is done to them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::clock::Clock;
use crate::history::{Line, MemberSample};
use crate::testbed::Watch as Members;

const INTERVAL: Duration = Duration::from_millis(200);

/// Whom each member takes for the leader, and in which term.
#[derive(Clone, Debug, Default)]
pub(super) struct Leaders(Arc<Mutex<BTreeMap<u32, (u64, u64)>>>);

/// A thread that writes down how members are. Ended when dropped.
pub(super) struct Sampler {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Leaders {
    /// The id of the one of the latest term: a member that is cut off still names the one before.
    pub(super) fn latest(&self) -> Option<u64> {
        let leaders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        leaders.values().max().map(|(_, id)| *id)
    }

    fn note(&self, sample: &MemberSample) {
        let mut leaders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (sample.term, sample.leader) {
            (Some(term), Some(leader)) => drop(leaders.insert(sample.member, (term, leader))),
            _ => drop(leaders.remove(&sample.member)),
        }
    }
}

impl Sampler {
    /// Begins to look.
    pub(super) fn start(
        members: Members,
        clock: Clock,
        lines: SyncSender<Line>,
        to: Leaders,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for member in 0..members.member_count() {
                    let sample = members.sample(member, clock.now());
                    to.note(&sample);
                    // Whoever reads the history finds out that nobody writes it.
                    drop(lines.send(Line::Sample(sample)));
                }
                thread::sleep(INTERVAL);
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the panic hook.
            drop(thread.join());
        }
    }
}
