//! What can be done to a cluster, and how it is undone.
//!
//! Each file is one kind of fault: it installs it, makes sure that it is there, and says how it is
//! healed. What is not healed ends with the cluster: whatever holds a fault up belongs to it.
//! Nothing is signalled but processes that the cluster has started.

mod clock_jump;
mod cut;
mod error;
mod flip;
mod freeze;
mod full_disk;
mod kill;
mod kind;
mod membership;
mod out_of_memory;
mod power_loss;
mod probe;
mod reset;
mod slow_way;
mod spoilt_sync;
mod target;
mod terminate;
mod transfer;
mod up;

use std::time::Duration;

pub use cut::patterns;
pub use error::FaultError;
pub use kind::Kind;
pub use probe::probe;
pub use target::Target;

use crate::testbed::{Cluster, Random};

/// How long a member that was asked to work again may take until it serves; debug builds that read
/// their log anew on a busy machine get this much.
pub const UP_WITHIN: Duration = Duration::from_secs(30);

/// A fault to install.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What is done.
    pub kind: Kind,
    /// To whom.
    pub target: Target,
}

impl Plan {
    /// This kind of fault, done to whom it may be done to.
    pub fn any_of(kind: Kind, random: &mut Random) -> Self {
        Self { kind, target: random.pick(kind.targets()) }
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} of {}", self.kind.name(), self.target)
    }
}

/// A fault that is there.
pub struct Installed {
    /// The places of the members that are hurt, in order. Others promise to work on.
    pub members: Vec<u32>,
    /// What was done, and what clients may notice of the fault itself.
    pub note: String,
    /// Takes it back. Nothing once that is done.
    undo: Option<Change>,
    /// Makes good what taking back does not. Nothing if there is nothing, or once that is done.
    mend: Option<Change>,
}

/// Something that is done to a cluster.
type Change = Box<dyn FnOnce(&mut Cluster) -> Result<(), FaultError> + Send>;

/// Installs a fault.
///
/// # Errors
///
/// [`FaultError::Missing`] when this machine, or this cluster, does not have what it takes, and
/// [`FaultError::Hindered`] when those whom it is to be done to are not as it takes: nothing was done.
/// [`FaultError::NotTaken`] when it is not known whether the fault is there; the cluster
/// is to be given up, or [`recover`]ed.
pub fn install(
    plan: &Plan,
    cluster: &mut Cluster,
    random: &mut Random,
) -> Result<Installed, FaultError> {
    let members = plan.target.choose(cluster, random)?;
    let install = match plan.kind {
        Kind::Kill => kill::install,
        Kind::Restart => kill::install_restart,
        Kind::Terminate => terminate::install,
        Kind::Freeze => freeze::install,
        Kind::CutOneWay => cut::install_one_way,
        Kind::CutTwoWays => cut::install_two_ways,
        Kind::Isolate => cut::install_isolation,
        Kind::CutPattern => cut::install_pattern,
        Kind::Delay => slow_way::install_delay,
        Kind::Loss => slow_way::install_loss,
        Kind::Reset => reset::install,
        Kind::PowerLoss => power_loss::install,
        Kind::FailedSync => spoilt_sync::install_failure,
        Kind::HungDisk => spoilt_sync::install_hang,
        Kind::SlowDisk => spoilt_sync::install_delay,
        Kind::FullDisk => full_disk::install,
        Kind::FlipLog => flip::install_in_log,
        Kind::FlipRun => flip::install_in_run,
        Kind::FlipCheckpoint => flip::install_in_checkpoint,
        Kind::OomKill => out_of_memory::install,
        Kind::ClockJump => clock_jump::install,
        Kind::Transfer => transfer::install,
        Kind::Replace => membership::install_replacement,
        Kind::Grow => membership::install_growth,
    };
    install(&Scene { plan: *plan, members }, cluster, random)
}

