//! One run: written, read, damaged.

use std::sync::atomic::AtomicU64;

use proptest::prelude::*;

use super::super::files::Files;
use super::super::format::{FOOT_BYTES, Foot, Summary};
use super::super::pages::{self, Block, FRAME_BYTES, PageKind};
use super::super::reader::{Content, RunFile};
use super::super::sealed::{Sealed, SealedSource};
use super::super::writer::{Progress, RunWriter};
use super::*;
use crate::storage::disk::Disk;

const UID: RunUid = RunUid(0xAB);

fn write(disk: &SimDisk, records: Vec<Record>) -> Result<Arc<RunFile>, RunError> {
    disk.create_dir(Path::new(DIR)).unwrap();
    let background = background();
    let files = Arc::new(Files::new(&options(disk, &background).0));
    let sealed = Arc::new(Sealed::new(UID, records));
    let mut writer = RunWriter::new(files, UID, SealedSource::new(sealed));
    loop {
        if let Progress::Done(run) = writer.step()? {
            return Ok(run);
        }
    }
}

fn open(disk: &SimDisk, listed: (u64, u32), content: Content) -> Result<RunFile, RunError> {
    let background = background();
    let files = Arc::new(Files::new(&options(disk, &background).0));
    RunFile::open(&files, UID, listed, content)
}

/// Reads all of it in every way there is.
fn read_all(run: &RunFile, places: &[Place]) -> Result<(), RunError> {
    for (ordinal, place) in (0..).zip(places) {
        let stored = run.record(ordinal)?;
        assert_eq!((stored.place, &stored.facts), (*place, &facts_of(place.id)));
        assert_eq!(run.body(&stored.body)?, body_of(place.id));
        assert_eq!(run.place(ordinal)?, *place);
        assert_eq!(run.find(place.id)?, Some(ordinal));
        assert_eq!(run.partition(|before| before < place)?, ordinal);
        assert_eq!(run.partition(|before| before <= place)?, ordinal + 1);
    }
    Ok(())
}

fn places(count: u64) -> Vec<Place> {
    let mut places: Vec<_> =
        (0..count).map(|id| place(id % 7, id * 7919 % 1000, 10 + id * 3)).collect();
    places.sort();
    places
}

#[test]
fn all_of_a_run_is_read_back_by_ordinal_place_and_id() {
    let disk = SimDisk::new();
    let places = places(20_000);
    let written = write(&disk, places.iter().copied().map(record).collect()).unwrap();
    assert_eq!(written.foot.records, 20_000);
    assert!(written.foot.index_pages > 1 && written.foot.id_pages > 50, "{:?}", written.foot);
    let listed = (written.foot.file_bytes, written.foot.crc());
    let run = open(&disk, listed, Content::All).unwrap();
    assert_eq!(run.foot, written.foot);
    assert_eq!(run.first(), Some(places[0]));
    assert_eq!(run.foot.last, places[19_999]);
    read_all(&run, &places).unwrap();
    assert_eq!([9, 11, 10 + 60_000].map(|id| run.find(id).unwrap()), [None; 3]);
    assert_eq!(disk.list(Path::new(DIR)).unwrap(), [format::name(UID)]);
}

#[test]
fn ids_that_do_not_fit_in_memory_are_sorted_on_disk() {
    let disk = SimDisk::new();
    let count = 200_000;
    let places: Vec<_> = (0..count).map(|order| place(0, order, order * 77_777 % count)).collect();
    let bare = |place| Record { body: RecordBody::Given(Bytes::new()), ..record(place) };
    let run = write(&disk, places.iter().copied().map(bare).collect()).unwrap();
    for (ordinal, place) in (0..).zip(&places).step_by(997) {
        assert_eq!(run.find(place.id).unwrap(), Some(ordinal));
    }
    assert_eq!(disk.list(Path::new(DIR)).unwrap(), [format::name(UID)]);
}

