//! Entries that are applied one by one: what they wait for, what they make cold, and when replies leave.

use std::time::Duration;

use beanpole_protocol::TubeName;
use futures_util::stream;
use openraft::storage::RaftStateMachine;

use super::super::encoding;
use super::super::life::Life;
use super::super::log_store::{LogStart, LogStore};
use super::super::state_machine::{Replica, ReplicaState, StateMachine};
use super::super::types::{Command, Entry, Payload};
use super::sides::*;
use super::*;
use crate::clock::LogicalClock;
use crate::queue::{Batch, ColdJobs, Incarnation, MemberId, OpNumber, Part, Wait};
use crate::storage::wal::EntryId;

/// A member whose ops are in the entries, with the one life that it has.
struct Asking {
    machine: StateMachine,
    signature: Signature,
    index: u64,
    last: u64,
}

impl Asking {
    async fn new(machine: StateMachine, signature: Signature) -> Self {
        let mut asking = Self { machine, signature, index: 0, last: 0 };
        let Signature { member, incarnation } = signature;
        let entry = asking.entry(Part::Open { member, incarnation, grace_millis: 0 });
        asking.apply(vec![entry]).await;
        asking
    }

    fn entry(&mut self, part: Part) -> Entry {
        self.index += 1;
        let batch = Batch { now: LogicalTime(self.index), parts: vec![part] };
        let log_id = encoding::log_id(EntryId { term: 90, member: 1, index: self.index });
        Entry { log_id, payload: Payload::Normal(Command::new(batch)) }
    }

    fn ops(&mut self, ops: impl IntoIterator<Item = (u64, Action)>) -> Entry {
        let op = |(connection, action)| Op::plain(ConnectionNumber(connection), Turn(0), action);
        let ops: Vec<Op> = ops.into_iter().map(op).collect();
        let first = OpNumber(self.last + 1);
        self.last += ops.len() as u64;
        let Signature { member, incarnation } = self.signature;
        self.entry(Part::Ops { member, incarnation, first, ops: ops.into() })
    }

    async fn apply(&mut self, entries: Vec<Entry>) {
        let entries = entries.into_iter().map(|entry| Ok((entry, None)));
        self.machine.apply(stream::iter(entries)).await.unwrap();
    }

    async fn act(&mut self, action: Action) {
        let entry = self.ops([(1, action)]);
        self.apply(vec![entry]).await;
    }
}

/// Somebody whose replies nobody here waits for.
const STRANGER: Signature = Signature { member: MemberId(9), incarnation: Incarnation(1) };

fn reserve() -> Action {
    Action::Reserve { wait: Wait::Forever, half_closed: false }
}

#[tokio::test]
async fn where_held_jobs_and_tubes_take_up_the_memory_few_runs_are_made() {
    const HOT_BYTES_MAX: u64 = 256 << 10;
    const JOBS: u64 = 1500;
    let side = Side::open_within(&SimDisk::new(), Some(HOT_BYTES_MAX));
    let mut asking = Asking::new(side.machine.clone(), STRANGER).await;
    for tube in 0..100 {
        asking
            .act(Action::Watch { tube: TubeName::new(format!("tube-{tube}").as_bytes()).unwrap() })
            .await;
    }
    for _ in 0..800 {
        asking.act(put(0, Vec::new())).await;
        asking.act(reserve()).await;
    }
    assert!(side.replica.with_state(|state| state.queue.coolable_bytes()) == 0);
    for _ in 0..JOBS {
        asking.act(put(0, vec![b'j'; 100])).await;
    }
    let runs = side.upkeep.cold.with(|set| set.freeze().held().uids().len());
    assert!((5..60).contains(&runs), "{runs} runs of {JOBS} jobs");
    let hot = side.replica.with_state(|state| state.queue.coolable_bytes());
    assert!(hot <= HOT_BYTES_MAX / 8 + 1000, "{hot} bytes could be cold");
}