/// Takes back all that can be taken back, whatever is there, and starts what is down: for when a
/// fault was not installed to its end, or not healed.
///
/// # Errors
///
/// Who does not come back.
pub fn recover(cluster: &mut Cluster) -> Result<(), FaultError> {
    up::recover(cluster)
}

/// Heals faults that are on together, the last one first: all are taken back before anything is
/// waited for, since each may keep the members of another from coming back.
///
/// # Errors
///
/// [`FaultError::NotHealed`].
pub fn heal_all(faults: &mut [Installed], cluster: &mut Cluster) -> Result<(), FaultError> {
    for fault in faults.iter_mut().rev() {
        fault.take_back(cluster)?;
    }
    for fault in faults.iter_mut().rev() {
        if let Some(mend) = fault.mend.take() {
            mend(cluster)?;
        }
    }
    faults.iter().try_for_each(|fault| up::wait(cluster, &fault.hurt()))
}

impl Installed {
    /// Takes the fault back, and waits up to [`UP_WITHIN`] until all members that it hurt serve.
    ///
    /// # Errors
    ///
    /// [`FaultError::NotHealed`].
    pub fn heal(self, cluster: &mut Cluster) -> Result<(), FaultError> {
        heal_all(&mut [self], cluster)
    }

    /// Takes the fault back and starts what it ended, and waits for nothing.
    ///
    /// # Errors
    ///
    /// [`FaultError::NotHealed`].
    pub fn take_back(&mut self, cluster: &mut Cluster) -> Result<(), FaultError> {
        if let Some(undo) = self.undo.take() {
            undo(cluster)?;
        }
        up::start(cluster, &self.hurt());
        Ok(())
    }

    /// When all is taken back, there is something to make good.
    fn mended_by(
        mut self,
        mend: impl FnOnce(&mut Cluster) -> Result<(), FaultError> + Send + 'static,
    ) -> Self {
        self.mend = Some(Box::new(mend));
        self
    }

    fn hurt(&self) -> Vec<usize> {
        self.members.iter().map(|&place| place as usize).collect()
    }
}

impl std::fmt::Debug for Installed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { members, note, .. } = self;
        out.debug_struct("Installed")
            .field("members", members)
            .field("note", note)
            .finish_non_exhaustive()
    }
}

/// What one kind of fault is told.
struct Scene {
    plan: Plan,
    /// Whom it is done to, by their places.
    members: Vec<usize>,
}

impl Scene {
    /// Whether all that it is done to have disks of their own; nothing was done otherwise.
    fn require_disks(&self, cluster: &Cluster) -> Result<(), FaultError> {
        let disk = |&member: &usize| cluster.disk(member).map(drop).map_err(FaultError::missing);
        self.members.iter().try_for_each(disk)
    }

    /// It is there, and hurts those that it is done to.
    fn installed(
        &self,
        note: impl Into<String>,
        undo: impl FnOnce(&mut Cluster) -> Result<(), FaultError> + Send + 'static,
    ) -> Installed {
        hurting(&self.members, note, undo)
    }

    /// It is there, and gone when those that it is done to are started.
    fn installed_until_started(&self, note: impl Into<String>) -> Installed {
        self.installed(note, |_| Ok(()))
    }
}

/// Whether a member works: nothing can be asked of one that does not.
fn require_work(cluster: &mut Cluster, members: &[usize]) -> Result<(), FaultError> {
    match members.iter().find(|&&member| !cluster.is_at_work(member)) {
        None => Ok(()),
        Some(member) => Err(FaultError::hindered(format!("member {member} does not work"))),
    }
}

/// It is there, and hurts these.
fn hurting(
    members: &[usize],
    note: impl Into<String>,
    undo: impl FnOnce(&mut Cluster) -> Result<(), FaultError> + Send + 'static,
) -> Installed {
    let place = |&member: &usize| u32::try_from(member).expect("a cluster has few members");
    let members = members.iter().map(place).collect();
    Installed { members, note: note.into(), undo: Some(Box::new(undo)), mend: None }
}
