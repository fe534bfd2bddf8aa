//! A small database for looking things up: which part files there are, and the history of
//! checkpoints and starts.
//!
//! The only user of sled. Nothing in it is needed: what exists is decided by the files themselves,
//! before this is opened. When it is missing, damaged or behind, it is removed and written anew from
//! them, and what only it knew, older history, is forgotten. When that fails too, the server goes on
//! without it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::disk::Disk;

/// How much memory the database may use for its cache.
const CACHE_BYTES: u64 = 4 << 20;

/// How many checkpoints and starts the history goes back.
pub const HISTORY_MAX: usize = 100;

const STATE_KEY: &[u8] = b"state";

/// What kind of file a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PartKind {
    /// A checkpoint; its id is the applied index.
    Checkpoint,
    /// Key records of a run.
    RunKeys,
    /// Bodies of a run.
    RunBodies,
}

/// An immutable file of a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What it is.
    pub kind: PartKind,
    /// Its number among those of its kind.
    pub id: u64,
    /// Its length in bytes.
    pub file_bytes: u64,
    /// The CRC of its contents.
    pub crc: u32,
    /// How many of its records are still of use.
    pub live: u64,
}

/// A checkpoint of the past or the present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointRecord {
    /// The last index that was applied.
    pub applied_index: u64,
    /// Its length in bytes.
    pub file_bytes: u64,
    /// When it was made, in nanoseconds of logical time.
    pub made_at: u64,
}

/// A start of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartRecord {
    /// Which life of the member began.
    pub incarnation: u64,
    /// From which checkpoint, if any.
    pub applied_index: Option<u64>,
    /// Bytes at the end of the log that were begun and not finished.
    pub torn_bytes: u64,
}

/// What the files say there is: the whole content that matters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogState {
    /// All part files, in order of kind and id.
    pub parts: Vec<Part>,
    /// Checkpoints, oldest first, at most [`HISTORY_MAX`].
    pub checkpoints: Vec<CheckpointRecord>,
    /// Starts, oldest first, at most [`HISTORY_MAX`].
    pub starts: Vec<StartRecord>,
}

/// The catalog, in memory and, as long as that works, in its database.
pub struct Catalog {
    dir: PathBuf,
    state: CatalogState,
    database: Option<sled::Db>,
}

