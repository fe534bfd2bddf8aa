//! Reads a run that is on the disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use crc32fast::Hasher;

use super::files::{Files, Page};
use super::format::{self, FOOT_BYTES, Foot, HEAD_BYTES, PAGE_BYTES, Summary, VERSION};
use super::pages::{self, BLOCK_BYTES_MAX, Block, BlockEntry};
use super::{BodyPointer, Damage, Place, RunError, RunUid, Stored};
use crate::storage::background::PIECE_BYTES_MAX;

/// A durable run. Its foot has been checked, and its summary if it is there for its records.
pub(super) struct RunFile {
    pub(super) files: Arc<Files>,
    pub(super) foot: Foot,
    summary: Summary,
}

/// What is left to a file of which only bodies are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Records and bodies.
    All,
    /// Bodies only.
    Bodies,
}

impl RunFile {
    /// Opens the file that a checkpoint lists with this length and checksum of its foot.
    pub(super) fn open(
        files: &Arc<Files>,
        uid: RunUid,
        (file_bytes, foot_crc): (u64, u32),
        content: Content,
    ) -> Result<Self, RunError> {
        let foot_at = file_bytes.saturating_sub(FOOT_BYTES as u64);
        let open = files.open(uid)?;
        let length =
            open.file.length().map_err(super::files::io_error("measure", &files.path(uid)))?;
        if length != file_bytes || length < (HEAD_BYTES + FOOT_BYTES) as u64 {
            return Err(files.corrupt(uid, length, Damage::Short));
        }
        let foot = files.read(uid, foot_at, FOOT_BYTES)?;
        let foot = Foot::decode(foot.as_slice().try_into().expect("read with that length"));
        let foot = foot.ok_or_else(|| files.corrupt(uid, foot_at, Damage::Foot))?;
        check_foot(files, uid, &foot)?;
        if foot.file_bytes != file_bytes || foot.crc() != foot_crc {
            return Err(files.corrupt(uid, foot_at, Damage::Foot));
        }
        let head = files.read(uid, 0, HEAD_BYTES)?;
        if !format::is_head_of(head.as_slice().try_into().expect("read with that length"), uid) {
            return Err(files.corrupt(uid, 0, Damage::Head));
        }
        let mut summary = Summary::default();
        if content == Content::All {
            let bytes = files.read(uid, foot.summary_at, foot.summary_bytes() as usize)?;
            let damaged = || files.corrupt(uid, foot.summary_at, Damage::Summary);
            summary = Summary::decode(&bytes, &foot).ok_or_else(damaged)?;
        }
        Ok(Self { files: files.clone(), foot, summary })
    }

    /// The file that was just written.
    pub(super) fn written(files: Arc<Files>, foot: Foot, summary: Summary) -> Self {
        Self { files, foot, summary }
    }

    pub(super) fn uid(&self) -> RunUid {
        self.foot.uid
    }

    /// Other files that have bodies of these records.
    pub(super) fn references(&self) -> &[RunUid] {
        &self.summary.references
    }

    /// The place of the first record.
    pub(super) fn first(&self) -> Option<Place> {
        self.summary.tops.first().map(|top| top.place)
    }

    /// How many records stand before a place, by a test that holds for them alone. Reads an index
    /// page and a block at most.
    pub(super) fn partition(&self, is_before: impl Fn(&Place) -> bool) -> Result<u32, RunError> {
        let pages = self.summary.tops.partition_point(|top| is_before(&top.place));
        let Some(page) = pages.checked_sub(1) else { return Ok(0) };
        let index = self.index_page(page)?;
        let blocks = index.partition_point(|entry| is_before(&entry.place));
        let entry = &index[blocks.saturating_sub(1)];
        let block = self.block(entry)?;
        Ok(block.first + position_number(block.partition(is_before)))
    }

    /// The record of an ordinal, which there is.
    pub(super) fn record(&self, ordinal: u32) -> Result<Stored, RunError> {
        let block = self.block(&self.entry_of(ordinal)?)?;
        self.record_in(&block, ordinal)
    }

