//! How often in a row the process has ended soon after it began, without being told to.
//!
//! Who is killed for its memory, or by what it reads, is started again and killed again. After a few
//! such lives the next one is careful. The count decides nothing else: a file that is missing or
//! damaged, or cannot be written, stands for no such life.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bytes_at::u32_at;
use super::disk::{Disk, replace_file};

const NAME: &str = "lives";
const FILE_BYTES: usize = 8;

/// The lives of the process in one data directory.
pub struct ShortLives {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    before: u32,
}

impl ShortLives {
    /// A life begins: until [`ended_well`](Self::ended_well) it counts as a short one.
    pub fn begin(disk: Arc<dyn Disk>, dir: &Path) -> Self {
        let before = read(&*disk, dir).unwrap_or(0);
        let lives = Self { disk, dir: dir.to_owned(), before };
        lives.write(before.saturating_add(1));
        lives
    }

    /// How many lives in a row were short, before this one.
    pub fn before(&self) -> u32 {
        self.before
    }

    /// This life did not begin after all: as if nothing had been counted.
    pub fn undo(&self) {
        match self.before {
            // On failure it counts as one: that is no worse than a crash.
            0 => drop(self.disk.remove(&self.dir.join(NAME))),
            before => self.write(before),
        }
    }

    /// This life has lasted, or ends as it was told to.
    pub fn ended_well(&self) {
        self.write(0);
    }

    fn write(&self, count: u32) {
        let mut bytes = count.to_le_bytes().to_vec();
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        if let Err(error) = replace_file(&*self.disk, &self.dir, NAME, &bytes) {
            tracing::debug!(%error, "the file of lives stays as it is");
        }
    }
}

fn read(disk: &dyn Disk, dir: &Path) -> Option<u32> {
    let file = disk.open(&dir.join(NAME)).ok()?;
    let mut bytes = [0; FILE_BYTES];
    file.read_exact_at(&mut bytes, 0).ok()?;
    (crc32fast::hash(&bytes[..4]) == u32_at(&bytes, 4)).then(|| u32_at(&bytes, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::sim::{Crash, SimDisk};

    fn begin(disk: &SimDisk) -> ShortLives {
        ShortLives::begin(Arc::new(disk.clone()), Path::new("/data"))
    }

    fn new_disk() -> SimDisk {
        let disk = SimDisk::new();
        disk.create_dir(Path::new("/data")).unwrap();
        disk
    }

    #[test]
    fn lives_that_end_badly_are_counted_until_one_ends_well() {
        let disk = new_disk();
        for before in 0..4 {
            assert_eq!(begin(&disk).before(), before);
        }
        begin(&disk).ended_well();
        assert_eq!(begin(&disk).before(), 0);
        assert_eq!(begin(&disk.crash(Crash::LoseAll)).before(), 1);
    }

    #[test]
    fn a_life_that_does_not_begin_leaves_the_count_and_no_file() {
        let disk = new_disk();
        begin(&disk).undo();
        assert_eq!(disk.list(Path::new("/data")).unwrap(), Vec::<String>::new());
        drop(begin(&disk));
        begin(&disk).undo();
        assert_eq!(begin(&disk).before(), 1);
    }

    #[test]
    fn a_damaged_file_stands_for_nothing() {
        let disk = new_disk();
        drop(begin(&disk));
        let path = Path::new("/data").join(NAME);
        disk.open(&path).unwrap().write_all_at(&[9], 0).unwrap();
        assert_eq!(begin(&disk).before(), 0);
    }

    #[test]
    fn a_full_disk_does_not_keep_a_life_from_beginning() {
        let disk = new_disk();
        disk.set_capacity(Some(0));
        assert_eq!(begin(&disk).before(), 0);
    }
}
