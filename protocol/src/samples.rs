//! Arbitrary commands and replies, and ways to cut their bytes, for the tests of this crate.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::{BODY_BUFFERED_BYTES_MAX, Command, PutKey, Reply, TubeName};

pub(crate) fn any_tube() -> impl Strategy<Value = TubeName> {
    "[A-Za-z0-9+/;.$_()][-A-Za-z0-9+/;.$_()]{0,199}".prop_map(|name| tube(&name))
}

pub(crate) fn tube(name: &str) -> TubeName {
    TubeName::new(name.as_bytes()).expect("a test names its tubes rightly")
}

/// Mostly short bodies, some on both sides of [`BODY_BUFFERED_BYTES_MAX`].
pub(crate) fn any_body() -> impl Strategy<Value = Bytes> {
    let length = prop_oneof![
        20 => 0..40_usize,
        1 => BODY_BUFFERED_BYTES_MAX - 2..BODY_BUFFERED_BYTES_MAX + 3,
        1 => Just(3 * BODY_BUFFERED_BYTES_MAX),
    ];
    (length, any::<u8>()).prop_map(|(length, seed)| {
        // Bytes that mean something on a line are frequent on purpose.
        let alphabet = *b"\r\n 0a";
        (0..length).map(|at| alphabet[(at + usize::from(seed)) * 7 % 5]).collect()
    })
}

pub(crate) fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        any_put(),
        any_tube().prop_map(Command::Use),
        any_tube().prop_map(Command::Watch),
        any_tube().prop_map(Command::Ignore),
        any_tube().prop_map(Command::StatsTube),
        (0..=i32::MAX.unsigned_abs()).prop_map(Command::ReserveWithTimeout),
        any::<u64>().prop_map(Command::ReserveJob),
        any::<u64>().prop_map(Command::Delete),
        (any::<u64>(), any::<u32>(), any::<u32>())
            .prop_map(|(id, priority, delay)| Command::Release { id, priority, delay }),
        (any::<u64>(), any::<u32>()).prop_map(|(id, priority)| Command::Bury { id, priority }),
        any::<u64>().prop_map(Command::Touch),
        any::<u64>().prop_map(Command::Peek),
        any::<u32>().prop_map(Command::Kick),
        any::<u64>().prop_map(Command::KickJob),
        (any_tube(), any::<u32>()).prop_map(|(tube, delay)| Command::PauseTube { tube, delay }),
        any::<u64>().prop_map(Command::StatsJob),
        any_tube().prop_map(|name| {
            Command::Key(PutKey::new(name.as_str().as_bytes()).expect("a name is a key too"))
        }),
        any::<u32>().prop_map(|version| Command::Trunk { version }),
        proptest::sample::select(vec![
            Command::Reserve,
            Command::PeekReady,
            Command::PeekDelayed,
            Command::PeekBuried,
            Command::Stats,
            Command::ListTubes,
            Command::ListTubeUsed,
            Command::ListTubesWatched,
            Command::Quit,
        ]),
    ]
}

fn any_put() -> impl Strategy<Value = Command> {
    (any::<u32>(), any::<u32>(), any::<u32>(), any_body())
        .prop_map(|(priority, delay, ttr, body)| Command::Put { priority, delay, ttr, body })
}

pub(crate) fn any_reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        any::<u64>().prop_map(Reply::Inserted),
        any::<u64>().prop_map(Reply::PutBuried),
        any_tube().prop_map(Reply::Using),
        (any::<u64>(), any_body()).prop_map(|(id, body)| Reply::Reserved { id, body }),
        (any::<u64>(), any_body()).prop_map(|(id, body)| Reply::Found { id, body }),
        any::<u64>().prop_map(Reply::Watching),
        any::<u64>().prop_map(Reply::Kicked),
        any_body().prop_map(Reply::Ok),
        (any::<u64>(), any::<u32>())
            .prop_map(|(member, job_size_max)| Reply::Trunk { member, job_size_max }),
        proptest::sample::select(vec![
            Reply::DeadlineSoon,
            Reply::TimedOut,
            Reply::Deleted,
            Reply::Released,
            Reply::Buried,
            Reply::Touched,
            Reply::NotIgnored,
            Reply::JobKicked,
            Reply::Paused,
            Reply::Keyed,
            Reply::KeyInUse,
            Reply::NotFound,
            Reply::OutOfMemory,
            Reply::InternalError,
            Reply::Draining,
            Reply::BadFormat,
            Reply::UnknownCommand,
            Reply::ExpectedCrlf,
            Reply::JobTooBig,
        ]),
    ]
}

/// The lengths of the pieces that some input arrives in; used over and over until it is all there.
pub(crate) fn any_pieces() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![vec(1..8_usize, 1..5), vec(1..600_usize, 1..20), Just(vec![20_000])]
}

/// Calls `take` after every piece of `stream`, with the buffer that a connection would have.
pub(crate) fn feed(stream: &[u8], pieces: &[usize], mut take: impl FnMut(&mut BytesMut)) {
    let mut input = BytesMut::new();
    let mut rest = stream;
    for length in pieces.iter().cycle() {
        let (piece, later) = rest.split_at(rest.len().min(*length));
        input.extend_from_slice(piece);
        take(&mut input);
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
}