    /// The place of an ordinal, which there is.
    pub(super) fn place(&self, ordinal: u32) -> Result<Place, RunError> {
        let entry = self.entry_of(ordinal)?;
        let block = self.block(&entry)?;
        Ok(block.place(self.position(&block, ordinal)?))
    }

    /// The least and the greatest id.
    pub(super) fn id_span(&self) -> (u64, u64) {
        let ranges = &self.summary.id_ranges;
        ranges.first().zip(ranges.last()).map_or((1, 0), |(first, last)| (first.0, last.1))
    }

    /// The ordinal of an id. Reads one page of the id index, or none.
    pub(super) fn find(&self, id: u64) -> Result<Option<u32>, RunError> {
        let Some(number) = self.page_of_id(id) else { return Ok(None) };
        let ids = self.id_page(number)?;
        let found = ids.binary_search_by_key(&id, |(id, _)| *id);
        let ordinal = found.ok().map(|position| ids[position].1);
        if ordinal.is_some_and(|ordinal| ordinal >= self.foot.records) {
            return Err(self.damaged(self.id_page_at(number), Damage::IdPage));
        }
        Ok(ordinal)
    }

    /// Has the system read the page that [`find`](Self::find) will read.
    pub(super) fn expect_id(&self, id: u64) {
        if let Some(number) = self.page_of_id(id) {
            let offset = self.id_page_at(number);
            self.files.expect((self.uid(), offset), PAGE_BYTES as u64);
        }
    }

    /// Has the system read the block that [`record`](Self::record) will read.
    pub(super) fn expect_record(&self, ordinal: u32) {
        if let Ok(entry) = self.entry_of(ordinal) {
            self.files.expect((self.uid(), entry.offset), u64::from(entry.length));
        }
    }

    pub(super) fn body(&self, at: &BodyPointer) -> Result<Bytes, RunError> {
        self.files.body(at, self.foot.bodies_end)
    }

    /// How many bytes of bodies it has.
    pub(super) fn bodies_bytes(&self) -> u64 {
        self.foot.bodies_end - HEAD_BYTES as u64
    }

    /// How many bytes its blocks of records have.
    pub(super) fn records_bytes(&self) -> u64 {
        self.foot.index_at - self.foot.bodies_end
    }

    /// Reads all of the file, counting its bytes in `progress`, and checks it.
    pub(super) fn verify(&self, progress: &AtomicU64) -> Result<(), RunError> {
        let (mut hasher, mut at) = (Hasher::new(), 0);
        let end = self.foot.file_bytes - FOOT_BYTES as u64;
        while at < end {
            let length = (end - at).min(PIECE_BYTES_MAX as u64);
            hasher.update(&self.files.read(self.uid(), at, length as usize)?);
            self.files.open(self.uid())?.file.forget_cached(at..at + length);
            at += length;
            progress.fetch_add(length, Ordering::Relaxed);
        }
        let is_whole = hasher.finalize() == self.foot.file_crc;
        if is_whole { Ok(()) } else { Err(self.damaged(0, Damage::File)) }
    }

