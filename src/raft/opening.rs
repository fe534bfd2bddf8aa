//! What a member finds when it starts: its identity, its newest checkpoint, its log.
//!
//! Damage means refuse, never guess (DESIGN D13): a refusal leaves the files as they were. Only the
//! one for a gap between checkpoint and log comes after the log has made its end durable again.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::cold::{ColdRuns, Cooling};
use super::disk_upkeep::{DiskUpkeep, Last};
use super::encoding::{self, DecodeError};
use super::gauges::{Room, StorageGauges};
use super::life::Signature;
use super::log_store::LogStart;
use super::restoring::{FoundState, Restored};
use super::snapshot::{Receiving, Transfers, follow_checkpoint};
use super::state_machine::ReplicaState;
use super::tending::Tending;
use super::upkeep::CheckpointLimits;
use crate::chain::Chain;
use crate::clock::{Anchor, Clock, LogicalClock};
use crate::memory::Memory;
use crate::queue::{Incarnation, LogicalTime, MemberId, RestoreError};
use crate::storage::background::{Background, BackgroundOptions};
use crate::storage::catalog::{Catalog, Part, PartKind, StartRecord};
use crate::storage::checkpoint::{CheckpointError, CheckpointInfo, Checkpoints};
use crate::storage::disk::Disk;
use crate::storage::identity::{DataDirectory, Identity, IdentityError};
use crate::storage::reserve::Reserve;
use crate::storage::runs::{RunError, RunOptions};
use crate::storage::short_lives::ShortLives;
use crate::storage::wal::{Recovered, SyncPolicy, Wal, WalError, WalOptions};
use crate::storage::{Now, Owner};

/// The member that begins a cluster.
pub const FIRST_MEMBER: u64 = 1;

/// What pages of run files may take up in memory, and what is remembered of where tubes begin in
/// them, as parts of the share of run files, and at most; bytes.
const RUN_CACHE_PART: u64 = 2;
const RUN_CACHE_BYTES_MAX: u64 = 64 << 20;
const RUN_CURSOR_PART: u64 = 4;
const RUN_CURSOR_BYTES_MAX: u64 = 32 << 20;

/// Where jobs are kept.
#[derive(Clone)]
pub enum Durability {
    /// In memory: they end with the process.
    Memory,
    /// In a data directory.
    Disk {
        /// The file system.
        disk: Arc<dyn Disk>,
        /// The data directory.
        dir: PathBuf,
        /// Refuse a directory that is empty.
        must_exist: bool,
        /// When the log is synced.
        sync: SyncPolicy,
        /// The largest file of the log, bytes.
        segment_size_max: u64,
        /// Room on the disk that puts leave free beside what checkpoints need, bytes.
        free_min: u64,
    },
}

/// How to open a member.
pub struct OpenOptions {
    /// Where jobs are kept.
    pub durability: Durability,
    /// The machine's clocks.
    pub clock: Arc<dyn Clock>,
    /// To whom an empty directory is given: the first member of a cluster with a name drawn at
    /// random, or who another cluster says.
    pub newcomer: Owner,
    /// When a checkpoint is due.
    pub checkpoints: CheckpointLimits,
    /// What hot jobs may take up in memory before some become cold, bytes; `None` for no limit.
    pub hot_bytes_max: Option<u64>,
    /// The budget, to be kept to and told of.
    pub memory: Arc<Memory>,
}

