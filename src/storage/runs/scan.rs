//! Reads the untaken records of several runs, in order, from front to end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::pages::{Block, BlockEntry};
use super::reader::RunFile;
use super::{Marks, Place, RunError, Stored};
use crate::storage::background::PIECE_BYTES_MAX;

/// Merges the untaken records of runs.
pub(super) struct Merger {
    scans: Vec<Scan>,
    /// Scans by their next record; `None` before the first call.
    heads: Option<BinaryHeap<Reverse<(Place, usize)>>>,
}

/// Reads one run from front to end, past the cache.
struct Scan {
    run: Arc<RunFile>,
    marks: Marks,
    /// The ordinal to go on with.
    next: u32,
    current: Option<Stored>,
    block: Option<(BlockEntry, Block)>,
    /// Up to where the system was told to forget.
    forgotten: u64,
}

impl Merger {
    pub(super) fn new(inputs: &[(Arc<RunFile>, Marks)]) -> Self {
        let scan = |(run, marks): &(Arc<RunFile>, Marks)| Scan {
            run: run.clone(),
            marks: marks.clone(),
            next: 0,
            current: None,
            block: None,
            forgotten: run.foot.bodies_end,
        };
        Self { scans: inputs.iter().map(scan).collect(), heads: None }
    }

    pub(super) fn next(&mut self) -> Result<Option<Stored>, RunError> {
        let mut heads = match self.heads.take() {
            Some(heads) => heads,
            None => self.start()?,
        };
        let Some(Reverse((_, position))) = heads.pop() else { return Ok(None) };
        let scan = &mut self.scans[position];
        let record = scan.current.take();
        heads.extend(scan.advance()?.map(|place| Reverse((place, position))));
        self.heads = Some(heads);
        Ok(record)
    }

    fn start(&mut self) -> Result<BinaryHeap<Reverse<(Place, usize)>>, RunError> {
        let mut heads = BinaryHeap::new();
        for (position, scan) in self.scans.iter_mut().enumerate() {
            heads.extend(scan.advance()?.map(|place| Reverse((place, position))));
        }
        Ok(heads)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let block = |scan: &Scan| scan.block.as_ref().map_or(0, |(_, it)| it.resident_bytes());
        self.scans.iter().map(|scan| size_of::<Scan>() + block(scan)).sum()
    }
}

impl Scan {
    /// Goes to the next untaken record.
    fn advance(&mut self) -> Result<Option<Place>, RunError> {
        let Some(ordinal) = self.marks.next_untaken(self.next) else {
            self.block = None;
            return Ok(None);
        };
        self.next = ordinal + 1;
        let block = match self.block.take().filter(|(_, block)| block.has(ordinal)) {
            Some(block) => block,
            None => self.read_block(ordinal)?,
        };
        let record = self.run.record_in(&block.1, ordinal)?;
        self.block = Some(block);
        let place = record.place;
        self.current = Some(record);
        Ok(Some(place))
    }

    fn read_block(&mut self, ordinal: u32) -> Result<(BlockEntry, Block), RunError> {
        let entry = self.run.entry_of(ordinal)?;
        let block = self.run.read_block(&entry)?;
        if entry.offset - self.forgotten.min(entry.offset) >= PIECE_BYTES_MAX as u64 {
            let open = self.run.files.open(self.run.uid())?;
            open.file.forget_cached(self.forgotten..entry.offset);
            self.forgotten = entry.offset;
        }
        Ok((entry, block))
    }
}
