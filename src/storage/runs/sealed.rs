//! A run that is still in memory: sorted, and laid out as its file will be.

use bytes::Bytes;

use super::format::HEAD_BYTES;
use super::writer::{NextBody, Source};
use super::{BodyPointer, FACTS_BYTES_MAX, Place, Record, RecordBody, RunError, RunUid, Stored};

/// Records that can be read before they are written.
pub(super) struct Sealed {
    records: Vec<Stored>,
    /// Each id with its record's ordinal, by id.
    ids: Vec<(u64, u32)>,
    /// The bodies by where they will be in the file. Empty ones are not here.
    bodies: Vec<(u64, Bytes)>,
    bodies_bytes: u64,
}

impl Sealed {
    /// Sorts the records, and gives each body its place in the file.
    ///
    /// # Panics
    /// When there are two of one id, too many, or too long ones.
    pub(super) fn new(uid: RunUid, mut given: Vec<Record>) -> Self {
        assert!(u32::try_from(given.len()).is_ok(), "{} records in a run", given.len());
        given.sort_unstable_by_key(|record| record.place);
        let mut facts = pack_facts(&given);
        let mut sealed = Self {
            ids: Vec::with_capacity(given.len()),
            records: Vec::with_capacity(given.len()),
            bodies: Vec::new(),
            bodies_bytes: 0,
        };
        for (ordinal, record) in (0..).zip(given) {
            let Record { place, facts: own, body } = record;
            let facts = facts.split_to(own.len());
            let body = match body {
                RecordBody::At(pointer) => pointer,
                RecordBody::Given(bytes) => sealed.lay_out(uid, bytes),
            };
            sealed.ids.push((place.id, ordinal));
            sealed.records.push(Stored { place, facts, body });
        }
        sealed.ids.sort_unstable();
        for pair in sealed.ids.windows(2) {
            assert!(pair[0].0 != pair[1].0, "id {} is sealed twice", pair[0].0);
        }
        sealed
    }

    pub(super) fn records(&self) -> &[Stored] {
        &self.records
    }

    /// The least and the greatest id.
    pub(super) fn id_span(&self) -> (u64, u64) {
        let ends = self.ids.first().zip(self.ids.last());
        ends.map_or((1, 0), |(first, last)| (first.0, last.0))
    }

    pub(super) fn find(&self, id: u64) -> Option<u32> {
        let found = self.ids.binary_search_by_key(&id, |(id, _)| *id);
        found.ok().map(|position| self.ids[position].1)
    }

    pub(super) fn partition(&self, is_before: impl Fn(&Place) -> bool) -> u32 {
        let position = self.records.partition_point(|record| is_before(&record.place));
        u32::try_from(position).expect("the number of records was checked")
    }

    /// A body of this run. `None` when there is none there.
    pub(super) fn body(&self, at: &BodyPointer) -> Option<Bytes> {
        if at.length == 0 {
            return Some(Bytes::new());
        }
        let found = self.bodies.binary_search_by_key(&at.offset, |(offset, _)| *offset);
        found.ok().map(|position| self.bodies[position].1.clone())
    }

    pub(super) fn bodies_bytes(&self) -> u64 {
        self.bodies_bytes
    }

    /// What it takes up in memory, bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        let facts: usize = self.records.iter().map(|record| record.facts.len()).sum();
        self.records.capacity() * size_of::<Stored>()
            + self.ids.capacity() * size_of::<(u64, u32)>()
            + self.bodies.capacity() * size_of::<(u64, Bytes)>()
            + self.bodies_bytes as usize
            + facts
    }

    fn lay_out(&mut self, uid: RunUid, bytes: Bytes) -> BodyPointer {
        let pointer = BodyPointer {
            file: uid,
            offset: HEAD_BYTES as u64 + self.bodies_bytes,
            length: u32::try_from(bytes.len()).expect("a body is shorter than 4 GiB"),
            crc: crc32fast::hash(&bytes),
        };
        self.bodies_bytes += bytes.len() as u64;
        if !bytes.is_empty() {
            self.bodies.push((pointer.offset, bytes));
        }
        pointer
    }
}

/// All facts in one piece of memory: what they take up can be counted.
fn pack_facts(records: &[Record]) -> Bytes {
    let mut packed = Vec::with_capacity(records.iter().map(|record| record.facts.len()).sum());
    for record in records {
        let facts = &record.facts;
        assert!(facts.len() <= FACTS_BYTES_MAX, "{} bytes of facts", facts.len());
        packed.extend_from_slice(facts);
    }
    Bytes::from(packed)
}

/// Hands a sealed run to the writer.
pub(super) struct SealedSource {
    sealed: std::sync::Arc<Sealed>,
    bodies: usize,
    records: usize,
}

impl SealedSource {
    pub(super) fn new(sealed: std::sync::Arc<Sealed>) -> Self {
        Self { sealed, bodies: 0, records: 0 }
    }
}

impl Source for SealedSource {
    fn next_body(&mut self) -> Result<NextBody, RunError> {
        let body = self.sealed.bodies.get(self.bodies).map(|(_, body)| body.clone());
        self.bodies += 1;
        Ok(body.map_or(NextBody::End, NextBody::Body))
    }

    fn next_record(&mut self) -> Result<Option<Stored>, RunError> {
        let record = self.sealed.records.get(self.records).cloned();
        self.records += 1;
        Ok(record)
    }
}
