//! Writes the seeds of the targets `entry`, `frame` and `wal_recovery` to the directory `corpus`; those of
//! `decoder` and `trunk` are text and were written by hand. To be run again when a format changes:
//! `cargo run --bin seeds`, in this directory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use beanpole::link::write_frame;
use beanpole::queue::{
    Action, Batch, ConnectionNumber, Incarnation, JobId, LogicalTime, MemberId, Op, OpNumber, Part,
    Turn, Wait,
};
use beanpole::raft::recode_entry;
use beanpole::storage::sim::SimDisk;
use beanpole::storage::wal::{EntryId, Payload};
use beanpole_fuzz::log_image::{OpenLog, first_segment, open};
use beanpole_protocol::TubeName;
use bytes::Bytes;

const BLANK: u8 = 0;
const BATCH: u8 = 1;
const MEMBERSHIP: u8 = 2;

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, bytes) in entries() {
        assert_eq!(recode_entry(&bytes).expect("a seed is an entry"), bytes, "{name}");
        write(&corpus.join("entry"), name, &bytes)?;
    }
    for (name, bytes) in frames() {
        // As it is, in pieces of ten bytes; and in large ones, so that changes get past the checksums.
        for (mode, suffix) in [([0, 10, 0], "whole"), ([1, 0, 16], "sums")] {
            let seed = [&mode, bytes.as_slice()].concat();
            write(&corpus.join("frame"), &format!("{name}-{suffix}"), &seed)?;
        }
    }
    for (name, bytes) in segments() {
        // Once as it is, and once so that changes get past the checksums.
        for (mode, suffix) in [(0, "whole"), (1, "sums"), (2, "chain")] {
            let seed = [&[mode], bytes.as_slice()].concat();
            write(&corpus.join("wal_recovery"), &format!("{name}-{suffix}"), &seed)?;
        }
    }
    Ok(())
}

fn write(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    fs::write(dir.join(name), bytes)
}

fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let of = |bodies: &[&[u8]]| {
        let mut bytes = Vec::new();
        for (id, body) in (1..).zip(bodies) {
            write_frame(&mut bytes, 1, id, |buffer| buffer.extend_from_slice(body));
        }
        bytes
    };
    let announced = |length: u32| [&length.to_le_bytes()[..], &[0; 20]].concat();
    vec![
        ("short", of(&[b"", b"a", b"a job"])),
        // Long enough to have memory of its own.
        ("long", of(&[&[b'l'; 33 << 10], b"short"])),
        ("announced", announced(64 << 20)),
        ("too-large", announced((72 << 20) + 1)),
    ]
}

fn entries() -> Vec<(&'static str, Vec<u8>)> {
    let now = LogicalTime(1_000_000_000);
    let (member, incarnation) = (MemberId(1), Incarnation(2));
    let open = Part::Open { member, incarnation, grace_millis: 0 };
    let ops = Part::Ops { member, incarnation, first: OpNumber(1), ops: ops().into() };
    vec![
        ("blank", vec![BLANK]),
        ("advance", batch(&Batch { now, parts: Vec::new() })),
        ("open", batch(&Batch { now, parts: vec![open.clone()] })),
        ("ops", batch(&Batch { now, parts: vec![open, ops] })),
        ("membership", membership(&[&[1, 2, 3]])),
        ("joint", membership(&[&[1], &[1, 2, 3]])),
    ]
}

fn ops() -> Vec<Op> {
    let tube = || TubeName::new(b"mail").expect("a tube may have this name");
    let (job, priority, delay) = (JobId(7), 1 << 10, 60);
    let actions = [
        Action::Put { priority, delay, ttr: 120, body: Bytes::from_static(b"hello"), key: None },
        Action::Use { tube: tube() },
        Action::Watch { tube: tube() },
        Action::Ignore { tube: tube() },
        Action::Reserve { wait: Wait::Forever, half_closed: false },
        Action::Reserve { wait: Wait::Seconds(3), half_closed: true },
        Action::ReserveJob { job },
        Action::Delete { job },
        Action::Release { job, priority, delay },
        Action::Bury { job, priority },
        Action::Touch { job },
        Action::Kick { bound: 100 },
        Action::KickJob { job },
        Action::PauseTube { tube: tube(), delay },
        Action::StopWaiting,
        Action::Close,
    ];
    let op = |action| Op::plain(ConnectionNumber(300), Turn(0), action);
    actions.into_iter().map(op).collect()
}

fn batch(batch: &Batch) -> Vec<u8> {
    postcard::to_extend(batch, vec![BATCH]).expect("writing to memory does not fail")
}

fn membership(configs: &[&[u64]]) -> Vec<u8> {
    let log_id: Option<(u64, u64, u64)> = None;
    let sets: Vec<BTreeSet<u64>> =
        configs.iter().map(|ids| ids.iter().copied().collect()).collect();
    let members: BTreeSet<u64> = sets.iter().flatten().copied().collect();
    let nodes: BTreeMap<u64, String> =
        members.into_iter().map(|id| (id, format!("10.0.0.{id}:11310"))).collect();
    postcard::to_extend(&(log_id, sets, nodes), vec![MEMBERSHIP])
        .expect("writing to memory does not fail")
}

/// Segments as they are while the log is open.
fn segments() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("empty", segment(|_| {})),
        ("entries", segment(|log| append(log, 1, 0..4))),
        (
            "votes",
            segment(|log| {
                vote(log, b"me in 1");
                append(log, 1, 0..2);
                vote(log, b"you in 2");
            }),
        ),
        (
            "truncated",
            segment(|log| {
                append(log, 1, 0..4);
                log.wal.truncate_after(Some(id(1, 1)));
                append(log, 2, 2..4);
            }),
        ),
        (
            "purged",
            segment(|log| {
                append(log, 1, 0..4);
                log.wal.purge(id(1, 2));
                log.wal.note(Bytes::from_static(b"a note"));
                append(log, 1, 4..5);
            }),
        ),
    ]
}

fn segment(fill: impl FnOnce(&OpenLog)) -> Vec<u8> {
    let disk = SimDisk::new();
    let log = open(&disk, true).expect("a log can be made");
    fill(&log);
    disk.bytes(&first_segment()).expect("the log has a segment")
}

fn append(log: &OpenLog, term: u64, indexes: std::ops::Range<u64>) {
    for index in indexes {
        let payload: Arc<dyn Payload> = Arc::new(Bytes::from(format!("entry {index}")));
        waited_for(|done| log.wal.append(vec![(id(term, index), payload)], done));
    }
}

fn vote(log: &OpenLog, vote: &'static [u8]) {
    waited_for(|done| log.wal.save_vote(Bytes::from_static(vote), done));
}

fn waited_for(ask: impl FnOnce(Box<dyn FnOnce() + Send>)) {
    let (done, wait) = std::sync::mpsc::channel();
    ask(Box::new(move || done.send(()).expect("it is waited for")));
    wait.recv().expect("the log does what it is asked");
}

fn id(term: u64, index: u64) -> EntryId {
    EntryId { term, member: 1, index }
}
