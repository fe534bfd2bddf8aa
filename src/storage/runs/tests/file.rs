//! One run: written, read, damaged.

use super::super::files::Files;
use super::super::reader::{Content, RunFile};
use super::super::sealed::{Sealed, SealedSource};
use super::super::writer::{Progress, RunWriter};
use super::*;
use crate::storage::disk::Disk;

const UID: RunUid = RunUid(0xAB);

fn write(disk: &SimDisk, records: Vec<Record>) -> Result<RunFile, RunError> {
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