#[derive(Debug, Error)]
enum CatalogError {
    #[error(transparent)]
    Database(#[from] sled::Error),
    #[error(transparent)]
    Encoding(#[from] postcard::Error),
    #[error("the database panicked")]
    Panicked,
    #[error("cannot remove what is there")]
    Remove(#[from] std::io::Error),
}

impl Catalog {
    /// Opens the catalog in `dir`, which says what `parts` say, if need be by writing it anew, and
    /// adds this start. Blocks.
    pub fn open(disk: &dyn Disk, dir: &Path, mut parts: Vec<Part>, start: StartRecord) -> Self {
        parts.sort_by_key(|part| (part.kind, part.id));
        let (mut state, mut database) = match open_database(dir) {
            Ok((database, Some(state))) if state.parts == parts => (state, Some(database)),
            Ok((_, state)) => {
                if state.is_some() {
                    tracing::warn!(dir = %dir.display(), "the catalog is behind: written anew");
                }
                (CatalogState::default(), None)
            }
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "the catalog is damaged: written anew");
                (CatalogState::default(), None)
            }
        };
        if database.is_none() {
            state.parts = parts;
            database = create_database(disk, dir).map_err(|error| report(dir, &error)).ok();
        }
        push_bounded(&mut state.starts, start);
        let mut catalog = Self { dir: dir.to_path_buf(), state, database };
        catalog.store();
        catalog
    }

    /// What is in it.
    pub fn state(&self) -> &CatalogState {
        &self.state
    }

    /// Whether it is in its database too.
    pub fn is_stored(&self) -> bool {
        self.database.is_some()
    }

    /// A checkpoint was made, and these part files are there now. One atomic write. Blocks.
    pub fn set_checkpoint(&mut self, checkpoint: CheckpointRecord, mut parts: Vec<Part>) {
        parts.sort_by_key(|part| (part.kind, part.id));
        self.state.parts = parts;
        push_bounded(&mut self.state.checkpoints, checkpoint);
        self.store();
    }

    /// Writes all of it; from a failure on, the server goes on without the database.
    fn store(&mut self) {
        let Some(database) = &self.database else { return };
        if let Err(error) = guarded(|| write(database, &self.state)) {
            report(&self.dir, &error);
            self.database = None;
        }
    }
}

fn push_bounded<T>(history: &mut Vec<T>, item: T) {
    if history.len() >= HISTORY_MAX {
        history.drain(..=history.len() - HISTORY_MAX);
    }
    history.push(item);
}

fn report(dir: &Path, error: &CatalogError) {
    tracing::warn!(dir = %dir.display(), %error, "no catalog: going on without it");
}

fn open_database(dir: &Path) -> Result<(sled::Db, Option<CatalogState>), CatalogError> {
    guarded(|| {
        let database = config(dir).open()?;
        let state = read(&database, STATE_KEY)?;
        Ok((database, state))
    })
}

fn create_database(disk: &dyn Disk, dir: &Path) -> Result<sled::Db, CatalogError> {
    disk.remove_dir_all(dir)?;
    guarded(|| Ok(config(dir).open()?))
}

fn config(dir: &Path) -> sled::Config {
    sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(None)
}

fn read<T: DeserializeOwned>(database: &sled::Db, key: &[u8]) -> Result<Option<T>, CatalogError> {
    Ok(database.get(key)?.map(|value| postcard::from_bytes(&value)).transpose()?)
}

fn write(database: &sled::Db, state: &CatalogState) -> Result<(), CatalogError> {
    let mut batch = sled::Batch::default();
    batch.insert(STATE_KEY, postcard::to_stdvec(state)?);
    database.apply_batch(batch)?;
    database.flush()?;
    Ok(())
}

/// Calls the database, which is known to panic on damaged files.
fn guarded<T>(call: impl FnOnce() -> Result<T, CatalogError>) -> Result<T, CatalogError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or(Err(CatalogError::Panicked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::RealDisk;

    fn part(id: u64) -> Part {
        Part { kind: PartKind::Checkpoint, id, file_bytes: 100, crc: 7, live: 3 }
    }

    fn start(incarnation: u64) -> StartRecord {
        StartRecord { incarnation, applied_index: None, torn_bytes: 0 }
    }

    fn checkpoint(applied_index: u64) -> CheckpointRecord {
        CheckpointRecord { applied_index, file_bytes: 100, made_at: 5 }
    }

    fn open(dir: &Path, parts: Vec<Part>, incarnation: u64) -> Catalog {
        Catalog::open(&RealDisk, dir, parts, start(incarnation))
    }

    #[test]
    fn parts_and_history_are_there_after_a_restart() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("catalog");
        let mut first = open(&dir, Vec::new(), 1);
        first.set_checkpoint(checkpoint(9), vec![part(9), part(4)]);
        drop(first);
        let second = open(&dir, vec![part(4), part(9)], 2);
        assert!(second.is_stored());
        assert_eq!(second.state().parts, [part(4), part(9)]);
        assert_eq!(second.state().checkpoints, [checkpoint(9)]);
        assert_eq!(second.state().starts, [start(1), start(2)]);
    }

    #[test]
    fn a_catalog_that_differs_from_the_files_is_written_anew() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("catalog");
        open(&dir, vec![part(1)], 1);
        let second = open(&dir, vec![part(1), part(2)], 2);
        assert!(second.is_stored());
        assert_eq!(second.state().parts, [part(1), part(2)]);
        assert_eq!(second.state().starts, [start(2)]);
    }

    #[test]
    fn a_damaged_catalog_is_written_anew() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("catalog");
        open(&dir, vec![part(1)], 1);
        for name in ["db", "conf"] {
            let file = crate::storage::disk::Disk::open(&RealDisk, &dir.join(name)).unwrap();
            let length = file.length().unwrap();
            file.write_all_at(&vec![0xA5; length as usize], 0).unwrap();
            let again = open(&dir, vec![part(1)], 2);
            assert!(again.is_stored(), "{name}");
            assert_eq!(again.state().parts, [part(1)]);
        }
    }

    #[test]
    fn without_a_directory_the_server_goes_on_without_a_catalog() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("file");
        RealDisk.create(&file).unwrap();
        let mut catalog = open(&file.join("catalog"), vec![part(1)], 1);
        assert!(!catalog.is_stored());
        catalog.set_checkpoint(checkpoint(2), vec![part(2)]);
        assert_eq!(catalog.state().parts, [part(2)]);
    }

    #[test]
    fn the_history_is_bounded() {
        let mut history = Vec::new();
        for number in 0..1000 {
            push_bounded(&mut history, number);
        }
        assert_eq!((history.len(), history.last()), (HISTORY_MAX, Some(&999)));
    }
}