    /// What it takes up in memory beside itself, bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        self.summary.heap_bytes()
    }

    /// What an index page says of the block that has this ordinal.
    pub(super) fn entry_of(&self, ordinal: u32) -> Result<BlockEntry, RunError> {
        let pages = self.summary.tops.partition_point(|top| top.first <= ordinal);
        let page = pages.saturating_sub(1);
        let index = self.index_page(page)?;
        let blocks = index.partition_point(|entry| entry.first <= ordinal);
        Ok(index[blocks.saturating_sub(1)])
    }

    /// Reads a block past the cache.
    pub(super) fn read_block(&self, entry: &BlockEntry) -> Result<Block, RunError> {
        let damaged = || self.damaged(entry.offset, Damage::Block);
        if entry.length as usize > BLOCK_BYTES_MAX {
            return Err(damaged());
        }
        let bytes = self.files.read(self.uid(), entry.offset, entry.length as usize)?;
        let block = Block::decode((self.uid(), entry.offset), bytes);
        block.filter(|block| block.first == entry.first).ok_or_else(damaged)
    }

    pub(super) fn record_in(&self, block: &Block, ordinal: u32) -> Result<Stored, RunError> {
        let record = block.record(self.position(block, ordinal)?);
        let file = match record.file.checked_sub(1) {
            None => Some(self.uid()),
            Some(position) => self.summary.references.get(position as usize).copied(),
        };
        let file = file.ok_or_else(|| self.damaged(self.foot.bodies_end, Damage::Block))?;
        let body =
            BodyPointer { file, offset: record.offset, length: record.length, crc: record.crc };
        Ok(Stored { place: record.place, facts: record.facts, body })
    }

    fn position(&self, block: &Block, ordinal: u32) -> Result<usize, RunError> {
        let position = ordinal.checked_sub(block.first).map(|position| position as usize);
        let position = position.filter(|position| *position < block.count());
        position.ok_or_else(|| self.damaged(self.foot.index_at, Damage::IndexPage))
    }

    fn block(&self, entry: &BlockEntry) -> Result<Arc<Block>, RunError> {
        let key = (self.uid(), entry.offset);
        if let Some(Page::Records(block)) = self.files.cached(key) {
            return Ok(block);
        }
        let block = Arc::new(self.read_block(entry)?);
        self.files.cache(key, Page::Records(block.clone()));
        Ok(block)
    }

    fn index_page(&self, number: usize) -> Result<Arc<Vec<BlockEntry>>, RunError> {
        let offset = self.foot.index_at + (number * PAGE_BYTES) as u64;
        let key = (self.uid(), offset);
        if let Some(Page::Index(page)) = self.files.cached(key) {
            return Ok(page);
        }
        let bytes = self.files.read(self.uid(), offset, PAGE_BYTES)?;
        let page = pages::decode_index_page(key, &bytes);
        let page = page.filter(|(found, _)| *found as usize == number);
        let (_, entries) = page.ok_or_else(|| self.damaged(offset, Damage::IndexPage))?;
        let page = Arc::new(entries);
        self.files.cache(key, Page::Index(page.clone()));
        Ok(page)
    }

    fn id_page(&self, number: usize) -> Result<Arc<Vec<(u64, u32)>>, RunError> {
        let offset = self.id_page_at(number);
        let key = (self.uid(), offset);
        if let Some(Page::Ids(page)) = self.files.cached(key) {
            return Ok(page);
        }
        let bytes = self.files.read(self.uid(), offset, PAGE_BYTES)?;
        let page = pages::decode_id_page(key, &bytes);
        let page = page.filter(|(found, _)| *found as usize == number);
        let (_, entries) = page.ok_or_else(|| self.damaged(offset, Damage::IdPage))?;
        let page = Arc::new(entries);
        self.files.cache(key, Page::Ids(page.clone()));
        Ok(page)
    }

    /// The page that has an id, if it is there.
    pub(super) fn page_of_id(&self, id: u64) -> Option<usize> {
        let ranges = &self.summary.id_ranges;
        let number = ranges.partition_point(|(_, last)| *last < id);
        ranges.get(number).is_some_and(|(first, _)| *first <= id).then_some(number)
    }

    fn id_page_at(&self, number: usize) -> u64 {
        self.foot.ids_at + (number * PAGE_BYTES) as u64
    }

    fn damaged(&self, offset: u64, why: Damage) -> RunError {
        self.files.corrupt(self.uid(), offset, why)
    }
}

fn check_foot(files: &Files, uid: RunUid, foot: &Foot) -> Result<(), RunError> {
    let file = files.path(uid);
    if foot.version != VERSION {
        return Err(RunError::UnknownVersion { file, found: foot.version, known: VERSION });
    }
    if foot.cluster != files.cluster {
        let (expected, found) = (files.cluster, foot.cluster);
        return Err(RunError::ForeignCluster { file, expected, found });
    }
    if foot.uid != uid {
        return Err(files.corrupt(uid, foot.file_bytes - FOOT_BYTES as u64, Damage::Foot));
    }
    Ok(())
}

fn position_number(position: usize) -> u32 {
    u32::try_from(position).expect("a block is small")
}
