//! Sorts the ids of a run that is written, in bounded memory.
//!
//! What does not fit is put aside in sorted chunks, as pages in a file of its own, and merged at the
//! end. The file is removed with it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::PathBuf;
use std::sync::Arc;

use super::files::{Files, io_error};
use super::format::{self, PAGE_BYTES};
use super::pages::{self, ID_ENTRIES_MAX};
use super::{Damage, RunError, RunUid};
use crate::storage::disk::DiskFile;
use crate::storage::reserve::remove_if_there;

/// How many pages a chunk has: 1 MiB, what the background writer may write in a step.
const CHUNK_PAGES: usize = 256;
const CHUNK_ENTRIES: usize = CHUNK_PAGES * ID_ENTRIES_MAX;

/// An id and its record's ordinal.
pub(super) type IdEntry = (u64, u32);

/// Takes ids in any order, and gives them back sorted.
pub(super) struct IdSorter {
    files: Arc<Files>,
    uid: RunUid,
    entries: Vec<IdEntry>,
    spool: Option<Arc<dyn DiskFile>>,
    chunks: usize,
    merge: Option<Merge>,
}

struct Merge {
    cursors: Vec<Cursor>,
    heads: BinaryHeap<Reverse<(IdEntry, usize)>>,
}

/// Where the merge stands in a chunk.
struct Cursor {
    page: usize,
    pages_end: usize,
    entries: std::vec::IntoIter<IdEntry>,
}

impl IdSorter {
    pub(super) fn new(files: Arc<Files>, uid: RunUid) -> Self {
        Self { files, uid, entries: Vec::new(), spool: None, chunks: 0, merge: None }
    }

    /// Takes an id. Returns how many bytes it has written: none, or a whole chunk.
    pub(super) fn push(&mut self, entry: IdEntry) -> Result<u64, RunError> {
        self.entries.push(entry);
        if self.entries.len() < CHUNK_ENTRIES {
            return Ok(0);
        }
        self.spill()
    }

    /// The next ids, a page of them; none at the end. No more can be pushed after this was called.
    pub(super) fn next_page(&mut self) -> Result<Vec<IdEntry>, RunError> {
        if self.merge.is_none() {
            self.entries.sort_unstable();
            self.merge = Some(self.start_merge()?);
        }
        let mut page = Vec::with_capacity(ID_ENTRIES_MAX);
        while page.len() < ID_ENTRIES_MAX {
            let Some(entry) = self.next_entry()? else { break };
            page.push(entry);
        }
        Ok(page)
    }

    /// What it takes up in memory, bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<IdEntry>() + self.chunks * PAGE_BYTES
    }

    fn spill(&mut self) -> Result<u64, RunError> {
        self.entries.sort_unstable();
        let mut bytes = Vec::with_capacity(CHUNK_PAGES * PAGE_BYTES);
        let start = self.chunks * CHUNK_PAGES;
        for (position, entries) in self.entries.chunks(ID_ENTRIES_MAX).enumerate() {
            let at = (self.uid, page_at(start + position));
            bytes.extend_from_slice(&pages::id_page(at, 0, entries));
        }
        let path = self.path();
        let file = match &self.spool {
            Some(file) => file.clone(),
            None => {
                let disk = &self.files.disk;
                remove_if_there(&**disk, &path).map_err(io_error("remove", &path))?;
                self.spool.insert(disk.create(&path).map_err(io_error("create", &path))?).clone()
            }
        };
        file.write_all_at(&bytes, page_at(start)).map_err(io_error("write", &path))?;
        file.sync_data().map_err(io_error("sync", &path))?;
        file.forget_cached(page_at(start)..page_at(start) + bytes.len() as u64);
        self.chunks += 1;
        self.entries.clear();
        Ok(bytes.len() as u64)
    }

    fn start_merge(&mut self) -> Result<Merge, RunError> {
        let mut merge = Merge { cursors: Vec::new(), heads: BinaryHeap::new() };
        for chunk in 0..self.chunks {
            let page = chunk * CHUNK_PAGES;
            let entries = Vec::new().into_iter();
            merge.cursors.push(Cursor { page, pages_end: page + CHUNK_PAGES, entries });
        }
        let entries = std::mem::take(&mut self.entries).into_iter();
        merge.cursors.push(Cursor { page: 0, pages_end: 0, entries });
        for position in 0..merge.cursors.len() {
            let head = self.advance(&mut merge.cursors[position])?;
            merge.heads.extend(head.map(|head| Reverse((head, position))));
        }
        Ok(merge)
    }

    fn next_entry(&mut self) -> Result<Option<IdEntry>, RunError> {
        let mut merge = self.merge.take().expect("the merge was started");
        let entry = self.pop(&mut merge);
        self.merge = Some(merge);
        entry
    }

    fn pop(&self, merge: &mut Merge) -> Result<Option<IdEntry>, RunError> {
        let Some(Reverse((entry, position))) = merge.heads.pop() else { return Ok(None) };
        let head = self.advance(&mut merge.cursors[position])?;
        merge.heads.extend(head.map(|head| Reverse((head, position))));
        Ok(Some(entry))
    }

    fn advance(&self, cursor: &mut Cursor) -> Result<Option<IdEntry>, RunError> {
        if let Some(entry) = cursor.entries.next() {
            return Ok(Some(entry));
        }
        if cursor.page == cursor.pages_end {
            return Ok(None);
        }
        cursor.entries = self.read_page(cursor.page)?.into_iter();
        cursor.page += 1;
        Ok(cursor.entries.next())
    }

    fn read_page(&self, number: usize) -> Result<Vec<IdEntry>, RunError> {
        let path = self.path();
        let file = self.spool.as_ref().expect("a page was put aside");
        let mut bytes = vec![0; PAGE_BYTES];
        file.read_exact_at(&mut bytes, page_at(number)).map_err(io_error("read", &path))?;
        let page = pages::decode_id_page((self.uid, page_at(number)), &bytes);
        let damaged =
            RunError::Corrupt { file: path, offset: page_at(number), why: Damage::IdPage };
        page.map(|(_, entries)| entries).ok_or(damaged)
    }

    fn path(&self) -> PathBuf {
        self.files.dir.join(format::spool_name(self.uid))
    }
}

impl Drop for IdSorter {
    fn drop(&mut self) {
        if self.spool.take().is_some() {
            // On failure the leftover is removed at the next start.
            let _ = remove_if_there(&*self.files.disk, &self.path());
        }
    }
}

fn page_at(number: usize) -> u64 {
    (number * PAGE_BYTES) as u64
}
