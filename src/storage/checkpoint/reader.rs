//! Reads a checkpoint, forwards, one block in memory at a time, and checks all of it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crc32fast::Hasher;

use super::format::{
    BLOCK_HEAD_BYTES, BlockFrame, FOOT_BYTES, Foot, HEAD_BYTES, Head, RECORD_HEAD_BYTES, VERSION,
};
use super::{CheckpointError, CheckpointHead, CheckpointInfo, Damage, IncomingId, io_error};
use crate::planted::{self, Bug};
use crate::storage::bytes_at::u32_at;
use crate::storage::disk::{Disk, DiskFile};

/// An open checkpoint. Holds one block: 64 KiB, or one long record.
///
/// Each record is checked before it is handed out, but that none is missing is certain only when
/// [`next_record`](Self::next_record) has returned `None`.
pub struct CheckpointReader {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    info: CheckpointInfo,
    foot: Foot,
    frame: BlockFrame,
    hasher: Hasher,
    /// Where the next block begins.
    offset: u64,
    /// How many blocks and records were read.
    blocks: u64,
    records: u64,
    block: Vec<u8>,
    /// Where in the block the next record begins.
    at: usize,
    /// How many records are left in it.
    left: u32,
}

impl CheckpointReader {
    pub(super) fn open(
        disk: &dyn Disk,
        path: &Path,
        cluster: u128,
        index: u64,
    ) -> Result<Self, CheckpointError> {
        let corrupt = |offset, why| CheckpointError::Corrupt { file: path.into(), offset, why };
        let file = disk.open(path).map_err(io_error("open", path))?;
        let file_bytes = file.length().map_err(io_error("measure", path))?;
        let (head, hasher) = read_head(&*file, path, file_bytes)?;
        if head.cluster != cluster {
            let found = head.cluster;
            return Err(CheckpointError::ForeignCluster {
                file: path.into(),
                expected: cluster,
                found,
            });
        }
        if head.applied_index != index {
            return Err(corrupt(0, Damage::Head));
        }
        let offset = (HEAD_BYTES + head.meta.len()) as u64;
        let before = file_bytes.checked_sub(FOOT_BYTES as u64).filter(|before| *before >= offset);
        let before = before.ok_or_else(|| corrupt(file_bytes, Damage::Short))?;
        let mut bytes = [0; FOOT_BYTES];
        file.read_exact_at(&mut bytes, before).map_err(io_error("read", path))?;
        let foot = Foot::decode(&bytes).filter(|foot| foot.before == before);
        let foot = foot.ok_or_else(|| corrupt(before, Damage::Foot))?;
        let (records, file_crc) = (foot.records, foot.file_crc);
        Ok(Self {
            file,
            path: path.to_path_buf(),
            frame: BlockFrame::new(cluster, index),
            info: CheckpointInfo { head, records, file_bytes, file_crc },
            foot,
            hasher,
            offset,
            blocks: 0,
            records: 0,
            block: Vec::new(),
            at: 0,
            left: 0,
        })
    }

    /// What it says of itself.
    pub fn info(&self) -> &CheckpointInfo {
        &self.info
    }

