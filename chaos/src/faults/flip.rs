//! A bit that changes on the disk, in what was written before. The member must not serve what is
//! wrong: it refuses to start and is replaced, or finds out when it reads and ends, or what was hit
//! is not needed.
//!
//! One member is hit at a time. What the log's last sync wrote cannot be told from a torn end when
//! it is hit, and the member would rightly forget what it had acknowledged: so only what was written
//! some time before is hit in a log, which later syncs have borne witness of. A cluster of one has
//! nobody to be replaced from: there the bit is put back once it has refused.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::{FaultError, Installed, Scene, UP_WITHIN, membership};
use crate::testbed::{Cluster, Random};

/// The exit status of a server that refuses its data directory.
const EXIT_DATA_DIR: i32 = 10;
/// How long before it is hit a byte of a log was written, under load: many syncs.
const WITNESSED_AFTER: Duration = Duration::from_secs(1);
/// Bytes around the one that is hit, which tell whether it is still the same.
const AROUND: usize = 64;
/// A segment of a log may be used anew meanwhile; so often another bit is chosen.
const CHOICES_MAX: u32 = 5;

/// What is hit.
#[derive(Clone, Copy)]
struct Files {
    /// The folder in the data directory.
    folder: &'static str,
    /// What their names begin with; a number follows.
    prefix: &'static str,
    /// Whether a start reads all of it, so that a member that serves has not needed what was hit.
    is_read_by_a_start: bool,
    /// Whether it is written to all the time.
    is_a_log: bool,
}

/// A bit in a file.
struct Spot {
    path: PathBuf,
    at: usize,
    bit: u8,
    /// What was around it, it included.
    around: Vec<u8>,
}

/// A bit of a segment of the log changes.
pub(super) fn install_in_log(
    scene: &Scene,
    cluster: &mut Cluster,
    random: &mut Random,
) -> Result<Installed, FaultError> {
    let files = Files { folder: "wal", prefix: "log-", is_read_by_a_start: true, is_a_log: true };
    install(scene, cluster, random, files)
}

/// A bit of a file of cold jobs changes.
pub(super) fn install_in_run(
    scene: &Scene,
    cluster: &mut Cluster,
    random: &mut Random,
) -> Result<Installed, FaultError> {
    let files =
        Files { folder: "runs", prefix: "run-", is_read_by_a_start: false, is_a_log: false };
    install(scene, cluster, random, files)
}

/// A bit of a checkpoint changes.
pub(super) fn install_in_checkpoint(
    scene: &Scene,
    cluster: &mut Cluster,
    random: &mut Random,
) -> Result<Installed, FaultError> {
    let files = Files {
        folder: "checkpoints",
        prefix: "checkpoint-",
        is_read_by_a_start: true,
        is_a_log: false,
    };
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
    if cluster.member_count() < 2 && !files.is_read_by_a_start {
        return Err(FaultError::missing("there is one member only"));
    }
    let id = membership::id_of(cluster, member)?;
    let folder = cluster.data(member).join(files.folder);
    let mut spot = choose(&folder, files, random)?;
    let goes_on = random.once_in(3);
    if !goes_on {
        cluster.kill(member);
        if !files.is_a_log {
            // The one before may have been removed until the end.
            spot = choose(&folder, files, random)
                .map_err(|why| FaultError::not_taken(why.to_string()))?;
        }
    }
    spot.flip().map_err(FaultError::not_taken)?;
    let when = if goes_on { "while it ran" } else { "while it was down" };
    let fault = scene.installed(format!("{spot}, {when}"), move |cluster| {
        cluster.kill(member);
        Ok(())
    });
    Ok(fault.mended_by(move |cluster| match files.is_read_by_a_start {
        true => await_or_mend(cluster, id, member, &spot),
        false => membership::replace(cluster, id, member),
    }))
}

/// A bit of a file of the folder, or that there is none at present.
fn choose(folder: &Path, files: Files, random: &mut Random) -> Result<Spot, FaultError> {
    for _ in 0..CHOICES_MAX {
        let spot = Spot::choose(&choose_file(folder, files.prefix, random)?, random);
        let spot = spot.map_err(FaultError::not_taken)?;
        if !files.is_a_log {
            return Ok(spot);
        }
        thread::sleep(WITNESSED_AFTER);
        if spot.is_unchanged() {
            return Ok(spot);
        }
    }
    Err(FaultError::not_taken("all that was chosen was written over meanwhile"))
}

/// A file of the folder, or that there is none at present. The newest as often as all others: what is
/// there for long is needed less.
fn choose_file(folder: &Path, prefix: &str, random: &mut Random) -> Result<PathBuf, FaultError> {
    let missing = || FaultError::hindered(format!("there is no {prefix}* at present"));
    let entries = fs::read_dir(folder).map_err(|_| missing())?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> =
        names.filter(|name| name.starts_with(prefix) && !name.contains('.')).collect();
    // By number: the longer ones are greater.
    names.sort_unstable_by_key(|name| (name.len(), name.clone()));
    let newest = names.len().checked_sub(1).ok_or_else(missing)?;
    let place = if random.once_in(2) { newest } else { random.index(names.len()) };
    Ok(folder.join(&names[place]))
}

impl Spot {
    /// A bit of a byte that is not zero: what is filled ahead of need does not count.
    fn choose(path: &Path, random: &mut Random) -> Result<Self, String> {
        let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let written = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        if written == 0 {
            return Err(format!("{}: nothing is written there", path.display()));
        }
        let start = random.index(written);
        let at = (start..written).find(|&at| bytes[at] != 0).expect("the last one is not zero");
        let bit = 1 << random.within(0..8);
        let end = bytes.len().min(at + AROUND);
        Ok(Self { path: path.to_owned(), at, bit, around: bytes[at..end].to_vec() })
    }

    fn is_unchanged(&self) -> bool {
        let mut around = vec![0; self.around.len()];
        let read =
            File::open(&self.path).and_then(|file| file.read_exact_at(&mut around, self.at as u64));
        read.is_ok() && around == self.around
    }

    fn flip(&self) -> Result<(), String> {
        self.write(self.around[0] ^ self.bit)
    }

    fn put_back(&self) -> Result<(), String> {
        self.write(self.around[0])
    }

    fn write(&self, byte: u8) -> Result<(), String> {
        let file = File::options().write(true).open(&self.path);
        let written = file.and_then(|file| {
            file.write_all_at(&[byte], self.at as u64)?;
            file.sync_all()
        });
        written.map_err(|error| format!("{}: {error}", self.path.display()))
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        write!(out, "{name}, byte {}", self.at)
    }
}

/// Waits for a member that was started. When it refuses its directory it is replaced, or, where there
/// is no other, gets its bit back.
fn await_or_mend(
    cluster: &mut Cluster,
    id: u64,
    member: usize,
    spot: &Spot,
) -> Result<(), FaultError> {
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
    if cluster.member_count() > 1 {
        return membership::replace(cluster, id, member);
    }
    spot.put_back().map_err(FaultError::not_healed)?;
    // Reaps the one that has refused.
    cluster.kill(member);
    cluster.spawn(member);
    Ok(())
}
