//! Two members between which a snapshot goes.
//!
//! The two sides are opened as members are; between them, in place of a link and of openraft, stands
//! `Wire`, which cuts, tampers and installs.

use std::collections::BTreeSet;
use std::io;

use bytes::Bytes;
use openraft::storage::{RaftLogStorage, RaftStateMachine};

use super::super::disk_upkeep::DiskUpkeep;
use super::super::encoding;
use super::super::life::Life;
use super::super::log_store::LogStore;
use super::super::opening::{Parts, open};
use super::super::snapshot::{
    Call, CallError, Receiver, Receiving, Response, SendError, SnapshotData, SnapshotSource,
    installed, send,
};
use super::super::state_machine::{Replica, StateMachine};
use super::super::types::{LogId, Vote};
use super::*;

/// What openraft answers on the receiving side.
pub(super) const ANSWER: &[u8] = b"the vote there";

/// One side: a member that was opened and does not take part.
pub(super) struct Side {
    pub(super) replica: Arc<Replica>,
    pub(super) machine: StateMachine,
    pub(super) log: LogStore,
    pub(super) upkeep: DiskUpkeep,
    pub(super) receiving: Receiving,
}

impl Side {
    pub(super) fn open(disk: &SimDisk) -> Self {
        Self::open_within(disk, None)
    }

    /// With so many bytes of jobs that may be hot.
    pub(super) fn open_within(disk: &SimDisk, hot_bytes_max: Option<u64>) -> Self {
        let options = options(disk, TestClock::ticking(), NO_CHECKPOINTS);
        Self::try_open(OpenOptions { hot_bytes_max, ..options }).unwrap()
    }

    pub(super) fn try_open(options: OpenOptions) -> Result<Self, super::super::OpenError> {
        let memory = Arc::clone(&options.memory);
        let Parts { signature, clock, wal, log_start, state, upkeep, receiving, .. } =
            open(options)?;
        let log = LogStore::new(wal, log_start, Arc::clone(&clock), memory.log.limit);
        let life = Arc::new(Life::new(signature));
        let outbox = Arc::new(Outbox::new(Arc::clone(&life), Arc::clone(&memory)));
        let desk = Arc::new(Desk::default());
        let replica = Replica::new(life, clock, log.clone(), outbox, desk, state);
        let replica = Arc::new(replica);
        Ok(Self {
            machine: StateMachine::new(Arc::clone(&replica)),
            replica,
            log,
            upkeep: upkeep.expect("there is a directory"),
            receiving: receiving.expect("there is a directory"),
        })
    }

    pub(super) fn receiver(&self) -> Receiver {
        Receiver::new(self.receiving.clone(), Arc::clone(&self.replica))
    }

    pub(super) fn wire(&self) -> Wire {
        Wire {
            receiver: self.receiver(),
            machine: self.machine.clone(),
            log: self.log.clone(),
            calls: 0,
            sizes: Vec::new(),
            cut: Cut::Nowhere,
            tamper: Box::new(|_, _| {}),
        }
    }

    pub(super) fn source(&self) -> Arc<SnapshotSource> {
        self.replica.with_state(|state| state.source.clone()).expect("there is a checkpoint")
    }

    pub(super) fn applied(&self) -> Option<LogId> {
        self.replica.with_state(|state| state.applied)
    }

    pub(super) fn digest(&self) -> u64 {
        self.replica.with_state(|state| {
            state.queue.check_invariants();
            state.queue.digest()
        })
    }
}

/// openraft moves a transfer between threads.
pub(super) fn movable<F: Future + Send>(future: F) -> F {
    future
}

/// Where a link is cut, counted in calls from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Nowhere,
    /// The request is lost.
    Before(usize),
    /// The answer is lost.
    After(usize),
}

/// Changes the request of the call of this number.
pub(super) type Tamper = Box<dyn FnMut(usize, &mut Vec<u8>) + Send>;

/// The way to a receiver and, through it, to its state machine and its log.
pub(super) struct Wire {
    pub(super) receiver: Receiver,
    pub(super) machine: StateMachine,
    pub(super) log: LogStore,
    pub(super) calls: usize,
    /// The lengths of the requests that got through.
    pub(super) sizes: Vec<usize>,
    pub(super) cut: Cut,
    pub(super) tamper: Tamper,
}