    /// The next record; `None` at the end, when all of the file has been checked.
    ///
    /// # Errors
    /// [`CheckpointError::Corrupt`], or what the disk says. Nothing can be read after that.
    pub fn next_record(&mut self) -> Result<Option<&[u8]>, CheckpointError> {
        while self.left == 0 {
            if !self.next_block()? {
                return Ok(None);
            }
        }
        let range = self.record_range().ok_or_else(|| self.bad_block(self.blocks - 1))?;
        self.left -= 1;
        self.records += 1;
        self.at = range.end;
        if self.left == 0 && self.at != self.block.len() {
            return Err(self.bad_block(self.blocks - 1));
        }
        Ok(Some(&self.block[range]))
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// As [`next_record`](Self::next_record).
    pub fn verify(mut self) -> Result<CheckpointInfo, CheckpointError> {
        while self.verify_block()? {}
        Ok(self.info)
    }

    /// Reads one block through. Returns false at the end of the file.
    pub(super) fn verify_block(&mut self) -> Result<bool, CheckpointError> {
        if !self.next_block()? {
            return Ok(false);
        }
        while self.left > 0 {
            self.next_record()?;
        }
        Ok(true)
    }

    /// Takes over what the checkpoint says of itself, once it has been verified.
    pub(super) fn into_info(self) -> CheckpointInfo {
        self.info
    }

    fn record_range(&self) -> Option<std::ops::Range<usize>> {
        let start = self.at.checked_add(RECORD_HEAD_BYTES)?;
        let length = self.block.get(self.at..start).map(|head| u32_at(head, 0) as usize)?;
        let end = start.checked_add(length)?;
        (end <= self.block.len()).then_some(start..end)
    }

    /// Reads and checks the next block, or the foot.
    fn next_block(&mut self) -> Result<bool, CheckpointError> {
        if self.offset == self.foot.before {
            self.check_foot()?;
            return Ok(false);
        }
        let number = self.blocks;
        let room = self.foot.before - self.offset;
        if room < BLOCK_HEAD_BYTES as u64 {
            return Err(self.bad_block(number));
        }
        self.block.resize(BLOCK_HEAD_BYTES, 0);
        self.read(0)?;
        let head = BlockFrame::head(&self.block, number);
        let fits = head.filter(|head| head.length as u64 <= room - BLOCK_HEAD_BYTES as u64);
        let head = fits.ok_or_else(|| self.bad_block(number))?;
        self.block.resize(BLOCK_HEAD_BYTES + head.length, 0);
        self.read(BLOCK_HEAD_BYTES)?;
        if !self.frame.is_valid(&self.block) {
            return Err(self.bad_block(number));
        }
        self.hasher.update(&self.block);
        let end = self.offset + self.block.len() as u64;
        self.file.forget_cached(self.offset..end);
        (self.offset, self.at, self.left) = (end, BLOCK_HEAD_BYTES, head.records);
        self.blocks += 1;
        Ok(true)
    }

    fn check_foot(&self) -> Result<(), CheckpointError> {
        let found = Foot {
            file_crc: self.hasher.clone().finalize(),
            records: self.records,
            blocks: self.blocks,
            before: self.offset,
        };
        if found == self.foot || planted::is(Bug::CheckpointCrcIgnored) {
            return Ok(());
        }
        let (file, offset) = (self.path.clone(), self.foot.before);
        Err(CheckpointError::Corrupt { file, offset, why: Damage::Foot })
    }

    /// Fills the buffer from `at` on with what is there in the file.
    fn read(&mut self, at: usize) -> Result<(), CheckpointError> {
        let offset = self.offset + at as u64;
        self.file.read_exact_at(&mut self.block[at..], offset).map_err(io_error("read", &self.path))
    }

    fn bad_block(&self, number: u64) -> CheckpointError {
        let (file, offset) = (self.path.clone(), self.offset);
        CheckpointError::Corrupt { file, offset, why: Damage::Block { number } }
    }
}

/// How many bytes at the front of a file that is not all there are as they should be: the head and
/// the whole blocks after it, by their own checksums.
pub(super) fn valid_prefix(
    file: &dyn DiskFile,
    path: &Path,
    id: IncomingId,
) -> Result<u64, CheckpointError> {
    let file_bytes = file.length().map_err(io_error("measure", path))?;
    let head = match read_head(file, path, file_bytes) {
        Ok((head, _)) => head,
        Err(CheckpointError::Corrupt { .. } | CheckpointError::UnknownVersion { .. }) => {
            return Ok(0);
        }
        Err(error) => return Err(error),
    };
    if (head.cluster, head.applied_index) != (id.cluster, id.index) {
        return Ok(0);
    }
    let frame = BlockFrame::new(id.cluster, id.index);
    let mut offset = (HEAD_BYTES + head.meta.len()) as u64;
    let mut block = Vec::new();
    for number in 0.. {
        let room = file_bytes - offset;
        let Some(room) = room.checked_sub(BLOCK_HEAD_BYTES as u64) else { break };
        block.resize(BLOCK_HEAD_BYTES, 0);
        file.read_exact_at(&mut block, offset).map_err(io_error("read", path))?;
        let head = BlockFrame::head(&block, number).filter(|head| head.length as u64 <= room);
        let Some(head) = head else { break };
        block.resize(BLOCK_HEAD_BYTES + head.length, 0);
        file.read_exact_at(&mut block, offset).map_err(io_error("read", path))?;
        if !frame.is_valid(&block) {
            break;
        }
        offset += block.len() as u64;
    }
    file.forget_cached(0..offset);
    Ok(offset)
}

/// Reads head and meta. Returns the hasher that has seen them.
fn read_head(
    file: &dyn DiskFile,
    path: &Path,
    file_bytes: u64,
) -> Result<(CheckpointHead, Hasher), CheckpointError> {
    let corrupt = |why| CheckpointError::Corrupt { file: path.into(), offset: 0, why };
    let mut bytes = [0; HEAD_BYTES];
    match file.read_exact_at(&mut bytes, 0) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            return Err(corrupt(Damage::Short));
        }
        read => read.map_err(io_error("read", path))?,
    }
    let head = Head::decode(&bytes).ok_or_else(|| corrupt(Damage::Head))?;
    if head.version != VERSION {
        let (found, known) = (head.version, VERSION);
        return Err(CheckpointError::UnknownVersion { file: path.into(), found, known });
    }
    if ((HEAD_BYTES + head.meta_bytes) as u64) > file_bytes {
        return Err(corrupt(Damage::Short));
    }
    let mut meta = vec![0; head.meta_bytes];
    file.read_exact_at(&mut meta, HEAD_BYTES as u64).map_err(io_error("read", path))?;
    let mut hasher = Hasher::new();
    hasher.update(&bytes);
    hasher.update(&meta);
    let head = head.with_meta(meta).ok_or_else(|| corrupt(Damage::Head))?;
    Ok((head, hasher))
}