#[test]
fn no_flipped_bit_and_no_cut_goes_unnoticed() {
    let disk = SimDisk::new();
    let places = places(30);
    let written = write(&disk, places.iter().copied().map(record).collect()).unwrap();
    let listed = (written.foot.file_bytes, written.foot.crc());
    let path = Path::new(DIR).join(format::name(UID));
    let whole = disk.bytes(&path).unwrap();
    let read = || open(&disk, listed, Content::All).and_then(|run| read_all(&run, &places));
    for at in 0..whole.len() {
        disk.edit(&path, |bytes| bytes[at] ^= 1 << (at % 8));
        let found = read();
        let Err(RunError::Corrupt { file, .. }) = &found else { panic!("byte {at}: {found:?}") };
        assert_eq!(file, &path);
        disk.edit(&path, |bytes| bytes[at] ^= 1 << (at % 8));
    }
    for length in (0..whole.len()).step_by(61) {
        disk.edit(&path, |bytes| bytes.truncate(length));
        assert!(read().is_err(), "cut at {length}");
        disk.edit(&path, |bytes| bytes.clone_from(&whole));
    }
    read().unwrap();
    let verify =
        || open(&disk, listed, Content::Bodies).and_then(|run| run.verify(&AtomicU64::new(0)));
    verify().unwrap();
    for at in (0..whole.len()).step_by(17) {
        disk.edit(&path, |bytes| bytes[at] ^= 1);
        assert!(verify().is_err(), "byte {at}");
        disk.edit(&path, |bytes| bytes[at] ^= 1);
    }
    disk.remove(&path).unwrap();
    assert!(matches!(read(), Err(RunError::Missing { .. })));
}

#[test]
fn a_file_that_is_not_the_listed_one_is_refused() {
    let disk = SimDisk::new();
    let foot = write(&disk, places(3).into_iter().map(record).collect()).unwrap().foot;
    let refused =
        |listed| matches!(open(&disk, listed, Content::Bodies), Err(RunError::Corrupt { .. }));
    assert!(refused((foot.file_bytes, foot.crc() ^ 1)));
    assert!(refused((foot.file_bytes + 1, foot.crc())));
    assert!(!refused((foot.file_bytes, foot.crc())));
}

#[test]
fn a_run_that_does_not_fit_leaves_nothing() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(3 << 20));
    let many = (0..200_000).map(|id| record(place(0, id, id))).collect();
    let refused = write(&disk, many).err().expect("no room");
    assert!(refused.is_full(), "{refused}");
    assert_eq!(disk.used_bytes(), 0);
}

proptest! {
    /// A checksum is no proof against a mistake of the writer.
    #[test]
    fn bytes_with_right_checksums_are_decoded_or_refused(
        count in 0_u32..6,
        payload in prop::collection::vec(prop_oneof![Just(0), Just(4), any::<u8>()], 0..300),
        numbers in prop::collection::vec(prop_oneof![0..400_u64, any::<u64>()], 12),
    ) {
        let at = (UID, 64);
        for kind in [PageKind::Records, PageKind::Index, PageKind::Ids] {
            let mut page = vec![0; FRAME_BYTES];
            page.extend_from_slice(&payload);
            pages::seal_page(kind, at, &mut page, (7, count), payload.len());
            prop_assert!(pages::open_page(kind, at, &page).is_some());
            prop_assert!(pages::open_page(kind, (UID, 65), &page).is_none());
            let _ = pages::decode_index_page(at, &page);
            let _ = pages::decode_id_page(at, &page);
            if let Some(block) = Block::decode(at, page) {
                (0..block.count()).for_each(|position| drop(block.record(position)));
            }
        }
        let foot = Foot {
            version: 1,
            cluster: CLUSTER,
            uid: UID,
            records: numbers[0] as u32,
            blocks: 1,
            index_pages: numbers[1] as u32,
            id_pages: numbers[2] as u32,
            references: numbers[3] as u32,
            summary_crc: crc32fast::hash(&payload),
            file_crc: 0,
            bodies_end: numbers[4],
            bodies: numbers[5],
            index_at: numbers[6],
            ids_at: numbers[7],
            summary_at: numbers[8],
            file_bytes: numbers[9],
            last: place(1, 2, 3),
        };
        let bytes: [u8; FOOT_BYTES] = foot.encode();
        prop_assert!(Foot::decode(&bytes).is_none_or(|decoded| decoded == foot));
        let _ = Summary::decode(&payload, &foot);
    }
}
