//! Writes a checkpoint: records on the caller's thread, bytes on the background writer's.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crc32fast::Hasher;
use parking_lot::Mutex;
use thiserror::Error;

use super::format::{self, BLOCK_BYTES, BLOCK_HEAD_BYTES, BlockFrame, Foot};
use super::{
    CheckpointError, CheckpointHead, CheckpointInfo, CheckpointReader, Checkpoints, OnFinished,
    OnRoom, PENDING_BYTES_MAX, RECORD_BYTES_MAX, io_error,
};
use crate::storage::background::{Job, Lane, PIECE_BYTES_MAX, Step};
use crate::storage::disk::DiskFile;
use crate::storage::reserve::remove_if_there;

/// A record was not taken: so much waits for the background writer already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the background writer has enough to do")]
pub struct NoRoom;

/// A checkpoint that is being made. Dropping it gives it up.
pub struct CheckpointWriter {
    build: Arc<Build>,
    frame: BlockFrame,
    hasher: Hasher,
    /// Whole blocks, to be handed over together.
    piece: Vec<u8>,
    /// Where in the piece the current block begins.
    block_start: usize,
    block_records: u32,
    blocks: u64,
    records: u64,
    /// Bytes handed over.
    handed_over: u64,
    is_finished: bool,
}

/// What the caller's thread and the background writer's share.
struct Build {
    checkpoints: Checkpoints,
    head: CheckpointHead,
    on_room: OnRoom,
    /// Bytes handed over and not written.
    pending_bytes: AtomicUsize,
    is_given_up: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    file: Option<Arc<dyn DiskFile>>,
    written: u64,
    failure: Option<CheckpointError>,
}

impl CheckpointWriter {
    pub(super) fn new(checkpoints: Checkpoints, head: CheckpointHead, on_room: OnRoom) -> Self {
        let frame = BlockFrame::new(head.cluster, head.applied_index);
        let piece = format::encode_head(&head);
        let build = Build {
            checkpoints,
            head,
            on_room,
            pending_bytes: AtomicUsize::new(0),
            is_given_up: AtomicBool::new(false),
            state: Mutex::default(),
        };
        let mut writer = Self {
            build: Arc::new(build),
            frame,
            hasher: Hasher::new(),
            block_start: piece.len(),
            piece,
            block_records: 0,
            blocks: 0,
            records: 0,
            handed_over: 0,
            is_finished: false,
        };
        writer.begin_block();
        writer
    }

    /// Adds a record. Copies it, and never waits. After an error of the disk records are taken and
    /// forgotten; [`finish`](Self::finish) reports it.
    ///
    /// # Errors
    /// When the background writer has to catch up first. The record was not taken; try again after
    /// [`OnRoom`] was called.
    ///
    /// # Panics
    /// When the record is longer than [`RECORD_BYTES_MAX`].
    pub fn try_push(&mut self, record: &[u8]) -> Result<(), NoRoom> {
        assert!(record.len() <= RECORD_BYTES_MAX, "a record of {} bytes", record.len());
        // A whole piece waits here only when it could not be handed over before.
        if self.is_piece_full() {
            self.try_hand_over()?;
        }
        let length = u32::try_from(record.len()).expect("records are bounded");
        self.piece.extend_from_slice(&length.to_le_bytes());
        self.piece.extend_from_slice(record);
        self.block_records += 1;
        self.records += 1;
        if self.piece.len() - self.block_start >= BLOCK_BYTES {
            self.end_block();
            if self.is_piece_full() {
                // No room now is told to the next record.
                let _ = self.try_hand_over();
            }
            self.begin_block();
        }
        Ok(())
    }

