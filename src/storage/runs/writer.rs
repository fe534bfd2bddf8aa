//! Writes a run, a piece at a time, on the background thread.
//!
//! Under another name first; when all is synced it is renamed, and the directory synced. Only then is
//! there a run. One that could not be finished is removed.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use crc32fast::Hasher;

use super::files::{Files, io_error};
use super::format::{self, FOOT_BYTES, Foot, Summary, Top, VERSION};
use super::ids::IdSorter;
use super::pages::{
    self, BLOCK_BYTES, BlockEntry, BlockRecord, FRAME_BYTES, INDEX_ENTRIES_MAX, PageKind,
};
use super::reader::RunFile;
use super::{BodyPointer, Damage, Place, RunError, RunUid, Stored};
use crate::storage::background::PIECE_BYTES_MAX;
use crate::storage::disk::DiskFile;
use crate::storage::reserve::remove_if_there;

/// Where a run's contents come from.
pub(super) trait Source: Send {
    /// The next body for this file. First all bodies are asked for.
    fn next_body(&mut self) -> Result<NextBody, RunError>;

    /// The next record, in order of their places. There is one at least.
    fn next_record(&mut self) -> Result<Option<Stored>, RunError>;
}

/// What comes next of the bodies.
pub(super) enum NextBody {
    Body(Bytes),
    /// One may come yet: some records were looked at, and none of them has one.
    Later,
    End,
}

/// How many records, bodies or pages are looked at in one step, written or not.
const STEP_ITEMS_MAX: usize = 1 << 15;

/// A run that is being written.
pub(super) struct RunWriter<S> {
    files: Arc<Files>,
    uid: RunUid,
    source: S,
    phase: Phase,
    file: Option<Arc<dyn DiskFile>>,
    /// Bytes written, and behind them those that wait.
    written: u64,
    buffer: BytesMut,
    hasher: Hasher,
    ids: IdSorter,
    records: RecordArea,
    id_ranges: Vec<(u64, u64)>,
    bodies: u64,
    bodies_end: u64,
    index_at: u64,
    ids_at: u64,
    end: Option<(Foot, Summary)>,
}

/// What a step has done.
pub(super) enum Progress {
    /// So many bytes were written, and there is more to do.
    More(u64),
    /// The run is durable.
    Done(Arc<RunFile>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Bodies,
    Records,
    Ids,
    Done,
}

/// The blocks that were begun and what is known of those before.
#[derive(Default)]
struct RecordArea {
    block: Vec<u8>,
    /// The place of the block's first record.
    block_place: Option<Place>,
    block_records: u32,
    count: u32,
    blocks: u32,
    entries: Vec<BlockEntry>,
    references: Vec<RunUid>,
    numbers: HashMap<RunUid, u32>,
    last: Option<Place>,
}

impl<S: Source> RunWriter<S> {
    pub(super) fn new(files: Arc<Files>, uid: RunUid, source: S) -> Self {
        let head = format::encode_head(files.cluster, uid);
        Self {
            ids: IdSorter::new(files.clone(), uid),
            files,
            uid,
            source,
            phase: Phase::Bodies,
            file: None,
            written: 0,
            buffer: BytesMut::from(&head[..]),
            hasher: Hasher::new(),
            records: RecordArea::default(),
            id_ranges: Vec::new(),
            bodies: 0,
            bodies_end: 0,
            index_at: 0,
            ids_at: 0,
            end: None,
        }
    }

    /// Writes and syncs at most [`PIECE_BYTES_MAX`] bytes. After an error it is of no use.
    pub(super) fn step(&mut self) -> Result<Progress, RunError> {
        for _ in 0..STEP_ITEMS_MAX {
            if self.phase == Phase::Done || self.buffer.len() >= PIECE_BYTES_MAX {
                break;
            }
            let put_aside = self.advance()?;
            if put_aside > 0 {
                return Ok(Progress::More(put_aside));
            }
        }
        if self.phase == Phase::Done && self.buffer.is_empty() {
            return self.publish().map(Progress::Done);
        }
        self.write_piece().map(Progress::More)
    }

    pub(super) fn source(&mut self) -> &mut S {
        &mut self.source
    }