/// The data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Whose directory it is cannot be told, or it is not ours.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] WalError),
    /// No checkpoint can be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A checkpoint is whole and its contents make no sense.
    #[error("checkpoint {index} cannot be restored: {source}")]
    Restore {
        /// Which.
        index: u64,
        /// What is wrong.
        source: RestoreError,
    },
    /// The insides of a record make no sense.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Entries that no checkpoint covers are gone.
    #[error(
        "the log begins after entry {purged}, but the newest usable checkpoint ends at {checkpoint}"
    )]
    Gap {
        /// Up to where the log is gone.
        purged: u64,
        /// Up to where the state is known.
        checkpoint: u64,
    },
    /// A run file cannot be used.
    #[error(transparent)]
    Run(#[from] RunError),
    /// What a checkpoint says of its run files makes no sense.
    #[error("the list of run files in a checkpoint is not valid")]
    RunState,
    /// A part that was there is gone.
    #[error("{} is missing: this directory had it", .0.display())]
    Missing(PathBuf),
    /// No thread could be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

pub(super) struct Parts {
    pub(super) signature: Signature,
    pub(super) cluster: u128,
    pub(super) clock: Arc<LogicalClock>,
    pub(super) wal: Option<Arc<Wal>>,
    pub(super) log_start: LogStart,
    pub(super) state: ReplicaState,
    pub(super) gauges: StorageGauges,
    pub(super) upkeep: Option<DiskUpkeep>,
    pub(super) lives: Option<ShortLives>,
    /// Who lives here; nobody knows in memory.
    pub(super) directory: Option<Arc<Mutex<DataDirectory>>>,
    /// Where snapshots are received; nowhere without a data directory.
    pub(super) receiving: Option<Receiving>,
}

pub(super) fn open(options: OpenOptions) -> Result<Parts, OpenError> {
    let OpenOptions { durability, clock, newcomer, checkpoints, hot_bytes_max, memory } = options;
    match durability {
        Durability::Memory => Ok(in_memory(newcomer, clock)),
        Durability::Disk { disk, dir, must_exist, sync, segment_size_max, free_min } => {
            let directory = DataDirectory::open(Arc::clone(&disk), &dir, newcomer, must_exist)?;
            let lives = ShortLives::begin(Arc::clone(&disk), &dir);
            let limits = checkpoints;
            let opening =
                Opening { disk, dir, directory, clock, limits, hot_bytes_max, memory, free_min };
            match opening.open(sync, segment_size_max) {
                Ok(parts) => Ok(Parts { lives: Some(lives), ..parts }),
                Err(error) => {
                    lives.undo();
                    Err(error)
                }
            }
        }
    }
}

fn in_memory(newcomer: Owner, clock: Arc<dyn Clock>) -> Parts {
    Parts {
        signature: Signature { member: MemberId(newcomer.member), incarnation: Incarnation(1) },
        cluster: newcomer.cluster,
        clock: Arc::new(LogicalClock::resume(clock, None, LogicalTime(0))),
        wal: None,
        log_start: LogStart::default(),
        state: ReplicaState::empty(),
        gauges: StorageGauges::default(),
        upkeep: None,
        lives: None,
        directory: None,
        receiving: None,
    }
}

/// A data directory that is ours, being opened.
struct Opening {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    directory: DataDirectory,
    clock: Arc<dyn Clock>,
    limits: CheckpointLimits,
    hot_bytes_max: Option<u64>,
    memory: Arc<Memory>,
    free_min: u64,
}

impl Opening {
    fn open(mut self, sync: SyncPolicy, segment_size_max: u64) -> Result<Parts, OpenError> {
        let identity = self.look_around()?;
        let background =
            Background::start(BackgroundOptions::new(self.now())).map_err(OpenError::Thread)?;
        let reserve = self.reserve()?;
        let checkpoints = self.checkpoints(&background, &reserve)?;
        let transfers = Arc::<Transfers>::default();
        let cold_changed = Arc::new(Notify::new());
        let runs = self.run_options(identity.owner, &background, &cold_changed);
        let found = FoundState::look(&checkpoints, runs.clone())?;
        let (keep_free, room) = (Arc::new(AtomicU64::new(0)), Arc::new(Room::default()));
        let sizes = (segment_size_max, Arc::clone(&keep_free));
        let (wal, mut recovered) = self.open_log(self.wal_options(sync, sizes), &background)?;
        refuse_gap(&recovered, found.chosen())?;
        // The log is accepted: what nobody lists makes room for what replay will need.
        found.claim(&checkpoints)?;
        let restored = found.restore(&checkpoints, &transfers, self.hot_bytes_max)?;
        let receiving = self.receiving(&restored, runs, &checkpoints, &transfers);
        let Restored { mut state, chosen, cold, listed } = restored;
        if let Some(applied) = &state.applied {
            follow_checkpoint(&wal, &mut recovered, encoding::entry_id(applied))?;
        }
        let incarnation = self.directory.raise_incarnation()?;
        self.directory.set_complete()?;
        let catalog = self.catalog(incarnation, &recovered, chosen.as_ref());
        let clock = self.logical_clock(&recovered, state.queue.now())?;
        let wal = Arc::new(wal);
        state.cooling = self.cooling(&cold);
        let now = self.now();
        let directory = Arc::new(Mutex::new(self.directory));
        let tending = Tending::new(&cold, cold_changed, &self.memory, &background, now);
        let upkeep = DiskUpkeep {
            disk: self.disk,
            directory: Arc::clone(&directory),
            background,
            reserve,
            checkpoints,
            transfers,
            taken_over: 0,
            catalog: Some(catalog),
            limits: self.limits,
            free_min: self.free_min,
            wal: Arc::clone(&wal),
            keep_free,
            room: Arc::clone(&room),
            told_stall: false,
            cold,
            tending: Some(tending),
            listed,
            last: chosen.as_ref().map(Last::found),
            parts: chosen.iter().map(checkpoint_part).collect(),
            state_bytes: 0,
        };
        Ok(Parts {
            cluster: identity.owner.cluster,
            signature: signature(identity, incarnation),
            clock: Arc::new(clock),
            log_start: log_start(&recovered)?,
            gauges: StorageGauges::new(Arc::clone(&wal), Arc::clone(&room)),
            wal: Some(wal),
            state,
            upkeep: Some(upkeep),
            lives: None,
            directory: Some(directory),
            receiving: Some(receiving),
        })
    }

    /// Refuses a directory that lacks what it had, and says when there is a new one.
    fn look_around(&self) -> Result<Identity, OpenError> {
        let identity = self.directory.identity();
        if identity.incarnation == 0 {
            self.tell_beginning(identity.owner);
        }
        if identity.is_complete {
            self.refuse_missing("checkpoints")?;
        }
        Ok(identity)
    }

    fn checkpoints(
        &self,
        background: &Background,
        reserve: &Arc<Reserve>,
    ) -> Result<Checkpoints, OpenError> {
        let (disk, dir) = (Arc::clone(&self.disk), self.dir.join("checkpoints"));
        Ok(Checkpoints::open(disk, &dir, background.handle(), Some(Arc::clone(reserve)))?)
    }

    /// Only the first member of a cluster begins a queue; others fetch theirs.
    fn tell_beginning(&self, owner: Owner) {
        let Owner { cluster, member } = owner;
        let dir = self.dir.display();
        if member == FIRST_MEMBER {
            tracing::warn!(target: "beanpole", %dir, "a new queue begins in this directory");
            return;
        }
        tracing::info!(
            target: "beanpole",
            %dir,
            "this process joins cluster {cluster:032x} as member {member}, and fetches its jobs from \
             the others"
        );
    }

    fn reserve(&self) -> Result<Arc<Reserve>, OpenError> {
        let reserve = Reserve::new(Arc::clone(&self.disk), self.dir.join("reserve"));
        reserve.load().map_err(|source| self.io("load", "reserve", source))?;
        Ok(Arc::new(reserve))
    }

    fn run_options(
        &self,
        owner: Owner,
        background: &Background,
        changed: &Arc<Notify>,
    ) -> RunOptions {
        let changed = Arc::clone(changed);
        let share = self.memory.runs.limit;
        let part =
            |part: u64, most: u64| usize::try_from((share / part).min(most)).unwrap_or(usize::MAX);
        RunOptions {
            disk: Arc::clone(&self.disk),
            dir: self.dir.join("runs"),
            cluster: owner.cluster,
            member: owner.member,
            life: crate::random::number(),
            background: background.handle(),
            cache_bytes_max: part(RUN_CACHE_PART, RUN_CACHE_BYTES_MAX),
            cursor_bytes_max: part(RUN_CURSOR_PART, RUN_CURSOR_BYTES_MAX),
            on_change: Arc::new(move || changed.notify_one()),
        }
    }

    /// Where snapshots are received, over what was restored.
    fn receiving(
        &self,
        restored: &Restored,
        runs: RunOptions,
        checkpoints: &Checkpoints,
        transfers: &Arc<Transfers>,
    ) -> Receiving {
        Receiving {
            checkpoints: checkpoints.clone(),
            cluster: runs.cluster,
            transfers: Arc::clone(transfers),
            cold: restored.cold.clone(),
            runs,
            hot_bytes_max: self.hot_bytes_max,
            listed: restored.listed.clone(),
        }
    }

    fn cooling(&self, runs: &ColdRuns) -> Option<Cooling> {
        let hot_bytes_max = self.hot_bytes_max?;
        Some(Cooling::new(runs.clone(), hot_bytes_max, Arc::clone(&self.memory)))
    }

    fn wal_options(
        &self,
        sync: SyncPolicy,
        (segment_bytes_max, keep_free_bytes): (u64, Arc<AtomicU64>),
    ) -> WalOptions {
        let identity = self.directory.identity();
        WalOptions {
            sync,
            segment_bytes_max,
            keep_free_bytes,
            may_create: !identity.is_complete,
            lock: Some(self.directory.lock()),
            ..WalOptions::new(identity.owner, self.now())
        }
    }

    fn open_log(
        &self,
        options: WalOptions,
        background: &Background,
    ) -> Result<(Wal, Recovered), OpenError> {
        let segment_bytes_first = options.segment_bytes_first.min(options.segment_bytes_max);
        let options = WalOptions { segment_bytes_first, ..options };
        let (disk, dir) = (Arc::clone(&self.disk), self.dir.join("wal"));
        Ok(Wal::open(disk, &dir, options, background.handle(), Arc::new(end_process))?)
    }

    /// Time goes on from the log's last anchor, and never back behind what the state has seen.
    fn logical_clock(
        &self,
        recovered: &Recovered,
        floor: LogicalTime,
    ) -> Result<LogicalClock, DecodeError> {
        let note = recovered.note.as_ref();
        let anchor = note.map(|note| encoding::decode::<Anchor>("clock", note)).transpose()?;
        Ok(LogicalClock::resume(Arc::clone(&self.clock), anchor, floor))
    }

    fn refuse_missing(&self, name: &str) -> Result<(), OpenError> {
        let names = self.disk.list(&self.dir).map_err(|source| self.io("list", ".", source))?;
        match names.iter().any(|found| found == name) {
            true => Ok(()),
            false => Err(OpenError::Missing(self.dir.join(name))),
        }
    }

    fn catalog(
        &self,
        incarnation: u64,
        recovered: &Recovered,
        chosen: Option<&CheckpointInfo>,
    ) -> Catalog {
        let start = StartRecord {
            incarnation,
            applied_index: chosen.map(|info| info.head.applied_index),
            torn_bytes: recovered.torn_bytes,
        };
        if recovered.torn_bytes > 0 {
            tracing::warn!(
                bytes = recovered.torn_bytes,
                "the log ended in a write that was cut off"
            );
        }
        let parts = chosen.map(checkpoint_part).into_iter().collect();
        Catalog::open(self.disk.as_ref(), &self.dir.join("catalog"), parts, start)
    }

    fn now(&self) -> Now {
        let clock = Arc::clone(&self.clock);
        Arc::new(move || Duration::from_nanos(clock.boot_nanos()))
    }

    fn io(&self, action: &'static str, name: &str, source: std::io::Error) -> OpenError {
        OpenError::Identity(IdentityError::Io { action, path: self.dir.join(name), source })
    }
}

fn signature(identity: Identity, incarnation: u64) -> Signature {
    let member = MemberId(identity.owner.member);
    Signature { member, incarnation: Incarnation(incarnation) }
}

/// The catalog's line on a checkpoint.
pub(super) fn checkpoint_part(info: &CheckpointInfo) -> Part {
    Part {
        kind: PartKind::Checkpoint,
        id: info.head.applied_index,
        file_bytes: info.file_bytes,
        crc: info.file_crc,
        live: info.records,
    }
}

fn refuse_gap(recovered: &Recovered, chosen: Option<&CheckpointInfo>) -> Result<(), OpenError> {
    let Some(purged) = recovered.purged else { return Ok(()) };
    let checkpoint = chosen.map_or(0, |info| info.head.applied_index);
    match purged.index > checkpoint || chosen.is_none() {
        true => Err(OpenError::Gap { purged: purged.index, checkpoint }),
        false => Ok(()),
    }
}

fn log_start(recovered: &Recovered) -> Result<LogStart, OpenError> {
    let vote = recovered.vote.as_ref().map(|vote| encoding::decode_vote(vote)).transpose()?;
    Ok(LogStart {
        vote,
        purged: recovered.purged.map(encoding::log_id),
        last: recovered.last.map(encoding::log_id),
    })
}

/// The log has failed: nothing may be acknowledged any more, and no destructor may write.
fn end_process(error: WalError) {
    tracing::error!("the log has failed, ending at once: {}", Chain(&error));
    std::process::abort();
}