    /// Ends the checkpoint. When it is durable and was read through, older ones are removed, and
    /// then `finished` is called, on the background thread, or on this one if that has ended.
    pub fn finish(mut self, finished: OnFinished) {
        self.is_finished = true;
        if self.block_records > 0 {
            self.end_block();
        } else {
            self.piece.truncate(self.block_start);
        }
        self.hasher.update(&self.piece);
        let foot = Foot {
            file_crc: self.hasher.clone().finalize(),
            records: self.records,
            blocks: self.blocks,
            before: self.handed_over + self.piece.len() as u64,
        };
        let mut bytes = std::mem::take(&mut self.piece);
        bytes.extend_from_slice(&foot.encode());
        self.build.pending_bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        let end = End { finished: Some(finished), reader: None };
        let job = WritePiece { build: self.build.clone(), bytes, written: 0, end: Some(end) };
        let _ = self.build.checkpoints.background.try_submit(Lane::Bulk, Box::new(job));
    }

    fn is_piece_full(&self) -> bool {
        // With the next block it shall not be longer than one step of the background writer.
        self.block_start + BLOCK_BYTES > PIECE_BYTES_MAX
    }

    fn begin_block(&mut self) {
        self.block_start = self.piece.len();
        self.piece.resize(self.block_start + BLOCK_HEAD_BYTES, 0);
        self.block_records = 0;
    }

    fn end_block(&mut self) {
        let block = &mut self.piece[self.block_start..];
        self.frame.finish(block, self.blocks, self.block_records);
        self.blocks += 1;
        self.block_start = self.piece.len();
    }

    /// Hands over the whole blocks.
    fn try_hand_over(&mut self) -> Result<(), NoRoom> {
        let pending = &self.build.pending_bytes;
        if pending.load(Ordering::Acquire) >= PENDING_BYTES_MAX {
            return Err(NoRoom);
        }
        let rest = self.piece.split_off(self.block_start);
        let bytes = std::mem::replace(&mut self.piece, rest);
        self.block_start = 0;
        self.hasher.update(&bytes);
        self.handed_over += bytes.len() as u64;
        pending.fetch_add(bytes.len(), Ordering::Relaxed);
        let job = WritePiece { build: self.build.clone(), bytes, written: 0, end: None };
        // A job that is not taken is dropped, and says so.
        let _ = self.build.checkpoints.background.try_submit(Lane::Bulk, Box::new(job));
        Ok(())
    }
}

impl Drop for CheckpointWriter {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        self.build.is_given_up.store(true, Ordering::Release);
        // Writes nothing any more, and removes what was written.
        let job =
            WritePiece { build: self.build.clone(), bytes: Vec::new(), written: 0, end: None };
        // Without the background writer the next start removes it.
        let _ = self.build.checkpoints.background.try_submit(Lane::Bulk, Box::new(job));
    }
}

/// The job of writing some whole blocks, and at the end all that makes a checkpoint of them.
struct WritePiece {
    build: Arc<Build>,
    bytes: Vec<u8>,
    /// How many of the bytes are written.
    written: usize,
    end: Option<End>,
}

/// What the last piece brings with it.
struct End {
    finished: Option<OnFinished>,
    /// Reads through what was written.
    reader: Option<CheckpointReader>,
}

impl Job for WritePiece {
    fn step(&mut self) -> Step {
        if self.written < self.bytes.len() {
            let count = (self.bytes.len() - self.written).min(PIECE_BYTES_MAX);
            let piece = &self.bytes[self.written..self.written + count];
            let bytes = self.build.write(piece);
            self.written += count;
            self.build.pending_bytes.fetch_sub(count, Ordering::Release);
            (self.build.on_room)();
            let is_over = self.written == self.bytes.len() && self.end.is_none();
            return if is_over { Step::Finished { bytes } } else { Step::More { bytes } };
        }
        let Some(end) = &mut self.end else {
            self.build.clean_up();
            return Step::Finished { bytes: 0 };
        };
        match self.build.publish_step(&mut end.reader) {
            Ok(None) => Step::More { bytes: 0 },
            Ok(Some(info)) => self.finish(Ok(info)),
            Err(error) => {
                self.build.clean_up();
                self.finish(Err(error))
            }
        }
    }
}

