//! One run of a set, in memory or on the disk, and the job that takes it from the one to the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use super::files::Files;
use super::reader::RunFile;
use super::sealed::{Sealed, SealedSource};
use super::writer::{Progress, RunWriter};
use super::{BodyPointer, Damage, OnChange, Place, RunError, RunUid, Stored};
use crate::storage::background::{BackgroundHandle, Job, Lane, Step};

/// A run. Reads are the same whether it is sealed or durable.
pub(super) struct Run {
    pub(super) uid: RunUid,
    pub(super) records: u32,
    pub(super) first: Place,
    pub(super) last: Place,
    data: RwLock<Data>,
    writing: Mutex<Writing>,
    /// Nobody needs it, so that it need not be written.
    is_given_up: AtomicBool,
}

#[derive(Clone)]
enum Data {
    Sealed(Arc<Sealed>),
    File(Arc<RunFile>),
}

/// How far the writing of a sealed run has come.
#[derive(Debug)]
enum Writing {
    /// Not handed over to the background writer, or given back by it.
    Waiting,
    UnderWay,
    Failed(RunError),
    Done,
}

impl Run {
    pub(super) fn sealed(uid: RunUid, sealed: Sealed) -> Self {
        let records = sealed.records();
        let place = |record: Option<&Stored>| record.expect("a run has a record at least").place;
        Self {
            uid,
            records: u32::try_from(records.len()).expect("the number of records was checked"),
            first: place(records.first()),
            last: place(records.last()),
            data: RwLock::new(Data::Sealed(Arc::new(sealed))),
            writing: Mutex::new(Writing::Waiting),
            is_given_up: AtomicBool::new(false),
        }
    }

    /// One that is durable. Of one that is there for its bodies the places mean nothing.
    pub(super) fn durable(file: Arc<RunFile>) -> Self {
        Self {
            uid: file.uid(),
            records: file.foot.records,
            first: file.first().unwrap_or(file.foot.last),
            last: file.foot.last,
            data: RwLock::new(Data::File(file)),
            writing: Mutex::new(Writing::Done),
            is_given_up: AtomicBool::new(false),
        }
    }

    /// Its file, when that is durable.
    pub(super) fn file(&self) -> Option<Arc<RunFile>> {
        match &*self.data.read() {
            Data::File(file) => Some(file.clone()),
            Data::Sealed(_) => None,
        }
    }

    /// How many bytes of bodies it has.
    pub(super) fn bodies_bytes(&self) -> u64 {
        match &*self.data.read() {
            Data::File(file) => file.bodies_bytes(),
            Data::Sealed(sealed) => sealed.bodies_bytes(),
        }
    }

    /// How many records stand before a place, by a test that holds for them alone.
    pub(super) fn partition(&self, is_before: impl Fn(&Place) -> bool) -> Result<u32, RunError> {
        match self.data() {
            Data::Sealed(sealed) => Ok(sealed.partition(is_before)),
            Data::File(file) => file.partition(is_before),
        }
    }

    /// The record of an ordinal, which there is.
    pub(super) fn record(&self, ordinal: u32) -> Result<Stored, RunError> {
        match self.data() {
            Data::Sealed(sealed) => {
                let record = sealed.records()[ordinal as usize].clone();
                // A part of all facts would keep all of them in memory.
                Ok(Stored { facts: Bytes::copy_from_slice(&record.facts), ..record })
            }
            Data::File(file) => file.record(ordinal),
        }
    }

    /// The place of an ordinal, which there is.
    pub(super) fn place(&self, ordinal: u32) -> Result<Place, RunError> {
        match self.data() {
            Data::Sealed(sealed) => Ok(sealed.records()[ordinal as usize].place),
            Data::File(file) => file.place(ordinal),
        }
    }

    /// The ordinal of an id.
    pub(super) fn find(&self, id: u64) -> Result<Option<u32>, RunError> {
        match self.data() {
            Data::Sealed(sealed) => Ok(sealed.find(id)),
            Data::File(file) => file.find(id),
        }
    }

    /// The id will be looked for.
    pub(super) fn expect_id(&self, id: u64) {
        if let Data::File(file) = self.data() {
            file.expect_id(id);
        }
    }