#[tokio::test]
async fn entries_wait_a_short_while_in_all_when_nothing_can_be_written() {
    const JOBS: usize = 40;
    let disk = SimDisk::new();
    let side = Side::open_within(&disk, Some(1 << 20));
    disk.set_capacity(Some(0));
    let mut asking = Asking::new(side.machine.clone(), STRANGER).await;
    let all = async {
        for _ in 0..JOBS {
            asking.act(put(0, vec![b'j'; 1 << 20])).await;
        }
        assert!(side.replica.memory().is_overfull(), "there is room");
        for job in 1..=5 {
            asking.act(Action::Delete { job: JobId(job) }).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(9), all).await.expect("they wait in vain");
    let left = side.replica.with_state(|state| state.queue.counters().current_jobs_ready);
    assert_eq!(left, JOBS as u64 - 5);
}

#[tokio::test]
async fn a_member_starts_on_a_full_disk_with_more_jobs_than_may_be_hot() {
    let disk = disk_with(&SimDisk::new(), 2000, None).await;
    let digest = Side::open(&disk.kill()).digest();
    let small = Side::open_within(&disk.kill(), Some(64 << 10));
    assert_eq!(small.digest(), digest);
    assert!(small.upkeep.cold.with(|set| set.records()) > 1000);
    disk.set_capacity(Some(disk.used_bytes() + 1000));
    let side = Side::open_within(&disk, Some(64 << 10));
    assert_eq!(side.digest(), digest);
    assert!(side.replica.with_state(|state| state.queue.hot_bytes()) > 64 << 10);
}

#[tokio::test]
async fn a_job_is_the_one_that_was_asked_for_whatever_was_found_before_it() {
    let disk = disk_with(&SimDisk::new(), 500, Some(16 << 10)).await;
    let side = Side::open_within(&disk, Some(16 << 10));
    let mut cold = side.upkeep.cold.clone();
    let all: BTreeMap<JobId, crate::queue::Job> = cold.all().into_iter().collect();
    assert!(all.len() > 100);
    let ids: Vec<JobId> = all.keys().copied().collect();
    for pair in ids.chunks_exact(2) {
        let (one, other) = (pair[0], pair[1]);
        assert_eq!(cold.find(one).as_ref(), Some(&all[&one]));
        assert_eq!(cold.take(other).as_ref(), Some(&all[&other]));
        assert_eq!(cold.find(other), None);
        assert_eq!(cold.take(one).as_ref(), Some(&all[&one]));
        assert_eq!(cold.take(one), None);
    }
    // One that came back is another record.
    assert!(cold.find(ids[0]).is_none());
    cold.store(vec![(ids[0], all[&ids[0]].clone())]);
    assert_eq!(cold.find(ids[0]).as_ref(), Some(&all[&ids[0]]));
    assert_eq!(cold.take(ids[0]).as_ref(), Some(&all[&ids[0]]));
}

/// Counts what it would have in memory.
#[derive(Default)]
struct Counter {
    /// Bytes of bodies that have not left, and the most there ever were.
    bytes: Mutex<(usize, usize)>,
}

impl Owner for Counter {
    fn before_op(&self, _: &Queue, _: LogicalTime, _: ConnectionNumber) {}

    fn outcome(&self, _: ConnectionNumber, outcome: Outcome) {
        if let Outcome::Reserved { body, .. } = outcome {
            let (bytes, most) = &mut *self.bytes.lock();
            *bytes += body.here().len();
            *most = (*most).max(*bytes);
        }
    }

    fn answer_reads(&self, _: &Queue, _: LogicalTime, _: (ConnectionNumber, Ask)) {}

    fn send_replies(&self) {
        self.bytes.lock().0 = 0;
    }

    fn speak_again(&self) {}

    fn close_all(&self) {}
}

#[tokio::test]
async fn replies_leave_between_entries_that_are_applied_in_one_go() {
    const BODY: usize = 256 << 10;
    let signature = Signature { member: MemberId(FIRST_MEMBER), incarnation: Incarnation(1) };
    let (life, memory, counter) = (Arc::new(Life::new(signature)), memory(), Arc::default());
    let outbox = Arc::new(Outbox::new(Arc::clone(&life), memory));
    let clock = Arc::new(LogicalClock::resume(TestClock::ticking(), None, LogicalTime(0)));
    let log = LogStore::new(None, LogStart::default(), Arc::clone(&clock), LOG_MEMORY);
    let owner: Arc<Counter> = Arc::clone(&counter);
    let replica = Replica::new(life, clock, log, outbox, owner, ReplicaState::empty());
    let mut asking = Asking::new(StateMachine::new(Arc::new(replica)), signature).await;
    let mut entries = Vec::new();
    for _ in 0..40 {
        entries.push(asking.ops([(1, put(0, vec![b'j'; BODY])), (2, reserve())]));
    }
    asking.apply(entries).await;
    let (left, most) = *counter.bytes.lock();
    assert!(left == 0 && most > BODY && most <= (1 << 20) + BODY, "{most} bytes at once");
}
