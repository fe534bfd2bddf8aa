//! A directory that is damaged, or from which something is missing, is refused and left as it was.

use super::cold_snapshot::listed;
use super::restart::{HOT_BYTES_MAX, disk_with_two_checkpoints, shown_by};
use super::sides::Side;
use super::*;
use crate::raft::OpenError;
use crate::storage::checkpoint::CheckpointError;
use crate::storage::identity::IdentityError;
use crate::storage::runs::RunError;
use crate::storage::wal::WalError;

/// All files with their bytes, but for the lock and what was begun and not finished.
fn files(disk: &SimDisk, dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for name in disk.list(dir).unwrap_or_default() {
        let path = dir.join(&name);
        match disk.bytes(&path) {
            Some(bytes) if name != "lock" && !name.ends_with(".new") => {
                drop(found.insert(path, bytes))
            }
            Some(_) => {}
            None => found.extend(files(disk, &path)),
        }
    }
    found
}

/// All jobs hot, or few of them.
const HOT: [Option<u64>; 2] = [None, Some(HOT_BYTES_MAX)];

fn open(disk: &SimDisk) -> Result<Opened, StartError> {
    let options = options(disk, TestClock::ticking(), NO_CHECKPOINTS);
    // So little that what is restored has to become cold.
    Opened::open(OpenOptions { hot_bytes_max: Some(HOT_BYTES_MAX / 2), ..options }, None)
}

/// Why a member does not start on `disk`, which is left as it is.
fn refusal(disk: &SimDisk) -> OpenError {
    let before = files(disk, data());
    let opened = open(disk);
    let Err(StartError::Open(error)) = opened.map(drop) else { panic!("not refused") };
    let after = files(disk, data());
    let (one, other): (Vec<_>, Vec<_>) = (before.keys().collect(), after.keys().collect());
    assert_eq!(one, other, "files came or went at {error}");
    assert!(before == after, "a file was changed at {error}");
    error
}

fn flip(disk: &SimDisk, path: &Path, place: impl FnOnce(usize) -> usize) {
    let flipped = disk.edit(path, |bytes| {
        let place = place(bytes.len());
        bytes[place] ^= 1;
    });
    assert!(flipped, "{} is there", path.display());
}

#[tokio::test]
async fn damage_and_loss_are_refused_and_the_files_stay_as_they_are() {
    for hot in HOT {
        let disk = disk_with_two_checkpoints(hot).await;

        let both = disk.kill();
        checkpoints(&both).iter().for_each(|path| flip(&both, path, |length| length / 2));
        let error = refusal(&both);
        assert!(matches!(error, OpenError::Checkpoint(CheckpointError::Corrupt { .. })), "{error}");

        let no_wal = disk.kill();
        no_wal.remove_dir_all(&data().join("wal")).unwrap();
        let error = refusal(&no_wal);
        assert!(matches!(error, OpenError::Log(WalError::Missing { .. })), "{error}");

        let no_checkpoints = disk.kill();
        no_checkpoints.remove_dir_all(&data().join("checkpoints")).unwrap();
        let error = refusal(&no_checkpoints);
        assert!(matches!(error, OpenError::Missing(_)), "{error}");

        let no_identity = disk.kill();
        no_identity.remove(&data().join("identity")).unwrap();
        let error = refusal(&no_identity);
        assert!(matches!(error, OpenError::Identity(IdentityError::Missing { .. })), "{error}");
    }
}

#[tokio::test]
async fn a_log_whose_checkpoints_are_gone_is_refused_until_they_are_back() {
    for hot in HOT {
        let disk = disk_with_two_checkpoints(hot).await;
        let whole = shown_by(&disk).await;
        let gone = disk.kill();
        checkpoints(&disk).iter().for_each(|path| gone.remove(path).unwrap());
        for _ in 0..2 {
            let Err(error) = open(&gone).map(drop) else { panic!("not refused") };
            assert!(
                matches!(error, StartError::Open(OpenError::Gap { checkpoint: 0, .. })),
                "{error}"
            );
        }
        let newest = checkpoints(&disk).pop().unwrap();
        gone.create(&newest).unwrap();
        gone.edit(&newest, |bytes| *bytes = disk.bytes(&newest).unwrap());
        assert_eq!(shown_by(&gone).await, whole);
    }
}

#[tokio::test]
async fn a_damaged_segment_of_the_log_is_refused() {
    for hot in HOT {
        let disk = disk_with_two_checkpoints(hot).await;
        let wal = data().join("wal");
        let names = disk.list(&wal).unwrap();
        let mut segments: Vec<u64> =
            names.iter().filter_map(|name| name.strip_prefix("log-")?.parse().ok()).collect();
        segments.sort_unstable();
        assert!(segments.len() > 2, "{names:?}");
        // The oldest ones may be purged and not removed yet; the newest one ends in zeros, where a flipped
        // bit is no record.
        for segment in &segments[segments.len() / 2..segments.len() - 1] {
            for place in [10, 133, 1000] {
                let damaged = disk.kill();
                flip(&damaged, &wal.join(format!("log-{segment}")), |_| place);
                let error = refusal(&damaged);
                assert!(matches!(error, OpenError::Log(WalError::Corrupt { .. })), "{error}");
            }
            let missing = disk.kill();
            missing.remove(&wal.join(format!("log-{segment}"))).unwrap();
            let error = refusal(&missing);
            assert!(matches!(error, OpenError::Log(WalError::Corrupt { .. })), "{error}");
        }
    }
}

#[tokio::test]
async fn a_run_file_that_is_missing_or_damaged_is_refused_and_so_is_a_disk_that_does_not_read() {
    let disk = disk_with_two_checkpoints(Some(HOT_BYTES_MAX)).await;
    let dir = data().join("runs");
    let newest = {
        let disk = disk.kill();
        let (newest, _) = listed(&Side::open(&disk), &disk).pop_last().unwrap();
        newest
    };
    let missing = disk.kill();
    missing.remove(&dir.join(&newest)).unwrap();
    let error = refusal(&missing);
    assert!(matches!(error, OpenError::Run(RunError::Missing { .. })), "{error}");
    let damaged = disk.kill();
    flip(&damaged, &dir.join(&newest), |length| length - 9);
    let error = refusal(&damaged);
    assert!(matches!(error, OpenError::Run(RunError::Corrupt { .. })), "{error}");
    // What an older checkpoint lists may be needed: it is not to be guessed.
    let unreadable = disk.kill();
    unreadable.fail_reads(&checkpoints(&disk)[0]);
    let error = refusal(&unreadable);
    assert!(matches!(error, OpenError::Checkpoint(CheckpointError::Io { .. })), "{error}");
    // Its damage is another thing.
    let damaged = disk.kill();
    flip(&damaged, &checkpoints(&disk)[0], |_| 100);
    open(&damaged).map(drop).unwrap();
}