    /// Adds a body, a record or a page to what waits. Returns how much it has put aside on the disk.
    fn advance(&mut self) -> Result<u64, RunError> {
        match self.phase {
            Phase::Bodies => match self.source.next_body()? {
                NextBody::Later => {}
                NextBody::Body(body) => {
                    self.buffer.extend_from_slice(&body);
                    self.bodies += 1;
                }
                NextBody::End => {
                    self.bodies_end = self.position();
                    self.phase = Phase::Records;
                }
            },
            Phase::Records => match self.source.next_record()? {
                Some(record) => return self.put_record(&record),
                None => self.end_records(),
            },
            Phase::Ids => {
                let entries = self.ids.next_page()?;
                match entries.is_empty() {
                    false => self.put_ids(&entries)?,
                    true => self.end_ids(),
                }
            }
            Phase::Done => {}
        }
        Ok(0)
    }

    /// Where what is added next will be.
    fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn put_record(&mut self, record: &Stored) -> Result<u64, RunError> {
        let position = self.position();
        let area = &mut self.records;
        if area.last >= Some(record.place) {
            return Err(self.files.corrupt(self.uid, position, Damage::DoubleId));
        }
        let ordinal = area.count;
        area.put(self.uid, record);
        if area.block.len() >= BLOCK_BYTES {
            self.end_block();
        }
        self.ids.push((record.place.id, ordinal))
    }

    fn end_block(&mut self) {
        let position = self.position();
        if let Some(block) = self.records.end_block(self.uid, position) {
            self.buffer.extend_from_slice(&block);
        }
    }

    fn end_records(&mut self) {
        self.end_block();
        self.index_at = self.position();
        for (number, entries) in (0..).zip(self.records.entries.chunks(INDEX_ENTRIES_MAX)) {
            let at = (self.uid, self.written + self.buffer.len() as u64);
            self.buffer.extend_from_slice(&pages::index_page(at, number, entries));
        }
        self.ids_at = self.position();
        self.phase = Phase::Ids;
    }

    fn put_ids(&mut self, entries: &[(u64, u32)]) -> Result<(), RunError> {
        let (first, last) = (entries[0].0, entries[entries.len() - 1].0);
        let before = self.id_ranges.last().map(|(_, last)| *last);
        let is_double = entries.windows(2).any(|pair| pair[0].0 == pair[1].0);
        if is_double || before == Some(first) {
            return Err(self.files.corrupt(self.uid, self.position(), Damage::DoubleId));
        }
        let number = u32::try_from(self.id_ranges.len()).expect("fewer pages than records");
        let page = pages::id_page((self.uid, self.position()), number, entries);
        self.buffer.extend_from_slice(&page);
        self.id_ranges.push((first, last));
        Ok(())
    }

    /// Adds summary and foot.
    fn end_ids(&mut self) {
        let area = std::mem::take(&mut self.records);
        let top = |entries: &[BlockEntry]| Top { place: entries[0].place, first: entries[0].first };
        let summary = Summary {
            tops: area.entries.chunks(INDEX_ENTRIES_MAX).map(top).collect(),
            id_ranges: std::mem::take(&mut self.id_ranges).into_boxed_slice().into_vec(),
            references: area.references.into_boxed_slice().into_vec(),
        };
        let bytes = summary.encode();
        let summary_at = self.position();
        self.buffer.extend_from_slice(&bytes);
        let mut whole = self.hasher.clone();
        whole.update(&self.buffer);
        let number = |count: usize| u32::try_from(count).expect("fewer than records");
        let foot = Foot {
            version: VERSION,
            cluster: self.files.cluster,
            uid: self.uid,
            records: area.count,
            blocks: area.blocks,
            index_pages: number(summary.tops.len()),
            id_pages: number(summary.id_ranges.len()),
            references: number(summary.references.len()),
            summary_crc: crc32fast::hash(&bytes),
            file_crc: whole.finalize(),
            bodies_end: self.bodies_end,
            bodies: self.bodies,
            index_at: self.index_at,
            ids_at: self.ids_at,
            summary_at,
            file_bytes: self.position() + FOOT_BYTES as u64,
            last: area.last.expect("a run has a record at least"),
        };
        self.buffer.extend_from_slice(&foot.encode());
        self.end = Some((foot, summary));
        self.phase = Phase::Done;
    }