    /// The record will be read.
    pub(super) fn expect_record(&self, ordinal: u32) {
        if let Data::File(file) = self.data() {
            file.expect_record(ordinal);
        }
    }

    /// The least and the greatest id.
    pub(super) fn ids(&self) -> (u64, u64) {
        match &*self.data.read() {
            Data::Sealed(sealed) => sealed.id_span(),
            Data::File(file) => file.id_span(),
        }
    }

    /// The ordinal of an id, if it is still in memory.
    pub(super) fn find_sealed(&self, id: u64) -> Option<u32> {
        match self.data() {
            Data::Sealed(sealed) => sealed.find(id),
            Data::File(_) => None,
        }
    }

    pub(super) fn body(&self, files: &Files, at: &BodyPointer) -> Result<Bytes, RunError> {
        match self.data() {
            Data::Sealed(sealed) => {
                let body = sealed.body(at).filter(|body| body.len() == at.length as usize);
                body.ok_or_else(|| files.corrupt(self.uid, at.offset, Damage::Body))
            }
            Data::File(file) => file.body(at),
        }
    }

    /// What it takes up in memory, bytes: as a file, and while it is sealed.
    pub(super) fn resident_bytes(&self) -> (usize, usize) {
        let own = size_of::<Self>();
        match &*self.data.read() {
            Data::File(file) => (own + size_of::<RunFile>() + file.heap_bytes(), 0),
            Data::Sealed(sealed) => (own, size_of::<Sealed>() + sealed.heap_bytes()),
        }
    }

    /// Why its last writing has failed; said once.
    pub(super) fn take_failure(&self) -> Option<RunError> {
        let mut writing = self.writing.lock();
        match std::mem::replace(&mut *writing, Writing::Waiting) {
            Writing::Failed(error) => Some(error),
            other => {
                *writing = other;
                None
            }
        }
    }

    /// Whether it is sealed and nobody is about to write it.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(*self.writing.lock(), Writing::Waiting)
    }

    /// Nobody needs it any more: if it is not written, it will not be.
    pub(super) fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Relaxed);
    }

    /// Whether nobody needs it.
    pub(super) fn is_given_up(&self) -> bool {
        self.is_given_up.load(Ordering::Relaxed)
    }

    fn data(&self) -> Data {
        self.data.read().clone()
    }
}

/// Hands a sealed run that waits over to the background writer. Returns whether it was taken.
pub(super) fn write(
    run: &Arc<Run>,
    files: &Arc<Files>,
    background: &BackgroundHandle,
    on_change: &OnChange,
) -> bool {
    let Data::Sealed(sealed) = run.data() else { return true };
    *run.writing.lock() = Writing::UnderWay;
    let source = SealedSource::new(sealed);
    let job = WriteSealed {
        writer: Some(RunWriter::new(files.clone(), run.uid, source)),
        run: run.clone(),
        on_change: on_change.clone(),
    };
    // A job that is not taken is dropped, and says so.
    background.try_submit(Lane::Bulk, Box::new(job)).is_ok()
}

/// The job of writing a sealed run.
struct WriteSealed {
    run: Arc<Run>,
    /// Gone when the job has ended.
    writer: Option<RunWriter<SealedSource>>,
    on_change: OnChange,
}

impl Job for WriteSealed {
    fn step(&mut self) -> Step {
        let writer = self.writer.as_mut().expect("a job that has ended is not stepped");
        let outcome = match self.run.is_given_up() {
            true => Writing::Waiting,
            false => match writer.step() {
                Ok(Progress::More(bytes)) => return Step::More { bytes },
                Ok(Progress::Done(file)) => {
                    *self.run.data.write() = Data::File(file);
                    Writing::Done
                }
                Err(error) => Writing::Failed(error),
            },
        };
        // Before anybody is told, what was begun is removed, and what was sealed given back.
        self.writer = None;
        *self.run.writing.lock() = outcome;
        (self.on_change)();
        Step::Finished { bytes: 0 }
    }
}

impl Drop for WriteSealed {
    fn drop(&mut self) {
        if self.writer.take().is_some() {
            *self.run.writing.lock() = Writing::Waiting;
        }
    }
}
