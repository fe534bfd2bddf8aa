//! A bit that changes on the disk, in what was written before. The member must not serve what is
//! wrong: it refuses to start and is replaced, or finds out when it reads and ends, or what was hit
//! is not needed.
//!
//! One member is hit at a time. What the log's last sync wrote cannot be told from a torn end when
//! it is hit: then the member has forgotten something that it had acknowledged, which two others
//! have.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{FaultError, Installed, Scene, UP_WITHIN, membership};
use crate::testbed::{Cluster, Random};

/// The exit status of a server that refuses its data directory.
const EXIT_DATA_DIR: i32 = 10;

/// What is hit.
#[derive(Clone, Copy)]
struct Files {
    /// The folder in the data directory.
    folder: &'static str,
    /// What their names begin with; a number follows.
    prefix: &'static str,
    /// Whether a start reads all of it, so that a member that serves has not needed what was hit.
    is_read_by_a_start: bool,
}

/// A bit of a segment of the log changes.
pub(super) fn install_in_log(
    scene: &Scene,
    cluster: &mut Cluster,
    random: &mut Random,
) -> Result<Installed, FaultError> {
    let files = Files { folder: "wal", prefix: "log-", is_read_by_a_start: true };
    install(scene, cluster, random, files)
}

/// A bit of a file of cold jobs changes.
pub(super) fn install_in_run(
    scene: &Scene,
    cluster: &mut Cluster,
    random: &mut Random,
) -> Result<Installed, FaultError> {
    let files = Files { folder: "runs", prefix: "run-", is_read_by_a_start: false };
    install(scene, cluster, random, files)
}

/// A bit of a checkpoint changes.
pub(super) fn install_in_checkpoint(
    scene: &Scene,
    cluster: &mut Cluster,
    random: &mut Random,
) -> Result<Installed, FaultError> {
    let files = Files { folder: "checkpoints", prefix: "checkpoint-", is_read_by_a_start: true };
    install(scene, cluster, random, files)
}

/// The member is down until this is healed, or, once in three times, is hit while it runs and goes
/// on for as long as it does not notice.
fn install(
    scene: &Scene,
    cluster: &mut Cluster,
    random: &mut Random,
    files: Files,
) -> Result<Installed, FaultError> {
    let member = scene.members[0];
    if cluster.member_count() < 2 {
        return Err(FaultError::missing("there is one member only"));
    }
    let id = cluster.status(member).map_err(FaultError::not_taken)?.this_member;
    let folder = cluster.data(member).join(files.folder);
    let hit = choose(&folder, files.prefix, random)?;
    let goes_on = random.once_in(3);
    if !goes_on {
        cluster.kill(member);
    }
    let at = flip(&hit, random).map_err(FaultError::not_taken)?;
    let name = hit.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let when = if goes_on { "while it ran" } else { "while it was down" };
    Ok(scene.installed(format!("{name}, byte {at}, {when}"), move |cluster| {
        if files.is_read_by_a_start {
            return start_or_replace(cluster, id, member);
        }
        membership::replace(cluster, id, member)
    }))
}

/// A file of the folder, or that there is none yet.
fn choose(folder: &Path, prefix: &str, random: &mut Random) -> Result<PathBuf, FaultError> {
    let missing = || FaultError::missing(format!("there is no {prefix}* yet"));
    let entries = fs::read_dir(folder).map_err(|_| missing())?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> =
        names.filter(|name| name.starts_with(prefix) && !name.contains('.')).collect();
    if names.is_empty() {
        return Err(missing());
    }
    names.sort_unstable();
    let index = random.within(0..names.len() as u64);
    Ok(folder.join(&names[usize::try_from(index).expect("an index fits")]))
}

/// Changes a bit of a byte that is not zero: what is filled ahead of need does not count. Returns
/// which byte.
fn flip(path: &Path, random: &mut Random) -> Result<usize, String> {
    let said = |error: std::io::Error| format!("{}: {error}", path.display());
    let bytes = fs::read(path).map_err(said)?;
    let written = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    if written == 0 {
        return Err(format!("{}: nothing is written there", path.display()));
    }
    let start = random.within(0..written as u64);
    let start = usize::try_from(start).expect("an index fits");
    let at = (start..written).find(|&at| bytes[at] != 0).expect("the last one is not zero");
    let bit = 1 << random.within(0..8);
    let file = File::options().write(true).open(path).map_err(said)?;
    file.write_all_at(&[bytes[at] ^ bit], at as u64).map_err(said)?;
    file.sync_all().map_err(said)?;
    Ok(at)
}

/// Starts a member, and replaces it when it refuses its directory.
fn start_or_replace(cluster: &mut Cluster, id: u64, member: usize) -> Result<(), FaultError> {
    cluster.kill(member);
    cluster.spawn(member);
    let decided = cluster.wait_until("a member to serve or to refuse", UP_WITHIN, |cluster| {
        !cluster.is_running(member) || cluster.serves(member)
    });
    let told = |why: String, cluster: &Cluster| {
        FaultError::not_healed(format!("{why}\n{}", cluster.logs()))
    };
    decided.map_err(|why| told(why, cluster))?;
    if cluster.is_running(member) {
        return Ok(());
    }
    let status = cluster.wait_for_end(member, UP_WITHIN).and_then(|status| status.code());
    if status != Some(EXIT_DATA_DIR) {
        let why = format!("member {member} does not refuse, but ends with {status:?}");
        return Err(told(why, cluster));
    }
    membership::replace(cluster, id, member)
}