impl Drop for WritePiece {
    /// Without the background writer nothing is written any more, and nobody shall wait for it.
    fn drop(&mut self) {
        let rest = self.bytes.len() - self.written;
        if rest > 0 {
            self.build.state.lock().failure.get_or_insert(CheckpointError::NoBackground);
            self.build.pending_bytes.fetch_sub(rest, Ordering::Release);
            (self.build.on_room)();
        }
        if let Some(finished) = self.end.take().and_then(|end| end.finished) {
            finished(Err(CheckpointError::NoBackground));
        }
    }
}

impl WritePiece {
    fn finish(&mut self, result: Result<CheckpointInfo, CheckpointError>) -> Step {
        if let Some(finished) = self.end.take().and_then(|end| end.finished) {
            finished(result);
        }
        Step::Finished { bytes: 0 }
    }
}

impl Build {
    fn draft(&self) -> PathBuf {
        self.checkpoints.dir.join(format::draft_name(self.head.applied_index))
    }

    /// Writes and syncs some bytes, unless it was given up or has failed. Returns how many.
    fn write(&self, bytes: &[u8]) -> u64 {
        let mut state = self.state.lock();
        if self.is_given_up.load(Ordering::Acquire) || state.failure.is_some() {
            return 0;
        }
        let written = state.written;
        match self.try_write(&mut state, bytes, written) {
            Ok(()) => {
                state.written += bytes.len() as u64;
                bytes.len() as u64
            }
            Err(failure) => {
                state.failure = Some(failure);
                0
            }
        }
    }

    fn try_write(
        &self,
        state: &mut State,
        bytes: &[u8],
        offset: u64,
    ) -> Result<(), CheckpointError> {
        let draft = self.draft();
        let file = match &state.file {
            Some(file) => file.clone(),
            None => {
                let disk = &self.checkpoints.disk;
                remove_if_there(&**disk, &draft).map_err(io_error("remove", &draft))?;
                state.file.insert(disk.create(&draft).map_err(io_error("create", &draft))?).clone()
            }
        };
        self.checkpoints.write_piece(&*file, &draft, bytes, offset)
    }

    /// One step of what comes after the last byte: sync and rename; then read one piece after the
    /// other; then remove older ones. Returns the checkpoint after the last step.
    fn publish_step(
        &self,
        reader: &mut Option<CheckpointReader>,
    ) -> Result<Option<CheckpointInfo>, CheckpointError> {
        let Some(open) = reader else {
            *reader = Some(self.publish()?);
            return Ok(None);
        };
        for _ in 0..PIECE_BYTES_MAX / BLOCK_BYTES {
            if !open.verify_block()? {
                self.checkpoints.remove_old()?;
                return Ok(reader.take().map(CheckpointReader::into_info));
            }
        }
        Ok(None)
    }

    fn publish(&self) -> Result<CheckpointReader, CheckpointError> {
        let mut state = self.state.lock();
        if let Some(failure) = state.failure.take() {
            return Err(failure);
        }
        let Checkpoints { disk, dir, .. } = &self.checkpoints;
        let draft = self.draft();
        let file = state.file.take().expect("a checkpoint has a head, so it has been written");
        file.sync_all().map_err(io_error("sync", &draft))?;
        let path = self.checkpoints.path(self.head.applied_index);
        disk.rename(&draft, &path).map_err(io_error("rename", &draft))?;
        disk.sync_dir(dir).map_err(io_error("sync", dir))?;
        self.checkpoints.read(self.head.cluster, self.head.applied_index)
    }

    /// Removes what was written and is of no use.
    fn clean_up(&self) {
        self.state.lock().file = None;
        let draft = self.draft();
        if let Err(error) = remove_if_there(&*self.checkpoints.disk, &draft) {
            tracing::warn!(path = %draft.display(), %error, "cannot remove a part of a checkpoint");
        }
    }
}