    fn write_piece(&mut self) -> Result<u64, RunError> {
        if self.buffer.is_empty() {
            return Ok(0);
        }
        let draft = self.draft();
        let file = match &self.file {
            Some(file) => file.clone(),
            None => {
                let disk = &self.files.disk;
                remove_if_there(&**disk, &draft).map_err(io_error("remove", &draft))?;
                self.file.insert(disk.create(&draft).map_err(io_error("create", &draft))?).clone()
            }
        };
        let piece = self.buffer.split_to(self.buffer.len().min(PIECE_BYTES_MAX));
        file.write_all_at(&piece, self.written).map_err(io_error("write", &draft))?;
        file.sync_data().map_err(io_error("sync", &draft))?;
        let end = self.written + piece.len() as u64;
        file.forget_cached(self.written..end);
        self.hasher.update(&piece);
        self.written = end;
        Ok(piece.len() as u64)
    }

    fn publish(&mut self) -> Result<Arc<RunFile>, RunError> {
        let (draft, dir) = (self.draft(), &self.files.dir);
        let file = self.file.as_ref().expect("a run has a head, so it has been written");
        file.sync_all().map_err(io_error("sync", &draft))?;
        self.files
            .disk
            .rename(&draft, &self.files.path(self.uid))
            .map_err(io_error("rename", &draft))?;
        self.files.disk.sync_dir(dir).map_err(io_error("sync", dir))?;
        let (foot, summary) = self.end.take().expect("the foot was written");
        self.file = None;
        Ok(Arc::new(RunFile::written(self.files.clone(), foot, summary)))
    }

    fn draft(&self) -> PathBuf {
        self.files.dir.join(format::draft_name(self.uid))
    }
}

impl<S> RunWriter<S> {
    /// What it takes up in memory, bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        self.buffer.capacity()
            + self.ids.heap_bytes()
            + self.records.entries.capacity() * size_of::<BlockEntry>()
            + self.id_ranges.capacity() * size_of::<(u64, u64)>()
    }

    fn clean_up(&mut self) {
        self.file = None;
        let draft = self.files.dir.join(format::draft_name(self.uid));
        if let Err(error) = remove_if_there(&*self.files.disk, &draft) {
            tracing::warn!(path = %draft.display(), %error, "cannot remove a part of a run");
        }
    }
}

impl<S> Drop for RunWriter<S> {
    fn drop(&mut self) {
        if self.file.is_some() {
            self.clean_up();
        }
    }
}

impl RecordArea {
    fn put(&mut self, uid: RunUid, record: &Stored) {
        if self.block_place.is_none() {
            self.block.resize(FRAME_BYTES, 0);
            self.block_place = Some(record.place);
        }
        let file = if record.body.file == uid { 0 } else { self.reference(record.body.file) };
        let Stored { place, facts, body } = record.clone();
        let BodyPointer { offset, length, crc, .. } = body;
        let encoded = BlockRecord { place, facts, file, offset, length, crc };
        pages::put_record(&mut self.block, &encoded);
        self.block_records += 1;
        self.count = self.count.checked_add(1).expect("a merge is bounded");
        self.last = Some(record.place);
    }

    /// The number of another file in this run's list.
    fn reference(&mut self, file: RunUid) -> u32 {
        *self.numbers.entry(file).or_insert_with(|| {
            self.references.push(file);
            u32::try_from(self.references.len()).expect("fewer files than records")
        })
    }

    /// Ends the block, if one was begun, which will be at this offset.
    fn end_block(&mut self, uid: RunUid, offset: u64) -> Option<Vec<u8>> {
        let place = self.block_place.take()?;
        let mut block = std::mem::take(&mut self.block);
        let first = self.count - self.block_records;
        let length = block.len() - FRAME_BYTES;
        let numbers = (first, std::mem::take(&mut self.block_records));
        pages::seal_page(PageKind::Records, (uid, offset), &mut block, numbers, length);
        let length = u32::try_from(block.len()).expect("a block is small");
        self.entries.push(BlockEntry { place, offset, first, length });
        self.blocks += 1;
        Some(block)
    }
}