impl Wire {
    pub(super) async fn carry(&mut self, source: &Arc<SnapshotSource>) -> Result<Bytes, SendError> {
        let vote = encoding::encode_vote(&Vote::new_committed(90, 2));
        movable(send(source, vote.into(), self, std::future::pending::<()>())).await
    }

    /// What openraft does about a snapshot: installs it, and then cuts the log.
    pub(super) async fn install(&mut self, response: Response) -> io::Result<Vec<u8>> {
        let received = match response {
            Response::Answer(answer) => return Ok(answer),
            Response::Install(received) => received,
        };
        let SnapshotData::Nothing = received.data else {
            self.machine.install_snapshot(&received.meta, received.data).await?;
            self.log.purge(received.meta.last_log_id.expect("it is of something")).await?;
            return Ok(installed(ANSWER));
        };
        Ok(installed(b"nothing new"))
    }
}

impl Call for Wire {
    async fn call(&mut self, mut request: Vec<u8>, limit: Duration) -> Result<Bytes, CallError> {
        assert!(limit <= Duration::from_secs(10), "a call may take {limit:?}");
        self.calls += 1;
        let lost = || CallError(io::ErrorKind::ConnectionReset.into());
        if self.cut == Cut::Before(self.calls) {
            return Err(lost());
        }
        self.sizes.push(request.len());
        (self.tamper)(self.calls, &mut request);
        let response = self.receiver.handle(request.into()).await;
        let answer = self.install(response).await?;
        if self.cut == Cut::After(self.calls) {
            return Err(lost());
        }
        Ok(answer.into())
    }
}

/// The disk of a member with a checkpoint of 20 jobs, and as it became later: with so many more, and
/// a newer checkpoint of all of them.
pub(super) struct Pair {
    pub(super) before: SimDisk,
    pub(super) after: SimDisk,
}

pub(super) async fn pair(jobs: usize) -> Pair {
    pair_within(jobs, None).await
}

/// Where the member may have so many bytes of hot jobs.
pub(super) async fn pair_within(jobs: usize, hot_bytes_max: Option<u64>) -> Pair {
    let before = disk_with(&SimDisk::new(), 20, hot_bytes_max).await;
    let after = disk_with(&before, jobs, hot_bytes_max).await;
    Pair { before, after }
}

/// A copy of the disk with so many more jobs and a checkpoint of them.
pub(super) async fn disk_with(disk: &SimDisk, jobs: usize, hot_bytes_max: Option<u64>) -> SimDisk {
    const AT_ONCE: usize = 50;
    let disk = disk.kill();
    let start = async |limits| {
        let options = options(&disk, TestClock::ticking(), limits);
        Member::start(OpenOptions { hot_bytes_max, ..options }).await.expect("the member starts")
    };
    let member = start(NO_CHECKPOINTS).await;
    for left in (1..=jobs).rev().step_by(AT_ONCE) {
        let count = left.min(AT_ONCE);
        (0..count).for_each(|_| member.ask(put(0, vec![b'j'; 200])));
        for _ in 0..count {
            inserted(&member.outcome().await);
        }
    }
    member.stop().await;
    let newest = checkpoints(&disk).pop();
    let always = CheckpointLimits { log_bytes_min: 1, replay_ops_max: 1 };
    let member = start(always).await;
    until("a checkpoint", || checkpoints(&disk).pop() != newest).await;
    let copy = disk.kill();
    member.stop().await;
    copy
}

pub(super) fn incoming(disk: &SimDisk) -> Vec<String> {
    let names = disk.list(&data().join("checkpoints")).unwrap();
    names.into_iter().filter(|name| name.starts_with("incoming-")).collect()
}

/// Run files, and what has come of some.
pub(super) fn runs(disk: &SimDisk) -> Vec<String> {
    disk.list(&data().join("runs")).unwrap_or_default()
}

pub(super) fn job_ids(view: &View) -> BTreeSet<u64> {
    view.jobs.iter().map(|stats| stats.id.0).collect()
}
